// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle: read as batches, by a callback or as an iterator.

pub(crate) mod backend;
pub(crate) mod builder;
pub(crate) mod counters;
pub(crate) mod live;
pub(crate) mod queue;
pub(crate) mod stop;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;

pub use self::builder::StreamBuilder;
pub use self::counters::Counters;
pub use self::live::Live;
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
use crate::stats::Stats;
use crate::stats::reader::{StatsReader, add, add_one};
use crate::stream::backend::Backend;
use crate::stream::builder::Predicate;

/// A stream of retransmission attempts: of this host ([`StreamBuilder::open`]), of a recording ([`StreamBuilder::replay`]) or of a script
/// ([`StreamBuilder::mock`]). Owned, without a lifetime, `Send`; dropping it detaches everything.
///
/// Read it in whichever way suits: [`for_each_timeout`](Self::for_each_timeout) with a callback, [`iter`](Self::iter) as a blocking iterator,
/// [`recv_batch_timeout`](Self::recv_batch_timeout) for a batch at a time, [`try_iter`](Self::try_iter) for what is there without blocking. Or wait on its
/// descriptor ([`AsFd`]) in an event loop of yours: readable means that it is to be drained.
pub struct Stream {
    backend: Backend,
    stats: StatsReader,
    filter: Filter,
    predicate: Option<Predicate>,
    /// What was read out of the ring at once.
    batch: EventBuffer,
    /// Those of them that the predicate let through and nobody took yet.
    untaken: Range<usize>,
    /// How many of them it has looked at.
    judged: usize,
    /// Whether there may be more in the ring.
    more: bool,
    /// When the programs were detached, if they were.
    detached: Option<Instant>,
    /// Whether it was detached and everything that was submitted before has been read.
    exhausted: bool,
    stop: StopHandle,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("live", &self.live()).field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Stream {
    /// What a stream shall be.
    pub fn builder() -> StreamBuilder {
        StreamBuilder::default()
    }

    pub(crate) fn new(
        backend: Backend,
        stats: StatsReader,
        stop: StopHandle,
        filter: Filter,
        predicate: Option<Predicate>,
    ) -> Self {
        Self {
            backend,
            stats,
            filter,
            predicate,
            batch: EventBuffer::with_capacity(BATCH),
            untaken: 0..0,
            judged: 0,
            more: false,
            detached: None,
            exhausted: false,
            stop,
        }
    }

    /// Returns what only a stream of the running kernel has; `None` for a recording and a mock.
    #[must_use]
    pub const fn live(&self) -> Option<&Live> {
        self.backend.live()
    }

    /// Returns true once no further event can come: a recording or a mock is at its end, or a live stream was
    /// [detached](Self::detach), and all of it was read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let is_taken = self.untaken.is_empty() && self.judged == self.batch.events().len();
        is_taken && (self.exhausted || self.backend.is_over())
    }

    /// Detaches the programs, so that no further attempt is recorded; requires no capability. What is in the ring buffer can
    /// still be read, in every way and also after a [stop](StopHandle::stop), and then the stream [is
    /// finished](Self::is_finished). So the end of an application is bounded by the ring's size, however many attempts the host
    /// makes, and afterwards `submitted = rejected + dropped + delivered`. A recording or a mock hands over what it has read.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
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
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(&mut self) {
        if self.detached.is_none() {
            self.backend.detach();
            self.detached = Some(Instant::now());
        }
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.read()
    }

    /// A reader of the counters for other threads, which goes on when the stream is closed.
    #[must_use]
    pub fn stats_reader(&self) -> StatsReader {
        self.stats.clone()
    }

    /// A handle by which another thread, or a signal handler's, ends the blocking reads of this stream.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Waits up to `timeout` ([`Duration::MAX`]: for ever) for events and calls `callback` with each of what is there, at
    /// most a batch of 256. Gives how many that were: 0 if there was none until the timeout, an interrupting signal, a stop, or the end of a recording or a script.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`](crate::ErrorKind::System) if the kernel refuses to wait or to read.
    pub fn for_each_timeout(&mut self, timeout: Duration, mut callback: impl FnMut(&Event)) -> Result<usize, Error> {
        let batch = self.recv_batch_timeout(timeout)?;
        let mut count = 0;
        while let Some(event) = batch.stream.deliver() {
            callback(event);
            count += 1;
        }
        Ok(count)
    }

    /// Waits as [`for_each_timeout`](Self::for_each_timeout) does and lends what is there as a batch. Events that are not taken out of it are
    /// in the next.
    ///
    /// # Errors
    ///
    /// As [`for_each_timeout`](Self::for_each_timeout).
    pub fn recv_batch_timeout(&mut self, timeout: Duration) -> Result<Batch<'_>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        while !self.advance()? && !self.is_at_end() && !is_past(deadline) && self.wait(deadline)? {}
        // Once more: a record may have come in while the time ran out.
        self.advance()?;
        Ok(Batch { stream: self })
    }

    /// Blocks until there are events and lends what is there as a batch, of at most 256; `None` once a [`StopHandle`] says so, and at the end of a recording or a script. The way to read
    /// many: what is done once for a batch is not done for each event. What is in the ring after a stop is left to [`try_iter`](Self::try_iter).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut stream = retrans_sdk::Stream::builder().open()?;
    /// while let Some(batch) = stream.recv_batch()? {
    ///     let events = batch.into_slice();
    ///     println!("{} attempts, {} segments", events.len(), events.iter().map(|event| event.segs).sum::<u32>());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`for_each_timeout`](Self::for_each_timeout).
    pub fn recv_batch(&mut self) -> Result<Option<Batch<'_>>, Error> {
        Ok(self.wait_for_event()?.then_some(Batch { stream: self }))
    }

    /// Everything that is there, without blocking. Goes on for as long as there is more.
    pub fn try_iter(&mut self) -> TryIter<'_> {
        TryIter { stream: self, failed: false }
    }

    /// Blocks for each event. Ends when a [`StopHandle`] says so, at the end of a recording or a script, or with an error; what is in the ring then is left to
    /// [`try_iter`](Self::try_iter).
    pub fn iter(&mut self) -> Iter<'_> {
        Iter { stream: self, failed: false }
    }

    /// Has the next event ready, out of the ring if need be; false if the ring is empty. Looks at one batch at most, so
    /// that a flood of what the predicate refuses does not keep it past a deadline.
    fn advance(&mut self) -> Result<bool, Error> {
        if self.judge() {
            return Ok(true);
        }
        (self.untaken, self.judged) = (0..0, 0);
        self.more = self.backend.read(BATCH, &mut self.batch)?;
        Ok(self.judge())
    }

    /// Puts the events of the batch through the predicate until one passes; false if none is left.
    #[inline]
    fn judge(&mut self) -> bool {
        while self.untaken.is_empty() && self.judged < self.batch.events().len() {
            self.judge_next();
        }
        !self.untaken.is_empty()
    }

    /// Those that pass move together. Whatever the predicate does, each event is either among these or counted.
    #[inline]
    fn judge_next(&mut self) {
        let Some(predicate) = &mut self.predicate else {
            self.judged = self.batch.events().len();
            self.untaken.end = self.judged;
            return;
        };
        let Some(event) = self.batch.events().get(self.judged) else { return };
        self.judged += 1;
        // Counted even if the predicate panics: then the event is gone, and that must show.
        let refused = CountOnDrop(&self.stats.user().rejected);
        if predicate(event) {
            std::mem::forget(refused);
            self.batch.events_mut().swap(self.untaken.end, self.judged - 1);
            self.untaken.end += 1;
        }
    }

    /// Blocks until an event is ready to be taken; false once stopped.
    pub(crate) fn wait_for_event(&mut self) -> Result<bool, Error> {
        loop {
            if self.judge() {
                return Ok(true);
            }
            // Only what is out of the ring already is handed out after a stop: under a flood the rest would not end.
            if self.stop.is_stopped() && self.detached.is_none() {
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

    /// Whether, with nothing at hand, no event can come any more. A program that was running on another CPU when it was detached
    /// may still submit its record, which was counted before: it is waited for, but not for long.
    fn is_at_end(&mut self) -> bool {
        /// Much longer than a program runs.
        const SETTLE: Duration = Duration::from_millis(100);
        if let Some(since) = self.detached.filter(|_| !self.more && self.live().is_some()) {
            self.exhausted = self.stats.read().waiting() == 0 || since.elapsed() > SETTLE;
        }
        self.exhausted || self.backend.is_over()
    }

    /// All that is left of the batch at hand and passes, before it is counted.
    pub(crate) fn take(&mut self) -> &[Event] {
        while self.judged < self.batch.events().len() {
            self.judge_next();
        }
        let all = self.untaken.clone();
        self.untaken.start = all.end;
        self.batch.events().get(all).unwrap_or_default()
    }

    /// What is there without blocking, at most a batch of it, handed to the application. With none at hand, and once stopped, none.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_at_once(&mut self) -> Result<Vec<Event>, Error> {
        if !self.judge() && !self.stop.is_stopped() {
            self.advance()?;
        }
        let events = self.take().to_vec();
        add(&self.stats.user().delivered, events.len() as u64);
        Ok(events)
    }

    /// Whether, with nothing at hand, nothing will be any more.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_stopped() || self.backend.is_over()
    }

    /// Whether there may be more at once.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// The next event of the batch at hand, handed to the application.
    #[inline]
    fn deliver(&mut self) -> Option<&Event> {
        self.judge();
        let next = self.untaken.next()?;
        add_one(&self.stats.user().delivered);
        self.batch.events().get(next)
    }

    /// The ring buffer and when its reader is woken, for the tests' harness.
    #[cfg(feature = "test-util")]
    pub(crate) fn ring(&self) -> Option<([BorrowedFd<'_>; 2], Wakeup)> {
        self.live().map(|live| live.source.ring())
    }

    /// Blocks until there may be records: true; or until the deadline, a signal or a stop: false.
    fn wait(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        if self.detached.is_some() {
            // For a record that is being submitted, which wakes no reader that is awake.
            std::thread::sleep(Duration::from_millis(1));
            return Ok(true);
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
            Err(errno) => Err(Error::system("cannot wait for the ring", errno)),
        }
    }
}

/// What is out of the ring and was not handed on is `dropped`: nobody can have it any more.
impl Drop for Stream {
    fn drop(&mut self) {
        let left = self.batch.events().len() - self.judged + self.untaken.len();
        add(&self.stats.user().dropped, left as u64);
    }
}

/// Readable when there is something to be read, and then [`Stream::try_iter`] is due, to the end: it is that which has the kernel side wake
/// the descriptor's owner again. After a time of events it is readable once or twice with nothing to be read. What a batch left untaken is
/// out of the ring already, and not waited for.
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

/// Events lent by [`Stream::recv_batch_timeout`] and [`Stream::recv_batch`], one after the other or [as a slice](Self::into_slice). Those that are not taken
/// stay with the stream.
#[must_use = "events stay with the stream until they are taken"]
pub struct Batch<'a> {
    stream: &'a mut Stream,
}

impl<'a> Batch<'a> {
    /// All that are left of it at once, without copying them. They are taken by that.
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

/// Everything that is there: see [`Stream::try_iter`].
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
                // The batch looked at was all refused: is there another?
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

/// Blocks for each event: see [`Stream::iter`].
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
