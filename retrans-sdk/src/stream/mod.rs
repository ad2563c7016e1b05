// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle: read as batches, by a callback or as an iterator.

pub(crate) mod backend;
pub(crate) mod builder;
pub(crate) mod counters;
pub(crate) mod queue;
pub(crate) mod stop;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;

use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::Error;
use crate::event::Event;
use crate::event::buffer::{BATCH, Slots};
use crate::event::result::RetransResult;
use crate::filter::Filter;
use crate::kernel::Source;
use crate::kernel::attach_method::AttachSource;
use crate::kernel::attachment::Attachment;
use crate::kernel::config::Wakeup;
use crate::kernel::owner_hooks::OwnerHooks;
use crate::kernel::socket_set::MySockets;
use crate::stats::Stats;
use crate::stats::reader::{StatsReader, add, add_one};
use crate::stats::reconcile::Reconciler;
use crate::stream::backend::Feed;
use crate::stream::builder::{Builder, Predicate};
use crate::stream::stop::StopHandle;

/// A stream of retransmission attempts: of this host ([`Builder::open`]), of a recording ([`Builder::replay`]) or of a script
/// ([`Builder::scripted`]). Owned, without a lifetime, `Send`; dropping it detaches everything.
///
/// Read it in whichever way suits: [`poll`](Self::poll) with a callback, [`iter`](Self::iter) as a blocking iterator,
/// [`read`](Self::read) for a batch at a time, [`drain`](Self::drain) for what is there without blocking. Or wait on its
/// descriptor ([`AsFd`]) in an event loop of yours: readable means that it is to be drained.
pub struct Stream {
    feed: Feed,
    stats: StatsReader,
    reconciler: Option<Reconciler>,
    filter: Filter,
    predicate: Option<Predicate>,
    /// What was read out of the ring at once.
    batch: Slots,
    /// Those of them that the predicate let through and nobody took yet.
    untaken: Range<usize>,
    /// How many of them it has looked at.
    judged: usize,
    /// Whether there may be more in the ring.
    more: bool,
    stop: StopHandle,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("source", &self.source()).field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Stream {
    /// What a stream shall be.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        feed: Feed,
        stats: StatsReader,
        stop: StopHandle,
        filter: Filter,
        predicate: Option<Predicate>,
    ) -> Self {
        Self {
            feed,
            stats,
            reconciler: None,
            filter,
            predicate,
            batch: Slots::with_capacity(BATCH),
            untaken: 0..0,
            judged: 0,
            more: false,
            stop,
        }
    }

    pub(crate) fn with_reconciler(mut self, reconciler: Option<Reconciler>) -> Self {
        self.reconciler = reconciler;
        self
    }

    /// Where in the kernel the events come from; `None` of a stream that is replayed or scripted.
    #[must_use]
    pub fn source(&self) -> Option<AttachSource> {
        self.attachment().map(|attachment| attachment.source)
    }

    /// What the stream is attached to, what it can see from there, and why nothing better; `None` of a stream that is replayed or scripted.
    #[must_use]
    pub fn attachment(&self) -> Option<&Attachment> {
        self.feed.attachment()
    }

    /// Whether no event comes any more: a recording or a script is at its end and all of it was read. Of a live stream it never is so.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.untaken.is_empty() && self.judged == self.batch.events().len() && self.feed.is_over()
    }

    /// What the kernel calls a result for which this version has no name, one that prints as `k17`: where the events come from an
    /// enum in the tracepoint ([`AttachSource::TpEnum`]).
    #[must_use]
    pub fn kernel_name(&self, result: RetransResult) -> Option<&str> {
        self.feed.kernel()?.programs.kernel_name(result)
    }

    /// The sockets that `cookie=mine` means; `None` if the filter does not ask for them.
    #[must_use]
    pub fn my_sockets(&self) -> Option<MySockets> {
        self.feed.kernel()?.programs.my_sockets.clone()
    }

    /// By what the stream knows which process a socket belongs to; `None` unless asked to ([`Builder::owners`]).
    #[must_use]
    pub fn owner_hooks(&self) -> Option<&OwnerHooks> {
        self.feed.kernel()?.programs.owner_hooks()
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

    /// Compares what was seen of a namespace with its own counters; `None` unless [asked for](Builder::reconcile).
    #[must_use]
    pub fn reconciler(&self) -> Option<Reconciler> {
        self.reconciler.clone()
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
    pub fn poll(&mut self, timeout: Duration, mut callback: impl FnMut(&Event)) -> Result<usize, Error> {
        let batch = self.read(timeout)?;
        let mut count = 0;
        while let Some(event) = batch.stream.deliver() {
            callback(event);
            count += 1;
        }
        Ok(count)
    }

    /// Waits as [`poll`](Self::poll) does and lends what is there as a batch. Events that are not taken out of it are
    /// in the next.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn read(&mut self, timeout: Duration) -> Result<Batch<'_>, Error> {
        let deadline = Instant::now().checked_add(timeout);
        while !self.advance()? && !self.feed.is_over() && !is_past(deadline) && self.wait(deadline)? {}
        // Once more: a record may have come in while the time ran out.
        self.advance()?;
        Ok(Batch { stream: self })
    }

    /// Blocks until there are events and lends what is there as a batch, of at most 256; `None` once a [`StopHandle`] says so, and at the end of a recording or a script. The way to read
    /// many: what is done once for a batch is not done for each event. What is in the ring after a stop is left to [`drain`](Self::drain).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut stream = retrans_sdk::Stream::builder().open()?;
    /// while let Some(batch) = stream.next_batch()? {
    ///     let events = batch.into_slice();
    ///     println!("{} attempts, {} segments", events.len(), events.iter().map(|event| event.segs).sum::<u32>());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, Error> {
        Ok(self.wait_for_event()?.then_some(Batch { stream: self }))
    }

    /// Everything that is there, without blocking. Goes on for as long as there is more.
    pub fn drain(&mut self) -> Drain<'_> {
        Drain { stream: self, failed: false }
    }

    /// Blocks for each event. Ends when a [`StopHandle`] says so, at the end of a recording or a script, or with an error; what is in the ring then is left to
    /// [`drain`](Self::drain).
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
        self.more = self.feed.read(BATCH, &mut self.batch)?;
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
            if self.stop.is_stopped() {
                return Ok(false);
            }
            if !self.advance()? {
                if self.feed.is_over() {
                    return Ok(false);
                }
                self.wait(None)?;
            }
        }
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
        self.stop.is_stopped() || self.feed.is_over()
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

    /// For the tests' harness.
    pub(crate) fn ring(&self) -> Option<([BorrowedFd<'_>; 2], Wakeup)> {
        self.feed.kernel().map(Source::ring)
    }

    /// Blocks until there may be records: true; or until the deadline, a signal or a stop: false.
    fn wait(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let records = self.feed.fd();
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

/// Readable when there is something to be read, and then [`Stream::drain`] is due, to the end: it is that which has the kernel side wake
/// the descriptor's owner again. After a time of events it is readable once or twice with nothing to be read. What a batch left untaken is
/// out of the ring already, and not waited for.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.feed.fd()
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

/// Events lent by [`Stream::read`] and [`Stream::next_batch`], one after the other or [as a slice](Self::into_slice). Those that are not taken
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

/// Everything that is there: see [`Stream::drain`].
#[must_use = "events stay with the stream until they are taken"]
pub struct Drain<'a> {
    stream: &'a mut Stream,
    failed: bool,
}

impl Iterator for Drain<'_> {
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
