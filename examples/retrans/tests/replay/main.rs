// SPDX-License-Identifier: MIT OR Apache-2.0
//! `replay` prints a recording, identically or filtered.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::{Family, Outcome, Pair, Refusal, Scenario};
use retrans_sdk::Filter;
use retrans_sdk::format::Line;
use rustix::process::{Pid, Signal, kill_process};

/// The lab's attempts, as recorded by `make recording`.
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.kv");

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_retrans"))
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("replay is built")
}

fn printed(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("text")
}

fn recording() -> String {
    fs::read_to_string(RECORDING).expect("the recording")
}

#[test]
fn a_recording_is_printed_identically() {
    let output = replay(&[RECORDING]);
    assert!(output.status.success());
    assert!(recording().lines().count() >= 24);
    assert!(printed(&output) == recording(), "a byte differs");
}

#[test]
fn a_filter_selects_lines() {
    for terms in
        ["result=success", "class=route,drop family=inet6", "kind=tlp --or kind=syn", "sk_err_soft!=0", "result=k17"]
    {
        let filter: Filter = terms.parse().expect(terms);
        let recording = recording();
        let expected: Vec<_> =
            recording.lines().filter(|line| filter.matches(&line.parse::<Line>().expect("a line").event)).collect();
        let arguments: Vec<_> = [RECORDING].into_iter().chain(terms.split(' ')).collect();
        let output = replay(&arguments);
        assert!(output.status.success(), "{terms}");
        assert_eq!(printed(&output).lines().collect::<Vec<_>>(), expected, "{terms}");
        assert!(expected.len() < recording.lines().count(), "{terms} must leave some out");
        assert_eq!(expected.is_empty(), terms == "result=k17", "{terms}");
    }
}

#[test]
fn stdin_is_read_up_to_a_malformed_line() {
    let recording = recording();
    let first = recording.lines().next().expect("a line");
    let mut child = Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(["replay", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("replay is built");
    // Cut within a key, because a part of a number would still be a number.
    let torn = first[..first.len() / 2].rsplit_once('=').expect("key=val").0;
    let text = format!("{first}\n{torn}\n{first}\n");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(printed(&output), format!("{first}\n"), "the lines before it are printed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("retrans: stdin: line 2: column "), "{said}");
}

#[test]
fn errors_at_the_start_return_status_2() {
    for (arguments, said) in [
        (&["/nonexistent"][..], "/nonexistent: No such file"),
        (&[], "<FILE>"),
        (&[RECORDING, "result=no_such"], "no_such"),
        (&[RECORDING, "--no-such"], "--no-such"),
        (&[RECORDING, "result=success", "cgroup=1/"], "`cgroup=1/` requires a live stream"),
    ] {
        let output = replay(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), printed(&output)), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(
            (stderr.starts_with("retrans: ") || stderr.starts_with("error: ")) && stderr.contains(said),
            "{stderr}"
        );
    }
    let output = replay(&["--help"]);
    assert!(output.status.success() && printed(&output).contains("Usage: retrans replay [OPTIONS] <FILE>"));
}

/// Replays bytes from a file.
fn replay_of(bytes: &[u8], arguments: &[&str]) -> Output {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("recording");
    fs::write(&path, bytes).expect("a file");
    replay(&[&[path.to_str().expect("a path")], arguments].concat())
}

#[test]
fn json_and_back_is_the_same() {
    let json = replay(&[RECORDING, "--format", "json"]);
    assert!(json.status.success());
    let first: serde_json::Value =
        serde_json::from_slice(json.stdout.split(|byte| *byte == b'\n').next().expect("a line")).expect("JSON");
    assert_eq!(first["scenario"], "rto", "unknown keys are kept");
    let output = replay_of(&json.stdout, &["--format", "kv"]);
    assert!(printed(&output) == recording(), "a byte differs");
}

#[test]
fn a_zstd_file_is_replayed() {
    let compressed = zstd::encode_all(recording().as_bytes(), 0).expect("compressed");
    assert!(printed(&replay_of(&compressed, &[])) == recording(), "a byte differs");
}

#[test]
fn the_output_of_perf_is_replayed() {
    let text = include_bytes!("../../recordings/perf-script.txt");
    let output = replay_of(text, &["result!=success"]);
    assert!(output.status.success());
    assert!(printed(&output).lines().count() > 0);
    assert!(printed(&output).lines().all(|line| line.parse::<Line>().is_ok()));
    assert_eq!(replay_of(text, &["--input-format", "json"]).status.code(), Some(1));
}

/// The recorded text of perf states no clock.
#[test]
fn times_of_kernel_text_are_dates_only_with_an_offset() {
    let text = include_bytes!("../../recordings/perf-script.txt");
    let stderr = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let table = replay_of(text, &["--format", "table"]);
    let first = printed(&table).lines().nth(1).expect("a row");
    assert!(printed(&table).starts_with("TIME (s) ") && first.starts_with("17783.867 "), "{}", printed(&table));
    assert!(stderr(&table).starts_with("retrans: the clock of this text is not known"), "{}", stderr(&table));
    let lines = replay_of(text, &[]);
    assert!(printed(&lines).starts_with("ts=17783.867820000 ") && stderr(&lines) == stderr(&table));

    let known = replay_of(text, &["--format", "table", "--clock-offset", "1795426283"]);
    let first = printed(&known).lines().nth(1).expect("a row");
    assert!(printed(&known).starts_with("TIME (UTC) ") && first.starts_with("14:27:46.867 "), "{}", printed(&known));
    assert_eq!(stderr(&known), "");
    let lines = replay_of(text, &["--clock-offset", "1795426283.000000001"]);
    assert!(printed(&lines).starts_with("ts=1795444066.867820001 "), "{}", printed(&lines));
    let earlier = replay_of(text, &["--clock-offset", "-17783.867820"]);
    assert!(printed(&earlier).starts_with("ts=0.000000000 "), "{}", printed(&earlier));

    let head = "# clockid: boottime (7)\n# reference time: 2026-11-23 14:27:46.867820 = 1795444066.867820 (TOD) \
        = 17783.867820000 (boottime)\n";
    let headed = replay_of(&[head.as_bytes(), text].concat(), &[]);
    assert!(printed(&headed).starts_with("ts=1795444066.867820000 "), "{}", printed(&headed));
    assert_eq!(stderr(&headed), "");

    let refused = replay_of(text, &["--clock-offset", "boot"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("expected btime, or a number of seconds"), "{}", stderr(&refused));
}

#[test]
fn skip_bad_lines_skips_malformed_lines() {
    let text = recording();
    let line = text.lines().next().expect("a line");
    let output = replay_of(format!("{line}\nhello\n{line}\n").as_bytes(), &["--skip-bad-lines"]);
    assert!(output.status.success());
    assert_eq!(printed(&output), format!("{line}\n{line}\n"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "retrans: 1 line skipped\n");
}

#[test]
fn what_precedes_and_what_is_lost_is_reported() {
    let text = "root@host:~# cat trace\n# tracer: nop\n# entries-in-buffer/entries-written: 1/553   #P:2\n\
        CPU:1 [LOST EVENTS]\n          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: family=AF_INET \
        sport=40000 dport=443 saddr=10.1.2.1 daddr=10.1.2.2 saddrv6=::ffff:10.1.2.1 daddrv6=::ffff:10.1.2.2 \
        state=TCP_ESTABLISHED err=-16\n";
    let output = replay_of(text.as_bytes(), &["--clock-offset", "0"]);
    assert!(output.status.success());
    assert_eq!(printed(&output).lines().count(), 1);
    let said = "retrans: the recording begins at line 2 (kernel text)\nretrans: 1 line skipped\n\
        retrans: the text reports 552 lost trace entries, of any event\n\
        retrans: the text contains 1 loss report without a number of entries\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);
}

#[test]
fn a_table_of_the_lab() {
    let output = replay(&[RECORDING, "--format", "table", "class=window,drop"]);
    assert!(output.status.success());
    insta::assert_snapshot!(printed(&output));
    let colored = replay(&["--color", "always", RECORDING, "--format", "table", "class=drop"]);
    assert!(printed(&colored).contains("\u{1b}[31mdenied"), "{}", printed(&colored));
}

/// Runs `watch > FILE`, as in a shell.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_output_of_watch_is_replayed() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("recording.kv");
    let file = File::create(&path).expect("a file");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(["watch", "--for", "60"])
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .expect("watch is built");
    let pair = Pair::new().expect("a pair");
    let scenarios: Vec<_> = [Outcome::Rto, Outcome::Syn, Outcome::Denied(Refusal::Drop)]
        .into_iter()
        .flat_map(|outcome| Family::ALL.map(|family| Scenario::run(&pair, family, outcome).expect("a scenario")))
        .collect();
    let written = || fs::read_to_string(&path).expect("what it wrote");
    let ours =
        |text: &str| text.lines().filter(|line| line.contains(&format!("netns={}", pair.client().inode()))).count();
    let deadline = Instant::now() + Duration::from_secs(30);
    while ours(&written()) < 9 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    drop(scenarios);
    kill_process(Pid::from_child(&watch), Signal::INT).expect("it runs");
    assert!(watch.wait().expect("it ends").success());

    let (written, output) = (written(), replay(&[path.to_str().expect("a path")]));
    assert!(ours(&written) >= 9, "{written}");
    assert!(output.status.success());
    assert!(printed(&output) == written, "a byte differs");
}
