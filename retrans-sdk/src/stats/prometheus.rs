// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters in the format of Prometheus.
//!
//! # Design
//!
//! No label contains an address, a port, a process id or a cookie, so the number of series is
//! bounded: by the results that occurred, times their kinds. Counts of zero are left out, because
//! most combinations cannot occur. The first failure of a result therefore creates a series, and
//! `rate()` does not see it. `retrans_failures_total` exists for each kind from the start.
//!
//! What cannot be observed is absent. A series with the value 0 would report that nothing failed.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::event::kind::RetransKind;
use crate::event::result::{ResultClass, RetransResult};
use crate::event::transmit::Transmit;
use crate::stats::reader::StatsReader;
use crate::stats::{Count, Failures, Stats};

/// Encodes the counters of a stream, in the namespace `retrans`, on each scrape. Requires the
/// feature `prometheus`.
///
/// | metric | labels | meaning |
/// |---|---|---|
/// | `retrans_attempts_total` | `result`, `class`, `kind` | attempts that passed the stream's filter |
/// | `retrans_segments_total` | `result`, `class`, `kind` | the segments of these attempts |
/// | `retrans_failures_total` | `kind` | failed attempts that passed the filter; absent if not observable |
/// | `retrans_failures_observable` | `kind` | 1 if failed attempts of the kind are observed, else 0 |
/// | `retrans_transmits_total` | `transmit` | all attempts by [`Transmit`] |
/// | `retrans_dispositions_total` | `disposition` | attempts by what became of their events |
/// | `retrans_waiting_events` | | events that are not read yet |
/// | `retrans_missed_total` | | [`Stats::missed`]; absent if the kernel does not count them |
///
/// If the attempts of an unlisted result have no count of their own, its label is `-`. The sum of
/// `retrans_dispositions_total` and `retrans_waiting_events` is [`Stats::seen`] while no attempt is
/// in progress, except for [`Counters`](crate::stream::Counters), which have no events.
///
/// # Examples
///
/// ```
/// use prometheus_client::encoding::text::encode;
/// use prometheus_client::registry::Registry;
/// use retrans_sdk::{RetransResult, Stream};
///
/// let (source, stream) = Stream::builder().mock()?;
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(stream.stats_reader()));
/// source.push_result(RetransResult::Denied);
///
/// let mut text = String::new();
/// encode(&mut text, &registry)?;
/// assert!(text.contains(r#"retrans_attempts_total{result="denied",class="drop",kind="rto"} 1"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Collector for StatsReader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.read();
        let mut families = Families(&mut encoder);
        families.counts("attempts", "Retransmission attempts by result and kind.", &stats, |count| count.attempts)?;
        families.counts("segments", "Segments of retransmission attempts.", &stats, |count| count.segs)?;
        families.failures(&stats)?;
        families.transmits(&stats)?;
        families.dispositions(&stats)?;
        families.missed(&stats)
    }
}

/// Returns the labels of a count.
fn labels(count: &Count) -> [(&'static str, String); 3] {
    let class = count.result.map_or(ResultClass::Other, RetransResult::class);
    [
        (RetransResult::KEY, count.result.map_or_else(|| "-".to_owned(), |result| result.to_string())),
        (ResultClass::KEY, class.to_string()),
        (RetransKind::KEY, count.kind.to_string()),
    ]
}

/// Encodes one metric family after another.
struct Families<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Families<'_, '_> {
    /// Encodes a family of counters. Writes nothing if it is empty.
    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'static str, String); N], u64)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let name = format!("retrans_{name}");
        let mut family = self.0.encode_descriptor(&name, help, None, MetricType::Counter)?;
        series.try_for_each(|(labels, value)| encode_metric(&ConstCounter::new(value), family.encode_family(&labels)?))
    }

    fn counts(&mut self, name: &str, help: &str, stats: &Stats, value: impl Fn(&Count) -> u64) -> fmt::Result {
        self.counters(name, help, stats.passed.iter().map(|count| (labels(count), value(count))))
    }

    /// Encodes which kinds have observable failures, and the failures of these.
    fn failures(&mut self, stats: &Stats) -> fmt::Result {
        let kinds = || RetransKind::ALL.iter().map(|entry| entry.variant);
        let is_observed = |kind: RetransKind| stats.failures_of(kind) != Failures::Unobservable;
        let label = |kind: RetransKind| [(RetransKind::KEY, kind.to_string())];
        let failed = |kind: RetransKind| {
            let of_kind = stats.passed.iter().filter(|count| count.kind == kind);
            of_kind.filter(|count| count.result != Some(RetransResult::Success)).map(|count| count.attempts).sum()
        };
        let help = "Failed retransmission attempts.";
        self.counters(
            "failures",
            help,
            kinds().filter(|kind| is_observed(*kind)).map(|kind| (label(kind), failed(kind))),
        )?;
        let help = "Whether failed attempts of the kind are observed.";
        let mut family = self.0.encode_descriptor("retrans_failures_observable", help, None, MetricType::Gauge)?;
        for kind in kinds() {
            encode_metric(&ConstGauge::new(i64::from(is_observed(kind))), family.encode_family(&label(kind))?)?;
        }
        Ok(())
    }

    fn transmits(&mut self, stats: &Stats) -> fmt::Result {
        let help = "Retransmission attempts by whether they reached the transmit step.";
        let label = |transmit: Transmit| [(Transmit::KEY, transmit.to_string())];
        self.counters("transmits", help, stats.transmits.iter().map(|count| (label(count.transmit), count.attempts)))
    }

    fn dispositions(&mut self, stats: &Stats) -> fmt::Result {
        let Stats { filtered, limited, lost, rejected, dropped, delivered, .. } = *stats;
        let dispositions = [
            ("filtered", filtered),
            ("limited", limited),
            ("lost", lost),
            ("rejected", rejected),
            ("dropped", dropped),
            ("delivered", delivered),
        ];
        let help = "Attempts by what became of their events.";
        let series = dispositions.map(|(name, value)| ([("disposition", name.to_owned())], value));
        self.counters("dispositions", help, series)?;
        let help = "Events that are not read yet.";
        let metric = self.0.encode_descriptor("retrans_waiting_events", help, None, MetricType::Gauge)?;
        encode_metric(&ConstGauge::new(i64::try_from(stats.waiting()).unwrap_or(i64::MAX)), metric)
    }

    fn missed(&mut self, stats: &Stats) -> fmt::Result {
        let Some(missed) = stats.missed else { return Ok(()) };
        let help = "Runs of a BPF program that the kernel skipped.";
        let metric = self.0.encode_descriptor("retrans_missed", help, None, MetricType::Counter)?;
        encode_metric(&ConstCounter::new(missed), metric)
    }
}

/// Encodes a metric. `Collector` has a method of the same name.
fn encode_metric(
    metric: &impl prometheus_client::encoding::EncodeMetric,
    encoder: prometheus_client::encoding::MetricEncoder<'_>,
) -> fmt::Result {
    metric.encode(encoder)
}
