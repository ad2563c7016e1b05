// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counts of a report, in bounded memory.

use std::collections::BTreeMap;

use retrans_sdk::event::{Clock, DropReason, EndReason, KernelStr, Timestamp, UnneededProof, Verdict};
use retrans_sdk::format::Line;
use retrans_sdk::offline::DetectedFormat;
use retrans_sdk::stats::TextLosses;
use retrans_sdk::{Event, RetransKind, RetransResult};

use super::prefixes::Prefixes;
use super::series::{Keyed, Series};
use super::status::Status;
use crate::histogram::buckets::Buckets;
use crate::histogram::prefix::Prefixes as Lengths;

/// The maximum numbers of results and kinds with a row. The SDK names fourteen results and eleven
/// kinds; a recording may contain any number of unlisted ones.
const MOST_RESULTS: usize = 24;
const MOST_KINDS: usize = 16;
/// The maximum number of droppers, and of reasons for which connections end.
const MOST_DROPPERS: usize = 64;
const MOST_REASONS: usize = 16;
/// The maximum number of values that lines state for one key, such as the name of the host.
const MOST_STATED: usize = 8;
/// The number of failures that are shown as lines.
pub(crate) const NEWEST: usize = 20;
/// The longest value and the longest line that the report keeps. A line of the SDK is shorter.
const LONGEST: usize = 2000;

/// The keys by which a line states where it was recorded. The SDK does not define them: programs
/// that ship lines add them.
pub(crate) const STATED: [&str; 3] = ["host", "kernel", "source"];

/// The counts of one result.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) attempts: u64,
    pub(crate) segs: u64,
    pub(crate) kinds: Keyed<RetransKind, u64>,
    pub(crate) series: Series,
}

impl Default for Outcome {
    fn default() -> Self {
        Self { attempts: 0, segs: 0, kinds: Keyed::new(MOST_KINDS), series: Series::default() }
    }
}

/// The reason, function and device of a drop, as far as they are known.
pub(crate) type Dropper = (Option<DropReason>, Option<&'static str>, Option<KernelStr>);

/// The connections that ended for one reason.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) connections: u64,
    pub(crate) attempts: u64,
    /// The longest stall in milliseconds, if one was reported.
    pub(crate) stall_ms: Option<u32>,
    pub(crate) unacked: u64,
}

/// The reports of one proof that attempts were unneeded.
#[derive(Debug, Default)]
pub(crate) struct Unneeded {
    pub(crate) reports: u64,
    pub(crate) attempts: u64,
    pub(crate) segs: u64,
}

/// A failure that is shown as a line.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) event: Event,
    /// The line, with the keys that this version does not know.
    pub(crate) line: String,
}

/// A recording that was read, and what it reports about itself.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The path, escaped.
    pub(crate) name: String,
    pub(crate) detected: Option<DetectedFormat>,
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    pub(crate) verdicts: u64,
    /// Attempts that the report's filter excluded.
    pub(crate) excluded: u64,
    pub(crate) skipped: u64,
    pub(crate) losses: TextLosses,
    /// The earliest and the latest time.
    pub(crate) range: Option<(Timestamp, Timestamp)>,
    /// Why the reading ended before the end of the recording.
    pub(crate) error: Option<String>,
}

/// The counts of a report.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) clock: Clock,
    pub(crate) buckets: Buckets,
    pub(crate) sources: Vec<Source>,
    /// The counters and attach methods of the program that recorded, if they are known.
    pub(crate) status: Option<Status>,
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    pub(crate) segs: u64,
    /// The number of attempts without `err`.
    pub(crate) without_err: u64,
    pub(crate) synacks: u64,
    pub(crate) failed_synacks: u64,
    pub(crate) results: Keyed<RetransResult, Outcome>,
    pub(crate) prefixes: Prefixes,
    pub(crate) droppers: Keyed<Dropper, u64>,
    /// The number of attempts with a field of drops.
    pub(crate) with_drop: u64,
    pub(crate) ended: Keyed<EndReason, Ended>,
    /// The connections that were [aborted](is_abort), over time.
    pub(crate) aborts: Series,
    pub(crate) unneeded: Keyed<UnneededProof, Unneeded>,
    /// The reports of lost trace entries, in the columns in which the entries may be missing.
    pub(crate) losses: Series,
    pub(crate) newest: BTreeMap<(Timestamp, u64), Failure>,
    /// The values that lines state, by the index in [`STATED`].
    pub(crate) stated: [Keyed<String, u64>; STATED.len()],
}

impl Model {
    pub(crate) fn new(lengths: Lengths) -> Self {
        Self {
            clock: Clock::Realtime,
            buckets: Buckets::new(None),
            sources: Vec::new(),
            status: None,
            attempts: 0,
            failures: 0,
            segs: 0,
            without_err: 0,
            synacks: 0,
            failed_synacks: 0,
            results: Keyed::new(MOST_RESULTS),
            prefixes: Prefixes::new(lengths),
            droppers: Keyed::new(MOST_DROPPERS),
            with_drop: 0,
            ended: Keyed::new(MOST_REASONS),
            aborts: Series::default(),
            unneeded: Keyed::new(MOST_REASONS),
            losses: Series::default(),
            newest: BTreeMap::new(),
            stated: std::array::from_fn(|_| Keyed::new(MOST_STATED)),
        }
    }

    /// Adds a recording, to which the next lines belong.
    pub(crate) fn begin(&mut self, name: String) {
        self.sources.push(Source { name, ..Source::default() });
    }

    /// Returns the current recording.
    pub(crate) fn source(&mut self) -> &mut Source {
        if self.sources.is_empty() {
            self.begin(String::new());
        }
        let last = self.sources.len() - 1;
        &mut self.sources[last]
    }

    pub(crate) fn add(&mut self, line: &Line) {
        let event = &line.event;
        let has_failed = event.result != RetransResult::Success;
        let column = self.column(event.ts);
        let source = self.source();
        source.attempts += 1;
        source.failures += u64::from(has_failed);
        self.attempts += 1;
        self.failures += u64::from(has_failed);
        self.segs += u64::from(event.segs);
        self.without_err += u64::from(event.err.is_none());
        if event.kind == RetransKind::Synack {
            self.synacks += 1;
            self.failed_synacks += u64::from(has_failed);
        }
        self.results.update(event.result, |outcome| {
            outcome.attempts += 1;
            outcome.segs += u64::from(event.segs);
            outcome.kinds.update(event.kind, |count| *count += 1);
            outcome.series.add(column, 1);
        });
        self.prefixes.count(event, column);
        if event.drop_reason.is_some() || event.drop_at.is_some() || event.drop_dev.is_some() {
            self.with_drop += 1;
            let dropper = (event.drop_reason, event.drop_at.map(|place| place.function()), event.drop_dev);
            self.droppers.update(dropper, |count| *count += 1);
        }
        for (stated, key) in self.stated.iter_mut().zip(STATED) {
            if let Some((_, value)) = line.unknown.iter().find(|(of, _)| of == key) {
                stated.update(shortened(value), |count| *count += 1);
            }
        }
        if has_failed {
            self.keep_if_new(line);
        }
    }

    /// Counts an attempt that the report's filter excluded. The recording covers its time, too.
    pub(crate) fn exclude(&mut self, ts: Timestamp) {
        self.column(ts);
        self.source().excluded += 1;
    }

    /// Adds a value that the header of a recording states for all its attempts.
    pub(crate) fn state(&mut self, key: &str, value: Option<&str>, attempts: u64) {
        let at = STATED.iter().position(|stated| *stated == key);
        if let (Some(stated), Some(value)) = (at.and_then(|at| self.stated.get_mut(at)), value) {
            stated.update(shortened(value), |count| *count += attempts);
        }
    }

    pub(crate) fn add_verdict(&mut self, verdict: &Verdict) {
        let column = self.column(verdict.ts);
        self.source().verdicts += 1;
        if let Some(why) = verdict.why {
            self.ended.update(why, |ended| {
                ended.connections += 1;
                ended.attempts += u64::from(verdict.attempts.unwrap_or_default());
                ended.stall_ms = ended.stall_ms.max(verdict.stall_ms);
                ended.unacked += u64::from(verdict.unacked.unwrap_or_default());
            });
            if is_abort(why) {
                self.aborts.add(column, 1);
            }
        }
        if let Some(proof) = verdict.proof {
            self.unneeded.update(proof, |unneeded| {
                unneeded.reports += 1;
                unneeded.attempts += u64::from(verdict.attempts.unwrap_or_default());
                unneeded.segs += u64::from(verdict.segs.unwrap_or_default());
            });
        }
    }

    /// Marks the columns between two times, in which entries were lost.
    pub(crate) fn lose(&mut self, from: Timestamp, to: Timestamp) {
        // Both are admitted before either is converted, because that may merge columns.
        for ts in [from, to] {
            self.column(ts);
        }
        let [from, to] = [from.min(to), from.max(to)].map(|ts| self.buckets.of(ts.as_nanos()));
        (from..=to).for_each(|column| self.losses.add(column, 1));
    }

    /// Returns the column of a time, and merges columns if there would be too many.
    fn column(&mut self, ts: Timestamp) -> u64 {
        // Only a requested length of a column can be refused, and none is requested.
        let columns = self.buckets.admit(ts.as_nanos()).unwrap_or(1);
        if columns > 1 {
            self.results.values_mut().for_each(|outcome| outcome.series.merge(columns));
            self.prefixes.merge(columns);
            self.aborts.merge(columns);
            self.losses.merge(columns);
        }
        let source = self.source();
        source.range = Some(source.range.map_or((ts, ts), |(first, last)| (first.min(ts), last.max(ts))));
        self.buckets.of(ts.as_nanos())
    }

    fn keep_if_new(&mut self, line: &Line) {
        let key = (line.event.ts, self.failures);
        let is_full = self.newest.len() >= NEWEST;
        if is_full && self.newest.first_key_value().is_some_and(|(oldest, _)| key < *oldest) {
            return;
        }
        self.newest.insert(key, Failure { event: line.event, line: shortened(&line.to_string()) });
        if self.newest.len() > NEWEST {
            self.newest.pop_first();
        }
    }

    /// Returns the number of connections that were [aborted](is_abort).
    pub(crate) fn aborted(&self) -> u64 {
        let all = self.ended.sorted_by(|ended| ended.connections);
        all.iter().filter(|(why, _)| is_abort(**why)).map(|(_, ended)| ended.connections).sum()
    }

    /// Returns the columns of the time axis, from the first to the last.
    pub(crate) fn columns(&self) -> std::ops::Range<u64> {
        let first = self.buckets.of(self.buckets.begin());
        first..first + self.buckets.count()
    }

    /// Returns the earliest and the latest time.
    pub(crate) fn range(&self) -> Option<(Timestamp, Timestamp)> {
        let ranges = self.sources.iter().filter_map(|source| source.range);
        ranges.reduce(|(first, last), (from, to)| (first.min(from), last.max(to)))
    }

    /// Returns whether a recording has lines before or in a column, and also in or after it.
    pub(crate) fn is_covered(&self, column: u64) -> bool {
        let columns = |(first, last): (Timestamp, Timestamp)| {
            self.buckets.of(first.as_nanos())..=self.buckets.of(last.as_nanos())
        };
        self.sources.iter().filter_map(|source| source.range).any(|range| columns(range).contains(&column))
    }

    /// Returns the time at which a column begins.
    pub(crate) fn begin_of(&self, column: u64) -> Timestamp {
        Timestamp::from_nanos(column.saturating_mul(self.buckets.length))
    }
}

/// Returns true if it is proven that a connection ended before the peer had acknowledged all data
/// and the FIN.
pub(crate) const fn is_abort(why: EndReason) -> bool {
    !matches!(why, EndReason::Acked | EndReason::Unknown | EndReason::Unlisted(_))
}

/// Returns a text, cut if it is long.
fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}… ({} bytes in total)", &text[..end], text.len())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::top::model::tests::event;

    pub(crate) fn line(ts: &str, result: &str, kind: &str, daddr: &str) -> Line {
        Line { event: event(ts, result, kind, daddr), unknown: Vec::new() }
    }

    #[test]
    fn all_counts_have_the_same_sum_after_columns_were_merged() {
        let mut model = Model::new(Lengths::default());
        for i in 0..1000_u32 {
            let result = ["success", "denied", "route_fail"][i as usize % 3];
            // The time increases faster and faster.
            model.add(&line(&format!("{}", u64::from(i).pow(3)), result, "rto", &format!("10.0.{}.1", i % 200)));
        }
        let columns = model.columns();
        assert!(columns.clone().count() <= 40, "{columns:?}");
        let sum = |series: &Series| columns.clone().map(|column| series.get(column)).sum::<u64>();
        let results: u64 = model.results.sorted_by(|o| o.attempts).iter().map(|(_, o)| sum(&o.series)).sum();
        let rows = model.prefixes.sorted(super::super::prefixes::Order::Attempts);
        assert_eq!(results, 1000);
        assert_eq!(rows.iter().map(|(_, row)| sum(&row.all)).sum::<u64>(), 1000);
        assert_eq!(rows.iter().map(|(_, row)| sum(&row.failed)).sum::<u64>(), model.failures);
    }

    #[test]
    fn the_newest_failures_are_kept_by_time() {
        let mut model = Model::new(Lengths::default());
        for i in (0..100).rev() {
            model.add(&line(&i.to_string(), if i % 2 == 0 { "denied" } else { "success" }, "rto", "10.0.0.1"));
        }
        let times: Vec<_> = model.newest.keys().map(|(ts, _)| ts.as_nanos() / 1_000_000_000).collect();
        assert_eq!(times, (60..100).filter(|i| i % 2 == 0).collect::<Vec<_>>());
        let mut long = line("100", "denied", "rto", "10.0.0.1");
        long.unknown.push(("x".to_owned(), "ä".repeat(10_000)));
        model.add(&long);
        let kept = &model.newest.last_key_value().expect("a failure").1.line;
        assert!(kept.len() < LONGEST + 40 && kept.ends_with(" bytes in total)"), "{}", kept.len());
    }

    #[test]
    fn unlisted_numbers_are_bounded() {
        let mut model = Model::new(Lengths::default());
        for i in 200..1200 {
            model.add(&line("1", &format!("k{i}"), &format!("k{i}"), "10.0.0.1"));
        }
        assert_eq!(model.results.keys().count() as u64 + model.results.others(), 1000);
        assert_eq!(model.results.keys().count(), MOST_RESULTS);
    }

    #[test]
    fn a_column_is_covered_between_the_lines_of_one_recording() {
        let mut model = Model::new(Lengths::default());
        for (name, times) in [("a", ["100", "103"]), ("b", ["110", "112"])] {
            model.begin(name.to_owned());
            times.iter().for_each(|ts| model.add(&line(ts, "success", "rto", "10.0.0.1")));
        }
        let covered: Vec<_> = model.columns().filter(|column| model.is_covered(*column)).collect();
        assert_eq!(covered, [100, 101, 102, 103, 110, 111, 112]);
        model.lose(Timestamp::from_nanos(111_000_000_000), Timestamp::from_nanos(112_500_000_000));
        assert_eq!([110, 111, 112].map(|column| model.losses.get(column)), [0, 1, 1]);
    }
}
