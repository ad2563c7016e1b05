// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle: opened by a [`Builder`], read as batches, by a callback or as an iterator.

use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::attachment::Attachment;
use crate::counters::{StatsReader, add, add_one};
use crate::counting::Counters;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::filter::{Filter, KernelFilter};
use crate::slots::Slots;
use crate::source::{self, Limit, Ring, Source, Wakeup, Wanted};
use crate::stats::Stats;
use crate::{AttachSource, Fields, MySockets, Netns, OwnerHooks, Reconciler, RetransResult};

/// The most records that are taken out of the ring at once: what bounds this side's memory.
pub(crate) const BATCH: usize = 256;

/// The size of the ring unless asked otherwise: room for about 5,000 records, 4,500 with owners.
pub const DEFAULT_RING_SIZE: u32 = 1 << 20;

/// By how much an event may come late for the sake of others that come with it, unless asked otherwise.
pub const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(10);

/// As many bytes in the ring wake the reader before that, unless asked otherwise: some 300 records.
pub const DEFAULT_WAKEUP_BYTES: u32 = 1 << 16;

/// A timer takes no more than an `i64` of seconds, and nobody waits as long.
const MOST_DELAY: Duration = Duration::from_secs(3600);

const NANOS: u64 = 1_000_000_000;

type Predicate = Box<dyn FnMut(&Event) -> bool + Send>;

/// What a stream shall be, before it is opened.
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    filter: Filter,
    predicate: Option<Predicate>,
    ring: Ring,
    limit: Option<Limit>,
    netns: Option<Netns>,
    forced: Option<AttachSource>,
    companion: bool,
    owners: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let filter = Filter::default();
        Self {
            filter,
            predicate: None,
            ring: Ring {
                size: DEFAULT_RING_SIZE,
                fields: Fields::all(),
                max_delay: DEFAULT_MAX_DELAY,
                wakeup_bytes: DEFAULT_WAKEUP_BYTES,
            },
            limit: None,
            netns: None,
            forced: None,
            companion: true,
            owners: false,
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("filter", &self.filter)
            .field("predicate", &self.predicate.is_some())
            .field("ring", &self.ring)
            .field("limit", &self.limit)
            .field("netns", &self.netns)
            .field("source", &self.forced)
            .field("companion", &self.companion)
            .field("owners", &self.owners)
            .finish()
    }
}

impl Builder {
    /// Only attempts that pass the filter, all of which is decided in the kernel: what it excludes costs no record. It is
    /// counted as `filtered`.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Only events for which `predicate` gives true, asked behind the filter, on the thread that reads the stream. What
    /// it refuses is counted as `rejected`.
    pub fn predicate(mut self, predicate: impl FnMut(&Event) -> bool + Send + 'static) -> Self {
        self.predicate = Some(Box::new(predicate));
        self
    }

    /// The size of the ring in bytes: a power-of-two number of pages; [`DEFAULT_RING_SIZE`] unless set. A record with all
    /// fields takes 208 bytes, one with none but those that are always there 88 ([`Fields::record_length`] and 8). What finds the ring
    /// full is counted as `lost`.
    pub fn ring_size(mut self, bytes: u32) -> Self {
        self.ring.size = bytes;
        self
    }

    /// Which of the optional fields events shall have; [all](Fields::all) unless set. What is not asked for is not read, and what stands
    /// behind the last that is takes no room.
    pub fn fields(mut self, fields: Fields) -> Self {
        self.ring.fields = fields;
        self
    }

    /// By how much an event may come late, at most an hour; [`DEFAULT_MAX_DELAY`] unless set. To wake the reader takes the
    /// kernel ten times as long as all else that it does for an event. So the first one after a while wakes it; for those that follow
    /// at a higher rate than one in this time it is not woken, but comes by itself after it. Nothing is lost by that as long as the ring has
    /// room for what comes meanwhile, to which [`wakeup_bytes`](Self::wakeup_bytes) sees. An idle stream wakes nobody.
    ///
    /// [`Duration::ZERO`] has each event wake the reader, unless it is at work already.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.ring.max_delay = delay.min(MOST_DELAY);
        self
    }

    /// How many bytes that wait in the ring wake the reader before [`max_delay`](Self::max_delay) is over, at least 1 and at most half
    /// of the ring; [`DEFAULT_WAKEUP_BYTES`] unless set. Fewer cost more wake-ups, more leave less room for a reader that is late.
    pub fn wakeup_bytes(mut self, bytes: u32) -> Self {
        self.ring.wakeup_bytes = bytes;
        self
    }

    /// At most so many events a second of each result, over time; `burst` of them may come at once. None unless set. A token bucket for
    /// each result in the kernel, behind the filter: what finds it empty costs no record, and is counted as `limited`. Results
    /// without a name share one. Attempts of one result at the same moment on several CPUs may get by on one token.
    ///
    /// Of both, 0 is taken as 1, and of `per_second` what is above 1,000,000,000 as that.
    pub fn limit_per_result(mut self, per_second: u32, burst: u32) -> Self {
        let interval = NANOS / u64::from(per_second).clamp(1, NANOS);
        self.limit = Some(Limit { interval, burst: interval * u64::from(burst.max(1)) });
        self
    }

    /// Adds up the attempts of this namespace beside everything else, for [`Stream::reconciler`]: all of them, whatever the filter and the limit
    /// say. The beginning is the moment after the stream was opened; with retransmissions under way in the namespace, opening may take up
    /// to a second more.
    pub fn reconcile(mut self, netns: Netns) -> Self {
        self.netns = Some(netns);
        self
    }

    /// This source or none: for tests and comparisons. Without it the best is taken that the kernel admits.
    pub fn source(mut self, source: AttachSource) -> Self {
        self.forced = Some(source);
        self
    }

    /// Nothing beside the source, so that an attempt runs one program and not several. What that costs is what
    /// [`Attachment::companion`] would have told: the error number beside [`AttachSource::TpEnum`], the site at which memory ran
    /// out beside either tracepoint. Of what is left unsaid [`Attachment::unobservable`] tells.
    pub fn without_companion(mut self) -> Self {
        self.companion = false;
        self
    }

    /// Whether events shall say which process the socket belongs to: [`Event::owner`], [`Event::pid`] and [`Event::comm`]. They do
    /// not unless asked, and then it costs nothing.
    ///
    /// The kernel tells of no socket whose it is, and the process that happens to run when one retransmits is a bystander. So
    /// programs note who connects and who accepts, for [`OwnerHooks`] says which they can; and where they did not see it, of a socket
    /// older than the stream for one, the kernel is had to look through the descriptors of all processes: when the stream is opened,
    /// and when an event comes of whose socket nothing is known, on the thread that reads, for at most a fiftieth of its time. A
    /// socket that nobody holds, or several processes do, has no owner then, nor has that of a SYN-ACK, which nobody has accepted yet (but with TCP
    /// Fast Open), nor one of the kernel's own. Before Linux 5.19 such looks end when privileges are given up.
    ///
    /// Since Linux 5.12. The owners of up to 16,384 sockets are known at a time (about 2 MiB in the kernel), and a record takes 232
    /// bytes.
    pub fn owners(mut self, owners: bool) -> Self {
        self.owners = owners;
        self
    }

    /// Loads and attaches the programs. Needs Linux 5.10, CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN); the stream can be
    /// read, and its counters too, after these are given up.
    ///
    /// # Errors
    ///
    /// The [`ErrorKind`] says which of its cases it is. Nothing is left of a stream that failed to open: no program, no
    /// link, no file descriptor.
    pub fn open(self) -> Result<Stream, Error> {
        check_ring_size(self.ring.size)?;
        check_terms(&self.filter)?;
        let stop = StopHandle::new()?;
        check_descriptors(&stop)?;
        let epoch = epoch();
        let (source, attachment) = source::open(&self.wanted(Some(self.ring), epoch), self.ring)?;
        let reconciler = self.netns.map(|netns| Reconciler::new(source.programs.stats.clone(), netns)).transpose()?;
        Ok(Stream {
            source,
            reconciler,
            attachment,
            filter: self.filter,
            predicate: self.predicate,
            batch: Slots::with_capacity(BATCH),
            untaken: 0..0,
            judged: 0,
            more: false,
            stop,
        })
    }
}

impl Builder {
    /// Loads and attaches the programs to count, and for nothing else: without a ring, so that an attempt costs least. Filter, predicate
    /// and limit are about events, of which there are none, and so are owners: each attempt is counted, and is `filtered`. Needs what
    /// [`open`](Self::open) needs.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), but for the ring's size and the filter's terms, which have no meaning here.
    pub fn open_counters(self) -> Result<Counters, Error> {
        check_descriptors(&StopHandle::new()?)?;
        let (programs, attachment) = source::open_counters(&self.wanted(None, 0))?;
        Counters::new(programs, attachment, self.netns)
    }

    fn wanted(&self, ring: Option<Ring>, epoch: u64) -> Wanted {
        // Of what there is no event of there is nothing to compare.
        let filter = if ring.is_some() { self.filter.for_kernel(epoch) } else { KernelFilter::default() };
        Wanted {
            filter,
            limit: self.limit,
            summed_netns: self.netns.as_ref().map(Netns::inode),
            ring,
            epoch,
            forced: self.forced,
            companion: self.companion,
            owners: self.owners && ring.is_some(),
        }
    }
}

fn check_ring_size(bytes: u32) -> Result<(), Error> {
    let page = rustix::param::page_size() as u32;
    if bytes.is_multiple_of(page) && (bytes / page).is_power_of_two() {
        return Ok(());
    }
    // The next one that fits, or the largest there is.
    let fitting = bytes.div_ceil(page).max(1).checked_next_power_of_two().and_then(|pages| pages.checked_mul(page));
    let message = format!(
        "the ring's size of {bytes} bytes is not a power-of-two number of pages of {page} bytes: use {}",
        fitting.unwrap_or(1 << 31)
    );
    Err(Error::new(ErrorKind::RingSize, message))
}

/// Whether the kernel side can decide all of it.
fn check_terms(filter: &Filter) -> Result<(), Error> {
    let Some(term) = filter.event_only().next() else { return Ok(()) };
    let message = format!(
        "`{term}` cannot be decided in the kernel: whose a socket is may be found out only behind the filter; a predicate \
         (Builder::predicate) can, and a filter of what was recorded"
    );
    Err(Error::new(ErrorKind::Filter, message))
}

/// Whether there are descriptors enough to open a stream. Without, libbpf takes a probe that fails for a kernel that
/// lacks the feature, and the error is about something else.
fn check_descriptors(stop: &StopHandle) -> Result<(), Error> {
    const ENOUGH: usize = 64;
    (0..ENOUGH).map(|_| stop.0.eventfd.try_clone()).collect::<Result<Vec<_>, _>>().map(|_| ()).map_err(|error| {
        let message = format!("opening a stream takes up to {ENOUGH} file descriptors for a moment (RLIMIT_NOFILE)");
        Error::new(ErrorKind::System, message).caused_by(error)
    })
}

/// What takes `CLOCK_BOOTTIME` to the epoch, in nanoseconds.
fn epoch() -> u64 {
    let nanos = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec as u64 * NANOS + now.tv_nsec as u64
    };
    // The pair taken closest together, in case the thread is preempted between the clocks.
    let pairs = (0..8).map(|_| {
        let before = nanos(ClockId::Boottime);
        let real = nanos(ClockId::Realtime);
        let after = nanos(ClockId::Boottime);
        (after - before, real.wrapping_sub(before + (after - before) / 2))
    });
    let epoch = pairs.min().map_or(0, |(_, epoch)| epoch);
    // The kernel side's clock is the host's, this one a time namespace's, whose offset is added to what is read.
    epoch
        .wrapping_add_signed(boottime_offset(&std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default()))
}

/// The offset of CLOCK_BOOTTIME in nanoseconds, from `timens_offsets` (Linux 5.6): name or number, seconds, nanoseconds.
fn boottime_offset(offsets: &str) -> i64 {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let ("boottime" | "7") = words.next()? else { return None };
        let (seconds, nanos) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
        Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    };
    offsets.lines().find_map(of_line).unwrap_or_default()
}

/// A live stream of retransmission attempts. Owned, without a lifetime, `Send`; dropping it detaches everything.
///
/// Read it in whichever way suits: [`poll`](Self::poll) with a callback, [`iter`](Self::iter) as a blocking iterator,
/// [`read`](Self::read) for a batch at a time, [`drain`](Self::drain) for what is there without blocking. Or wait on its
/// descriptor ([`AsFd`]) in an event loop of yours: readable means that it is to be drained.
pub struct Stream {
    source: Source,
    reconciler: Option<Reconciler>,
    attachment: Attachment,
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

    /// Where the events come from.
    #[must_use]
    pub const fn source(&self) -> AttachSource {
        self.attachment.source
    }

    /// What the stream is attached to, what it can see from there, and why nothing better.
    #[must_use]
    pub const fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// What the kernel calls a result for which this version has no name, one that prints as `k17`: where the events come from an
    /// enum in the tracepoint ([`AttachSource::TpEnum`]).
    #[must_use]
    pub fn kernel_name(&self, result: RetransResult) -> Option<&str> {
        self.source.programs.kernel_name(result)
    }

    /// The sockets that `cookie=mine` means; `None` if the filter does not ask for them.
    #[must_use]
    pub fn my_sockets(&self) -> Option<MySockets> {
        self.source.programs.my_sockets.clone()
    }

    /// By what the stream knows which process a socket belongs to; `None` unless asked to ([`Builder::owners`]).
    #[must_use]
    pub fn owner_hooks(&self) -> Option<&OwnerHooks> {
        self.source.programs.owner_hooks()
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.source.programs.stats.read()
    }

    /// A reader of the counters for other threads, which goes on when the stream is closed.
    #[must_use]
    pub fn stats_reader(&self) -> StatsReader {
        self.source.programs.stats.clone()
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
    /// most a batch of 256. Gives how many that were: 0 after the timeout, an interrupting signal or a stop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the kernel refuses to wait or to read.
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
        while !self.advance()? && !is_past(deadline) && self.wait(deadline)? {}
        // Once more: a record may have come in while the time ran out.
        self.advance()?;
        Ok(Batch { stream: self })
    }

    /// Blocks until there are events and lends what is there as a batch, of at most 256; `None` once a [`StopHandle`] says so. The way to read
    /// many: what is done once for a batch is not done for each event.
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

    /// Blocks for each event. Ends when a [`StopHandle`] says so, or with an error; what is in the ring then is left to
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
        self.more = self.source.read(BATCH, &mut self.batch)?;
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
        let refused = CountOnDrop(&self.source.programs.stats.user().rejected);
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

    /// The next event of the batch at hand, handed to the application.
    #[inline]
    fn deliver(&mut self) -> Option<&Event> {
        self.judge();
        let next = self.untaken.next()?;
        add_one(&self.source.programs.stats.user().delivered);
        self.batch.events().get(next)
    }

    /// For the tests' harness.
    pub(crate) fn ring(&self) -> ([BorrowedFd<'_>; 2], Wakeup) {
        self.source.ring()
    }

    /// Blocks until there may be records: true; or until the deadline, a signal or a stop: false.
    fn wait(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let records = self.source.fd();
        let mut fds = [PollFd::new(&records, PollFlags::IN), PollFd::new(&self.stop.0.eventfd, PollFlags::IN)];
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
        add(&self.source.programs.stats.user().dropped, left as u64);
    }
}

/// Readable when there is something to be read, and then [`Stream::drain`] is due, to the end: it is that which has the kernel side wake
/// the descriptor's owner again. After a time of events it is readable once or twice with nothing to be read. What a batch left untaken is
/// out of the ring already, and not waited for.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.fd()
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

/// Ends the blocking reads of a stream, from any thread: [`Stream::iter`] ends, [`Stream::poll`] and [`Stream::read`]
/// return at once, now and ever after.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Stop>);

#[derive(Debug)]
struct Stop {
    /// Wakes whoever waits.
    eventfd: OwnedFd,
    stopped: AtomicBool,
}

impl StopHandle {
    fn new() -> Result<Self, Error> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("cannot make an eventfd", errno))?;
        Ok(Self(Arc::new(Stop { eventfd, stopped: AtomicBool::new(false) })))
    }

    /// Ends them. Allowed in a signal handler.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        // It fails only at a count of 2^64 - 2, which wakes well enough.
        let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
    }

    fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_as_times() {
        let limit = |per_second, burst| {
            let Limit { interval, burst } = Stream::builder().limit_per_result(per_second, burst).limit.expect("set");
            (interval, burst)
        };
        assert_eq!(limit(10, 5), (100_000_000, 500_000_000));
        assert_eq!(limit(0, 0), (NANOS, NANOS));
        // Never none, which would be no limit.
        assert_eq!(limit(u32::MAX, 1), (1, 1));
        assert_eq!(limit(1, u32::MAX), (NANOS, NANOS * u64::from(u32::MAX)));
    }

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let offsets = "monotonic           0         0\nboottime       100000        50\n";
        assert_eq!(boottime_offset(offsets), 100_000_000_000_050);
        assert_eq!(boottime_offset("1 0 0\n7 -5 0\n"), -5_000_000_000);
        assert_eq!(boottime_offset(""), 0);
    }
}
