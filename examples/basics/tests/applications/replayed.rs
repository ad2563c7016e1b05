// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each application reports what the lab's recording contains.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use retrans_sdk::format::Line;
use retrans_sdk::{Event, RetransKind, RetransResult};

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

#[test]
fn the_shipper_waits_for_its_collector() {
    // A free port on which no process listens yet.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port").to_string();
    drop(listener);
    let collector = {
        let address = address.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(500));
            let listener = TcpListener::bind(address).expect("the port");
            let mut text = String::new();
            listener.accept().expect("a connection").0.read_to_string(&mut text).expect("text");
            text
        })
    };
    let output = run(env!("CARGO_BIN_EXE_ship"), &[&address, "--keep", "16"]);
    let shipped: Vec<Event> =
        collector.join().expect("no panic").lines().map(|line| line.parse().expect("an event")).collect();
    assert_eq!(shipped, events());
    assert_counted(&output, events().len());
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
