// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams of events, and the methods that read them.
//!
//! A [`Stream`] is read with a callback, as an iterator, in batches, or by waiting on its file
//! descriptor. A [`Queue`] reads it on a dedicated thread, and an `AsyncStream` (feature `tokio`)
//! on an async runtime.

pub(crate) mod backend;
pub(crate) mod builder;
pub(crate) mod counters;
pub(crate) mod live;
pub(crate) mod order;
pub(crate) mod queue;
pub(crate) mod stop;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;

pub use self::builder::StreamBuilder;
pub use self::counters::Counters;
pub use self::live::Live;
pub use self::order::TimeOrder;
pub use self::queue::{Overflow, Queue};
pub use self::stop::StopHandle;
#[cfg(feature = "tokio")]
pub use self::tokio::AsyncStream;
pub use crate::kernel::config::{DEFAULT_MAX_DELAY, DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES};
pub use crate::rate_limit::RateLimit;

use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::Error;
use crate::event::Event;
use crate::event::buffer::{BATCH, EventBuffer};
use crate::filter::Filter;
#[cfg(feature = "test-util")]
use crate::kernel::config::Wakeup;
use crate::stats::reader::StatsReader;
use crate::stats::user_counters::{add, add_one};
use crate::stats::{Stats, VerdictStats};
use crate::stream::backend::Backend;
use crate::stream::builder::{OnVerdict, Predicate};

/// A stream of retransmission attempts: of the running kernel ([`StreamBuilder::open`]), of a
/// recording ([`StreamBuilder::replay`]) or of a mock ([`StreamBuilder::mock`]).
///
/// A stream has no lifetime parameter, and is `Send`. Dropping it detaches the BPF programs.
///
/// | method | blocks | returns |
/// |---|---|---|
/// | [`iter`](Self::iter) | yes | an iterator of events |
/// | [`try_iter`](Self::try_iter) | no | an iterator of the available events |
/// | [`recv_batch`](Self::recv_batch) | yes | a batch of up to 256 events |
/// | [`recv_batch_timeout`](Self::recv_batch_timeout) | up to a timeout | a batch of up to 256 events |
/// | [`for_each_timeout`](Self::for_each_timeout) | up to a timeout | the number of events that it passed to a function |
///
/// In your own event loop, wait on the file descriptor ([`AsFd`]). Whenever it is readable, read
/// [`try_iter`](Self::try_iter) to its end.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::{ResultClass, Stream};
///
/// let mut stream = Stream::open()?;
/// for event in stream.iter() {
///     let event = event?;
///     if event.class() != ResultClass::Ok {
///         println!("{event}"); // ts=… result=… err=… kind=… saddr=… sport=… and further keys
///     }
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
pub struct Stream {
    backend: Backend,
    stats: StatsReader,
    filter: Filter,
    predicate: Option<Predicate>,
    on_verdict: Option<OnVerdict>,
    /// The events that were read from the backend at once.
    batch: EventBuffer,
    /// The events of the batch that passed the predicate and were not taken yet.
    passing: Range<usize>,
    /// The number of events that the predicate has evaluated.
    evaluated: usize,
    /// True if there may be more events in the ring buffer.
    more: bool,
    /// True once the programs were detached.
    detached: bool,
    /// True once it was detached and the ring buffer was empty afterwards.
    exhausted: bool,
    stop: StopHandle,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("live", &self.live()).field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Stream {
    /// Opens a stream of every attempt of this host, with default settings.
    ///
    /// Requires what [`StreamBuilder::open`] requires: Linux 5.10, and CAP_BPF and CAP_PERFMON, or
    /// CAP_SYS_ADMIN.
    ///
    /// # Errors
    ///
    /// As [`StreamBuilder::open`].
    pub fn open() -> Result<Self, Error> {
        Self::builder().open()
    }

    /// Returns a builder with default settings.
    pub fn builder() -> StreamBuilder {
        StreamBuilder::default()
    }

    pub(crate) fn new(
        backend: Backend,
        stats: StatsReader,
        stop: StopHandle,
        filter: Filter,
        predicate: Option<Predicate>,
        on_verdict: Option<OnVerdict>,
    ) -> Self {
        Self {
            backend,
            stats,
            filter,
            predicate,
            on_verdict,
            batch: EventBuffer::with_capacity(BATCH),
            passing: 0..0,
            evaluated: 0,
            more: false,
            detached: false,
            exhausted: false,
            stop,
        }
    }

    /// Returns the part of the stream that exists only for the running kernel, such as its
    /// attachment; `None` for a recording and a mock.
    #[must_use]
    pub const fn live(&self) -> Option<&Live> {
        self.backend.live()
    }

    /// Returns true if all events were read and no further event can come.
    ///
    /// No further event comes after the end of a recording or a mock, and after a live stream was
    /// [detached](Self::detach).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let is_taken = self.passing.is_empty() && self.evaluated == self.batch.events().len();
        is_taken && (self.exhausted || self.backend.is_over())
    }

    /// Detaches the BPF programs, so no further attempt is recorded. Requires no capability.
    ///
    /// Events in the ring buffer can still be read with every method, even after a
    /// [stop](StopHandle::stop). The size of the ring buffer limits the number of these events, so
    /// reading them ends even if the host continues to retransmit. After all of them were read, the
    /// stream [is finished](Self::is_finished), and `submitted = rejected + dropped + delivered`.
    /// A detached recording still yields the events that were already read ahead, and a detached
    /// mock the events that were already pushed.
    ///
    /// Blocks for 3 to 101 milliseconds, until BPF programs that run on other CPUs at this moment
    /// have ended. Read a detached stream to its end without waiting for its descriptor: the
    /// descriptor does not become readable for the remaining events.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let mut stream = retrans_sdk::Stream::builder().open()?;
    /// // A signal handler has called StopHandle::stop(), so this ends.
    /// for event in stream.iter() {
    ///     println!("{}", event?);
    /// }
    /// stream.detach();
    /// for event in stream.iter() {
    ///     println!("{}", event?);
    /// }
    /// assert!(stream.is_finished());
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    pub fn detach(&mut self) {
        if self.detached {
            return;
        }
        self.detached = true;
        self.backend.detach();
        if self.live().is_some() {
            self.settle();
        }
    }

    /// Waits for BPF programs that were running on other CPUs when they were detached. Such a
    /// program may not have counted its attempt yet, or not have submitted its record yet.
    fn settle(&self) {
        /// The minimum time to wait. It is much longer than the run time of a BPF program.
        const LEAST: Duration = Duration::from_millis(2);
        const MOST: Duration = Duration::from_millis(100);
        let began = Instant::now();
        loop {
            std::thread::sleep(Duration::from_millis(1));
            let Stats { seen, filtered, limited, lost, submitted, .. } = self.stats.read();
            let is_settled = seen == filtered + limited + lost + submitted;
            if (is_settled && began.elapsed() >= LEAST) || began.elapsed() >= MOST {
                break;
            }
        }
        // A BPF program submits a record right after it has counted the record as submitted.
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Returns the current counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.read()
    }

    /// Returns the counters of verdicts; `None` unless verdicts were
    /// [requested](StreamBuilder::on_verdict) and the kernel reports them
    /// ([`Live::verdict_hooks`]).
    #[must_use]
    pub fn verdict_stats(&self) -> Option<VerdictStats> {
        let hooks = self.live()?.verdict_hooks()?;
        hooks.ended.is_available().then(|| self.stats.verdicts())
    }

    /// Returns a reader of the counters for other threads. It remains valid after the stream is
    /// dropped.
    #[must_use]
    pub fn stats_reader(&self) -> StatsReader {
        self.stats.clone()
    }

    /// Returns a handle with which another thread or a signal handler ends the blocking reads of
    /// this stream.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Waits up to `timeout` for events and calls `callback` with each available event, at most a
    /// batch of 256.
    ///
    /// Returns the number of events: 0 after the timeout, an interrupting signal, a stop, or the
    /// end of a recording or a mock. [`Duration::MAX`] waits without a limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use retrans_sdk::{RetransResult, Stream};
    ///
    /// let (source, mut stream) = Stream::builder().mock()?;
    /// source.push_result(RetransResult::Success);
    /// let count = stream.for_each_timeout(Duration::from_secs(1), |event| println!("{event}"))?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`](crate::ErrorKind::System) if waiting or reading fails. A recording
    /// also fails with [`ErrorKind::Recording`](crate::ErrorKind::Recording) at a malformed line.
    pub fn for_each_timeout(&mut self, timeout: Duration, mut callback: impl FnMut(&Event)) -> Result<usize, Error> {
        let batch = self.recv_batch_timeout(timeout)?;
        let mut count = 0;
        while let Some(event) = batch.stream.deliver() {
            callback(event);
            count += 1;
        }
        Ok(count)
    }

    /// Waits up to `timeout` for events, and lends the available events as a batch of up to 256.
    ///
    /// The batch is empty in the cases in which [`for_each_timeout`](Self::for_each_timeout)
    /// returns 0. Events that are not taken from a batch are in the next one.
    ///
    /// # Errors
    ///
    /// As [`for_each_timeout`](Self::for_each_timeout).
    pub fn recv_batch_timeout(&mut self, timeout: Duration) -> Result<Batch<'_>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        while !self.advance()? && !self.is_at_end() && !is_past(deadline) && self.wait(deadline)? {}
        // A record may have arrived between the last reading and the end of the timeout.
        self.advance()?;
        Ok(Batch { stream: self })
    }

    /// Blocks until there are events, and lends them as a batch of up to 256.
    ///
    /// Returns `None` after a stop by a [`StopHandle`] and at the end of a recording or a mock.
    /// Events in the ring buffer after a stop can be read with [`try_iter`](Self::try_iter). This
    /// is the most efficient method for many events, since work can be done once for each batch.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let mut stream = retrans_sdk::Stream::builder().open()?;
    /// while let Some(batch) = stream.recv_batch()? {
    ///     let events = batch.into_slice();
    ///     let segments: u32 = events.iter().map(|event| event.segs).sum();
    ///     println!("{} attempts, {segments} segments", events.len());
    /// }
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`for_each_timeout`](Self::for_each_timeout).
    pub fn recv_batch(&mut self) -> Result<Option<Batch<'_>>, Error> {
        Ok(self.wait_for_event()?.then_some(Batch { stream: self }))
    }

    /// Returns an iterator over the available events. It does not block, and continues as long as
    /// more events arrive.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::{RetransResult, Stream};
    ///
    /// let (source, mut stream) = Stream::builder().mock()?;
    /// source.push_result(RetransResult::RouteFail);
    /// for event in stream.try_iter() {
    ///     assert_eq!(event?.result, RetransResult::RouteFail);
    /// }
    /// assert!(!stream.is_finished()); // the source exists, so more events may come
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter { stream: self, failed: false }
    }

    /// Returns an iterator that blocks for each event.
    ///
    /// It ends after a stop by a [`StopHandle`], at the end of a recording or a mock, or after an
    /// error. Events in the ring buffer after a stop can be read with [`try_iter`](Self::try_iter).
    pub fn iter(&mut self) -> Iter<'_> {
        Iter { stream: self, failed: false }
    }

    /// Makes the next event ready, and reads a batch if necessary. Returns false if no event is
    /// available.
    ///
    /// Evaluates one batch at most, so events that the predicate rejects cannot delay the caller
    /// past a deadline.
    fn advance(&mut self) -> Result<bool, Error> {
        if self.evaluate() {
            return Ok(true);
        }
        (self.passing, self.evaluated) = (0..0, 0);
        // All events before these verdicts were taken.
        self.deliver_verdicts();
        self.more = self.backend.read(BATCH, &mut self.batch)?;
        if self.batch.events().is_empty() {
            self.deliver_verdicts();
        }
        // Nothing is added to the ring buffer of a detached stream, so once empty it stays empty.
        let is_empty = self.batch.events().is_empty() && !self.more;
        self.exhausted |= self.detached && is_empty && self.live().is_some();
        Ok(self.evaluate())
    }

    /// Passes the verdicts of the last batch to the application's function.
    #[inline]
    fn deliver_verdicts(&mut self) {
        let (Some(function), Some(verdicts)) = (&mut self.on_verdict, self.backend.verdicts()) else { return };
        for verdict in verdicts.drain(..) {
            add_one(&self.stats.user().verdicts);
            function(&verdict);
        }
    }

    /// Evaluates the predicate on the events of the batch until one passes. Returns false if none
    /// is left.
    #[inline]
    fn evaluate(&mut self) -> bool {
        while self.passing.is_empty() && self.evaluated < self.batch.events().len() {
            self.evaluate_next();
        }
        !self.passing.is_empty()
    }

    /// Evaluates the predicate on one event. Moves an event that passes next to the previous one
    /// that passed, so that these events form a slice.
    #[inline]
    fn evaluate_next(&mut self) {
        let Some(predicate) = &mut self.predicate else {
            self.evaluated = self.batch.events().len();
            self.passing.end = self.evaluated;
            return;
        };
        let Some(event) = self.batch.events().get(self.evaluated) else { return };
        self.evaluated += 1;
        // Counts the event as rejected even if the predicate panics, because it is not delivered.
        let refused = CountOnDrop(&self.stats.user().rejected);
        if predicate(event) {
            std::mem::forget(refused);
            self.batch.events_mut().swap(self.passing.end, self.evaluated - 1);
            self.passing.end += 1;
        }
    }

    /// Blocks until an event is ready. Returns false after a stop, and if no further event can
    /// come.
    pub(crate) fn wait_for_event(&mut self) -> Result<bool, Error> {
        loop {
            if self.evaluate() {
                return Ok(true);
            }
            // After a stop only events of the batch are delivered: under load the ring buffer might
            // never be empty.
            if self.stop.is_stopped() && !self.detached {
                return Ok(false);
            }
            if !self.advance()? {
                if self.is_at_end() {
                    return Ok(false);
                }
                self.wait(None)?;
            }
        }
    }

    /// Returns true if no event is ready and no further event can come.
    fn is_at_end(&self) -> bool {
        self.exhausted || self.backend.is_over()
    }

    /// Takes the remaining events of the batch that pass the predicate, without counting them.
    pub(crate) fn take(&mut self) -> &[Event] {
        while self.evaluated < self.batch.events().len() {
            self.evaluate_next();
        }
        let all = self.passing.clone();
        self.passing.start = all.end;
        self.batch.events().get(all).unwrap_or_default()
    }

    /// Returns the available events, at most a batch, and counts them as delivered. Does not block.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_at_once(&mut self) -> Result<Vec<Event>, Error> {
        if !self.evaluate() && (self.detached || !self.stop.is_stopped()) {
            self.advance()?;
        }
        let events = self.take().to_vec();
        add(&self.stats.user().delivered, events.len() as u64);
        Ok(events)
    }

    /// Returns true if no event is ready and no further event will be available.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_over(&self) -> bool {
        self.is_at_end() || (self.stop.is_stopped() && !self.detached)
    }

    /// Returns true if more events may be available immediately.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_more(&self) -> bool {
        self.more || self.detached
    }

    /// Takes the next event of the batch and counts it as delivered.
    #[inline]
    fn deliver(&mut self) -> Option<&Event> {
        self.evaluate();
        let next = self.passing.next()?;
        add_one(&self.stats.user().delivered);
        self.batch.events().get(next)
    }

    /// Returns the ring buffer and its wake-up settings, for the test harness.
    #[cfg(feature = "test-util")]
    pub(crate) fn ring(&self) -> Option<([BorrowedFd<'_>; 2], Wakeup)> {
        self.live().map(|live| live.source.ring())
    }

    /// Waits for records. Returns true if there may be records, and false after the deadline, a
    /// signal or a stop.
    fn wait(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        if self.detached {
            return Ok(true);
        }
        if self.more {
            return Ok(!self.stop.is_stopped());
        }
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let records = self.backend.fd();
        let mut fds = [PollFd::new(&records, PollFlags::IN), PollFd::new(self.stop.eventfd(), PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => Ok(fds[1].revents().is_empty()),
            Err(errno) => Err(Error::system("cannot wait for the ring buffer", errno)),
        }
    }
}

/// Counts events that were read and not delivered as `dropped`.
impl Drop for Stream {
    fn drop(&mut self) {
        let left = self.batch.events().len() - self.evaluated + self.passing.len();
        add(&self.stats.user().dropped, left as u64);
    }
}

/// Returns a file descriptor that is readable when events are available.
///
/// Whenever it is readable, read [`Stream::try_iter`] to its end. Until then the BPF programs do
/// not wake the reader again. The descriptor may be readable once or twice without an event. Events
/// that were left in a batch do not make it readable.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.backend.fd()
    }
}

fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

struct CountOnDrop<'a>(&'a AtomicU64);

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        add_one(self.0);
    }
}

/// A batch of events that [`Stream::recv_batch`] or [`Stream::recv_batch_timeout`] lends, as an
/// iterator or [as a slice](Self::into_slice).
///
/// Events that are not taken remain in the stream.
#[must_use = "events stay with the stream until they are taken"]
pub struct Batch<'a> {
    stream: &'a mut Stream,
}

impl<'a> Batch<'a> {
    /// Returns the remaining events of the batch without copying them, and counts them as
    /// delivered.
    pub fn into_slice(self) -> &'a [Event] {
        let delivered = self.stream.stats_reader();
        let events = self.stream.take();
        add(&delivered.user().delivered, events.len() as u64);
        events
    }
}

impl Iterator for Batch<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.stream.deliver().copied()
    }
}

/// An iterator over the available events. [`Stream::try_iter`] returns it.
#[must_use = "events stay with the stream until they are taken"]
pub struct TryIter<'a> {
    stream: &'a mut Stream,
    failed: bool,
}

impl Iterator for TryIter<'_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.stream.advance() {
                Ok(true) => return self.stream.deliver().copied().map(Ok),
                // The whole batch was rejected; there may be another.
                Ok(false) if self.stream.more => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// An iterator that blocks for each event. [`Stream::iter`] returns it.
#[must_use = "events stay with the stream until they are taken"]
pub struct Iter<'a> {
    stream: &'a mut Stream,
    failed: bool,
}

impl Iterator for Iter<'_> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.stream.wait_for_event() {
            Ok(true) => self.stream.deliver().copied().map(Ok),
            Ok(false) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
