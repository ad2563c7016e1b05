// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts that add up.

pub(crate) mod layout;
pub(crate) mod netns;
pub(crate) mod reader;
pub(crate) mod reconcile;
pub(crate) mod user_counters;

pub use self::netns::Netns;
pub use self::reader::StatsReader;
pub use self::reconcile::{Reconciler, Reconciliation, Sum};
use std::fmt;

use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::transmit::Transmit;
use crate::text::reason_table::KeyVal;

/// What became of every attempt since the stream was opened.
///
/// Exactly, once what is under way has settled:
///
/// - `seen = filtered +` the attempts in [`passed`](Self::passed)
/// - these attempts `= limited + lost + submitted`; [`Counters`](crate::stream::Counters) only count them
/// - `submitted = rejected + dropped + delivered`, after a drain; before it [`waiting`](Self::waiting) is the difference.
///
/// All of them only ever rise.
///
/// A reading taken while attempts are being made may show some that are seen and not yet judged: `seen` and `submitted`
/// are then the larger side (on CPUs that reorder stores, such as arm64, either may be off by what is under way). Of a
/// stream that is closed, what was still in the ring stays [`waiting`](Self::waiting).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts at which a program of the stream ran.
    pub seen: u64,
    /// Attempts that the stream's filter excluded.
    pub filtered: u64,
    /// Attempts that passed the filter and were held back by the limit
    /// ([`StreamBuilder::rate_limit`](crate::StreamBuilder::rate_limit)): 0 without one.
    pub limited: u64,
    /// Attempts for which the ring had no room: read faster, or ask for a larger ring.
    pub lost: u64,
    /// Attempts whose record went into the ring.
    pub submitted: u64,
    /// Events that the application's own predicate refused.
    pub rejected: u64,
    /// Events that were read and not handed on: a full [`Queue`](crate::stream::Queue), a stream closed in the middle of a batch,
    /// or a record that failed its checks (which only corruption brings about).
    pub dropped: u64,
    /// Events handed to the application.
    pub delivered: u64,
    /// Attempts that were not seen because the kernel skipped a program, which was already running on that CPU. With
    /// [`AttachMethod::Fexit`](crate::attach::AttachMethod::Fexit), where several programs see to one attempt, at most so many. `None` where the
    /// kernel does not tell: before Linux 5.12, and of kprobes. Of what is [replayed](crate::offline::Recording): what a kernel's text says was lost, of whichever tracepoint; `None` unless it says how much.
    pub missed: Option<u64>,
    /// Of a stream that is [replayed](crate::offline::Recording): lines that were none, and were skipped because that was chosen
    /// ([`BadLines::Skip`](crate::offline::BadLines::Skip)). `None` of any other. They are in no other count.
    pub skipped: Option<u64>,
    /// Attempts that failed, of all that were seen, before the filter. Those of SYN-ACKs are not among them: they are unobservable on
    /// every kernel.
    pub failures: Failures,
    /// By result and kind: every attempt that was seen, before the filter, so that the attempts here add up to `seen`.
    /// Counted in the kernel, so what the ring loses is in here. No entry stands for none.
    pub counts: Vec<Count>,
    /// By result and kind: every attempt that passed the filter, before the limit. Equals `counts`
    /// if there is no filter. No entry stands for none.
    pub passed: Vec<Count>,
    /// By whether they reached the transmit step: every attempt that was seen, before the filter.
    pub transmits: Vec<TransmitCount>,
}

/// How many attempts failed, where that can be seen at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Failures {
    /// So many.
    Observed(u64),
    /// The source sees successes only ([`AttachMethod::TpSuccess`](crate::attach::AttachMethod::TpSuccess)), or a recording does not tell
    /// whether it saw more: that is not none.
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
}

/// The number, or `unobservable`.
impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observed(attempts) => attempts.fmt(f),
            Self::Unobservable => f.write_str("unobservable"),
        }
    }
}

/// How often one result came about for one kind of attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The result. Results that this version has no name for are counted under their own numbers,
    /// up to 17 of them. `None` counts all others together, and any whose number in the kernel is
    /// above 31.
    pub result: Option<RetransResult>,
    /// The kind.
    pub kind: RetransKind,
    /// Attempts.
    pub attempts: u64,
    /// The segments that these attempts stand for.
    pub segs: u64,
}

/// How many attempts reached the transmit step, or did not, or may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransmitCount {
    /// Which of these.
    pub transmit: Transmit,
    /// Attempts.
    pub attempts: u64,
    /// The segments that these attempts stand for.
    pub segs: u64,
}

impl Stats {
    /// Attempts of one kind that failed, of all that were seen, before the filter.
    /// [`Synack`](RetransKind::Synack) is [`Failures::Unobservable`] on every kernel, whatever the source: its tracepoint fires for
    /// successes only. What is not observed cannot be named: an attempt that no program saw is of no kind.
    #[must_use]
    pub fn failures_of(&self, kind: RetransKind) -> Failures {
        let observed = kind != RetransKind::Synack && self.failures != Failures::Unobservable;
        let of_kind: Vec<_> = self.counts.iter().filter(|count| count.kind == kind).copied().collect();
        Failures::of(&of_kind, observed)
    }

    /// Records that were submitted and are neither rejected nor dropped nor delivered yet.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.submitted.saturating_sub(self.rejected + self.dropped + self.delivered)
    }

    /// The counters by key, in the order in which they print; the counts by result and kind not included.
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

/// As `key=val`: the counters, with `-` for a count that the kernel does not give, `failures`, and of what is replayed `skipped`.
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
        self.skipped.map_or(Ok(()), |value| write!(f, " {}", KeyVal { key: "skipped", value }))
    }
}

/// As `result=… kind=… attempts=… segs=…`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.result {
            Some(result) => write!(f, "{}", result.key_val())?,
            None => write!(f, "{}", KeyVal { key: RetransResult::KEY, value: '-' })?,
        }
        write!(f, " {} attempts={} segs={}", self.kind.key_val(), self.attempts, self.segs)
    }
}

/// As `transmit=… attempts=… segs=…`.
impl fmt::Display for TransmitCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts={} segs={}", self.transmit.key_val(), self.attempts, self.segs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_kind_where_they_can_be_seen() {
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
    }
}
