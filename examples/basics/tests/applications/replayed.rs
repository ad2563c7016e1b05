// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each application reports what the lab's recording contains.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use retrans_sdk::format::Line;
use retrans_sdk::{Event, RetransKind, RetransResult};
use rustix::process::{Pid, Signal, kill_process};

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../retrans/recordings/lab.kv")
}

fn events() -> Vec<Event> {
    let text = std::fs::read_to_string(recording()).expect("the recording");
    text.lines().map(|line| line.parse::<Line>().expect("a line").event).collect()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).arg("--replay").arg(recording()).output().expect(program);
    assert!(output.status.success(), "{program}: {output:?}");
    output
}

fn said(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).expect("text").lines().map(str::to_owned).collect()
}

/// Asserts that the final counters match the recording.
fn assert_counted(output: &Output, seen: usize) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stats = stderr.lines().find(|line| line.starts_with("stats ")).expect("its counters");
    assert!(stats.starts_with(&format!("stats seen={seen} ")), "{stats}");
    assert!(stats.ends_with("skipped=0 clock=realtime"), "{stats}");
}

#[test]
fn the_agent_counts_by_result() {
    let output = run(env!("CARGO_BIN_EXE_agent"), &[]);
    let mut counts = BTreeMap::new();
    events().iter().for_each(|event| *counts.entry(event.result).or_insert(0) += 1);
    let expected: Vec<_> = counts
        .into_iter()
        .map(|(result, count)| format!("service=- {} {} attempts={count}", result.key_val(), result.class().key_val()))
        .collect();
    assert_eq!(said(&output), expected);
    assert_counted(&output, events().len());
}

#[test]
fn the_alert_is_raised_once_and_cleared() {
    let output = run(env!("CARGO_BIN_EXE_alert"), &["--failures", "3", "--within", "3600"]);
    // The simplest definition: three failures without a success between them, each within the hour.
    let (mut failed, mut expected) = (HashMap::<IpAddr, u32>::new(), Vec::new());
    for event in events() {
        let failures = failed.entry(event.daddr).or_default();
        if event.result == RetransResult::Success {
            if *failures >= 3 {
                expected.push(format!("ts={} alert=cleared daddr={}", event.ts, event.daddr));
            }
            *failures = 0;
            continue;
        }
        *failures += 1;
        if *failures == 3 {
            let (ts, daddr, result) = (event.ts, event.daddr, event.result.key_val());
            expected.push(format!("ts={ts} alert=raised daddr={daddr} failures=3 {result}"));
        }
    }
    assert_eq!(said(&output), expected);
    assert!(expected.iter().any(|line| line.contains("raised")), "{expected:?}");
    assert_counted(&output, events().len());
    // No address has a hundred failures in one second.
    assert_eq!(said(&run(env!("CARGO_BIN_EXE_alert"), &["--failures", "100", "--within", "1"])), [""; 0]);
}

#[test]
fn the_sidecar_prints_json_of_failures() {
    let output = run(env!("CARGO_BIN_EXE_sidecar"), &["family=inet"]);
    let printed: Vec<Event> = said(&output).iter().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let mut expected = events();
    expected.retain(|event| event.saddr.is_ipv4() && event.result != RetransResult::Success);
    assert!(!expected.is_empty());
    assert_eq!(printed, expected);
    assert_counted(&output, events().len());
}

/// The last line of a batch is confirmed only if the collector has read it.
#[test]
fn the_shipper_sends_again_what_its_collector_did_not_read() {
    // A free port on which no process listens yet.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port").to_string();
    drop(listener);
    let (end, ended) = mpsc::channel::<()>();
    let collector = {
        let address = address.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(500));
            let listener = TcpListener::bind(address).expect("the port");
            listener.set_nonblocking(true).expect("a socket");
            let (mut text, mut connections) = (String::new(), 0);
            while ended.try_recv() == Err(TryRecvError::Empty) {
                let Ok((mut connection, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                connection.set_nonblocking(false).expect("a socket");
                connections += 1;
                match connections {
                    // Closes the connection before it can have read anything.
                    1..=20 if connections % 2 == 1 => {}
                    // Closes it with lines in its buffer.
                    1..=20 => connection.read_exact(&mut [0]).expect("a byte"),
                    _ => drop(connection.read_to_string(&mut text).expect("text")),
                }
            }
            (text, connections)
        })
    };
    let output = run(env!("CARGO_BIN_EXE_ship"), &[&address, "--keep", "16"]);
    drop(end);
    let (text, connections) = collector.join().expect("no panic");
    let shipped: Vec<Event> = text.lines().map(|line| line.parse().expect("an event")).collect();
    assert_eq!(shipped, events());
    assert!(connections > 20 && text.ends_with('\n'), "{connections}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("unconfirmed=0\n"), "{output:?}");
    assert_counted(&output, events().len());
}

#[test]
fn the_shipper_ends_within_a_second_of_a_signal() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port").to_string();
    for reads in [false, true] {
        let mut ship = Command::new(env!("CARGO_BIN_EXE_ship"));
        ship.arg(&address).arg("--replay").arg(recording()).stderr(Stdio::piped());
        let ship = ship.spawn().expect("it is built");
        // A collector that does not read, or one that reads but does not close.
        let (mut connection, _) = listener.accept().expect("a connection");
        if reads {
            let mut text = String::new();
            connection.read_to_string(&mut text).expect("text");
            assert!(text.lines().count() > 0, "it is half closed");
        }
        thread::sleep(Duration::from_millis(300));
        let signalled = Instant::now();
        kill_process(Pid::from_child(&ship), Signal::TERM).expect("it runs");
        let output = ship.wait_with_output().expect("a child");
        let (elapsed, stderr) = (signalled.elapsed(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && elapsed < Duration::from_secs(1), "{elapsed:?} {output:?}");
        let unconfirmed = stderr.lines().find_map(|line| line.strip_prefix("unconfirmed=")?.parse::<usize>().ok());
        assert!(unconfirmed.is_some_and(|count| (1..=events().len()).contains(&count)), "{stderr}");
        assert!(stderr.contains("\nstats seen="), "{stderr}");
    }
}

#[test]
fn stalled_connections_are_reported() {
    let expected: Vec<_> = {
        let (mut closed, mut expected) = (HashMap::new(), Vec::new());
        for event in events().into_iter().filter(|event| event.kind != RetransKind::Synack) {
            let count = closed.entry((event.saddr, event.sport, event.daddr, event.dport)).or_insert(0);
            let closed = event.result == RetransResult::RcvZeroWindow || event.kind == RetransKind::ZeroWindowProbe;
            *count = if closed { *count + 1 } else { 0 };
            if *count == 3 {
                expected.push(format!("ts={} stalled=", event.ts));
            }
        }
        expected
    };
    let said = said(&run(env!("CARGO_BIN_EXE_stalled"), &[]));
    assert!(!said.is_empty());
    assert_eq!(said.len(), expected.len(), "{said:?}");
    assert!(said.iter().zip(expected).all(|(line, begin)| line.starts_with(&begin)), "{said:?}");
}

#[test]
fn invalid_arguments_are_refused() {
    for program in [
        env!("CARGO_BIN_EXE_agent"),
        env!("CARGO_BIN_EXE_alert"),
        env!("CARGO_BIN_EXE_sidecar"),
        env!("CARGO_BIN_EXE_ship"),
        env!("CARGO_BIN_EXE_stalled"),
    ] {
        let output = |arguments: &[&str]| Command::new(program).args(arguments).output().expect(program);
        let help = output(&["--help"]);
        assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("Usage: "), "{help:?}");
        for (arguments, code) in
            [(&["--nonsense"][..], 2), (&["a:1", "nonsense=1"], 1), (&["a:1", "--replay", "/nonexistent"], 1)]
        {
            let refused = output(arguments);
            assert_eq!(refused.status.code(), Some(code), "{program} {arguments:?}: {refused:?}");
        }
    }
}
