// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `top` on a recording of the lab, which requires no privilege.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use retrans_sdk::format::Line;
use retrans_sdk::{Event, RetransResult};

use crate::screen::Screen;

const ALL: [&str; 4] = ["--replay", "recordings/lab.kv", "--speed", "inf"];

fn whole() -> Screen {
    let screen = Screen::of(110, 40, &ALL);
    screen.wait_for("end of the recording");
    screen
}

/// Returns the recorded events. The recording is renewed from time to time.
fn recorded() -> Vec<Event> {
    let text = fs::read_to_string("recordings/lab.kv").expect("a recording");
    text.lines().map(|line| line.parse::<Line>().expect("an event").event).collect()
}

fn remotes() -> BTreeMap<IpAddr, usize> {
    let mut failures = BTreeMap::new();
    for event in recorded() {
        *failures.entry(event.daddr).or_default() += usize::from(event.result != RetransResult::Success);
    }
    failures
}

/// Returns the first column of the addresses, from the top.
fn addresses(text: &str) -> Vec<String> {
    let rows = text.lines().skip_while(|line| !line.contains("│address")).skip(1);
    let address = |line: &str| line.trim_start_matches('│').split_whitespace().next().map(str::to_owned);
    rows.take_while(|line| line.starts_with('│')).filter_map(address).filter(|a| a.contains(['.', ':'])).collect()
}

#[test]
fn the_whole_recording_is_counted() {
    let mut screen = whole();
    let events = recorded();
    let all = events.len();
    assert!(screen.wait_for("read=").contains(&format!("read={all} filtered=0 delivered={all}")));
    let total = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("│{name} ")))?;
        line.trim_start_matches('│').split_whitespace().nth(2).map(str::to_owned)
    };
    for name in ["success", "xmit_drop", "route_fail", "nomem"] {
        let attempts = events.iter().filter(|event| event.result.to_string() == name).count();
        assert!(attempts > 0);
        assert_eq!(total(&screen.text(), name), Some(attempts.to_string()), "{name}");
    }
    screen.wait_for(&format!("remote addresses, {}", remotes().len()));
    screen.type_in("q");
    let ended = screen.end();
    assert!(ended.status.success() && ended.restored, "{}", ended.text);
    // Each picture is one synchronized update.
    let written = String::from_utf8_lossy(&ended.written);
    let [begun, ended] = ["\x1b[?2026h", "\x1b[?2026l"].map(|sequence| written.matches(sequence).count());
    assert!(begun > 0 && ended >= begun, "{begun} updates begun, {ended} ended");
}

#[test]
fn the_first_line_of_a_recording_is_shown() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("r");
    let text = fs::read_to_string("recordings/lab.kv").expect("a recording");
    fs::write(&path, format!("$ cat r\n{text}")).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let screen = Screen::of(110, 40, &["--replay", path, "--speed", "inf"]);
    screen.wait_for(&format!("recording {path} (key=value lines from line 2)"));
}

#[test]
fn colors_can_be_turned_off() {
    let has_colors = |arguments: &[&str], environment: &[(&str, &str)]| {
        let command_line = [&[env!("CARGO_BIN_EXE_retrans"), "top"], &ALL[..], arguments].concat();
        let mut screen = Screen::running(110, 40, &command_line, environment);
        screen.wait_for("end of the recording");
        screen.type_in("q");
        let ended = screen.end();
        assert!(ended.status.success() && ended.restored, "{}", ended.text);
        // A sequence that ends with m sets a style; others move the cursor, also to row 38.
        let written = String::from_utf8_lossy(&ended.written).into_owned();
        let styles = written.split("\x1b[").filter_map(|sequence| {
            let (parameters, _) = sequence.split_at(sequence.find(|c: char| c.is_ascii_alphabetic())?);
            sequence[parameters.len()..].starts_with('m').then(|| parameters.to_owned())
        });
        styles.into_iter().any(|style| style.starts_with("38;") || style.contains(";38;") || style.contains("48;"))
    };
    assert!(has_colors(&[], &[]));
    assert!(!has_colors(&["--color", "never"], &[]));
    assert!(!has_colors(&[], &[("NO_COLOR", "1")]));
    assert!(has_colors(&["--color", "always"], &[("NO_COLOR", "1")]), "the option overrides NO_COLOR");
}

#[test]
fn addresses_are_sorted_and_scrolled() {
    let mut screen = whole();
    let by_failures = addresses(&screen.text());
    let remotes = remotes();
    let failures = |address: &String| remotes[&address.parse::<IpAddr>().expect("an address")];
    assert_eq!(failures(&by_failures[0]), *remotes.values().max().expect("remotes"));
    assert!(by_failures.iter().map(failures).is_sorted_by(|one, next| one >= next), "{by_failures:?}");
    let mut orders = vec![by_failures];
    for heading in ["attempts▼", "ago▼", "address▲"] {
        screen.type_in("s");
        screen.wait_for(heading);
        orders.push(addresses(&screen.text()));
    }
    for (i, order) in orders.iter().enumerate() {
        assert!(orders[..i].iter().all(|other| other != order), "{i} is another order");
    }
    assert_eq!(Some(orders[3][0].clone()), remotes.keys().next().map(IpAddr::to_string));
    // The key Down, which a terminal sends as an escape sequence.
    screen.type_in("\u{1b}[B");
    screen.wait_until("the second address on top", |text| (addresses(text)[0] == orders[3][1]).then_some(()));
    screen.type_in("\u{3}");
    let ended = screen.end();
    assert!(ended.status.success() && ended.restored, "Ctrl-C ends it as q does");
}

#[test]
fn a_filter_is_typed_corrected_and_applied() {
    let mut screen = whole();
    screen.type_in("fresult!=success dport=0x");
    screen.wait_for("filter, column 23: dport: ");
    screen.type_in("\r");
    screen.wait_for("filter, column 23: dport: ");
    // Ctrl-W deletes the term.
    screen.type_in("\u{17}kind=rto daddr=10.0.0.0/8\r");
    screen.wait_for("filter: result!=success kind=rto daddr=10.0.0.0/8");
    let line = screen.wait_until("the end with a filter", |text| {
        let ended = text.contains("end of the recording") && !text.contains("no filter");
        ended.then(|| text.lines().find(|line| line.contains("read=")).map(str::to_owned)).flatten()
    });
    let recording = fs::read_to_string("recordings/lab.kv").expect("a recording");
    let expected = recording
        .lines()
        .filter(|line| !line.contains("result=success") && line.contains("kind=rto") && line.contains("daddr=10."))
        .count();
    let all = recorded().len();
    assert!(line.contains(&format!("read={all} filtered={} delivered={expected}", all - expected)), "{line}");
    assert!(!screen.text().contains("│success"), "{}", screen.text());

    // A filter that is not applied changes nothing.
    screen.type_in("f\u{15}kind=tlp");
    screen.wait_for("filter: kind=tlp");
    screen.type_in("\u{1b}");
    screen.wait_for("q quit");
    screen.wait_for("filter: result!=success kind=rto");
    screen.type_in("q");
    assert!(screen.end().status.success());
}

#[test]
fn help_opens_and_closes() {
    let mut screen = whole();
    screen.type_in("?");
    screen.wait_for("help: press any key to close");
    screen.type_in("q");
    screen.wait_until("no help", |text| (!text.contains("help: press any key")).then_some(()));
    screen.type_in("q");
    assert!(screen.end().status.success());
}

/// A pause stops the display, but not the counting.
#[test]
fn a_pause_stops_the_display_only() {
    let mut screen = Screen::of(110, 40, &["--replay", "recordings/lab.kv", "--speed", "0.5"]);
    screen.wait_for("success");
    screen.type_in("p");
    screen.wait_for("PAUSED");
    let counters = |text: &str| text.lines().find(|line| line.contains("read=")).map(str::to_owned).expect("counters");
    let paused = counters(&screen.text());
    screen.wait_for("end of the recording");
    assert_eq!(counters(&screen.text()), paused, "the display has stopped");
    let all = format!("delivered={}", recorded().len());
    assert!(!paused.contains(&all), "{paused}");
    screen.type_in("p");
    screen.wait_for(&all);
    assert!(!screen.text().contains("PAUSED"));
}

#[test]
fn the_display_follows_the_size_of_the_terminal() {
    let screen = whole();
    screen.resize(40, 8);
    let successes = recorded().iter().filter(|event| event.result == RetransResult::Success).count();
    let success = format!("success {successes}");
    screen.wait_until("the tiny picture", |text| (!text.contains('│') && text.contains(&success)).then_some(()));
    screen.resize(1, 1);
    screen.resize(90, 30);
    screen.wait_for(&format!("remote addresses, {}", remotes().len()));
}

#[test]
fn each_format_of_a_recording_is_shown() {
    let scratch = tempfile::tempdir().expect("a directory");
    let json = std::process::Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(["replay", "recordings/lab.kv", "--format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("retrans is built")
        .stdout;
    let zstd = zstd::encode_all(&json[..], 0).expect("compressed");
    let kv = fs::read("recordings/lab.kv").expect("a recording");
    let bad = [&b"hello\n"[..], &kv, b"hello\n"].concat();
    let (all, skipped) = (recorded().len(), 2);
    for (name, bytes, options, bad) in [
        ("json", &json, &["--input-format", "json"][..], 0),
        ("zstd", &zstd, &[], 0),
        ("bad", &bad, &["--input-format", "kv", "--skip-bad-lines"], skipped),
    ] {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).expect("a file");
        let path = path.to_str().expect("a path");
        let mut screen = Screen::of(110, 40, &[&["--replay", path, "--speed", "inf"], options].concat());
        screen.wait_for("end of the recording");
        screen.wait_for(&format!("read={all} filtered=0 delivered={all}"));
        if bad > 0 {
            screen.wait_for(&format!("skipped={bad}"));
        }
        screen.type_in("q");
        assert!(screen.end().status.success(), "{name}");
    }
}

#[test]
fn a_malformed_line_is_shown_and_returns_status_1() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, b"hello\n").expect("it can be written");
    let path = file.path().to_str().expect("a path");
    let mut screen = Screen::of(110, 30, &["--replay", path]);
    screen.wait_for("the recording ends with an error: no key=value line");
    screen.type_in("q");
    let ended = screen.end();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.restored && ended.text.contains(&format!("retrans: {path}: no key=value line")), "{}", ended.text);
}

/// A file name cannot control the terminal.
#[test]
fn no_escape_sequence_gets_through() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("\u{1b}]0;pwned\u{7}\u{1b}[5m\u{202e}x");
    fs::copy("recordings/lab.kv", &path).expect("a copy");
    let mut screen = Screen::of(200, 30, &["--replay", path.to_str().expect("a path"), "--speed", "inf"]);
    screen.wait_for("end of the recording");
    screen.wait_for(r"\u{1b}]0;pwned\u{7}\u{1b}[5m\u{202e}x");
    screen.type_in("q");
    let ended = screen.end();
    let written = String::from_utf8_lossy(&ended.written);
    assert!(
        !written.contains("\u{1b}]0;") && !written.contains("\u{1b}[5m") && !written.contains(['\u{7}', '\u{202e}'])
    );
}

/// The recorded text of perf states no clock.
#[test]
fn times_of_an_unknown_clock_are_seconds() {
    let arguments = ["--replay", "recordings/perf-script.txt", "--speed", "inf"];
    let mut screen = Screen::of(110, 40, &arguments);
    screen.wait_for("since 17783 s of an unknown clock, ");
    screen.type_in("q");
    assert!(screen.end().status.success());
    let mut screen = Screen::of(110, 40, &[&arguments[..], &["--clock-offset", "1795426283"]].concat());
    screen.wait_for("since 14:27:46 UTC, ");
    screen.type_in("q");
    assert!(screen.end().status.success());
}
