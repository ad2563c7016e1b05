// SPDX-License-Identifier: MIT OR Apache-2.0
//! `watch --count 50` reports the same attempts as the kernel's own trace_pipe: field by field, in
//! order per socket. Before Linux 6.17 trace_pipe contains only successful attempts, without `err`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::running::{finish, prepare, ready, socket_of, start};
use retrans_lab::observe::undisturbed;
use retrans_lab::program::Program;
use retrans_lab::{Discard, Hold, Outcome, PrintedFailures, Probes, Refusal, RouteFault, TraceEvent, Tracepoint};
use retrans_sdk::offline::ClockOffset;
use retrans_sdk::{Event, RetransKind, RetransResult};

/// The fields that both report. The SYN-ACK tracepoint prints neither state nor err.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempt {
    state: Option<String>,
    err: Option<i32>,
}

/// The tracepoint, the local and the remote address.
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
    Outcome::InHostQueue(Hold::Qdisc),
    Outcome::RouteFail(RouteFault::Unreachable),
    Outcome::Denied(Refusal::Drop),
    Outcome::XmitDrop(Discard::Qdisc),
    Outcome::Fast,
];

#[test]
#[ignore = "live: needs root, run by make test"]
fn fifty_attempts_are_those_of_trace_pipe() {
    // Other attempts of this host are among the fifty, and are compared too.
    compare(|_| None);
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn fifty_attempts_of_every_outcome_are_those_of_trace_pipe() {
    let seen = compare(|namespaces| Some(format!("netns={}", namespaces.join(","))));
    // The timeouts occur in waves. Every socket's first one is among the fifty.
    assert!(seen >= OUTCOMES.len() * 2, "{seen} sockets among the fifty");
}

/// Runs a `watch` that ends after fifty attempts, while the kernel's trace is read. Returns how
/// many sockets of the traffic it reported. The filter may contain the traffic's namespaces.
fn compare(filter: impl Fn(&[String]) -> Option<String>) -> usize {
    let ((ended, ours, failures), traced) = undisturbed(|trace| {
        let mut traffic = prepare(&OUTCOMES);
        let namespaces: Vec<_> = traffic.iter().map(|(_, scenario)| scenario.subject().netns.to_string()).collect();
        let filter = filter(&namespaces);
        let arguments: Vec<_> = ["--count", "50"].into_iter().chain(filter.as_deref()).collect();
        let watch = ready(&arguments);
        start(&mut traffic);
        let ours = traffic.iter().map(|(_, scenario)| {
            let subject = scenario.subject();
            (name_of(scenario.outcome().expected(0, Probes::Off).tracepoint()), subject.local, subject.remote)
        });
        let ours: Vec<Socket> = ours.collect();
        let ended = watch.end();
        finish(traffic);
        Ok((ended, ours, trace.prints_failures()?))
    })
    .expect("the kernel's own stream");

    assert!(ended.status.success(), "{:?}", ended.stderr);
    let events = ended.events();
    assert_eq!(events.len(), 50);
    assert!(
        events.iter().all(|event| event.result != RetransResult::ErrDefault),
        "each one is named: {}",
        ended.stdout
    );

    // Printed for each kind that was seen. Not every outcome of the callers is a SYN-ACK.
    let ready = ended.stderr.iter().find(|line| line.starts_with("ready ")).expect("a ready line");
    let is_of_synacks = |line: &str| line.starts_with("failed kind=synack ");
    let of_synacks = ended.stderr.iter().find(|line| is_of_synacks(line));
    let saw_synacks = ended.stderr.iter().any(|line| line.starts_with("seen ") && line.contains(" kind=synack "));
    assert_eq!(of_synacks.is_some(), saw_synacks, "{:?}", ended.stderr);
    if let Some(line) = of_synacks {
        let unobservable = ready.contains(" synack_failures=unobservable");
        assert_eq!(line.ends_with("=unobservable"), unobservable, "{:?}", ended.stderr);
    }
    let others =
        |line: &&String| line.starts_with("failed ") && !is_of_synacks(line) && line.ends_with("=unobservable");
    let ready = ready.contains(" failures=unobservable ");
    assert_eq!(ended.stderr.iter().any(|line| others(&line)), ready, "{:?}", ended.stderr);

    let sockets: BTreeSet<Socket> = events.iter().map(|event| from_event(event).0).collect();
    let printed = |event: &Event| failures != PrintedFailures::No || event.err == Some(0);
    let printed: Vec<Event> = events.into_iter().filter(printed).collect();
    let has_err = failures == PrintedFailures::ByErrno;
    let seen = by_socket(&printed, |event| {
        let (socket, Attempt { state, err }) = from_event(event);
        (socket, Attempt { state, err: err.filter(|_| has_err) })
    });
    let traced = by_socket(&traced, from_trace);
    for (socket, attempts) in &seen {
        let all = traced.get(socket).unwrap_or_else(|| panic!("{socket:?} is not in trace_pipe"));
        if ours.contains(socket) {
            // Both listened before the traffic began, so they match from the first attempt.
            assert_eq!(Some(&attempts[..]), all.get(..attempts.len()), "{socket:?}");
        } else {
            // Other traffic may have begun earlier: its attempts match without a gap.
            assert!(all.windows(attempts.len()).any(|run| run == attempts), "{socket:?}: {attempts:?} in {all:?}");
        }
    }
    ours.iter().filter(|socket| sockets.contains(*socket)).count()
}

/// Starts a `watch` for two attempts of a network namespace, in a time namespace whose
/// CLOCK_BOOTTIME is 100,000 seconds ahead.
fn ready_in_time_namespace(netns: u32) -> Program {
    let mut command = Command::new("unshare");
    command.args(["--time", "--boottime", "100000", "--fork", "--kill-child"]);
    command.args([env!("CARGO_BIN_EXE_retrans"), "watch", "--count", "2", "kind=rto", &format!("netns={netns}")]);
    Program::ready(&mut command)
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn timestamps_are_those_of_trace_pipe() {
    let ((events, shifted, subject), traced) = undisturbed(|_| {
        let watch = ready(&["kind=rto"]);
        let mut traffic = prepare(&[Outcome::Rto]);
        let subject = traffic[0].1.subject();
        let shifted = ready_in_time_namespace(subject.netns);
        start(&mut traffic);
        // Two timeouts, at 0.2 and 0.6 s.
        thread::sleep(Duration::from_secs(1));
        finish(traffic);
        Ok((watch.interrupt().events(), shifted.end().events(), subject))
    })
    .expect("the kernel's own stream");

    let ours: Vec<_> = events.iter().filter(|event| socket_of(event) == (subject.local, subject.remote)).collect();
    let theirs: Vec<_> =
        traced.iter().filter(|event| (event.local(), event.remote()) == (subject.local, subject.remote)).collect();
    assert!(ours.len() >= 2 && ours.len() == theirs.len(), "{} events, {} in trace_pipe", ours.len(), theirs.len());
    // Both use CLOCK_BOOTTIME, so the offset to the epoch is the same for all, except for the delay
    // between the two.
    let offset = |i: usize| Duration::from_nanos(ours[i].ts.as_nanos()) - theirs[i].timestamp;
    let apart = offset(0).abs_diff(offset(1));
    assert!(apart < Duration::from_millis(100), "{apart:?} between the clocks");

    // `--clock-offset btime` converts the text of this trace, whose clock is `boot`.
    let booted = Duration::from_nanos(ClockOffset::boot_time().as_nanos().unsigned_abs());
    let apart = offset(0).abs_diff(booted);
    assert!(apart < Duration::from_millis(100), "{apart:?} between the stream and the boot time");
    // Each stream reads the clocks itself, so the times differ by the error of the reading: some
    // milliseconds in an emulated guest.
    assert_eq!(shifted.len(), 2);
    for (event, other) in ours.iter().zip(&shifted) {
        assert_eq!(socket_of(event), socket_of(other));
        let apart = Duration::from_nanos(event.ts.as_nanos().abs_diff(other.ts.as_nanos()));
        assert!(apart < Duration::from_millis(100), "{apart:?} apart in a time namespace");
    }
}
