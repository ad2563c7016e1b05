// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every attach method that can be forced here reports the same events, and every other method
//! reports the reason that it is not supported.

use std::time::SystemTime;

use retrans_lab::observe::{attachment, concerns, drain};
use retrans_lab::{
    Context, Discard, Family, Hold, KernelSupport, Outcome, Refusal, Result, RouteFault, ScenarioRun, TraceInstance,
    WindowFault, privilege,
};
use retrans_sdk::attach::{AttachMethod, Attachment, Unobservable};
use retrans_sdk::event::Timestamp;
use retrans_sdk::stats::Failures;
use retrans_sdk::stream::Live;
use retrans_sdk::{ErrorKind, Event, ResultClass, RetransResult, Stream};

/// Each result, each kind, and each path on which an attempt begins and ends.
const OUTCOMES: [Outcome; 12] = [
    Outcome::Rto,
    Outcome::Tlp,
    Outcome::Fast,
    Outcome::Syn,
    Outcome::Synack,
    Outcome::MtuCut,
    Outcome::InHostQueue(Hold::Qdisc),
    Outcome::RouteFail(RouteFault::Prohibit),
    Outcome::RcvZeroWindow(WindowFault::Peer),
    Outcome::FragNomem,
    Outcome::Denied(Refusal::Drop),
    Outcome::XmitDrop(Discard::Qdisc),
];

#[test]
#[ignore = "live: needs root, run by make test"]
fn each_method_reports_the_same_or_why_it_is_unsupported() -> Result<()> {
    privilege::check()?;
    let mut opened = 0;
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        match Stream::builder().attach_method(method).open() {
            Ok(mut stream) => {
                opened += 1;
                assert_eq!(stream.live().map(Live::attach_method), Some(method));
                run_all(&mut stream)?;
                let observed = method.observes_failures();
                assert_eq!(matches!(stream.stats().failures, Failures::Observed(1..)), observed, "{method}");
                assert_eq!(stream.stats().failures == Failures::Unobservable, !observed, "{method}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::MethodUnavailable, "{method}: {error}");
                let begin = format!("attach method `{method}` is not available on this kernel: {method}");
                assert!(error.to_string().starts_with(&begin), "{error}");
            }
        }
    }
    assert!(opened > 0, "no attach method is available");
    Ok(())
}

fn run_all(stream: &mut Stream) -> Result<()> {
    let all: Vec<_> = OUTCOMES.iter().enumerate().map(|(at, outcome)| (*outcome, Family::ALL[at % 3])).collect();
    for run in ScenarioRun::run_all(stream, &mut TraceInstance::new()?, &all, |_| {})? {
        // The kernel may have skipped the programs.
        run.verify_undisturbed().with_context(|| format!("from {}", attachment(stream)))?;
    }
    Ok(())
}

/// Every available method reports one attempt equally in every field except the timestamp. With a
/// single method nothing is compared; the guests of the kernel matrix have two or more.
#[test]
#[ignore = "live: needs root, run by make test"]
fn concurrent_methods_report_the_same_in_every_field() -> Result<()> {
    privilege::check()?;
    let support = KernelSupport::probe();
    let possible = OUTCOMES.iter().enumerate().filter(|(_, outcome)| support.missing_for(**outcome).is_none());
    let all: Vec<_> = possible.map(|(at, outcome)| (*outcome, Family::ALL[at % 3])).collect();
    let mut streams = Vec::new();
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        match Stream::builder().attach_method(method).open() {
            Err(error) if error.kind() == ErrorKind::MethodUnavailable => {}
            opened => streams.push(opened.with_context(|| method.to_string())?),
        }
    }
    // A method that sees no failures would wait forever for an outcome that only fails.
    streams.sort_by_key(|stream| !attachment(stream).observes_failures());
    let mut best = streams.remove(0);
    let mut runs = Vec::new();
    // Three at a time: with more, emulation would disturb some.
    for some in all.chunks(3) {
        runs.extend(ScenarioRun::run_all(&mut best, &mut TraceInstance::new()?, some, |_| {})?);
    }
    runs.retain(|run| !run.was_disturbed());
    if attachment(&best).observes_failures() {
        runs.iter().try_for_each(ScenarioRun::verify)?;
    }
    let mut compared = 0;
    for other in &mut streams {
        let (mut events, from) = (drain(other)?, attachment(other).clone());
        if other.stats().missed.is_some_and(|missed| missed > 0) {
            eprintln!("{from} missed attempts: not compared");
            continue;
        }
        for run in &runs {
            // The run's own stream discarded the events of its preparation.
            let since = run.began.duration_since(SystemTime::UNIX_EPOCH).context("a time before the epoch")?;
            events
                .retain(|event| !concerns(&run.subject, event) || u128::from(event.ts.as_nanos()) >= since.as_nanos());
            let both = [&run.events, &events].map(|events| of_run(run, events, &[&run.attachment, &from]));
            let [one, two] = &both;
            let lines = |events: &[Event]| events.iter().map(|event| format!("{event}\n")).collect::<String>();
            // The other stream stopped later.
            let same = two.len() >= one.len() && one[..] == two[..one.len()];
            assert!(same, "{} has\n{}and {from}\n{}", run.attachment, lines(one), lines(two));
            compared += one.len();
        }
    }
    println!("{} compared with {}: {compared} events", attachment(&best), streams.len());
    // Only disturbances may prevent the comparison, and they are rare.
    assert!(streams.is_empty() || compared >= all.len(), "{compared} events compared");
    Ok(())
}

/// Returns the events of the run's socket, without those that one of the two methods cannot see.
fn of_run(run: &ScenarioRun, events: &[Event], by: &[&Attachment]) -> Vec<Event> {
    let mut own: Vec<_> = events.iter().filter(|event| concerns(&run.subject, event)).copied().collect();
    if by.iter().any(|by| !by.observes_failures()) {
        own.retain(|event| event.class() == ResultClass::Ok);
    }
    for event in &mut own {
        event.ts = Timestamp::from_nanos(0);
        if by.iter().any(|by| !by.locates_nomem) && event.class() == ResultClass::Nomem {
            event.result = RetransResult::Nomem;
        }
    }
    own
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_best_method_is_used_and_the_others_are_listed() -> Result<()> {
    privilege::check()?;
    let stream = Stream::builder().open().context("cannot open a stream")?;
    let attachment = attachment(&stream);
    assert_eq!(Some(attachment.method), stream.live().map(Live::attach_method));
    // A method that was not used fails when it is forced, unless it is the same one without a
    // companion.
    for candidate in attachment.unavailable() {
        let (method, companion) =
            candidate.method.split_once('+').map_or((&*candidate.method, None), |(s, c)| (s, Some(c)));
        let method: AttachMethod = method.parse().context("not an attach method")?;
        assert!(candidate.reason().is_some_and(|reason| !reason.is_empty() && !reason.contains('\n')), "{candidate}");
        assert!(companion.is_some() || Stream::builder().attach_method(method).open().is_err(), "{candidate}");
    }
    let unobservable: Vec<_> = attachment.unobservable().collect();
    assert_eq!(unobservable.last(), Some(&Unobservable::SynackFailures));
    assert_eq!(unobservable.contains(&Unobservable::Failures), !attachment.observes_failures());
    assert_eq!(unobservable.contains(&Unobservable::Err), !attachment.observes_err());
    Ok(())
}
