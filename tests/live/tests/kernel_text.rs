// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of the kernel's own tracepoints is replayed as a recording.

use std::collections::BTreeSet;
use std::io::Cursor;

use retrans_lab::kernel_enum::result_of_text;
use retrans_lab::observe::ends;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{
    Context, Discard, Family, Outcome, Pair, PrintedFailures, Probes, Refusal, Result, Scenario, TraceInstance,
    Tracepoint, privilege,
};
use retrans_sdk::event::Family as Inet;
use retrans_sdk::offline::Recording;
use retrans_sdk::reason_table::ReasonTable as _;
use retrans_sdk::stats::Failures;
use retrans_sdk::{Event, ResultClass, RetransKind, RetransResult, Stream};

fn read(mut stream: Stream) -> (Vec<Event>, Stream) {
    (stream.iter().map(|event| event.expect("an event")).collect(), stream)
}

/// The recording is from perf 6.1 on Linux 6.18, of the lab's scenarios. There perf prints states
/// as numbers.
#[test]
fn perf_script_output_is_replayed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/retrans/recordings/perf-script.txt");
    let (events, stream) = read(Recording::open(path).expect("a file").start().expect("a stream"));
    let stats = stream.stats();
    assert_eq!((events.len(), stats.skipped), (16, Some(0)));
    assert!(matches!(stats.failures, Failures::Observed(1..)), "{stats}");
    let of = |event: &Event| (event.result, event.err);
    let results: BTreeSet<_> = events.iter().map(of).collect();
    use RetransResult::*;
    for expected in [(Success, 0), (InHostQueue, -16), (Denied, -1), (XmitDrop, 1), (Nomem, -12), (ErrDefault, -113)] {
        assert!(results.contains(&(expected.0, Some(expected.1))), "{expected:?}: {results:?}");
    }
    assert_eq!(events.iter().filter(|event| event.kind == RetransKind::Synack).count(), 2);
    for family in [Inet::Inet, Inet::Inet6] {
        assert!(events.iter().any(|event| event.family() == family));
    }
    assert!(events.iter().all(|event| event.saddr != event.daddr && event.sport > 0 && event.dport > 0), "{events:?}");
    assert_eq!(events[0].ts.as_nanos(), 17_783_867_820_000);
}

/// Replaces the sentences that the first two versions of the proposal print
/// (`tests/kernels/patches/variants`) by the names of the results.
fn with_result_name(line: &str) -> String {
    let by_name = |(head, sentence)| Some(format!("{head} result={}", result_of_text(sentence)?));
    line.split_once(" quit_reason=").and_then(by_name).unwrap_or_else(|| line.to_owned())
}

/// Replays trace_pipe, and compares it with another reader of the trace.
#[test]
#[ignore = "live: needs root, run by make test"]
fn trace_pipe_output_is_replayed() -> Result<()> {
    privilege::check()?;
    let mut trace = TraceInstance::without_stacks()?;
    let printed = trace.prints_failures()?;
    let outcomes = [
        Outcome::Rto,
        Outcome::Syn,
        Outcome::Synack,
        Outcome::Denied(Refusal::Drop),
        Outcome::XmitDrop(Discard::Qdisc),
    ];
    let scenarios: Vec<_> = outcomes
        .into_iter()
        .flat_map(|outcome| Family::ALL.map(|family| (outcome, family)))
        // Each scenario has a pair of its own, so that they do not affect each other.
        .map(|(outcome, family)| Pair::new().and_then(|pair| Ok((Scenario::run(&pair, family, outcome)?, pair))))
        .collect::<Result<_>>()?;
    let mut traced = Vec::new();
    wait_for("the kernel's text", PATIENCE, || {
        traced.extend(trace.read()?);
        // Kernels that report no failures print none of these.
        let wanted = scenarios
            .iter()
            .map(|(of, _)| of)
            .filter(|of| printed != PrintedFailures::No || of.outcome().expected(0, Probes::Off).err == 0);
        let has = |scenario: &Scenario| -> bool {
            let subject = scenario.subject();
            traced.iter().any(|event| (event.local(), event.remote()) == (subject.local, subject.remote))
        };
        Ok(wanted.into_iter().all(has).then_some(()))
    })?;
    scenarios.into_iter().try_for_each(|(scenario, _pair)| scenario.finish())?;

    let text: String = traced.iter().map(|event| with_result_name(&event.line) + "\n").collect();
    let stream = Recording::from_reader(Cursor::new(text)).start().context("a stream")?;
    let (events, stream) = read(stream);
    assert_eq!(events.len(), traced.len());
    for (event, traced) in events.iter().zip(&traced) {
        assert_eq!(ends(event), (traced.local(), traced.remote()), "{}", traced.line);
        assert_eq!(u128::from(event.ts.as_nanos()), traced.timestamp.as_nanos(), "{}", traced.line);
        assert_eq!(
            event.kind == RetransKind::Synack,
            traced.tracepoint == Tracepoint::RetransmitSynack,
            "{}",
            traced.line
        );
        if let Some(state) = &traced.state {
            assert_eq!(event.state.entry().and_then(|entry| entry.c_name), Some(state.as_str()));
        }
        if traced.err.is_some() {
            assert_eq!(event.err, traced.err, "{}", traced.line);
        }
    }
    let failed = events.iter().any(|event| event.class() == ResultClass::Drop);
    assert_eq!(failed, printed == PrintedFailures::ByErrno);
    assert_eq!(stream.stats().failures == Failures::Unobservable, printed == PrintedFailures::No);
    Ok(())
}
