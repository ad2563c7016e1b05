// SPDX-License-Identifier: MIT OR Apache-2.0
//! The recording in the repository, which `demo` replays without privileges: its contents, its
//! replay, the table of it in the book, and a comparison with a live run.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use retrans_lab::{Outcome, Probes};
use retrans_sdk::format::Line;
use retrans_sdk::{Event, FieldSet, RetransResult};

use crate::{assert_a_row_each, demo, outcomes, rows};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.kv");

/// Returns the events of each scenario, in order.
fn by_scenario(recording: &str) -> BTreeMap<String, Vec<Event>> {
    let mut scenarios: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for text in recording.lines() {
        let line: Line = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(line.to_string(), text, "it does not print as it was recorded");
        let [(key, scenario)] = &line.unknown[..] else { panic!("other keys than `scenario` are unknown: {text}") };
        assert_eq!(key, "scenario");
        scenarios.entry(scenario.clone()).or_default().push(line.event);
    }
    scenarios
}

#[test]
fn the_recording_has_every_outcome_as_expected() {
    let scenarios = by_scenario(&fs::read_to_string(RECORDING).expect("the recording"));
    assert_eq!(scenarios.len(), outcomes().len());
    for outcome in outcomes() {
        let events = scenarios.get(&outcome.to_string()).unwrap_or_else(|| panic!("no {outcome}"));
        assert!(events.len() >= outcome.attempts(Probes::Off), "{outcome}");
        for (index, event) in events.iter().enumerate() {
            let expected = outcome.expected(index, Probes::Off);
            assert!(event.result == expected.result || event.result == RetransResult::Nomem, "{event}");
            let recorded = (event.class(), event.kind, event.err, event.state, event.sk_err_soft);
            let due =
                (expected.result.class(), expected.kind, Some(expected.err), expected.state, expected.sk_err_soft);
            assert_eq!(recorded, due, "{event}");
        }
    }
}

#[test]
fn prints_a_table_and_states_that_it_is_a_replay() {
    let output = demo().args(["--replay", RECORDING]).output().expect("demo is built");
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{stdout}");
    assert!(
        stdout.starts_with("REPLAY ")
            && stdout.trim_end().lines().last().is_some_and(|line| line.starts_with("REPLAY"))
    );
    assert_a_row_each(&stdout);
    assert!(rows(&stdout).iter().all(|row| row.ends_with(" -")), "a replay has no cross-check: {stdout}");
}

/// The page shows the table of a live run, in which the last column is `yes`. A replay of the
/// recording must print the other columns.
#[test]
fn the_table_in_the_book_is_the_recordings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/command.md");
    let page = fs::read_to_string(path).expect("the page");
    let blocks: Vec<_> = page.split("```text,demo\n").skip(1).collect();
    let [block] = &blocks[..] else { panic!("{} tables", blocks.len()) };
    let (block, _) = block.split_once("```").expect("its end");
    let output = demo().args(["--replay", RECORDING]).output().expect("demo is built");
    let replayed = String::from_utf8(output.stdout).expect("text");
    let without_cross_check = |row: &&str| row.rsplit_once(' ').expect("columns").0.trim_end().to_owned();
    let shown: Vec<_> = rows(block).iter().map(without_cross_check).collect();
    assert_eq!(shown, rows(&replayed).iter().map(without_cross_check).collect::<Vec<_>>());
    assert!(rows(block).iter().all(|row| row.ends_with(" yes")), "{block}");
}

#[test]
fn a_missing_row_is_a_failure() {
    let recording = fs::read_to_string(RECORDING).expect("the recording");
    let scratch = tempfile::tempdir().expect("a directory");
    for outcome in [Outcome::Rto, Outcome::FragNomem] {
        let path = scratch.path().join("without.kv");
        let without: String = recording
            .lines()
            .filter(|line| !line.ends_with(&format!("scenario={outcome}")))
            .map(|l| format!("{l}\n"))
            .collect();
        fs::write(&path, without).expect("a file");
        let output = demo().arg("--replay").arg(&path).output().expect("demo is built");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert_eq!(rows(&stdout).iter().filter(|row| row.ends_with("MISSING")).count(), 1, "{stdout}");
        assert!(stderr.contains(&format!("retrans: {outcome}: not among 0 events")), "{stderr}");
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_not_a_failure() {
    let mut child = demo().args(["--replay", RECORDING]).stdout(Stdio::piped()).spawn().expect("demo is built");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let status = demo().args(["--replay", RECORDING]).stdout(full).stderr(Stdio::null()).status();
    assert_eq!(status.expect("demo is built").code(), Some(2));
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in [&["--replay", "/nonexistent"][..], &["--replay", "a", "--record", "b"], &["what"]] {
        let output = demo().args(arguments).output().expect("demo is built");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with("retrans: ") || stderr.starts_with("error: "), "{arguments:?}: {stderr}");
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn without_privileges_it_replays() {
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", env!("CARGO_BIN_EXE_retrans"), "demo"])
        .stdin(Stdio::null())
        .output()
        .expect("setpriv, from util-linux");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.starts_with("REPLAY: this is a recording"), "{stdout}");
    assert!(stdout.contains("CAP_BPF"), "it names what is missing: {stdout}");
    assert_a_row_each(&stdout);
}

/// The recording must match a live run: after a field is added, or a value changes, it must be
/// recorded again.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_live_run_matches_the_recording() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("live.kv");
    let output = demo().arg("--record").arg(&path).output().expect("demo is built");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_a_row_each(&stdout);
    assert!(rows(&stdout).iter().all(|row| row.ends_with(" yes")), "both cross-checks match: {stdout}");
    assert!(stderr.contains("33/33 connections made"), "{stderr}");

    let live = by_scenario(&fs::read_to_string(&path).expect("the recording"));
    let recorded = by_scenario(&fs::read_to_string(RECORDING).expect("the recording"));
    assert!(live.keys().eq(recorded.keys()), "the scenarios differ: run `make recording`");
    for (scenario, live) in &live {
        // Compares the events that both have: a busy machine may have had time for one more.
        for (live, recorded) in live.iter().zip(&recorded[scenario]) {
            assert_eq!(shape(live), shape(recorded), "{scenario}: run `make recording`\n{live}\n{recorded}");
        }
    }
}

/// Returns the keys of a line, with the values of those that describe the outcome and not the
/// socket. Excludes the value of the result, which may be a coarser one if less is observable, and
/// the fields of drops: the recording was made without them, and older kernels report fewer.
fn shape(event: &Event) -> Vec<String> {
    // The root cgroup is absent on a host that uses cgroup v1.
    const ROOT: &str = "cgroup=1";
    const VALUES: [&str; 8] = ["class", "kind", "err", "family", "mapped", "state", "ca_state", "sk_err_soft"];
    let line = event.to_string();
    line.split(' ')
        .filter(|pair| *pair != ROOT)
        .map(|pair| (pair, pair.split('=').next().expect("a key")))
        .filter(|(_, key)| !FieldSet::drops().contains(key))
        .map(|(pair, key)| if VALUES.contains(&key) { pair.to_owned() } else { key.to_owned() })
        .collect()
}
