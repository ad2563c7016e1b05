// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream read by a thread of its own, for applications that come by now and then.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::buffer::BATCH;
use crate::stats::Stats;
use crate::stats::reader::{StatsReader, add};
use crate::stream::Stream;
use crate::stream::stop::StopHandle;

/// What becomes of an event for which the queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It is `dropped`: what is in the queue is the oldest.
    #[default]
    DropNewest,
    /// The oldest in the queue is `dropped` for it: what is in the queue is the newest.
    DropOldest,
    /// The thread waits until there is room, and nothing is `dropped`; what comes meanwhile waits in the ring, and what finds that full is `lost`.
    Block,
}

/// A stream that a thread of its own reads into a bounded queue. What becomes of the events that find it full is [chosen](Overflow).
///
/// It ends when it is told to ([`stop_handle`](Self::stop_handle)), at the end of a recording or a script, or when the stream fails; events that were in the queue
/// can still be taken. Dropping it ends the thread and detaches everything; what was still in the queue is then `dropped`.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use retrans_sdk::Stream;
/// use retrans_sdk::stream::Overflow;
///
/// let mut queue = Stream::builder().open()?.into_queue(10_000, Overflow::DropOldest)?;
/// while !queue.is_finished() {
///     while let Some(event) = queue.recv_timeout(Duration::from_secs(5))? {
///         println!("{event}");
///     }
///     eprintln!("{}", queue.stats());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    stop: StopHandle,
    stats: StatsReader,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.shared.lock().events.len()).finish_non_exhaustive()
    }
}

/// Between the two threads. A batch goes through it at once, so neither waits for the other once an event.
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is an event, or there will be none.
    changed: Condvar,
    /// There is room, or nobody takes events any more.
    room: Condvar,
    capacity: usize,
    overflow: Overflow,
}

struct Waiting {
    events: VecDeque<Event>,
    /// Whether the thread has ended.
    ended: bool,
    /// Whether nobody takes events any more.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts them in, and gives the number of those, or of others, that had to go for want of room.
    fn put(&self, mut events: &[Event]) -> usize {
        let mut waiting = self.lock();
        let mut gone = 0;
        if self.overflow == Overflow::DropOldest {
            // Of more than there is room for at all, the last.
            let too_many = events.len().saturating_sub(self.capacity);
            events = events.get(too_many..).unwrap_or_default();
            let too_old = (waiting.events.len() + events.len()).saturating_sub(self.capacity);
            waiting.events.drain(..too_old);
            gone = too_many + too_old;
        }
        loop {
            let was_empty = waiting.events.is_empty();
            let room = (self.capacity - waiting.events.len()).min(events.len());
            let (fitting, others) = events.split_at(room);
            waiting.events.extend(fitting);
            events = others;
            // Whoever waits does so for the first one.
            if was_empty {
                self.changed.notify_one();
            }
            if self.overflow != Overflow::Block || events.is_empty() || waiting.closed {
                return gone + events.len();
            }
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    fn is_full(&self, waiting: &Waiting) -> bool {
        waiting.events.len() == self.capacity
    }

    /// The thread waits for room only if there was none; to tell it takes a system call, whether or not it waits.
    fn made_room(&self, was_full: bool) {
        if was_full && self.overflow == Overflow::Block {
            self.room.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.room.notify_one();
    }

    /// Once there is an event, or none will come any more, or it is late.
    fn wait(&self, timeout: Duration) -> MutexGuard<'_, Waiting> {
        let deadline = Instant::now().checked_add(timeout);
        let mut waiting = self.lock();
        while waiting.events.is_empty() && !waiting.ended {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting
    }
}

/// Says that the thread has ended, however it does.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Stream {
    /// Hands the stream to a thread that reads it into a queue of `capacity` events, at least one and at most 1,048,576;
    /// the memory for all of them is taken at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if there can be no thread.
    pub fn into_queue(self, capacity: usize, overflow: Overflow) -> Result<Queue, Error> {
        let capacity = capacity.clamp(1, 1 << 20);
        let waiting = Waiting { events: VecDeque::with_capacity(capacity), ended: false, closed: false };
        let (changed, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), changed, room, capacity, overflow });
        let (stop, stats) = (self.stop_handle(), self.stats_reader());
        let end = EndOnDrop(Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("retrans-queue".to_owned())
            .spawn(move || fill(self, &end.0))
            .map_err(|error| Error::new(ErrorKind::System, "cannot start a thread").caused_by(error))?;
        Ok(Queue { shared, thread: Some(thread), stop, stats })
    }
}

/// Runs until the stream is stopped, and then until what was submitted before is read.
fn fill(mut stream: Stream, queue: &Shared) -> Result<(), Error> {
    let stats = stream.stats_reader();
    let read_all = |stream: &mut Stream| -> Result<(), Error> {
        while stream.wait_for_event()? {
            let left = queue.put(stream.take());
            add(&stats.user().dropped, left as u64);
        }
        Ok(())
    };
    read_all(&mut stream)?;
    stream.detach();
    read_all(&mut stream)
}

impl Queue {
    /// The next event, at once or within `timeout`; `None` after it, and at once when the queue [has
    /// ended](Self::is_finished) and is empty.
    ///
    /// # Errors
    ///
    /// The one that ended the reading thread, once: the stream's, or [`ErrorKind::System`] if the predicate panicked.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        let mut waiting = self.shared.wait(timeout);
        let was_full = self.shared.is_full(&waiting);
        let (event, ended) = (waiting.events.pop_front(), waiting.ended);
        drop(waiting);
        self.shared.made_room(was_full);
        self.delivered(usize::from(event.is_some()));
        if event.is_none() && ended {
            self.end()?;
        }
        Ok(event)
    }

    /// The next event if there is one, without blocking.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn try_recv(&mut self) -> Result<Option<Event>, Error> {
        self.recv_timeout(Duration::ZERO)
    }

    /// As many of the next events as are there and as `events` has room for without growing (256 if it has none), at once or within `timeout`,
    /// in place of what is in it. Gives how many they are: 0 where [`recv_timeout`](Self::recv_timeout) gives `None`.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_batch_timeout(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<usize, Error> {
        events.clear();
        if events.capacity() == 0 {
            events.reserve_exact(BATCH);
        }
        let mut waiting = self.shared.wait(timeout);
        let was_full = self.shared.is_full(&waiting);
        let count = waiting.events.len().min(events.capacity());
        events.extend(waiting.events.drain(..count));
        let ended = waiting.ended;
        drop(waiting);
        self.shared.made_room(was_full);
        self.delivered(count);
        if count == 0 && ended {
            self.end()?;
        }
        Ok(count)
    }

    /// Whether the thread has ended and every event was taken: no event comes any more. Known once `recv_timeout` or
    /// `try_recv` has come to the end.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
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

    fn delivered(&self, count: usize) {
        add(&self.stats.user().delivered, count as u64);
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
        self.shared.close();
        // A panic of the predicate has been printed by its own thread.
        let _ = self.thread.take().map(JoinHandle::join);
        let left = self.shared.lock().events.len();
        add(&self.stats.user().dropped, left as u64);
    }
}
