// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bounded queue of events, filled by a dedicated thread that reads the stream.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::buffer::BATCH;
use crate::stats::Stats;
use crate::stats::reader::StatsReader;
use crate::stats::user_counters::add;
use crate::stream::Stream;
use crate::stream::stop::StopHandle;

/// The policy for events that cannot be added to a [`Queue`] because it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// Drops the new event; the queue keeps the oldest events.
    #[default]
    DropNewest,
    /// Drops the oldest event in the queue; the queue keeps the newest events.
    DropOldest,
    /// Blocks the reader thread until the queue has room. The queue drops nothing. Meanwhile
    /// records wait in the ring buffer. While the ring buffer is full as well, attempts are counted
    /// as [`lost`](crate::Stats::lost).
    Block,
}

/// A bounded queue of events, filled by a dedicated thread that reads the stream. [`Overflow`]
/// selects what happens when the queue is full.
///
/// [`Stream::into_queue`] starts the reader thread. The thread ends after a stop
/// ([`stop_handle`](Self::stop_handle)), at the end of a recording or a mock, or with an error of
/// the stream. Events that are in the queue at that time can still be received.
///
/// Dropping the queue ends the thread, detaches the BPF programs, and counts the events in the
/// queue as [`dropped`](crate::Stats::dropped).
///
/// # Examples
///
/// ```no_run
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
/// # Ok::<(), retrans_sdk::Error>(())
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

/// The state that the reader thread and the receiver share. The reader thread adds a whole batch
/// under one lock, so the two threads do not synchronize for each event.
struct Shared {
    state: Mutex<QueueState>,
    /// Notified when the empty queue gets events, and when the reader thread ends.
    changed: Condvar,
    /// Notified when the full queue gets room, and when the receiver is dropped.
    room: Condvar,
    capacity: usize,
    overflow: Overflow,
}

struct QueueState {
    events: VecDeque<Event>,
    /// True once the reader thread has ended.
    ended: bool,
    /// True once the receiver was dropped.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events, and returns the number of events that were dropped: new events, or events that
    /// were in the queue.
    fn push_all(&self, mut events: &[Event]) -> usize {
        let mut state = self.lock();
        let mut dropped = 0;
        if self.overflow == Overflow::DropOldest {
            // Only the last events fit if there are more than the capacity.
            let too_many = events.len().saturating_sub(self.capacity);
            events = events.get(too_many..).unwrap_or_default();
            let too_old = (state.events.len() + events.len()).saturating_sub(self.capacity);
            state.events.drain(..too_old);
            dropped = too_many + too_old;
        }
        loop {
            let was_empty = state.events.is_empty();
            let room = (self.capacity - state.events.len()).min(events.len());
            let (fitting, others) = events.split_at(room);
            state.events.extend(fitting);
            events = others;
            // The receiver waits only while the queue is empty.
            if was_empty {
                self.changed.notify_one();
            }
            if self.overflow != Overflow::Block || events.is_empty() || state.closed {
                return dropped + events.len();
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    fn is_full(&self, state: &QueueState) -> bool {
        state.events.len() == self.capacity
    }

    /// Wakes the reader thread if the queue was full, because only then the thread can be waiting.
    /// Otherwise no notification is sent: it would be a system call even if no thread waits.
    fn made_room(&self, was_full: bool) {
        if was_full && self.overflow == Overflow::Block {
            self.room.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.room.notify_one();
    }

    /// Waits until there is an event, the reader thread has ended, or the timeout has expired.
    fn wait(&self, timeout: Duration) -> MutexGuard<'_, QueueState> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        while state.events.is_empty() && !state.ended {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

/// Marks the queue as ended when the reader thread ends, even if the thread panics.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Stream {
    /// Moves the stream to a dedicated thread that reads it into a queue of `capacity` events.
    ///
    /// The capacity is clamped to the range from 1 to 1,048,576. The memory for this number of
    /// events is allocated immediately.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the thread cannot be started.
    pub fn into_queue(self, capacity: usize, overflow: Overflow) -> Result<Queue, Error> {
        let capacity = capacity.clamp(1, 1 << 20);
        let state = QueueState { events: VecDeque::with_capacity(capacity), ended: false, closed: false };
        let (changed, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { state: Mutex::new(state), changed, room, capacity, overflow });
        let (stop, stats) = (self.stop_handle(), self.stats_reader());
        let end = EndOnDrop(Arc::clone(&shared));
        let thread =
            thread::Builder::new().name("retrans-queue".to_owned()).spawn(move || fill(self, &end.0)).map_err(
                |error| Error::new(ErrorKind::System, "cannot start the reader thread of the queue").caused_by(error),
            )?;
        Ok(Queue { shared, thread: Some(thread), stop, stats })
    }
}

/// Reads the stream into the queue until the stream is stopped. Then detaches the BPF programs, and
/// also reads the events that these had submitted by then into the queue.
fn fill(mut stream: Stream, queue: &Shared) -> Result<(), Error> {
    let stats = stream.stats_reader();
    let read_all = |stream: &mut Stream| -> Result<(), Error> {
        while stream.wait_for_event()? {
            let left = queue.push_all(stream.take());
            add(&stats.user().dropped, left as u64);
        }
        Ok(())
    };
    read_all(&mut stream)?;
    stream.detach();
    read_all(&mut stream)
}

impl Queue {
    /// Receives the next event, and waits up to `timeout` for it.
    ///
    /// Returns `None` after the timeout, and immediately if the reader thread has ended and the
    /// queue is empty.
    ///
    /// # Errors
    ///
    /// Returns the error that ended the reader thread, after all events were received. This is an
    /// error of the stream, or [`ErrorKind::System`] if the stream's predicate panicked. It is
    /// returned only once: later calls return `None`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        let mut state = self.shared.wait(timeout);
        let was_full = self.shared.is_full(&state);
        let (event, ended) = (state.events.pop_front(), state.ended);
        drop(state);
        self.shared.made_room(was_full);
        self.delivered(usize::from(event.is_some()));
        if event.is_none() && ended {
            self.end()?;
        }
        Ok(event)
    }

    /// Receives the next event if one is available. Does not block.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn try_recv(&mut self) -> Result<Option<Event>, Error> {
        self.recv_timeout(Duration::ZERO)
    }

    /// Replaces the contents of `events` with the available events, and waits up to `timeout` for
    /// the first event.
    ///
    /// Receives at most as many events as `events` has capacity for, or 256 if its capacity is 0.
    /// Returns the number of received events. It returns 0 in the cases in which
    /// [`recv_timeout`](Self::recv_timeout) returns `None`.
    ///
    /// # Errors
    ///
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_batch_timeout(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<usize, Error> {
        events.clear();
        if events.capacity() == 0 {
            events.reserve_exact(BATCH);
        }
        let mut state = self.shared.wait(timeout);
        let was_full = self.shared.is_full(&state);
        let count = state.events.len().min(events.capacity());
        events.extend(state.events.drain(..count));
        let ended = state.ended;
        drop(state);
        self.shared.made_room(was_full);
        self.delivered(count);
        if count == 0 && ended {
            self.end()?;
        }
        Ok(count)
    }

    /// Returns true after a receiving method found that the reader thread has ended and that no
    /// event is left in the queue.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.thread.is_none()
    }

    /// Returns a handle with which another thread or a signal handler stops the reader thread.
    ///
    /// After a stop, the thread detaches the BPF programs, reads the records that remain in the
    /// ring buffer into the queue, and ends.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Returns the current counters. `delivered` counts the events received from the queue.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.read()
    }

    fn delivered(&self, count: usize) {
        add(&self.stats.user().delivered, count as u64);
    }

    /// Joins the reader thread, and returns its error.
    fn end(&mut self) -> Result<(), Error> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::new(ErrorKind::System, "the stream's predicate panicked")),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.stop.stop();
        self.shared.close();
        // The result is not needed: if the predicate panicked, the panic was already printed.
        let _ = self.thread.take().map(JoinHandle::join);
        let left = self.shared.lock().events.len();
        add(&self.stats.user().dropped, left as u64);
    }
}
