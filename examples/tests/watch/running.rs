// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the `watch` program as a user does.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use retrans_sdk::Event;
use retrans_tests::{Family, Outcome, Pair, Scenario};
use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes as long on a machine that is not stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running `watch`. Killed on drop.
pub(crate) struct Watch {
    child: Child,
    stdout: JoinHandle<String>,
    stderr_lines: Receiver<String>,
    stderr: Vec<String>,
}

/// What a `watch` that has ended left.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: Vec<String>,
}

pub(crate) fn watch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watch"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Watch {
    /// Starts it and waits until it is attached.
    pub(crate) fn ready(arguments: &[&str]) -> Self {
        let mut watch = Self::start(watch().args(arguments));
        let deadline = Instant::now() + PATIENCE;
        while !watch.stderr.iter().any(|line| line.starts_with("ready source=")) {
            let left = deadline.saturating_duration_since(Instant::now());
            match watch.stderr_lines.recv_timeout(left) {
                Ok(line) => watch.stderr.push(line),
                Err(_) => panic!("watch {arguments:?} did not get ready: {:?}", watch.stderr),
            }
        }
        watch
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("watch is built");
        let mut stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("text");
            text
        });
        let (send, stderr_lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let _ = send.send(line.expect("text"));
            }
        });
        Self { child, stdout, stderr_lines, stderr: Vec::new() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child not yet waited for");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                panic!("watch did not end: {:?}", self.stderr);
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.stderr.extend(self.stderr_lines.iter());
        Ended { status, stdout: self.stdout.join().expect("the reader"), stderr: self.stderr }
    }

    /// Interrupts it as ^C does.
    pub(crate) fn interrupt(self) -> Ended {
        self.signal(Signal::INT);
        self.end()
    }
}

impl Ended {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.stdout.lines().map(|line| line.parse().unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The counters of the `stats` line, but for one that this kernel does not give: `missed`, before Linux 5.12.
    pub(crate) fn stats(&self) -> HashMap<String, u64> {
        let lines: Vec<_> = self.stderr.iter().filter_map(|line| line.strip_prefix("stats ")).collect();
        assert_eq!(lines.len(), 1, "{:?}", self.stderr);
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').expect("key=val");
            if (key, value) == ("missed", "-") {
                return None;
            }
            Some((key.to_owned(), value.parse().expect("a number")))
        };
        lines[0].split(' ').filter_map(pair).collect()
    }
}

/// Each outcome over each family, in a pair of its own, under way.
pub(crate) fn traffic(outcomes: &[Outcome]) -> Vec<(Pair, Scenario)> {
    let mut traffic = prepare(outcomes);
    start(&mut traffic);
    traffic
}

/// The same, before anything is retransmitted.
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

/// Local and peer of each socket that the traffic is about.
pub(crate) fn sockets(traffic: &[(Pair, Scenario)]) -> HashSet<(SocketAddr, SocketAddr)> {
    traffic.iter().map(|(_, scenario)| scenario.subject()).map(|subject| (subject.local, subject.remote)).collect()
}

pub(crate) fn socket_of(event: &Event) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(event.saddr, event.sport), SocketAddr::new(event.daddr, event.dport))
}

/// Ends what was started, so that nothing is retransmitted any more.
pub(crate) fn finish(traffic: Vec<(Pair, Scenario)>) {
    for (_pair, scenario) in traffic {
        scenario.finish().expect("an end to the scenario");
    }
}

/// It is left on, so it sleeps while there is nothing to be seen.
#[test]
#[ignore = "live: needs root, run by make test"]
fn while_nothing_comes_it_sleeps() {
    const IDLE: Duration = Duration::from_secs(10);
    // No connection has this port.
    let watch = Watch::ready(&["dport=0"]);
    let wakeups = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", watch.child.id())).expect("it runs");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.expect("a count").trim().parse::<u64>().expect("a number")
    };
    thread::sleep(Duration::from_secs(1));
    let before = wakeups();
    thread::sleep(IDLE);
    let wakeups = wakeups() - before;
    assert!(wakeups <= 1, "{wakeups} in {IDLE:?}");
    // And wakes for a signal.
    let interrupted = Instant::now();
    assert!(watch.interrupt().status.success());
    assert!(interrupted.elapsed() < Duration::from_secs(5), "{:?}", interrupted.elapsed());
}
