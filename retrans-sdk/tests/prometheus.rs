// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counters in the format of Prometheus.
#![cfg(feature = "prometheus")]

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use retrans_sdk::offline::Recording;
use retrans_sdk::{RetransKind, RetransResult, Stream};

/// Returns the exposition of a stream's counters.
fn text(stream: &Stream) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(stream.stats_reader()));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string accepts everything");
    text
}

/// Returns the value of a series.
fn value(text: &str, series: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().expect("a number"))
}

/// Returns the sum of all series of a metric.
fn sum(text: &str, metric: &str) -> u64 {
    let series = text.lines().filter(|line| line.starts_with(metric) && !line.starts_with('#'));
    series.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number")).sum()
}

#[test]
fn every_series_is_a_counter_of_the_stream() {
    let (source, mut stream) =
        Stream::builder().filter("result!=denied".parse().expect("a filter")).mock().expect("a mock");
    for result in [RetransResult::Success, RetransResult::Success, RetransResult::XmitDrop, RetransResult::Denied] {
        source.push_result(result);
    }
    source.push_result(RetransResult::from_raw(10));
    assert_eq!(stream.try_iter().take(2).count(), 2);
    let text = text(&stream);
    let stats = stream.stats();
    assert_eq!(value(&text, r#"retrans_attempts_total{result="success",class="ok",kind="rto"}"#), Some(2), "{text}");
    assert_eq!(value(&text, r#"retrans_segments_total{result="xmit_drop",class="drop",kind="rto"}"#), Some(1));
    assert_eq!(value(&text, r#"retrans_attempts_total{result="k10",class="other",kind="rto"}"#), Some(1));
    assert_eq!(value(&text, r#"retrans_failures_total{kind="rto"}"#), Some(2), "the filter excludes one");
    assert_eq!(value(&text, r#"retrans_failures_total{kind="fast"}"#), Some(0), "observable, and none occurred");
    assert_eq!(value(&text, r#"retrans_dispositions_total{disposition="filtered"}"#), Some(1));
    assert_eq!(value(&text, r#"retrans_dispositions_total{disposition="delivered"}"#), Some(stats.delivered));
    let waiting = value(&text, "retrans_waiting_events").expect("always");
    assert_eq!(sum(&text, "retrans_dispositions_total") + waiting, stats.seen, "{text}");
    assert_eq!(sum(&text, "retrans_attempts_total"), stats.seen - stats.filtered);
    assert_eq!(sum(&text, "retrans_transmits_total"), stats.seen);
    assert_eq!(value(&text, "retrans_missed_total"), stats.missed);
    assert_eq!(sum(&text, "retrans_failures_observable"), RetransKind::ALL.len() as u64);
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn counters_never_decrease() {
    let (source, mut stream) = Stream::builder().mock().expect("a mock");
    let mut before = 0;
    for _ in 0..3 {
        source.push_result(RetransResult::Success);
        assert_eq!(stream.recv_batch_timeout(Duration::from_secs(5)).expect("an event").into_slice().len(), 1);
        let now = sum(&text(&stream), "retrans_dispositions_total");
        assert!(now > before, "{now} {before}");
        before = now;
    }
}

/// Kernel text without `err` does not show failures.
#[test]
fn unobservable_failures_have_no_series() {
    let line = "<idle>-0 [000] ..s2. 12.000000: tcp_retransmit_skb: family=AF_INET sport=1 dport=2 saddr=10.0.0.1 \
        daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_ESTABLISHED\n";
    let mut stream = Recording::from_reader(line.as_bytes()).start().expect("a recording");
    assert_eq!(stream.iter().filter(Result::is_ok).count(), 1);
    let text = text(&stream);
    assert_eq!(sum(&text, "retrans_attempts_total"), 1, "{text}");
    assert!(!text.contains("retrans_failures_total"), "absent, not 0: {text}");
    assert_eq!(sum(&text, "retrans_failures_observable"), 0);
    assert_eq!(value(&text, r#"retrans_failures_observable{kind="rto"}"#), Some(0), "{text}");
}

/// Nothing in a label identifies a connection or a process.
#[test]
fn the_labels_are_bounded() {
    let (source, stream) = Stream::builder().mock().expect("a mock");
    for entry in RetransResult::ALL {
        source.push_result(entry.variant);
    }
    let text = text(&stream);
    let mut labels: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('{')?.1.split_once('}')?.0))
        .flat_map(|labels| labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)))
        .collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels, ["class", "disposition", "kind", "result", "transmit"]);
}
