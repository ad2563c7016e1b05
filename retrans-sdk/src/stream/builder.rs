// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a stream shall be, and the ways to have one: of this host's kernel, of a recording, of a script.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::field_set::FieldSet;
use crate::event::result::RESULT_SLOTS;
use crate::filter::Filter;
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::config::{DEFAULT_MAX_DELAY, DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES, Ring, Wanted};
use crate::kernel::{self, Companions};
use crate::offline::channel::{self, EventSender};
use crate::offline::mock::MockSource;
use crate::offline::pipeline::Pipeline;
use crate::offline::replay::Recording;
use crate::rate_limit::{RateLimit, TokenBucket};
use crate::stats::netns::Netns;
use crate::stats::reader::StatsReader;
use crate::stats::reconcile::Reconciler;
use crate::stats::user_counters::UserCounters;
use crate::stream::Stream;
use crate::stream::backend::Backend;
use crate::stream::counters::Counters;
use crate::stream::live::Live;
use crate::stream::stop::StopHandle;
use crate::sys::clock::epoch;

/// A timer takes no more than an `i64` of seconds, and nobody waits as long.
const MOST_DELAY: Duration = Duration::from_secs(3600);

/// What the ring puts before each record.
const RING_HEADER: usize = 8;

/// How many events of a recording are read ahead.
const REPLAYED: usize = 4096;

/// A setting by the name of its method, and what to do instead of leaving it out.
type Setting = (&'static str, &'static str);

/// What only a stream of this host's kernel honours.
const LIVE_SETTINGS: &[Setting] = &[
    ("max_delay", ", or open a live stream"),
    ("wakeup_bytes", ", or open a live stream"),
    ("attach_method", ", or open a live stream"),
    ("without_companion", ", or open a live stream"),
    ("resolve_owners", "; an event has the owner that was recorded"),
    ("reconcile", ", or open a live stream"),
];
const RING_SIZE: Setting = ("ring_size", ", or open a live stream");

/// What is about events, of which counters have none.
const EVENT_SETTINGS: &[Setting] = &[
    ("predicate", " and use a filter, or open a stream"),
    ("rate_limit", ", or open a stream"),
    ("fields", ", or open a stream"),
    ("ring_size", ", or open a stream"),
    ("max_delay", ", or open a stream"),
    ("wakeup_bytes", ", or open a stream"),
    ("resolve_owners", ", or open a stream"),
];

pub(crate) type Predicate = Box<dyn FnMut(&Event) -> bool + Send>;

/// What a stream shall be, before it is opened.
#[must_use = "a builder does nothing until `open`"]
pub struct StreamBuilder {
    filter: Filter,
    predicate: Option<Predicate>,
    ring: Ring,
    limit: Option<TokenBucket>,
    netns: Option<Netns>,
    forced: Option<AttachMethod>,
    companions: Companions,
    owners: bool,
    /// The settings that were made explicitly, by the names of their methods.
    explicit: BTreeSet<&'static str>,
}

impl Default for StreamBuilder {
    fn default() -> Self {
        let filter = Filter::default();
        Self {
            filter,
            predicate: None,
            ring: Ring {
                size: DEFAULT_RING_SIZE,
                fields: FieldSet::all(),
                max_delay: DEFAULT_MAX_DELAY,
                wakeup_bytes: DEFAULT_WAKEUP_BYTES,
            },
            limit: None,
            netns: None,
            forced: None,
            companions: Companions::Any,
            owners: false,
            explicit: BTreeSet::new(),
        }
    }
}

impl fmt::Debug for StreamBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBuilder")
            .field("filter", &self.filter)
            .field("predicate", &self.predicate.is_some())
            .field("ring", &self.ring)
            .field("limit", &self.limit)
            .field("netns", &self.netns)
            .field("attach_method", &self.forced)
            .field("companions", &self.companions)
            .field("resolve_owners", &self.owners)
            .finish()
    }
}

impl StreamBuilder {
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
        self.explicit.insert("predicate");
        self
    }

    /// The size of the ring in bytes: a power-of-two number of pages; [`DEFAULT_RING_SIZE`] unless set. A record with all
    /// fields takes 208 bytes, one with none but those that are always there 88 ([`FieldSet::record_length`] and 8). What finds the ring
    /// full is counted as `lost`.
    pub fn ring_size(mut self, bytes: u32) -> Self {
        self.ring.size = bytes;
        self.explicit.insert("ring_size");
        self
    }

    /// Which of the optional fields events shall have; [all](FieldSet::all) unless set. What is not asked for is not read, and what stands
    /// behind the last that is takes no room.
    pub fn fields(mut self, fields: FieldSet) -> Self {
        self.ring.fields = fields;
        self.explicit.insert("fields");
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
        self.explicit.insert("max_delay");
        self
    }

    /// How many bytes that wait in the ring wake the reader before [`max_delay`](Self::max_delay) is over, at least 1 and at most half
    /// of the ring; [`DEFAULT_WAKEUP_BYTES`] unless set. Fewer cost more wake-ups, more leave less room for a reader that is late.
    pub fn wakeup_bytes(mut self, bytes: u32) -> Self {
        self.ring.wakeup_bytes = bytes;
        self.explicit.insert("wakeup_bytes");
        self
    }

    /// At most so many events a second of each result, over time; `burst` of them may come at once.
    /// None unless set. A token bucket for each result in the kernel, behind the filter: what finds
    /// it empty costs no record, and is counted as `limited`. Results that share a place in the
    /// counters ([`Count::result`](crate::stats::Count::result)) share one. Attempts of one result at the
    /// same moment on several CPUs may get by on one token.
    ///
    /// Of a stream that is replayed or scripted, time is that of its events.
    ///
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.limit = Some(limit.into());
        self.explicit.insert("rate_limit");
        self
    }

    /// Adds up the attempts of this namespace beside everything else, for [`Live::reconciler`]: all of them, whatever the filter and the limit
    /// say. The beginning is the moment after the stream was opened; with retransmissions under way in the namespace, opening may take up
    /// to a second more.
    pub fn reconcile(mut self, netns: Netns) -> Self {
        self.netns = Some(netns);
        self.explicit.insert("reconcile");
        self
    }

    /// This source or none: for tests and comparisons. Without it the best is taken that the kernel admits.
    pub fn attach_method(mut self, method: AttachMethod) -> Self {
        self.forced = Some(method);
        self.explicit.insert("attach_method");
        self
    }

    /// Nothing beside the source, so that an attempt runs one program and not several. What that costs is what
    /// [`Attachment::companion`](crate::attach::Attachment::companion) would have supplied: the error number beside [`AttachMethod::TpEnum`], the site at which memory ran
    /// out beside either tracepoint. Of what is left unsaid [`Attachment::unobservable`](crate::attach::Attachment::unobservable) tells.
    pub fn without_companion(mut self) -> Self {
        self.companions = Companions::None;
        self.explicit.insert("without_companion");
        self
    }

    /// For [`harness`](crate::harness).
    #[cfg(feature = "test-util")]
    pub(crate) fn only_companion(mut self, companion: AttachMethod) -> Self {
        self.companions = Companions::Only(companion);
        self
    }

    /// Whether events shall say which process the socket belongs to: [`Event::owner`], [`Event::pid`] and [`Event::comm`]. They do
    /// not unless asked, and then it costs nothing.
    ///
    /// The kernel tells of no socket whose it is, and the process that happens to run when one retransmits is a bystander. So
    /// programs note who connects and who accepts, for [`OwnerHooks`](crate::attach::OwnerHooks) says which they can; and where they did not see it, of a socket
    /// older than the stream for one, the kernel is had to look through the descriptors of all processes: when the stream is opened,
    /// and when an event comes of whose socket nothing is known, on the thread that reads, for at most a fiftieth of its time. A
    /// socket that nobody holds, or several processes do, has no owner then, nor has that of a SYN-ACK, which nobody has accepted yet (but with TCP
    /// Fast Open), nor one of the kernel's own. Before Linux 5.19 such looks end when privileges are given up.
    ///
    /// Since Linux 5.12. The owners of up to 16,384 sockets are known at a time (about 2 MiB in the kernel), and a record takes 232
    /// bytes.
    pub fn resolve_owners(mut self) -> Self {
        self.owners = true;
        self.explicit.insert("resolve_owners");
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
        let (source, attachment) = kernel::open(&self.wanted(Some(self.ring), epoch), self.ring)?;
        let stats = source.programs.stats.clone();
        let reconciler = self.netns.map(|netns| Reconciler::new(stats.clone(), netns)).transpose()?;
        let live = Backend::Live(Box::new(Live::new(source, attachment, reconciler)));
        Ok(Stream::new(live, stats, stop, self.filter, self.predicate))
    }

    /// The same stream of what was recorded: filter, predicate, fields and limit, counters and ways to read are as those of a live one.
    /// Needs no privilege.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] if a setting was made that only a live stream honours:
    /// [`ring_size`](Self::ring_size), [`max_delay`](Self::max_delay),
    /// [`wakeup_bytes`](Self::wakeup_bytes), [`attach_method`](Self::attach_method),
    /// [`without_companion`](Self::without_companion), [`owners`](Self::owners) or
    /// [`reconcile`](Self::reconcile), [`ErrorKind::Filter`] if the filter asks for what is not in
    /// a recording ([`Filter::live_only`]), [`ErrorKind::Recording`] if it is none,
    /// [`ErrorKind::System`] if there can be no thread, which reads it.
    pub fn replay(self, recording: Recording) -> Result<Stream, Error> {
        self.refuse("a recording", LIVE_SETTINGS.iter().chain(&[RING_SIZE]))?;
        if let Some(term) = self.filter.live_only().next() {
            let message = format!(
                "`{term}`: a recording does not tell which sockets are the application's own, nor what is above a cgroup (cgroup=ID and \
                 cookie=NUMBER it does)"
            );
            return Err(Error::new(ErrorKind::Filter, message));
        }
        let counters = Arc::new(UserCounters::new(false, true));
        let (sender, stream) = self.offline(counters, REPLAYED)?;
        recording.run(sender)?;
        Ok(stream)
    }

    /// The same stream, and what tells it its events: for an application's own tests. Filter, predicate, fields, limit and counters are as
    /// those of a live one, and as many events may wait as would find room in the ring; those that do not are lost. `cgroup=34/` holds for that cgroup alone,
    /// `cookie=mine` for no event. Needs no privilege.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] as [`replay`](Self::replay), but for the ring's size,
    /// [`ErrorKind::RingSize`] and [`ErrorKind::Filter`] as [`open`](Self::open),
    /// [`ErrorKind::System`] for want of a descriptor.
    pub fn mock(self) -> Result<(MockSource, Stream), Error> {
        self.refuse("a mock", LIVE_SETTINGS)?;
        check_ring_size(self.ring.size)?;
        check_terms(&self.filter)?;
        let room = self.ring.size as usize / (self.ring.fields.record_length() + RING_HEADER);
        let (sender, stream) = self.offline(Arc::new(UserCounters::new(true, false)), room)?;
        Ok((MockSource::new(sender), stream))
    }

    fn offline(self, counters: Arc<UserCounters>, capacity: usize) -> Result<(EventSender, Stream), Error> {
        let stats = StatsReader::offline(Arc::clone(&counters));
        let pipeline = Pipeline {
            filter: self.filter.clone(),
            fields: self.ring.fields,
            limit: self.limit,
            full_at: [0; RESULT_SLOTS],
            counters,
        };
        let (sender, receiver) = channel::channel(pipeline, capacity)?;
        Ok((sender, Stream::new(Backend::Offline(receiver), stats, StopHandle::new()?, self.filter, self.predicate)))
    }
}

impl StreamBuilder {
    /// Loads and attaches the programs to count attempts only: there is no ring buffer, so an
    /// attempt costs least. Every attempt is counted in [`Stats::counts`](crate::Stats::counts).
    /// The filter is decided in the kernel: attempts that it excludes are counted as `filtered`,
    /// and those that pass it in [`Stats::passed`](crate::Stats::passed). Needs what
    /// [`open`](Self::open) needs.
    ///
    /// ```no_run
    /// use retrans_sdk::Stream;
    ///
    /// let counters = Stream::builder().filter("sport!=22 dport!=22".parse()?).open_counters()?;
    /// for count in counters.stats().passed {
    ///     println!("{count}"); // result=… kind=… attempts=… segs=…
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] if a setting was made that is about events:
    /// [`predicate`](Self::predicate), [`limit_per_result`](Self::limit_per_result),
    /// [`fields`](Self::fields), [`ring_size`](Self::ring_size), [`max_delay`](Self::max_delay),
    /// [`wakeup_bytes`](Self::wakeup_bytes) or [`owners`](Self::owners). Otherwise as
    /// [`open`](Self::open).
    pub fn open_counters(self) -> Result<Counters, Error> {
        self.refuse("counters", EVENT_SETTINGS)?;
        check_terms(&self.filter)?;
        check_descriptors(&StopHandle::new()?)?;
        let (programs, attachment) = kernel::open_counters(&self.wanted(None, epoch()))?;
        Counters::new(programs, attachment, self.netns)
    }

    /// Fails if one of these settings was made.
    fn refuse<'a>(&self, mode: &str, settings: impl IntoIterator<Item = &'a Setting>) -> Result<(), Error> {
        let refused = settings.into_iter().find(|(name, _)| self.explicit.contains(name));
        refused.map_or(Ok(()), |(name, remedy)| {
            let message = format!("`StreamBuilder::{name}` has no effect on {mode}: leave it out{remedy}");
            Err(Error::new(ErrorKind::Setting, message))
        })
    }

    fn wanted(&self, ring: Option<Ring>, epoch: u64) -> Wanted {
        Wanted {
            filter: self.filter.for_kernel(epoch),
            limit: self.limit,
            summed_netns: self.netns.as_ref().map(Netns::inode),
            ring,
            epoch,
            forced: self.forced,
            companions: self.companions,
            owners: self.owners,
        }
    }
}

/// Here, since a recording knows nothing of streams.
impl Recording {
    /// The stream of all of it.
    ///
    /// # Errors
    ///
    /// As [`StreamBuilder::replay`](crate::StreamBuilder::replay).
    pub fn start(self) -> Result<Stream, Error> {
        Stream::builder().replay(self)
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
         (StreamBuilder::predicate) can, and a filter of what was recorded"
    );
    Err(Error::new(ErrorKind::Filter, message))
}

/// Whether there are descriptors enough to open a stream. Without, libbpf takes a probe that fails for a kernel that
/// lacks the feature, and the error is about something else.
fn check_descriptors(stop: &StopHandle) -> Result<(), Error> {
    const ENOUGH: usize = 64;
    (0..ENOUGH).map(|_| stop.eventfd().try_clone()).collect::<Result<Vec<_>, _>>().map(|_| ()).map_err(|error| {
        let message = format!("opening a stream takes up to {ENOUGH} file descriptors for a moment (RLIMIT_NOFILE)");
        Error::new(ErrorKind::System, message).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(StreamBuilder) -> StreamBuilder;

    /// The settings that are refused in a mode, of those with these names.
    fn refused(of: &[&str], open: impl Fn(StreamBuilder) -> Result<(), Error>) -> BTreeSet<&'static str> {
        let settings: [(&str, Set); 10] = [
            ("predicate", |builder| builder.predicate(|_| true)),
            ("ring_size", |builder| builder.ring_size(DEFAULT_RING_SIZE)),
            ("fields", |builder| builder.fields(FieldSet::all())),
            ("max_delay", |builder| builder.max_delay(DEFAULT_MAX_DELAY)),
            ("wakeup_bytes", |builder| builder.wakeup_bytes(DEFAULT_WAKEUP_BYTES)),
            ("rate_limit", |builder| builder.rate_limit(RateLimit { per_second: 1, burst: 1 })),
            ("reconcile", |builder| builder.reconcile(Netns::current().expect("a namespace"))),
            ("attach_method", |builder| builder.attach_method(AttachMethod::TpErr)),
            ("without_companion", StreamBuilder::without_companion),
            ("resolve_owners", |builder| builder.resolve_owners()),
        ];
        let is_refused = |(name, set): &(&'static str, Set)| {
            let error = open(set(Stream::builder())).err().filter(|error| error.kind() == ErrorKind::Setting)?;
            assert!(error.to_string().contains(&format!("`StreamBuilder::{name}`")), "{error}");
            Some(*name)
        };
        settings.iter().filter(|(name, _)| of.contains(name)).filter_map(is_refused).collect()
    }

    #[test]
    fn a_setting_that_a_mode_cannot_honour_is_refused() {
        let live = ["max_delay", "wakeup_bytes", "attach_method", "without_companion", "resolve_owners", "reconcile"];
        let of_events =
            ["predicate", "rate_limit", "fields", "ring_size", "max_delay", "wakeup_bytes", "resolve_owners"];
        let all = [live.as_slice(), &of_events].concat();
        let scripted = refused(&all, |builder| builder.mock().map(|_| ()));
        assert_eq!(scripted, BTreeSet::from(live));
        let replayed = refused(&all, |builder| builder.replay(Recording::from_reader(&b""[..])).map(|_| ()));
        assert_eq!(replayed, BTreeSet::from_iter(live.into_iter().chain(["ring_size"])));
        // The others would be opened, with the privilege to do so.
        let counted = refused(&of_events, |builder| builder.open_counters().map(|_| ()));
        assert_eq!(counted, BTreeSet::from(of_events));
    }
}
