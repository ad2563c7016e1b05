// SPDX-License-Identifier: MIT OR Apache-2.0
//! Helpers that run `watch` as a user does.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::observe::until;
use retrans_lab::program::Program;
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Family, Outcome, Pair, Scenario};
use retrans_sdk::{Event, Stream};

pub(crate) fn watch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
    command.arg("watch");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a `watch` and waits until it is attached.
pub(crate) fn ready(arguments: &[&str]) -> Program {
    Program::ready(watch().args(arguments))
}

/// Causes each outcome over each family, in a pair of its own.
pub(crate) fn traffic(outcomes: &[Outcome]) -> Vec<(Pair, Scenario)> {
    let mut traffic = prepare(outcomes);
    start(&mut traffic);
    traffic
}

/// Prepares the traffic of `traffic`, before anything is retransmitted.
pub(crate) fn prepare(outcomes: &[Outcome]) -> Vec<(Pair, Scenario)> {
    outcomes
        .iter()
        .flat_map(|outcome| Family::ALL.map(|family| (*outcome, family)))
        .map(|(outcome, family)| {
            let pair = Pair::new().expect("a pair of namespaces");
            let scenario = Scenario::prepare(&pair, family, outcome).expect("a scenario");
            (pair, scenario)
        })
        .collect()
}

pub(crate) fn start(traffic: &mut [(Pair, Scenario)]) {
    traffic.iter_mut().for_each(|(_, scenario)| scenario.start().expect("a start"));
}

/// Returns the local and remote address of each socket in the traffic.
pub(crate) fn sockets(traffic: &[(Pair, Scenario)]) -> HashSet<(SocketAddr, SocketAddr)> {
    traffic.iter().map(|(_, scenario)| scenario.subject()).map(|subject| (subject.local, subject.remote)).collect()
}

pub(crate) fn socket_of(event: &Event) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(event.saddr, event.sport), SocketAddr::new(event.daddr, event.dport))
}

/// Opens a stream, by which a test waits for its traffic.
pub(crate) fn reference() -> Stream {
    Stream::builder().open().expect("a stream")
}

/// Waits until the events of these sockets are enough. While other tests run, attempts may be late.
pub(crate) fn wait_until(
    reference: &mut Stream,
    sockets: &HashSet<(SocketAddr, SocketAddr)>,
    enough: impl Fn(&[Event]) -> bool,
) {
    let ours = |events: &[Event]| -> Vec<Event> {
        events.iter().filter(|event| sockets.contains(&socket_of(event))).copied().collect()
    };
    until(reference, PATIENCE, |events| enough(&ours(events))).expect("the traffic");
}

/// Ends the traffic, so that nothing is retransmitted any more.
pub(crate) fn finish(traffic: Vec<(Pair, Scenario)>) {
    for (_pair, scenario) in traffic {
        scenario.finish().expect("an end to the scenario");
    }
}

/// It sleeps while there are no events, because it is left enabled.
#[test]
#[ignore = "live: needs root, run by make test"]
fn watch_sleeps_while_there_are_no_events() {
    const IDLE: Duration = Duration::from_secs(10);
    // No connection has this port.
    let watch = ready(&["dport=0"]);
    let wakeups = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", watch.id())).expect("it runs");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.expect("a count").trim().parse::<u64>().expect("a number")
    };
    thread::sleep(Duration::from_secs(1));
    let before = wakeups();
    thread::sleep(IDLE);
    let wakeups = wakeups() - before;
    assert!(wakeups <= 1, "{wakeups} in {IDLE:?}");
    // A signal wakes it.
    let interrupted = Instant::now();
    assert!(watch.interrupt().status.success());
    assert!(interrupted.elapsed() < Duration::from_secs(5), "{:?}", interrupted.elapsed());
}
