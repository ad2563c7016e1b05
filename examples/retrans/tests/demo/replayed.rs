// SPDX-License-Identifier: MIT OR Apache-2.0
//! The recording in the repository: what is replayed without the privilege, and whether it is still what is seen live.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use retrans_lab::Outcome;
use retrans_sdk::format::Line;
use retrans_sdk::{Event, RetransResult};

use crate::{assert_a_row_each, demo, outcomes, rows};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.kv");

/// The events of each act, in order.
fn by_act(recording: &str) -> BTreeMap<String, Vec<Event>> {
    let mut acts: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for text in recording.lines() {
        let line: Line = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(line.to_string(), text, "it does not print as it was");
        let [(key, act)] = &line.unknown[..] else { panic!("other keys than `act` are unknown: {text}") };
        assert_eq!(key, "act");
        acts.entry(act.clone()).or_default().push(line.event);
    }
    acts
}

#[test]
fn the_recording_is_of_every_outcome_as_expected() {
    let acts = by_act(&fs::read_to_string(RECORDING).expect("the recording"));
    assert_eq!(acts.len(), outcomes().len());
    for outcome in outcomes() {
        let events = acts.get(&outcome.to_string()).unwrap_or_else(|| panic!("no {outcome}"));
        assert!(events.len() >= outcome.attempts(), "{outcome}");
        for (index, event) in events.iter().enumerate() {
            let expected = outcome.expected(index);
            assert!(event.result == expected.result || event.result == RetransResult::Nomem, "{event}");
            let told = (event.class(), event.kind, event.err, event.state, event.sk_err_soft);
            let due =
                (expected.result.class(), expected.kind, Some(expected.err), expected.state, expected.sk_err_soft);
            assert_eq!(told, due, "{event}");
        }
    }
}

#[test]
fn is_a_table_and_says_that_it_is_a_replay() {
    let output = demo().args(["--replay", RECORDING]).output().expect("demo is built");
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{stdout}");
    assert!(
        stdout.starts_with("REPLAY ")
            && stdout.trim_end().lines().last().is_some_and(|line| line.starts_with("REPLAY"))
    );
    assert_a_row_each(&stdout);
    assert!(rows(&stdout).iter().all(|row| row.ends_with(" -")), "no witness can be asked: {stdout}");
}

/// The README shows a table that was live, with witnesses; for the rest it is what the recording gives.
#[test]
fn the_table_in_the_readme_is_the_recordings() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).expect("the README");
    let recording = fs::read_to_string(RECORDING).expect("the recording");
    let output = demo().args(["--replay", RECORDING]).output().expect("demo is built");
    let replayed = String::from_utf8(output.stdout).expect("text");
    let without_witnesses = |row: &&str| row.rsplit_once(' ').expect("columns").0.trim_end().to_owned();
    let shown: Vec<_> = rows(&readme).iter().take_while(|row| **row != "```").map(without_witnesses).collect();
    let events: Vec<_> =
        readme.lines().filter(|line| line.starts_with("ts=") && line.contains(" sk_err_soft=")).collect();
    assert!(
        !events.is_empty() && events.iter().all(|event| recording.contains(event)),
        "its events are the recording's"
    );
    assert_eq!(shown, rows(&replayed).iter().map(without_witnesses).collect::<Vec<_>>());
}

#[test]
fn a_missing_row_is_a_failure() {
    let recording = fs::read_to_string(RECORDING).expect("the recording");
    let scratch = tempfile::tempdir().expect("a directory");
    for outcome in [Outcome::Rto, Outcome::FragNomem] {
        let path = scratch.path().join("without.kv");
        let without: String = recording
            .lines()
            .filter(|line| !line.ends_with(&format!("act={outcome}")))
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
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = demo().args(["--replay", RECORDING]).stdout(Stdio::piped()).spawn().expect("demo is built");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let status = demo().args(["--replay", RECORDING]).stdout(full).stderr(Stdio::null()).status();
    assert_eq!(status.expect("demo is built").code(), Some(2));
}

#[test]
fn what_it_cannot_start_with() {
    for arguments in [&["--replay", "/nonexistent"][..], &["--replay", "a", "--record", "b"], &["what"]] {
        let output = demo().args(arguments).output().expect("demo is built");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with("retrans: ") || stderr.starts_with("error: "), "{arguments:?}: {stderr}");
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn without_the_privilege_it_is_a_replay() {
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", env!("CARGO_BIN_EXE_retrans"), "demo"])
        .stdin(Stdio::null())
        .output()
        .expect("setpriv, of util-linux");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.starts_with("REPLAY: this is a recording"), "{stdout}");
    assert!(stdout.contains("CAP_BPF"), "it says what is missing: {stdout}");
    assert_a_row_each(&stdout);
}

/// The recording is as good as what is seen now: if a field is added, or a value changes, it has to be made anew.
#[test]
#[ignore = "live: needs root, run by make test"]
fn what_is_seen_live_is_what_was_recorded() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("live.kv");
    let output = demo().arg("--record").arg(&path).output().expect("demo is built");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_a_row_each(&stdout);
    assert!(rows(&stdout).iter().all(|row| row.ends_with(" yes")), "both witnesses agree: {stdout}");
    assert!(stderr.contains("29/29 connections made"), "{stderr}");

    let live = by_act(&fs::read_to_string(&path).expect("the recording"));
    let recorded = by_act(&fs::read_to_string(RECORDING).expect("the recording"));
    assert!(live.keys().eq(recorded.keys()), "the acts differ: run `make recording`");
    for (act, live) in &live {
        // As many as both have: a busy machine may have had time for one more.
        for (live, recorded) in live.iter().zip(&recorded[act]) {
            assert_eq!(shape(live), shape(recorded), "{act}: run `make recording`\n{live}\n{recorded}");
        }
    }
}

/// The keys of a line, and the values of those that are the outcome rather than the socket; but for the result, which may be
/// a coarser one where less can be seen.
fn shape(event: &Event) -> Vec<String> {
    const VALUES: [&str; 8] = ["class", "kind", "err", "family", "mapped", "state", "ca_state", "sk_err_soft"];
    let line = event.to_string();
    line.split(' ')
        .map(|pair| {
            let key = pair.split('=').next().expect("a key");
            if VALUES.contains(&key) { pair.to_owned() } else { key.to_owned() }
        })
        .collect()
}
