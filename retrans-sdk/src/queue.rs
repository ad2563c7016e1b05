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
///
/// It ends when it is told to ([`stop_handle`](Self::stop_handle)) or when the stream fails; events that were in the queue
/// can still be taken. Dropping it ends the thread and detaches everything; what was still in the queue is then `dropped`.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let mut queue = retrans_sdk::Stream::builder().open()?.into_queue(10_000)?;
/// while !queue.is_ended() {
///     while let Some(event) = queue.next_within(Duration::from_secs(5))? {
///         println!("{event}");
///     }
///     eprintln!("{}", queue.stats());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Queue {
    events: Receiver<Event>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    stop: StopHandle,
    stats: StatsReader,
}

impl Stream {
    /// Hands the stream to a thread that reads it into a queue of `capacity` events, at least one and at most 1,048,576;
    /// the memory for all of them is taken at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if there can be no thread.
    pub fn into_queue(self, capacity: usize) -> Result<Queue, Error> {
        let (send, events) = sync_channel(capacity.clamp(1, 1 << 20));
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
    /// The next event, at once or within `timeout`; `None` after it, and at once when the queue [has
    /// ended](Self::is_ended) and is empty.
    ///
    /// # Errors
    ///
    /// The one that ended the reading thread, once: the stream's, or [`ErrorKind::System`] if the predicate panicked.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => Ok(Some(self.delivered(event))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => self.end().map(|()| None),
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
            Err(TryRecvError::Disconnected) => self.end().map(|()| None),
        }
    }

    /// Whether the thread has ended and every event was taken: no event comes any more. Known once `next_within` or
    /// `try_next` has come to the end.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.thread.is_none()
    }

    /// A handle by which another thread, or a signal handler's, ends the queue.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
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

    /// The thread is gone: by itself if it was stopped, else with why.
    fn end(&mut self) -> Result<(), Error> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::new(ErrorKind::System, "the predicate panicked")),
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
