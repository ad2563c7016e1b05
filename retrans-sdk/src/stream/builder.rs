// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configures and opens a stream: of the running kernel, of a recording, or of a mock.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::field_set::FieldSet;
use crate::event::result::RESULT_SLOTS;
use crate::event::verdict::Verdict;
use crate::filter::Filter;
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::config::{Config, DEFAULT_MAX_DELAY, DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES, RingConfig};
use crate::kernel::{self, Companions};
use crate::offline::channel::{self, EventSender};
use crate::offline::mock::MockSource;
use crate::offline::pipeline::Pipeline;
use crate::offline::replay::Recording;
use crate::rate_limit::{RateLimit, TokenBucket};
use crate::stats::groups::{GroupBy, Grouping};
use crate::stats::netns::Netns;
use crate::stats::reader::StatsReader;
use crate::stats::reconcile::Reconciler;
use crate::stats::user_counters::UserCounters;
use crate::stream::Stream;
use crate::stream::backend::Backend;
use crate::stream::counters::Counters;
use crate::stream::live::Live;
use crate::stream::stop::StopHandle;
use crate::sys::clock::{self, EpochOffset, Sample};

/// The upper bound of the maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The size of the header that the ring buffer puts before each record, in bytes.
const RING_HEADER: usize = 8;

/// The number of events of a recording that are read ahead.
const REPLAY_CAPACITY: usize = 4096;

/// The name of a setting's method, and the text that follows "leave it out" in the error message.
type Setting = (&'static str, &'static str);

/// The settings that do not apply to recordings and mocks.
const LIVE_SETTINGS: &[Setting] = &[
    ("max_delay", ", or open a live stream"),
    ("wakeup_bytes", ", or open a live stream"),
    ("attach_method", ", or open a live stream"),
    ("without_companion", ", or open a live stream"),
    ("locate_nomem", ", or open a live stream"),
    ("resolve_owners", "; its events contain the owners that were recorded or pushed"),
    ("on_verdict", "; parse the lines of verdicts with `Verdict`"),
    ("reconcile", ", or open a live stream"),
    ("count_by", ", or open a live stream"),
    ("btf_path", ", or open a live stream"),
];
/// Applies to a mock, and not to a recording.
const RING_SIZE: Setting = ("ring_size", ", or open a live stream");

/// The settings about events, which do not apply to counters.
const EVENT_SETTINGS: &[Setting] = &[
    ("predicate", " and use a filter, or open a stream"),
    ("rate_limit", ", or open a stream"),
    ("fields", ", or open a stream"),
    ("ring_size", ", or open a stream"),
    ("max_delay", ", or open a stream"),
    ("wakeup_bytes", ", or open a stream"),
    ("resolve_owners", ", or open a stream"),
    ("on_verdict", ", or open a stream"),
];

pub(crate) type Predicate = Box<dyn FnMut(&Event) -> bool + Send>;
pub(crate) type OnVerdict = Box<dyn FnMut(&Verdict) + Send>;

/// Configures and opens a [`Stream`].
///
/// [`Stream::builder`] returns one. Every setting has a default, so `Stream::builder().open()`
/// reports every attempt of the host.
///
/// | method | opens | requires |
/// |---|---|---|
/// | [`open`](Self::open) | a *live* stream, of the running kernel | Linux 5.10 or newer, and either CAP_SYS_ADMIN or both CAP_BPF and CAP_PERFMON |
/// | [`open_counters`](Self::open_counters) | counters of the running kernel, without events | the same |
/// | [`replay`](Self::replay) | a stream of a recording | nothing |
/// | [`mock`](Self::mock) | a stream of synthetic events | nothing |
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use retrans_sdk::Stream;
/// use retrans_sdk::stream::RateLimit;
///
/// let stream = Stream::builder()
///     .filter("result!=success dport=443".parse()?)
///     .fields("cookie,netns,srtt_us".parse()?)
///     .rate_limit(RateLimit { per_second: 1_000, burst: 2_000 })
///     .max_delay(Duration::from_millis(100))
///     .open()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `open`"]
pub struct StreamBuilder {
    filter: Filter,
    predicate: Option<Predicate>,
    ring: RingConfig,
    limit: Option<TokenBucket>,
    netns: Option<Netns>,
    grouping: Option<Grouping>,
    forced: Option<AttachMethod>,
    companions: Companions,
    locate_nomem: bool,
    without_entries: bool,
    /// Reads the clocks.
    clocks: fn() -> Sample,
    owners: bool,
    on_verdict: Option<OnVerdict>,
    btf: Option<PathBuf>,
    /// The settings that were made explicitly, by the names of their methods.
    explicit: BTreeSet<&'static str>,
}

impl Default for StreamBuilder {
    fn default() -> Self {
        let filter = Filter::default();
        Self {
            filter,
            predicate: None,
            ring: RingConfig {
                size: DEFAULT_RING_SIZE,
                fields: FieldSet::default(),
                max_delay: DEFAULT_MAX_DELAY,
                wakeup_bytes: DEFAULT_WAKEUP_BYTES,
            },
            limit: None,
            netns: None,
            grouping: None,
            forced: None,
            companions: Companions::Any,
            locate_nomem: false,
            without_entries: false,
            clocks: clock::sample,
            owners: false,
            on_verdict: None,
            btf: None,
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
            .field("count_by", &self.grouping)
            .field("attach_method", &self.forced)
            .field("companions", &self.companions)
            .field("locate_nomem", &self.locate_nomem)
            .field("resolve_owners", &self.owners)
            .field("on_verdict", &self.on_verdict.is_some())
            .field("btf_path", &self.btf)
            .finish()
    }
}

impl StreamBuilder {
    /// Sets the filter. By default every attempt passes.
    ///
    /// The BPF programs evaluate the whole filter. For an attempt that it excludes they write no
    /// record, and count the attempt as [`filtered`](crate::Stats::filtered). [`open`](Self::open)
    /// rejects a filter with terms that the BPF programs cannot evaluate ([`Filter::event_only`]).
    /// Use a [`predicate`](Self::predicate) for such terms.
    ///
    /// Terms with `ts` are converted to the clock of the BPF programs when the stream is opened. If
    /// the wall clock is stepped later, the `ts` of events follows the step, and the filter does
    /// not.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets a function that selects events in user space. By default every event passes.
    ///
    /// The function runs after the filter, on the thread that reads the stream. An event for which
    /// it returns false is not delivered, and is counted as [`rejected`](crate::Stats::rejected).
    /// So is one for which it panics; the panic continues in the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::{RetransResult, Stream};
    ///
    /// let (source, mut stream) = Stream::builder().predicate(|event| event.dport == 22).mock()?;
    /// source.push_result(RetransResult::Denied); // a sample event, with dport=443
    /// source.finish();
    /// assert_eq!(stream.iter().count(), 0);
    /// assert_eq!(stream.stats().rejected, 1);
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    pub fn predicate(mut self, predicate: impl FnMut(&Event) -> bool + Send + 'static) -> Self {
        self.predicate = Some(Box::new(predicate));
        self.explicit.insert("predicate");
        self
    }

    /// Sets the size of the ring buffer in bytes, a power-of-two number of pages. The default is
    /// [`DEFAULT_RING_SIZE`], 1 MiB.
    ///
    /// A record occupies [`FieldSet::record_length`] bytes plus a header of 8 bytes. This is 208
    /// bytes by default, 232 with [`resolve_owners`](Self::resolve_owners), 256 with
    /// [`FieldSet::drops`], 328 with all fields, and 88 with no optional field. Attempts that
    /// cannot be recorded because the ring buffer is full are counted as
    /// [`lost`](crate::Stats::lost).
    pub fn ring_size(mut self, bytes: u32) -> Self {
        self.ring.size = bytes;
        self.explicit.insert("ring_size");
        self
    }

    /// Sets which optional fields events contain. By default, events of a live stream contain all
    /// except the extended ones, which are recorded only on request, and events of recordings and
    /// mocks contain [all](FieldSet::all).
    ///
    /// Other fields, such as addresses and ports, are always present, and `owner`, `pid` and `comm`
    /// belong to [`resolve_owners`](Self::resolve_owners).
    ///
    /// The events contain no optional field that is not in the set. A record ends after its last
    /// field, so a set without the fields at the end of a record saves room in the ring buffer
    /// ([`FieldSet::record_length`]).
    pub fn fields(mut self, fields: FieldSet) -> Self {
        self.ring.fields = fields;
        self.explicit.insert("fields");
        self
    }

    /// Sets how long an event may wait in the ring buffer before the reader is woken, at most one
    /// hour. The default is [`DEFAULT_MAX_DELAY`], 10 ms.
    ///
    /// Waking the reader costs the kernel ten times as much as all other work for an event.
    /// Therefore only the first event after the reader has found the ring buffer empty wakes the
    /// reader. From then on the reader looks again after this delay, until it finds no event. No
    /// event is lost because of the delay, since [`wakeup_bytes`](Self::wakeup_bytes) wakes the
    /// reader before the ring buffer is full. An idle stream causes no wake-ups.
    ///
    /// With [`Duration::ZERO`] every event wakes the reader, unless the reader is already running.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.ring.max_delay = delay.min(MAX_DELAY);
        self.explicit.insert("max_delay");
        self
    }

    /// Sets the number of bytes in the ring buffer that wake the reader before
    /// [`max_delay`](Self::max_delay) has elapsed. The default is [`DEFAULT_WAKEUP_BYTES`], 64 KiB.
    ///
    /// The number is clamped to the range from 1 to half of the ring buffer. A smaller number
    /// causes more wake-ups. A larger one leaves less room for events that arrive before the reader
    /// runs.
    pub fn wakeup_bytes(mut self, bytes: u32) -> Self {
        self.ring.wakeup_bytes = bytes;
        self.explicit.insert("wakeup_bytes");
        self
    }

    /// Sets a rate limit for each result, a token bucket in the kernel. By default there is no
    /// limit.
    ///
    /// Both numbers of a [`RateLimit`] are clamped to at least 1. The limit applies after the
    /// filter. For an attempt that exceeds the limit the BPF programs write no record, and count
    /// the attempt as [`limited`](crate::Stats::limited).
    ///
    /// Each result has its own bucket, except for results that are counted together as `None`
    /// ([`Count::result`](crate::stats::Count::result)). Attempts of one result that occur on
    /// several CPUs at the same moment may consume a single token, so slightly more events than the
    /// limit may be recorded.
    ///
    /// In a recording and a mock the limit uses the timestamps of the events, not the clock.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.limit = Some(limit.into());
        self.explicit.insert("rate_limit");
        self
    }

    /// Counts all attempts of a network namespace separately, for [`Live::reconciler`] and
    /// [`Counters::reconciler`].
    ///
    /// The reconciler compares these counts with the namespace's own counters, from the moment at
    /// which the stream is opened. The filter and the rate limit do not affect the counts. If
    /// retransmissions are in progress in the namespace, opening lasts up to one second longer.
    pub fn reconcile(mut self, netns: Netns) -> Self {
        self.netns = Some(netns);
        self.explicit.insert("reconcile");
        self
    }

    /// Counts the attempts that pass the filter by a key and by result, for
    /// [`StatsReader::groups`]. By default attempts are not counted by a key.
    ///
    /// The BPF programs count, so the counts include attempts whose events are limited or lost.
    /// Each key that occurs uses one of `capacity` groups until the stream is closed. The capacity
    /// is 1 to 65,536. Attempts whose key finds no unused group are counted together as
    /// [`GroupKey::Other`](crate::stats::GroupKey::Other). A group occupies about 600 bytes of
    /// kernel memory, from when the stream is opened.
    ///
    /// [`open`](Self::open) returns [`ErrorKind::Setting`] if the capacity or the length of a
    /// prefix is out of range.
    pub fn count_by(mut self, key: GroupBy, capacity: u32) -> Self {
        self.grouping = Some(Grouping { by: key, capacity });
        self.explicit.insert("count_by");
        self
    }

    /// Forces an attach method; opening fails if the kernel does not support it.
    ///
    /// Intended for tests and comparisons. By default the best method that the kernel supports is
    /// used.
    pub fn attach_method(mut self, method: AttachMethod) -> Self {
        self.forced = Some(method);
        self.explicit.insert("attach_method");
        self
    }

    /// Attaches no companion. An attempt then costs less, and less is reported about it.
    ///
    /// By default a [companion](crate::attach::Attachment::companion) is attached in addition to a
    /// tracepoint with the result or the errno, and supplies what the tracepoint does not report.
    /// Without it, [`AttachMethod::TpErr`] does not report the failures of SYN-ACKs and the
    /// allocation site of -ENOMEM, and [`AttachMethod::TpEnum`] does not report the errno either.
    /// [`Attachment::unobservable`](crate::attach::Attachment::unobservable) lists what is missing.
    /// Other attach methods have no companion.
    pub fn without_companion(mut self) -> Self {
        self.companions = Companions::None;
        self.explicit.insert("without_companion");
        self
    }

    /// Sets the only companion that may be attached, for [`harness`](crate::harness).
    #[cfg(feature = "test-util")]
    pub(crate) fn only_companion(mut self, companion: AttachMethod) -> Self {
        self.companions = Companions::Only(companion);
        self
    }

    /// Locates the allocation site of -ENOMEM: results are `frag_nomem` and `unclone_nomem` instead
    /// of `nomem`. By default the site is not located.
    ///
    /// Requires fexit. A BPF program then runs at each call of the kernel's function
    /// `tcp_fragment()`, which is also called when a socket sends a part of a larger buffer. So
    /// this setting may have a cost even if nothing is retransmitted. If the kernel refuses fexit,
    /// the stream opens without it
    /// ([`Attachment::locates_nomem`](crate::attach::Attachment::locates_nomem)). A kernel whose
    /// enum has an enumerator for each site does not need this setting.
    pub fn locate_nomem(mut self) -> Self {
        self.locate_nomem = true;
        self.explicit.insert("locate_nomem");
        self
    }

    /// Sets the function that reads the clocks, for [`harness`](crate::harness).
    #[cfg(feature = "test-util")]
    pub(crate) fn clocks(mut self, sample: fn() -> Sample) -> Self {
        self.clocks = sample;
        self
    }

    /// Attaches no program to function entries, for [`harness`](crate::harness).
    #[cfg(feature = "test-util")]
    pub(crate) fn without_entries(mut self) -> Self {
        self.without_entries = true;
        self
    }

    /// Resolves the process that a socket belongs to: [`Event::owner`], [`Event::pid`] and
    /// [`Event::comm`]. By default events do not contain these fields, and no BPF programs run to
    /// find owners.
    ///
    /// Requires Linux 5.12 or newer with `/sys/kernel/btf/vmlinux`. Elsewhere the stream opens, and
    /// events contain no owner ([`Live::owner_hooks`]). The owners of up to 16,384 sockets are
    /// kept, which uses about 2 MiB of kernel memory. The least recently used ones are evicted. A
    /// record without extended fields occupies 232 bytes in the ring buffer, its header included.
    ///
    /// The kernel does not record which process a socket belongs to, and the process that runs when
    /// a socket retransmits is unrelated. A stream therefore learns the owner from two sources:
    ///
    /// - BPF programs record the processes that connect and accept.
    ///   [`OwnerHooks`](crate::attach::OwnerHooks) reports which hooks are available.
    /// - For sockets that these programs have not observed, such as those older than the stream,
    ///   the kernel scans the file descriptors of all processes: once when the stream is opened,
    ///   and again when an event belongs to a socket whose owner is not known. That event waits for
    ///   the scan. The scan runs on the thread that reads the stream, for at most 2% of its time.
    ///   Before Linux 5.19 scans end when the process drops its privileges.
    ///
    /// The owner is absent if
    ///
    /// - no process was observed to connect or accept the socket, and no process or several
    ///   processes hold it
    /// - the kernel itself connected the socket, which includes MPTCP subflows
    /// - the event is about a SYN-ACK, whose socket no process holds yet (with TCP Fast Open one
    ///   may)
    /// - the process is not visible in the PID namespace of the process that opened the stream
    /// - a scan would exceed the 2%
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use retrans_sdk::Stream;
    ///
    /// let mut stream = Stream::builder().resolve_owners().open()?;
    /// for event in stream.iter() {
    ///     let event = event?;
    ///     match event.pid {
    ///         Some(pid) => println!("{} in process {pid}", event.result),
    ///         None => println!("{} of an unknown process", event.result),
    ///     }
    /// }
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    pub fn resolve_owners(mut self) -> Self {
        self.owners = true;
        self.explicit.insert("resolve_owners");
        self
    }

    /// Sets a function that receives verdicts: which attempts were unneeded, and how connections
    /// with attempts ended. By default there are no verdicts, and no BPF programs run for them.
    ///
    /// Only connections with an attempt that passed the filter have verdicts. The function runs on
    /// the thread that reads the stream (for a [`Queue`](crate::stream::Queue), its reader thread).
    /// All events that were recorded before the verdict have been read by then. If the function
    /// panics, the panic continues in the caller, and the other verdicts of the batch are
    /// discarded: [`VerdictStats::submitted`](crate::stats::VerdictStats::submitted) then exceeds
    /// `delivered`.
    ///
    /// - [`Ended`](crate::event::VerdictKind::Ended) is reported when the socket is closed, once
    ///   for a connection.
    /// - [`Unneeded`](crate::event::VerdictKind::Unneeded) is reported when the kernel undoes a
    ///   recovery whose attempts are all proven unneeded. What the peer reports by DSACK is
    ///   reported at the next change of the congestion avoidance state, or when the socket is
    ///   closed. Both proofs may cover the same segments.
    ///
    /// Requires Linux 5.12 with `/sys/kernel/btf/vmlinux`, and Linux 5.19 for undone recoveries.
    /// Elsewhere the stream opens, and [`Live::verdict_hooks`] reports what cannot be observed. Up
    /// to 16,384 connections are tracked, which uses about 2 MiB of kernel memory.
    /// [`Stream::verdict_stats`] counts the attempts of further connections, and the verdicts that
    /// were lost.
    ///
    /// A recording contains no verdicts. Its reader skips the lines of verdicts, which
    /// [`Verdict`] parses.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use retrans_sdk::Stream;
    /// use retrans_sdk::event::EndReason;
    ///
    /// let mut stream = Stream::builder()
    ///     .on_verdict(|verdict| {
    ///         if verdict.why == Some(EndReason::TimedOut) {
    ///             println!("{}:{} timed out", verdict.daddr, verdict.dport);
    ///         }
    ///     })
    ///     .open()?;
    /// for event in stream.iter() {
    ///     println!("{}", event?);
    /// }
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    pub fn on_verdict(mut self, function: impl FnMut(&Verdict) + Send + 'static) -> Self {
        self.on_verdict = Some(Box::new(function));
        self.explicit.insert("on_verdict");
        self
    }

    /// Sets the file that contains the BTF of the running kernel, in the raw format or in an ELF
    /// file. The default is `/sys/kernel/btf/vmlinux`.
    ///
    /// Intended for kernels that were built without CONFIG_DEBUG_INFO_BTF, for which projects such
    /// as BTFHub publish files, and for containers in which `/sys` is masked. The file must be of
    /// exactly this kernel, and contain all its types, so a file that was minimized for another
    /// program is not sufficient. With the file of another kernel the kernel may refuse the BPF
    /// programs. If it does not, they read wrong fields, and a failure may be reported as a
    /// success.
    ///
    /// If `/sys/kernel/btf/vmlinux` cannot be opened, fexit is not available, and neither are
    /// socket owners: the kernel requires its own BTF for them. The tracepoints and kretprobes are
    /// available. Their programs read kernel memory with a helper that `lockdown=confidentiality`
    /// forbids, so opening fails there. If all of `/sys` is masked, kretprobes are not available
    /// either.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use retrans_sdk::Stream;
    ///
    /// let stream = Stream::builder().btf_path("/usr/lib/btf/5.10.0-custom.btf").open()?;
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    pub fn btf_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.btf = Some(path.into());
        self.explicit.insert("btf_path");
        self
    }

    /// Loads and attaches the BPF programs, and opens a stream of the running kernel.
    ///
    /// Requires Linux 5.10 or newer, and either CAP_SYS_ADMIN or both CAP_BPF and CAP_PERFMON. The
    /// stream and its counters can be read after the process has dropped these capabilities.
    ///
    /// # Errors
    ///
    /// [`Error::kind`] is one of:
    ///
    /// - [`ErrorKind::MissingCapability`]: a capability is missing, or a security module denied the
    ///   operation
    /// - [`ErrorKind::NoBtf`], [`ErrorKind::NoTracepoint`], [`ErrorKind::UnsupportedTracepoint`]:
    ///   the kernel is not supported
    /// - [`ErrorKind::RingSize`]: the size of the ring buffer is invalid
    /// - [`ErrorKind::Setting`]: the capacity or a prefix of [`count_by`](Self::count_by) is out of
    ///   range
    /// - [`ErrorKind::Filter`]: the filter contains a term that the BPF programs cannot evaluate
    ///   ([`Filter::event_only`])
    /// - [`ErrorKind::MethodUnavailable`]: the forced attach method is not available
    /// - [`ErrorKind::Load`]: the kernel refused a program or a map
    /// - [`ErrorKind::System`]: any other error of the operating system
    ///
    /// After an error no program, link or file descriptor remains.
    pub fn open(self) -> Result<Stream, Error> {
        check_ring_size(self.ring.size)?;
        check_terms(&self.filter, false)?;
        self.grouping.map_or(Ok(()), Grouping::check)?;
        let stop = StopHandle::new()?;
        check_descriptors(&stop)?;
        let (source, attachment) = kernel::open(&self.config(Some(self.ring)), self.ring)?;
        let stats = source.programs.stats.clone();
        let reconciler = self.netns.map(|netns| Reconciler::new(stats.clone(), netns)).transpose()?;
        let live = Backend::Live(Box::new(Live::new(source, attachment, reconciler)));
        Ok(Stream::new(live, stats, stop, self.filter, self.predicate, self.on_verdict))
    }

    /// Opens a stream of a recording. Requires no privileges.
    ///
    /// Filter, predicate, fields, rate limit, counters and all methods to read work as with a live
    /// stream. The filter may contain the keys of [`Filter::event_only`] terms.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use retrans_sdk::Stream;
    /// use retrans_sdk::offline::Recording;
    ///
    /// let recording = Recording::open("attempts.kv")?;
    /// let mut stream = Stream::builder().filter("class=drop".parse()?).replay(recording)?;
    /// println!("{} dropped", stream.iter().count());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Setting`] if a setting was made that does not apply to a recording:
    ///   [`ring_size`](Self::ring_size), [`max_delay`](Self::max_delay),
    ///   [`wakeup_bytes`](Self::wakeup_bytes), [`attach_method`](Self::attach_method),
    ///   [`without_companion`](Self::without_companion), [`locate_nomem`](Self::locate_nomem),
    ///   [`resolve_owners`](Self::resolve_owners), [`on_verdict`](Self::on_verdict),
    ///   [`reconcile`](Self::reconcile), [`count_by`](Self::count_by) or
    ///   [`btf_path`](Self::btf_path)
    /// - [`ErrorKind::Filter`] if the filter requires more than a recording contains
    ///   ([`Filter::live_only`])
    /// - [`ErrorKind::Recording`] if the input is not a recording, or its speed is invalid
    /// - [`ErrorKind::System`] if the input cannot be read, or the reader thread cannot be started
    pub fn replay(mut self, recording: Recording) -> Result<Stream, Error> {
        self.refuse("a recording", LIVE_SETTINGS.iter().chain(&[RING_SIZE]))?;
        if let Some(term) = self.filter.live_only().next() {
            let (missing, instead) = match term.starts_with("cookie") {
                true => ("the application's own sockets", "cookie=NUMBER"),
                false => ("the parents of cgroups", "cgroup=ID"),
            };
            let message =
                format!("`{term}` cannot be evaluated in a recording, which does not contain {missing}: use {instead}");
            return Err(Error::new(ErrorKind::Filter, message));
        }
        let counters = Arc::new(UserCounters::new(false, true));
        if !self.explicit.contains("fields") {
            // The set limits what is recorded, and a recording exists already.
            self.ring.fields = FieldSet::all();
        }
        let (sender, stream) = self.offline(counters, REPLAY_CAPACITY)?;
        recording.run(sender)?;
        Ok(stream)
    }

    /// Opens a stream of synthetic events, and returns the source that pushes them. Requires no
    /// privileges.
    ///
    /// Intended for an application's own tests. Filter, predicate, fields, rate limit and counters
    /// work as with a live stream, except for two terms: `cgroup=34/` (cgroup 34 and all cgroups
    /// below it) matches only events of cgroup 34 itself, and `cookie=mine` (the application's own
    /// sockets) matches no event. Until they are read, the stream holds as many events as fit into
    /// a ring buffer of [`ring_size`](Self::ring_size) bytes. Further ones are counted as lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::{RetransResult, Stream};
    ///
    /// let (source, mut stream) = Stream::builder().filter("result!=success".parse()?).mock()?;
    /// source.push_result(RetransResult::Success);
    /// source.push_result(RetransResult::Denied);
    /// source.finish();
    /// assert_eq!(stream.iter().count(), 1);
    /// assert_eq!(stream.stats().filtered, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Setting`] in the same cases as [`replay`](Self::replay), except that
    ///   [`ring_size`](Self::ring_size) is allowed
    /// - [`ErrorKind::RingSize`] and [`ErrorKind::Filter`] in the same cases as
    ///   [`open`](Self::open)
    /// - [`ErrorKind::System`] if the process has no file descriptor left
    pub fn mock(self) -> Result<(MockSource, Stream), Error> {
        self.refuse("a mock", LIVE_SETTINGS)?;
        check_ring_size(self.ring.size)?;
        check_terms(&self.filter, false)?;
        let room = self.ring.size as usize / (self.ring.fields.record_length() + RING_HEADER);
        let (sender, stream) = self.offline(Arc::new(UserCounters::new(true, false)), room)?;
        Ok((MockSource::new(sender), stream))
    }

    fn offline(self, counters: Arc<UserCounters>, capacity: usize) -> Result<(EventSender, Stream), Error> {
        let stats = StatsReader::offline(Arc::clone(&counters));
        let pipeline = Pipeline {
            filter: self.filter.clone(),
            fields: if self.explicit.contains("fields") { self.ring.fields } else { FieldSet::all() },
            limit: self.limit,
            full_at: [0; RESULT_SLOTS],
            counters,
        };
        let (sender, receiver) = channel::channel(pipeline, capacity)?;
        let backend = Backend::Offline(receiver);
        Ok((sender, Stream::new(backend, stats, StopHandle::new()?, self.filter, self.predicate, None)))
    }
}

impl StreamBuilder {
    /// Loads and attaches BPF programs that only count attempts. Requires the same kernel and
    /// capabilities as [`open`](Self::open).
    ///
    /// There is no ring buffer, so this is the mode with the lowest cost per attempt, and nothing
    /// must be read in between. [`Counters::stats`] returns the sums since the counters were
    /// opened. Every attempt is counted in [`Stats::counts`](crate::Stats::counts). The BPF
    /// programs evaluate the filter. Attempts that it excludes are also counted as
    /// [`filtered`](crate::Stats::filtered), and attempts that pass it in
    /// [`Stats::passed`](crate::Stats::passed).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use retrans_sdk::Stream;
    ///
    /// let counters = Stream::builder().filter("sport!=22 dport!=22".parse()?).open_counters()?;
    /// std::thread::sleep(std::time::Duration::from_secs(60));
    /// for count in counters.stats().passed {
    ///     println!("{count}"); // result=… kind=… attempts=… segs=…
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] if a setting about events was made: [`predicate`](Self::predicate),
    /// [`rate_limit`](Self::rate_limit), [`fields`](Self::fields), [`ring_size`](Self::ring_size),
    /// [`max_delay`](Self::max_delay), [`wakeup_bytes`](Self::wakeup_bytes),
    /// [`resolve_owners`](Self::resolve_owners) or [`on_verdict`](Self::on_verdict). Otherwise the
    /// errors of [`open`](Self::open).
    pub fn open_counters(self) -> Result<Counters, Error> {
        self.refuse("counters", EVENT_SETTINGS)?;
        check_terms(&self.filter, true)?;
        self.grouping.map_or(Ok(()), Grouping::check)?;
        check_descriptors(&StopHandle::new()?)?;
        let (programs, attachment) = kernel::open_counters(&self.config(None))?;
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

    fn config(&self, ring: Option<RingConfig>) -> Config {
        let epoch = EpochOffset::read_by(self.clocks);
        Config {
            filter: self.filter.for_kernel(epoch.nanos()),
            limit: self.limit,
            summed_netns: self.netns.as_ref().map(Netns::inode),
            grouping: self.grouping,
            ring,
            epoch,
            forced: self.forced,
            companions: self.companions,
            locate_nomem: self.locate_nomem,
            without_entries: self.without_entries,
            owners: self.owners,
            drops: ring.is_some_and(|ring| ring.fields.intersects(FieldSet::DROPPED)),
            verdicts: self.on_verdict.is_some(),
            btf: self.btf.clone(),
        }
    }
}

// Defined here, because `offline::replay` does not depend on streams.
impl Recording {
    /// Opens a stream of the whole recording, with default settings.
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
    if bytes % page == 0 && (bytes / page).is_power_of_two() {
        return Ok(());
    }
    // The error suggests the next larger valid size, or the largest one.
    let fitting = bytes.div_ceil(page).max(1).checked_next_power_of_two().and_then(|pages| pages.checked_mul(page));
    let message = format!(
        "the ring buffer size of {bytes} bytes is not a power-of-two number of pages of {page} bytes: use {}",
        fitting.unwrap_or(1 << 31)
    );
    Err(Error::new(ErrorKind::RingSize, message))
}

/// The reason why the filter of a stream must not contain a term about the owner, and what to do.
const OWNER_OF_STREAM: &str = "cannot be evaluated in the kernel, because the owner of a socket may be found only after the filter has \
     run: use a predicate (StreamBuilder::predicate), or filter a recording";
/// The same for the filter of counters.
const OWNER_OF_COUNTERS: &str = "cannot be evaluated in the kernel, and counters do not resolve the owners of sockets: leave it out, or \
     open a stream with a predicate";
/// The same for terms about other fields.
const FIELD_OF_STREAM: &str = "cannot be evaluated in the kernel, which reads this field only for attempts that pass the filter: use a \
     predicate (StreamBuilder::predicate), or filter a recording";
/// The same for the filter of counters.
const FIELD_OF_COUNTERS: &str = "cannot be evaluated in the kernel, which reads this field only for events: leave it out, or open a \
     stream with a predicate";

/// Checks that the BPF programs can evaluate the whole filter of a stream, or of counters.
fn check_terms(filter: &Filter, counters: bool) -> Result<(), Error> {
    let Some(term) = filter.event_only().next() else { return Ok(()) };
    let is_of_owner = ["owner", "pid", "comm"].iter().any(|key| term.split(['=', '!']).next() == Some(key));
    let why_not = match (is_of_owner, counters) {
        (true, false) => OWNER_OF_STREAM,
        (true, true) => OWNER_OF_COUNTERS,
        (false, false) => FIELD_OF_STREAM,
        (false, true) => FIELD_OF_COUNTERS,
    };
    Err(Error::new(ErrorKind::Filter, format!("`{term}` {why_not}")))
}

/// Checks that enough file descriptors are available to open a stream. Without them a feature probe
/// of libbpf would fail, libbpf would conclude that the kernel lacks the feature, and the error
/// would not name the cause.
fn check_descriptors(stop: &StopHandle) -> Result<(), Error> {
    const ENOUGH: usize = 64;
    (0..ENOUGH).map(|_| stop.eventfd().try_clone()).collect::<Result<Vec<_>, _>>().map(|_| ()).map_err(|error| {
        let message = format!(
            "cannot open a stream or counters: this requires {ENOUGH} free file descriptors: raise RLIMIT_NOFILE (`ulimit -n`)"
        );
        Error::new(ErrorKind::System, message).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(StreamBuilder) -> StreamBuilder;

    /// Returns the settings out of `of` that a mode refuses.
    fn refused(of: &[&str], open: impl Fn(StreamBuilder) -> Result<(), Error>) -> BTreeSet<&'static str> {
        let settings: [(&str, Set); 14] = [
            ("predicate", |builder| builder.predicate(|_| true)),
            ("ring_size", |builder| builder.ring_size(DEFAULT_RING_SIZE)),
            ("fields", |builder| builder.fields(FieldSet::all())),
            ("max_delay", |builder| builder.max_delay(DEFAULT_MAX_DELAY)),
            ("wakeup_bytes", |builder| builder.wakeup_bytes(DEFAULT_WAKEUP_BYTES)),
            ("rate_limit", |builder| builder.rate_limit(RateLimit { per_second: 1, burst: 1 })),
            ("reconcile", |builder| builder.reconcile(Netns::current().expect("a namespace"))),
            ("count_by", |builder| builder.count_by(GroupBy::Netns, 1)),
            ("attach_method", |builder| builder.attach_method(AttachMethod::TpErr)),
            ("without_companion", StreamBuilder::without_companion),
            ("resolve_owners", |builder| builder.resolve_owners()),
            ("on_verdict", |builder| builder.on_verdict(|_| ())),
            ("locate_nomem", |builder| builder.locate_nomem()),
            ("btf_path", |builder| builder.btf_path("/nonexistent")),
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
        let live = [
            "max_delay",
            "wakeup_bytes",
            "attach_method",
            "without_companion",
            "locate_nomem",
            "resolve_owners",
            "on_verdict",
            "reconcile",
            "count_by",
            "btf_path",
        ];
        let of_events = [
            "predicate",
            "rate_limit",
            "fields",
            "ring_size",
            "max_delay",
            "wakeup_bytes",
            "resolve_owners",
            "on_verdict",
        ];
        let all = [live.as_slice(), &of_events].concat();
        let mocked = refused(&all, |builder| builder.mock().map(|_| ()));
        assert_eq!(mocked, BTreeSet::from(live));
        let replayed = refused(&all, |builder| builder.replay(Recording::from_reader(&b""[..])).map(|_| ()));
        assert_eq!(replayed, BTreeSet::from_iter(live.into_iter().chain(["ring_size"])));
        // With any other setting the counters would open, given the privileges.
        let counted = refused(&of_events, |builder| builder.open_counters().map(|_| ()));
        assert_eq!(counted, BTreeSet::from(of_events));
    }
}
