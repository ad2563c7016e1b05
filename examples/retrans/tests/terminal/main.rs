// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs each subcommand in a terminal of its own, as a person sees it.

#[path = "../top/screen.rs"]
#[expect(dead_code, reason = "this test uses a part of it")]
mod screen;

use retrans_lab::{Family, Outcome, Pair, Refusal, Scenario};

use self::screen::{Ended, Screen};

const RETRANS: &str = env!("CARGO_BIN_EXE_retrans");
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.kv");
const RED: &[u8] = b"\x1b[31m";

fn ended(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    Screen::running(150, 40, &[&[RETRANS], arguments].concat(), environment).end()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_recording_is_a_table_with_colors() {
    let ended = ended(&["replay", RECORDING, "result=denied", "family=inet6", "--or", "result=denied"], &[]);
    assert!(ended.status.success(), "{}", ended.text);
    let mut lines = ended.text.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("TIME (UTC)    RESULT")), "{}", ended.text);
    assert!(lines.all(|line| line.is_empty() || line.contains("  denied  ")), "{}", ended.text);
    assert!(contains(&ended.written, RED), "{}", ended.text);
}

#[test]
fn colors_can_be_turned_off() {
    let arguments = ["replay", RECORDING, "result=denied"];
    for (more, environment) in [(&["--color", "never"][..], &[][..]), (&[], &[("NO_COLOR", "1")])] {
        let ended = ended(&[&arguments[..], more].concat(), environment);
        assert!(ended.status.success() && !ended.written.contains(&0x1b), "{more:?} {environment:?}: {}", ended.text);
    }
    let ended = ended(&[&arguments[..], &["--color", "always"]].concat(), &[("NO_COLOR", "1")]);
    assert!(contains(&ended.written, RED), "the option overrides NO_COLOR: {}", ended.text);
}

#[test]
fn key_value_lines_are_printed_on_request() {
    let ended = ended(&["replay", RECORDING, "--format", "kv", "result=denied", "sport=1"], &[]);
    assert!(ended.status.success() && ended.text.trim().is_empty(), "{}", ended.text);
    let written = self::ended(&["replay", RECORDING, "--format", "kv", "result=denied"], &[]).written;
    assert!(contains(&written, b" result=denied err=-1 kind="), "{}", String::from_utf8_lossy(&written));
}

#[test]
fn the_doctor_prints_sentences() {
    let ended = Screen::running(150, 60, &[RETRANS, "doctor"], &[]).end();
    assert!(ended.text.starts_with("Coverage: "), "{}", ended.text);
    assert!(!ended.text.contains("%20") && !ended.text.contains("coverage="), "{}", ended.text);
    let status =
        ["full", "degraded", "unable"].iter().position(|word| ended.text.contains(&format!("Coverage: {word}.")));
    assert_eq!(ended.status.code(), status.map(|status| status as i32), "{}", ended.text);
}

#[test]
fn an_error_is_one_line() {
    let ended = ended(&["replay", "/nonexistent"], &[]);
    assert_eq!(ended.status.code(), Some(2));
    assert_eq!(ended.text.trim(), "retrans: cannot open /nonexistent: No such file or directory (os error 2)");
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn watch_prints_rows_and_a_summary() {
    let pair = Pair::new().expect("a pair of namespaces");
    let filter = format!("netns={}", pair.client().inode());
    let mut screen = Screen::running(170, 40, &[RETRANS, "watch", "--owners", &filter], &[]);
    screen.wait_for("Attach method: ");
    screen.wait_for("TIME (UTC)    RESULT");
    let scenario = Scenario::run(&pair, Family::V4, Outcome::Denied(Refusal::Drop)).expect("a scenario");
    let subject = scenario.subject();
    let row = screen.wait_for("  denied  ");
    assert!(row.contains(&format!("{} ", subject.local)) && row.contains(&format!("→ {}", subject.remote)), "{row}");
    screen.type_in("\u{3}");
    let ended = screen.end();
    scenario.finish().expect("an end to the scenario");
    assert!(ended.status.success() && ended.restored, "{}", ended.text);
    assert!(ended.text.contains(" seen, ") && ended.text.contains(" shown."), "{}", ended.text);
    assert!(!ended.text.contains("stats seen="), "{}", ended.text);
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn reconcile_prints_a_verdict() {
    let ended = ended(&["reconcile", "--for", "0.3"], &[]);
    assert!(ended.text.contains("Counting the attempts in network namespace "), "{}", ended.text);
    assert!(ended.text.contains("COUNTER") && ended.text.contains("RetransSegs"), "{}", ended.text);
    assert_eq!(ended.status.success(), ended.text.contains("everything is accounted for"), "{}", ended.text);
}
