// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream read by a thread of its own, for applications that come by now and then.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::counters::{StatsReader, add_one};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::stats::Stats;
use crate::stream::{StopHandle, Stream};

/// A stream that a thread of its own reads into a bounded queue. What finds the queue full is counted as `dropped`.
/// Dropping it ends the thread and detaches everything; what was still in the queue is then `dropped` too.
#[derive(Debug)]
pub struct Queue {
    events: Receiver<Event>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    stop: StopHandle,
    stats: StatsReader,
}

impl Stream {
    /// Hands the stream to a thread that reads it into a queue of `capacity` events (at least one).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if there can be no thread.
    pub fn into_queue(self, capacity: usize) -> Result<Queue, Error> {
        let (send, events) = sync_channel(capacity.max(1));
        let (stop, stats) = (self.stop_handle(), self.stats_reader());
        let thread = thread::Builder::new()
            .name("retrans-queue".to_owned())
            .spawn(move || fill(self, &send))
            .map_err(|error| Error::new(ErrorKind::System, "cannot start a thread").caused_by(error))?;
        Ok(Queue { events, thread: Some(thread), stop, stats })
    }
}

/// Runs until the stream is stopped.
fn fill(mut stream: Stream, queue: &SyncSender<Event>) -> Result<(), Error> {
    let stats = stream.stats_reader();
    while stream.wait_for_event()? {
        while let Some(event) = stream.take() {
            match queue.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    add_one(&stats.user().dropped);
                }
            }
        }
    }
    Ok(())
}

impl Queue {
    /// The next event, at once or within `timeout`; `None` after it.
    ///
    /// # Errors
    ///
    /// The one that ended the reading thread.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => Ok(Some(self.delivered(event))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => self.ended().map(|()| None),
        }
    }

    /// The next event if there is one, without blocking.
    ///
    /// # Errors
    ///
    /// As [`next_within`](Self::next_within).
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        match self.events.try_recv() {
            Ok(event) => Ok(Some(self.delivered(event))),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => self.ended().map(|()| None),
        }
    }

    /// The counters now. Those of `delivered` are the events taken out of the queue.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.read()
    }

    fn delivered(&self, event: Event) -> Event {
        add_one(&self.stats.user().delivered);
        event
    }

    /// Why the thread is no longer there.
    fn ended(&mut self) -> Result<(), Error> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::new(ErrorKind::System, "the predicate panicked")),
            None => Err(Error::new(ErrorKind::System, "the queue has ended")),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.stop.stop();
        // A panic of the predicate has been printed by its own thread.
        let _ = self.thread.take().map(JoinHandle::join);
        while self.events.try_recv().is_ok() {
            add_one(&self.stats.user().dropped);
        }
    }
}
