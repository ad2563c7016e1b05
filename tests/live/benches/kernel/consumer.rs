// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream with a reader, as in an application.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use retrans_lab::{Context, Error, Result};
use retrans_sdk::stats::StatsReader;
use retrans_sdk::stream::StopHandle;
use retrans_sdk::{Stats, StreamBuilder};

/// A thread that reads all events of a stream and discards them.
pub(crate) struct Consumer {
    done: Arc<AtomicBool>,
    wake: StopHandle,
    stats: StatsReader,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Consumer {
    pub(crate) fn open(builder: StreamBuilder) -> Result<Self> {
        let mut stream = builder.open().context("cannot open a stream")?;
        let (wake, stats, done) = (stream.stop_handle(), stream.stats_reader(), Arc::new(AtomicBool::new(false)));
        let stop = done.clone();
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let batch = stream.recv_batch_timeout(Duration::from_secs(1)).context("cannot read the stream")?;
                batch.for_each(|event| {
                    black_box(event);
                });
            }
            Ok(())
        });
        Ok(Self { done, wake, stats, thread: Some(thread) })
    }

    /// Returns the stream's counters.
    pub(crate) fn stats(&self) -> Stats {
        self.stats.read()
    }

    /// Closes the stream, and returns the reader's error if it failed.
    pub(crate) fn end(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        self.done.store(true, Ordering::Release);
        self.wake.stop();
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.map_err(|_| Error::new("the thread that reads the stream panicked"))?
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.join();
    }
}
