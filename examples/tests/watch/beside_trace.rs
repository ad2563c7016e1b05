// SPDX-License-Identifier: MIT OR Apache-2.0
//! `watch --count 50` shows the same attempts as the kernel's own trace_pipe: field by field, in order per socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::running::{PATIENCE, Watch, finish, prepare, start, traffic};
use retrans_sdk::{Event, RetransKind, RetransResult};
use retrans_tests::{Outcome, Pair, RouteFault, Scenario, TraceEvent, TraceInstance, Tracepoint};

/// What both have of an attempt. The SYN-ACK tracepoint prints neither state nor err.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempt {
    state: Option<String>,
    err: Option<i32>,
}

/// The tracepoint, local and peer.
type Socket = (&'static str, SocketAddr, SocketAddr);

fn from_event(event: &Event) -> (Socket, Attempt) {
    let ends = (SocketAddr::new(event.saddr, event.sport), SocketAddr::new(event.daddr, event.dport));
    if event.kind == RetransKind::Synack {
        (("tcp_retransmit_synack", ends.0, ends.1), Attempt { state: None, err: None })
    } else {
        let state = event.state.c_name().map(str::to_owned);
        (("tcp_retransmit_skb", ends.0, ends.1), Attempt { state, err: event.err })
    }
}

fn name_of(tracepoint: Tracepoint) -> &'static str {
    match tracepoint {
        Tracepoint::RetransmitSkb => "tcp_retransmit_skb",
        Tracepoint::RetransmitSynack => "tcp_retransmit_synack",
    }
}

fn from_trace(event: &TraceEvent) -> (Socket, Attempt) {
    ((name_of(event.tracepoint), event.local(), event.remote()), Attempt { state: event.state.clone(), err: event.err })
}

fn by_socket<T>(events: &[T], attempt: impl Fn(&T) -> (Socket, Attempt)) -> BTreeMap<Socket, Vec<Attempt>> {
    let mut sockets: BTreeMap<Socket, Vec<Attempt>> = BTreeMap::new();
    for (socket, attempt) in events.iter().map(attempt) {
        sockets.entry(socket).or_default().push(attempt);
    }
    sockets
}

const OUTCOMES: [Outcome; 9] = [
    Outcome::Rto,
    Outcome::Syn,
    Outcome::Synack,
    Outcome::SynackFastopen,
    Outcome::InHostQueue,
    Outcome::RouteFail(RouteFault::Unreachable),
    Outcome::Denied,
    Outcome::XmitDrop,
    Outcome::Fast,
];

#[test]
#[ignore = "live: needs root, run by make test"]
fn fifty_attempts_are_those_of_trace_pipe() {
    let traffic = prepare(&OUTCOMES);
    // Whatever else this host sends again is among the fifty, and compared as well.
    compare(&["--count", "50"], traffic);
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn fifty_attempts_of_every_outcome_are_those_of_trace_pipe() {
    let traffic = prepare(&OUTCOMES);
    let namespaces: Vec<_> = traffic.iter().map(|(_, scenario)| scenario.subject().netns.to_string()).collect();
    let ours = format!("netns={}", namespaces.join(","));
    let seen = compare(&["--count", "50", &ours], traffic);
    // The timeouts come in waves, and each one within the first has its event among the fifty.
    assert!(seen >= OUTCOMES.len() * 2, "{seen} sockets among the fifty");
}

/// Runs a `watch` that ends after fifty attempts beside the kernel's own stream, and gives how many sockets of the
/// traffic it has seen.
fn compare(arguments: &[&str], mut traffic: Vec<(Pair, Scenario)>) -> usize {
    let mut trace = TraceInstance::new().expect("a trace instance");
    let watch = Watch::ready(arguments);
    start(&mut traffic);
    let ours: Vec<Socket> = traffic
        .iter()
        .map(|(_, scenario)| {
            let subject = scenario.subject();
            (name_of(scenario.expected().tracepoint), subject.local, subject.remote)
        })
        .collect();
    let ended = watch.end();
    finish(traffic);

    assert!(ended.status.success(), "{:?}", ended.stderr);
    let events = ended.events();
    assert_eq!(events.len(), 50);
    assert!(
        events.iter().all(|event| event.result != RetransResult::ErrDefault),
        "each one is named: {}",
        ended.stdout
    );

    let seen = by_socket(&events, from_event);
    let enough = |traced: &[TraceEvent]| {
        let traced = by_socket(traced, from_trace);
        seen.iter().all(|(socket, attempts)| traced.get(socket).is_some_and(|all| all.len() >= attempts.len()))
    };
    let traced = trace.until(PATIENCE, enough).expect("the kernel's own stream");
    assert_eq!(trace.lost().expect("the instance's counters"), 0, "the witness must have seen all");
    let traced = by_socket(&traced, from_trace);

    for (socket, attempts) in &seen {
        let all = &traced[socket];
        if ours.contains(socket) {
            // They began when both were listening: the same from the first one on.
            assert_eq!(attempts[..], all[..attempts.len()], "{socket:?}");
        } else {
            // Somebody else's, under way before: a run without a gap.
            assert!(all.windows(attempts.len()).any(|run| run == attempts), "{socket:?}: {attempts:?} in {all:?}");
        }
    }
    ours.iter().filter(|socket| seen.contains_key(*socket)).count()
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn timestamps_are_those_of_trace_pipe() {
    let mut trace = TraceInstance::new().expect("a trace instance");
    let watch = Watch::ready(&[]);
    let traffic = traffic(&[Outcome::Rto]);
    let subject = traffic[0].1.subject();
    let about = |event: &TraceEvent| (event.local(), event.remote()) == (subject.local, subject.remote);
    let traced = trace.until(PATIENCE, |events| events.iter().filter(|e| about(e)).count() >= 2).expect("two timeouts");
    finish(traffic);
    let events = watch.interrupt().events();

    let ours: Vec<_> = events.iter().filter(|event| event.sport == subject.local.port()).collect();
    let theirs: Vec<_> = traced.iter().filter(|event| about(event)).collect();
    // Both on CLOCK_BOOTTIME: the same offset to the epoch for both, within the microseconds that trace_pipe prints.
    let offset = |i: usize| Duration::from_nanos(ours[i].ts.as_nanos()) - theirs[i].timestamp;
    let apart = offset(0).abs_diff(offset(1));
    assert!(apart < Duration::from_millis(1), "{apart:?} between the clocks");
}
