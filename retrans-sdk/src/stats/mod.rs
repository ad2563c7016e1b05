// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters of attempts and events, and their comparison with the kernel's own counters.

pub(crate) mod groups;
pub(crate) mod layout;
pub(crate) mod netns;
#[cfg(feature = "prometheus")]
mod prometheus;
pub(crate) mod reader;
pub(crate) mod reconcile;
pub(crate) mod user_counters;

pub use self::groups::{GroupBy, GroupCount, GroupKey};
pub use self::netns::{Netns, NetnsCounters};
pub use self::reader::StatsReader;
pub use self::reconcile::{Reconciler, Reconciliation, Sum};
use std::fmt;

use crate::event::clock::Clock;
use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::transmit::Transmit;
use crate::text::reason_table::KeyVal;

/// The counters of verdicts of a stream since it was opened:
/// [`Stream::verdict_stats`](crate::Stream::verdict_stats).
///
/// They are separate from [`Stats`], which counts attempts. Prints
/// `verdicts=3 verdicts_lost=0 verdicts_delivered=3 untracked=0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerdictStats {
    /// Verdicts that the BPF programs wrote to the ring buffer.
    pub submitted: u64,
    /// Verdicts that were not written, because the ring buffer was full.
    pub lost: u64,
    /// Verdicts that were passed to the application's function.
    pub delivered: u64,
    /// Attempts whose connection is not tracked, so that it has no verdict: more than 16,384
    /// connections with attempts are open, or with kretprobes the cookie of a connection older than
    /// the stream is not known.
    pub untracked: u64,
}

/// Prints `verdicts=3 verdicts_lost=0 verdicts_delivered=3 untracked=0`.
impl fmt::Display for VerdictStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { submitted, lost, delivered, untracked } = self;
        write!(f, "verdicts={submitted} verdicts_lost={lost} verdicts_delivered={delivered} untracked={untracked}")
    }
}

/// The counters of a stream since it was opened. They account for every attempt that a BPF program
/// of the stream observed.
///
/// These equations are exact while no attempt is in progress:
///
/// - `seen = filtered +` the sum of the attempts in [`passed`](Self::passed)
/// - the sum of the attempts in `passed = limited + lost + submitted`; this equation does not apply
///   to [`Counters`](crate::stream::Counters), which have no events
/// - `submitted = rejected + dropped + delivered + waiting`, where [`waiting`](Self::waiting) is 0
///   after the stream was [detached](crate::Stream::detach) and read to its end
///
/// All counters are monotonic.
///
/// While an attempt is in progress, `seen` may include it before `filtered` or `passed` does, and
/// `passed` before `limited`, `lost` or `submitted` does. Then the left side of an equation is
/// larger. `submitted` may already include an attempt
/// whose record cannot be read yet. Then the attempt is counted as waiting. On CPUs that reorder
/// stores, such as arm64, either side may be larger, by up to the number of attempts in progress.
///
/// Events that remain in the ring buffer of a closed stream stay [`waiting`](Self::waiting).
///
/// # Examples
///
/// ```
/// use retrans_sdk::stats::Failures;
/// use retrans_sdk::{RetransResult, Stream};
///
/// let (source, mut stream) = Stream::builder().filter("result!=success".parse()?).mock()?;
/// source.push_result(RetransResult::Success);
/// source.push_result(RetransResult::Denied);
/// source.finish();
/// assert_eq!(stream.iter().count(), 1);
///
/// let stats = stream.stats();
/// assert_eq!((stats.seen, stats.filtered, stats.delivered), (2, 1, 1));
/// assert_eq!(stats.failures, Failures::Observed(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts that a BPF program of the stream observed.
    pub seen: u64,
    /// Attempts that the filter excluded.
    pub filtered: u64,
    /// Attempts that passed the filter and exceeded the rate limit
    /// ([`StreamBuilder::rate_limit`](crate::StreamBuilder::rate_limit)).
    pub limited: u64,
    /// Attempts that could not be recorded because the ring buffer was full. To avoid this, read
    /// faster, or set a larger [`ring_size`](crate::StreamBuilder::ring_size).
    pub lost: u64,
    /// Attempts whose record was put into the ring buffer.
    pub submitted: u64,
    /// Events that the predicate rejected.
    pub rejected: u64,
    /// Events that were read from the ring buffer but not delivered, for one of three reasons: a
    /// [`Queue`](crate::stream::Queue) was full; a queue or a stream was closed while it held
    /// events that it had read from the ring buffer (those still in the ring buffer remain
    /// [`waiting`](Self::waiting)); or a record was invalid, which only corruption causes.
    pub dropped: u64,
    /// Events delivered to the application.
    pub delivered: u64,
    /// The number of times that the kernel skipped a BPF program of the stream because it was
    /// already running on that CPU: an upper bound of the attempts that were not observed for this
    /// reason. Programs that only add to observed attempts are not included: those for drops,
    /// verdicts and `age_us`. With [`AttachMethod::Fexit`](crate::attach::AttachMethod::Fexit)
    /// several programs observe one attempt, so one attempt may cause several skips, or be observed
    /// nevertheless.
    ///
    /// `None` if the kernel does not count skipped programs: before Linux 5.12, and with kprobes.
    /// `None` for a [`Recording`](crate::offline::Recording).
    pub missed: Option<u64>,
    /// Attempts that only the tracepoint reported, because the compiler inlined the function at
    /// whose exit a program is attached, or because the kernel skipped that program. Nothing
    /// reports the failed attempts of a caller into which the function was inlined, nor those for
    /// which the kernel skipped the program. Therefore [`failures`](Self::failures) is
    /// [`Failures::Unobservable`] unless this number is 0.
    ///
    /// Counted with [`AttachMethod::Fexit`](crate::attach::AttachMethod::Fexit) and
    /// [`AttachMethod::Kretprobe`](crate::attach::AttachMethod::Kretprobe) on a kernel whose
    /// tracepoint reports successes only. `None` for all other streams.
    pub tracepoint_only: Option<u64>,
    /// Skipped lines of the input of a [`Recording`](crate::offline::Recording): malformed lines
    /// ([`BadLines::Skip`](crate::offline::BadLines::Skip)), and the lines before the line that
    /// determined the format, without comments. `None` for other streams. No other counter includes
    /// them.
    pub skipped: Option<u64>,
    /// The losses that a [`Recording`](crate::offline::Recording) of kernel text reports; `None`
    /// for other streams. No other counter includes them.
    pub text_losses: Option<TextLosses>,
    /// The clock of the events' timestamps: [`Clock::Realtime`] for a live stream and a mock. For a
    /// [`Recording`](crate::offline::Recording) it is [`Clock::Unknown`] until the first line of an
    /// attempt was read, and for kernel text whose offset from the epoch is not known
    /// ([`Recording::clock_offset`](crate::offline::Recording::clock_offset)).
    pub clock: Clock,
    /// Failed attempts, before the filter, including the
    /// [`synack_failures`](Self::synack_failures) if these are observed.
    pub failures: Failures,
    /// Failed attempts to retransmit a SYN-ACK, before the filter. They may be unobservable when
    /// other failures are observed
    /// ([`Attachment::observes_synack_failures`](crate::attach::Attachment::observes_synack_failures)).
    pub synack_failures: Failures,
    /// All attempts by result and kind, before the filter. The sum of their attempts is `seen`. The
    /// BPF programs count them, so lost attempts are included. Counts of zero are left out.
    pub counts: Vec<Count>,
    /// The attempts that passed the filter, by result and kind, before the rate limit. Equal to
    /// `counts` without a filter. Counts of zero are left out.
    pub passed: Vec<Count>,
    /// All attempts by [`Transmit`] (whether the kernel counted them in RetransSegs), before the
    /// filter. The sum of their attempts is `seen`.
    pub transmits: Vec<TransmitCount>,
}

/// The trace entries that a kernel text reports as lost. They may belong to any event of the trace,
/// so the number of lost attempts is not known.
///
/// tracefs and trace-cmd report them as `CPU:1 [LOST 12 EVENTS]`, the heading of tracefs as
/// `entries-in-buffer/entries-written: 187/739`, and `perf script --show-lost-events` as
/// `PERF_RECORD_LOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TextLosses {
    /// The sum of the reported numbers of lost entries. The heading of tracefs reports the
    /// difference of its two numbers: 552 in the example above.
    pub entries: u64,
    /// The number of reports without a number, such as `CPU:1 [LOST EVENTS]`. Unless it is 0, more
    /// entries may have been lost than [`entries`](Self::entries) counts.
    pub unknown: u64,
}

impl TextLosses {
    /// Adds a report.
    pub(crate) fn add(&mut self, count: Option<u64>) {
        match count {
            Some(count) => self.entries = self.entries.saturating_add(count),
            None => self.unknown = self.unknown.saturating_add(1),
        }
    }

    /// Returns true if nothing was reported as lost.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0 && self.unknown == 0
    }
}

/// The number of failed attempts, if failures are observable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Failures {
    /// The number of failed attempts.
    Observed(u64),
    /// The attach method observes only successes
    /// ([`AttachMethod::TpSuccess`](crate::attach::AttachMethod::TpSuccess)), or some attempts were
    /// not observed at the exits of their functions ([`Stats::tracepoint_only`]), or it is not
    /// known whether failures were observed when a recording was made. For
    /// [`Stats::synack_failures`] also: no program is attached to the exit of `tcp_rtx_synack()`.
    /// This is not the same as zero.
    #[default]
    Unobservable,
}

impl Failures {
    pub(crate) fn of(counts: &[Count], observed: bool) -> Self {
        if !observed {
            return Self::Unobservable;
        }
        let failed = counts.iter().filter(|count| count.result != Some(RetransResult::Success));
        Self::Observed(failed.map(|count| count.attempts).sum())
    }

    pub(crate) fn of_kind(counts: &[Count], kind: RetransKind, observed: bool) -> Self {
        let of_kind: Vec<_> = counts.iter().filter(|count| count.kind == kind).copied().collect();
        Self::of(&of_kind, observed)
    }
}

/// Prints the number, or `unobservable`.
impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observed(attempts) => attempts.fmt(f),
            Self::Unobservable => f.write_str("unobservable"),
        }
    }
}

/// The number of attempts of one result and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The result. A number of the kernel for which [`RetransResult`] has no name is *unlisted*.
    /// The first 17 different unlisted results have counts of their own. Each further unlisted
    /// result, and each unlisted result whose number exceeds 31, is included in one common count,
    /// whose result is `None`.
    pub result: Option<RetransResult>,
    /// The kind.
    pub kind: RetransKind,
    /// The number of attempts.
    pub attempts: u64,
    /// The number of segments of these attempts.
    pub segs: u64,
}

/// The number of attempts with one value of [`Transmit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransmitCount {
    /// The value that these attempts have in common: whether the kernel counted them in
    /// RetransSegs.
    pub transmit: Transmit,
    /// The number of attempts.
    pub attempts: u64,
    /// The number of segments of these attempts.
    pub segs: u64,
}

impl Stats {
    /// Returns the failed attempts of one kind, before the filter. For
    /// [`Synack`](RetransKind::Synack) it returns [`synack_failures`](Self::synack_failures).
    ///
    /// [`missed`](Self::missed) attempts are not included, because their kind is not known.
    #[must_use]
    pub fn failures_of(&self, kind: RetransKind) -> Failures {
        if kind == RetransKind::Synack {
            return self.synack_failures;
        }
        Failures::of_kind(&self.counts, kind, self.failures != Failures::Unobservable)
    }

    /// Returns the number of submitted events that are not yet rejected, dropped or delivered.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.submitted.saturating_sub(self.rejected + self.dropped + self.delivered)
    }

    /// Returns the counters by key, in the order in which they print. The counts by result and kind
    /// are not included.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
        [
            ("seen", Some(self.seen)),
            ("filtered", Some(self.filtered)),
            ("limited", Some(self.limited)),
            ("lost", Some(self.lost)),
            ("submitted", Some(self.submitted)),
            ("rejected", Some(self.rejected)),
            ("dropped", Some(self.dropped)),
            ("delivered", Some(self.delivered)),
            ("missed", self.missed),
        ]
        .into_iter()
    }
}

/// Prints `key=value` pairs: the counters, `failures`, `tracepoint_only` if it applies to the
/// attach method, `skipped` and `clock` for a recording, and `text_lost` and `text_lost_unknown`
/// for kernel text. A counter that is not available prints as `-`.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (key, value) in self.counters() {
            match value {
                Some(value) => write!(f, "{separator}{}", KeyVal { key, value })?,
                None => write!(f, "{separator}{}", KeyVal { key, value: '-' })?,
            }
            separator = " ";
        }
        write!(f, "{separator}{}", KeyVal { key: "failures", value: self.failures })?;
        for (key, value) in [
            ("tracepoint_only", self.tracepoint_only),
            ("skipped", self.skipped),
            ("text_lost", self.text_losses.map(|losses| losses.entries)),
            ("text_lost_unknown", self.text_losses.map(|losses| losses.unknown)),
        ] {
            if let Some(value) = value {
                write!(f, " {}", KeyVal { key, value })?;
            }
        }
        if self.skipped.is_some() {
            write!(f, " {}", KeyVal { key: "clock", value: self.clock })?;
        }
        Ok(())
    }
}

/// Prints `result=… kind=… attempts=… segs=…`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.result {
            Some(result) => write!(f, "{}", result.key_val())?,
            None => write!(f, "{}", KeyVal { key: RetransResult::KEY, value: '-' })?,
        }
        write!(f, " {} attempts={} segs={}", self.kind.key_val(), self.attempts, self.segs)
    }
}

/// Prints `transmit=… attempts=… segs=…`.
impl fmt::Display for TransmitCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts={} segs={}", self.transmit.key_val(), self.attempts, self.segs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_does_not_apply_is_not_printed() {
        let text = Stats { tracepoint_only: Some(2), ..Stats::default() }.to_string();
        assert!(text.ends_with(" failures=unobservable tracepoint_only=2"), "{text}");
        assert!(Stats::default().to_string().ends_with(" failures=unobservable"));
        let recorded = Stats { skipped: Some(1), clock: Clock::Realtime, ..Stats::default() };
        assert!(recorded.to_string().ends_with(" failures=unobservable skipped=1 clock=realtime"));
    }

    #[test]
    fn failures_are_reported_by_kind_if_observable() {
        let count = |result, kind, attempts| Count { result: Some(result), kind, attempts, segs: attempts };
        let counts = vec![
            count(RetransResult::Success, RetransKind::Rto, 5),
            count(RetransResult::Denied, RetransKind::Rto, 2),
            count(RetransResult::RouteFail, RetransKind::Rto, 1),
            count(RetransResult::Success, RetransKind::Synack, 4),
        ];
        let stats = Stats { failures: Failures::of(&counts, true), counts, ..Stats::default() };
        assert_eq!(stats.failures_of(RetransKind::Rto), Failures::Observed(3));
        assert_eq!(stats.failures_of(RetransKind::Tlp), Failures::Observed(0));
        assert_eq!(stats.failures_of(RetransKind::Synack), Failures::Unobservable);
        let blind = Stats { failures: Failures::Unobservable, ..stats };
        assert_eq!(blind.failures_of(RetransKind::Rto), Failures::Unobservable);

        let mut counts = blind.counts.clone();
        counts.push(count(RetransResult::XmitDrop, RetransKind::Synack, 3));
        let synack_failures = Failures::of_kind(&counts, RetransKind::Synack, true);
        let stats = Stats { failures: Failures::of(&counts, true), synack_failures, counts, ..Stats::default() };
        assert_eq!(stats.failures_of(RetransKind::Synack), Failures::Observed(3));
        assert_eq!(stats.failures, Failures::Observed(6));
    }
}
