// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the `histogram` program as a user does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use retrans_lab::{Family, Outcome, Pair, Refusal, Scenario};
use roxmltree::Document;

const RECORDING: &str = "recordings/lab.kv";

fn histogram(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
    command.arg("histogram");
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    histogram(arguments).stdin(Stdio::null()).output().expect("histogram is built")
}

fn fed(arguments: &[&str], text: &str) -> Output {
    let mut child = histogram(arguments).spawn().expect("histogram is built");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn printed(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("text")
}

fn recording() -> String {
    fs::read_to_string(RECORDING).expect("a recording")
}

#[test]
fn the_lab_as_text() {
    let output = run(&[RECORDING]);
    assert!(output.status.success() && output.stderr.is_empty());
    assert_snapshot!(printed(&output));
}

#[test]
fn the_lab_with_all_options_as_text() {
    let output =
        run(&[RECORDING, "class!=ok", "--v4-prefix", "16", "--v6-prefix", "48", "--bucket", "0.25", "--rows", "3"]);
    assert!(output.status.success());
    assert_snapshot!(printed(&output));
}

#[test]
fn the_lab_as_svg() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("lab.svg");
    let path = path.to_str().expect("a path");
    let output = run(&[RECORDING, "--rows", "4", "--svg", path]);
    assert!(output.status.success() && printed(&output).starts_with("failed attempts"));
    let drawn = fs::read_to_string(path).expect("it was drawn");
    assert_snapshot!(drawn);
    assert_eq!(fs::read_dir(scratch.path()).expect("a directory").count(), 1, "no other file is left");

    let document = Document::parse(&drawn).expect("XML");
    assert!(document.root_element().has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    // The title of each cell that is not empty contains its count. Their sum is the number of
    // failures.
    let titles = document.descendants().filter(|node| node.has_tag_name("rect")).filter_map(|cell| {
        let (_, count) = cell.children().find(|child| child.has_tag_name("title"))?.text()?.trim().rsplit_once(": ")?;
        Some(count.parse::<usize>().expect("a number"))
    });
    let failures = recording().lines().filter(|line| !line.contains("result=success")).count();
    assert_eq!(titles.sum::<usize>(), failures);

    // The second run replaces the file with the same bytes.
    assert!(run(&[RECORDING, "--rows", "4", "--svg", path]).status.success());
    assert_eq!(fs::read_to_string(path).expect("it was drawn"), drawn);
}

/// Another user may have created the name of the temporary file as a link to a file of this user.
#[test]
fn an_svg_file_is_not_written_through_a_link() {
    let scratch = tempfile::tempdir().expect("a directory");
    let [path, temporary, other] = ["lab.svg", "lab.svg.new", "other"].map(|name| scratch.path().join(name));
    fs::write(&other, "other").expect("a file");
    std::os::unix::fs::symlink(&other, &temporary).expect("a link");
    assert!(run(&[RECORDING, "--svg", path.to_str().expect("a path")]).status.success());
    assert_eq!(fs::read_to_string(&other).expect("a file"), "other");
    assert!(fs::read_to_string(&path).expect("it was drawn").contains("</svg>"));
    assert!(fs::symlink_metadata(&path).expect("it was drawn").is_file() && !temporary.exists());
}

#[test]
fn all_attempts_of_the_lab_as_text() {
    let output = run(&[RECORDING, "--count", "all", "--rows", "5"]);
    assert!(output.status.success());
    assert_snapshot!(printed(&output));
}

#[test]
fn each_format_has_the_same_rows() {
    let lines = run(&[RECORDING, "--format", "kv", "--rows", "3"]);
    let json = run(&[RECORDING, "--format", "json", "--rows", "3"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let rows = json["rows"].as_array().expect("rows");
    assert_eq!((printed(&lines).lines().count(), rows.len()), (4, 4), "three, and the others");
    for (line, row) in printed(&lines).lines().zip(rows) {
        let prefix = row["prefix"].as_str().expect("text").replace(' ', "_");
        let expected = format!("prefix={prefix} attempts={} failures={} ", row["attempts"], row["failures"]);
        assert!(line.starts_with(&expected) && line.split(' ').all(|pair| pair.contains('=')), "{line}");
    }
    assert_eq!(printed(&run(&[RECORDING, "--format", "table"])), printed(&run(&[RECORDING])));
}

#[test]
fn skip_bad_lines_skips_malformed_lines() {
    let text = recording().lines().take(3).collect::<Vec<_>>().join("\nhello\n") + "\n";
    let output = fed(&["-", "--skip-bad-lines"], &text);
    assert!(output.status.success());
    assert!(printed(&output).ends_with("2 lines skipped.\n"), "{}", printed(&output));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_first_line_of_a_recording_is_stated() {
    let line = recording().lines().next().expect("a line").to_owned();
    let output = fed(&["-"], &format!("$ cat recording.kv\n{line}\n"));
    assert!(output.status.success());
    assert!(printed(&output).ends_with("1 line skipped.\n"), "{}", printed(&output));
    let said = "retrans: the recording begins at line 2 (key=value lines)\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);
}

#[test]
fn terms_of_a_live_stream_are_refused_for_a_recording() {
    for term in ["cookie=mine", "cookie!=mine", "cgroup=1/"] {
        let output = run(&[RECORDING, term]);
        assert_eq!((output.status.code(), printed(&output)), (Some(2), ""), "{term}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("`{term}` requires a live stream")), "{said}");
    }
}

#[test]
fn a_filter_leaves_out_attempts_of_a_recording() {
    let attempts = |term: &str| {
        let output = run(&[RECORDING, "--format", "json", "--count", "all", term]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["attempts"].as_u64().expect("a number"))
            .sum::<u64>()
    };
    let drops = recording().lines().filter(|line| line.contains(" class=drop ")).count() as u64;
    assert!(drops > 0);
    assert_eq!((attempts("class=drop"), attempts("class!=drop")), (drops, recording().lines().count() as u64 - drops));
}

#[test]
fn each_format_of_a_recording_has_the_same_histogram() {
    let scratch = tempfile::tempdir().expect("a directory");
    let json = Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(["replay", RECORDING, "--format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("retrans is built")
        .stdout;
    let zstd = zstd::encode_all(&json[..], 0).expect("compressed");
    for (name, bytes) in [("json", json), ("zstd", zstd)] {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).expect("a file");
        let path = path.to_str().expect("a path");
        for options in [&[][..], &["--input-format", "json"]] {
            assert_eq!(printed(&run(&[&[path], options].concat())), printed(&run(&[RECORDING])), "{name} {options:?}");
        }
        let forced = run(&[path, "--input-format", "kv"]);
        assert_eq!(forced.status.code(), Some(1), "{}", String::from_utf8_lossy(&forced.stderr));
    }
}

#[test]
fn stdin_is_read_like_a_file() {
    let output = fed(&["-"], &recording());
    assert!(output.status.success());
    assert_eq!(printed(&output), printed(&run(&[RECORDING])));
}

#[test]
fn the_output_of_perf_is_read() {
    let text = include_str!("../../recordings/perf-script.txt");
    let failed = text.lines().filter(|line| line.contains("tcp_retransmit_skb:") && !line.contains(" err=0")).count();
    let output = run(&[concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/perf-script.txt"), "--rows", "1"]);
    let attempts = text.lines().filter(|line| line.contains(" tcp:tcp_retransmit_")).count();
    assert!(failed > 0, "a recording of nothing");
    let first = format!("failed attempts by remote prefix: {failed} of {attempts}\n");
    assert!(printed(&output).starts_with(&first), "{first}{}", printed(&output));
}

/// The recorded text of perf states no clock.
#[test]
fn times_of_an_unknown_clock_are_not_dates() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("perf.svg");
    let path = path.to_str().expect("a path");
    let draw = |options: &[&str]| {
        let output = run(&[&["recordings/perf-script.txt", "--svg", path], options].concat());
        assert!(output.status.success());
        (printed(&output).to_owned(), fs::read_to_string(path).expect("it was drawn"))
    };
    let (text, svg) = draw(&[]);
    let span = text.lines().nth(1).expect("the time span");
    assert!(span.starts_with("17783 to ") && span.contains(" s of an unknown clock, "), "{span}");
    assert!(text.contains("--clock-offset sets its offset from the epoch.\n"), "{text}");
    assert!(svg.contains("time, s of an unknown clock"), "{svg}");
    for text in [&text, &svg] {
        assert!(!text.contains("1970") && !text.contains("UTC"), "{text}");
    }
    let (known, svg) = draw(&["--clock-offset", "1795426283"]);
    assert!(known.lines().nth(1).expect("the time span").starts_with("2026-11-23 14:27:46 to "), "{known}");
    assert!(!known.contains("--clock-offset") && svg.contains("time, UTC"), "{known}");
    let (lines, _) = draw(&["--format", "kv"]);
    assert!(lines.lines().all(|line| line.contains(" begin=17783.") && line.ends_with(" clock=unknown")), "{lines}");
    let (json, _) = draw(&["--format", "json", "--clock-offset", "btime"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["clock"], "realtime");
}

#[test]
fn the_order_of_the_lines_does_not_matter() {
    let mut lines: Vec<_> = recording().lines().map(str::to_owned).collect();
    lines.reverse();
    assert_eq!(printed(&fed(&["-"], &(lines.join("\n") + "\n"))), printed(&run(&[RECORDING])));
}

#[test]
fn attempts_before_a_malformed_line_are_shown() {
    let text = recording().lines().filter(|line| line.contains("result=denied")).collect::<Vec<_>>().join("\n");
    let output = fed(&["-"], &(text + "\nhello\n"));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("retrans: stdin: line 9: column 1: "), "{said}");
    assert!(printed(&output).starts_with("failed attempts by remote prefix: 8 of 8\n"));
}

#[test]
fn too_many_columns_are_refused_with_a_suggestion() {
    let first = recording().lines().next().expect("a line").to_owned();
    let later = first.replacen("ts=17960", "ts=17961", 1);
    let output = fed(&["-", "--bucket", "1"], &format!("{first}\n{later}\n"));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("more than 500 columns: use --bucket 201 or more"), "{said}");
    assert!(fed(&["-", "--bucket", "201"], &format!("{first}\n{later}\n")).status.success());
    assert!(fed(&["-"], &format!("{first}\n{later}\n")).status.success(), "without --bucket the width is chosen");
}

#[test]
fn without_a_failure_nothing_is_drawn() {
    let output = run(&[RECORDING, "result=success"]);
    assert!(output.status.success());
    let text = printed(&output);
    let recording = std::fs::read_to_string(RECORDING).expect("the recording");
    let successes = recording.lines().filter(|line| line.contains(" result=success ")).count();
    let said = format!("failed attempts by remote prefix: 0 of {successes}\nNothing to draw. A recording does not");
    assert!(text.starts_with(&said), "{text}");
}

#[test]
fn errors_at_the_start_return_status_2() {
    for (arguments, said) in [
        (&["/nonexistent"][..], "/nonexistent: No such file"),
        (&[], "missing operand FILE, or --for SECONDS"),
        (&[RECORDING, "result=no_such"], "no_such"),
        (&[RECORDING, "--bucket", "0"], "a column must be at least 0.001 seconds wide"),
        (&[RECORDING, "--bucket", "-1"], "not negative"),
        (&[RECORDING, "--v4-prefix", "33"], "33 is not in 0..=32"),
        (&[RECORDING, "--v6-prefix", "129"], "129 is not in 0..=128"),
        (&[RECORDING, "--rows", "few"], "'--rows <N>'"),
        (&[RECORDING, "--attach-method", "fexit"], "--for <SECONDS>"),
        (&["--for", "never"], "'--for <SECONDS>': expected a number"),
        (&[RECORDING, "--no-such"], "--no-such"),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), printed(&output)), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(
            (stderr.starts_with("retrans: ") || stderr.starts_with("error: ")) && stderr.contains(said),
            "{stderr}"
        );
    }
    let output = run(&["--help"]);
    assert!(output.status.success() && printed(&output).contains("Usage: retrans histogram [OPTIONS] FILE"));
}

#[test]
fn an_svg_file_that_cannot_be_written_is_reported() {
    let output = run(&[RECORDING, "--svg", "/nonexistent/lab.svg"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/lab.svg: No such file"));
    assert_eq!(printed(&output), printed(&run(&[RECORDING])));
}

/// Both ways to count the attempts of this host: directly, and from the output of `watch`.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_traffics_failures_are_counted() {
    let pair = Pair::new().expect("a pair of namespaces");
    let ours = format!("netns={}", pair.client().inode());
    let mut live = histogram(&["--for", "4", &ours]).spawn().expect("histogram is built");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(["watch", "--for", "4", &ours])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("watch is built");
    let piped = histogram(&["-"]).stdin(watch.stdout.take().expect("piped")).spawn().expect("histogram is built");
    let outcomes = [(Family::V4, Outcome::Denied(Refusal::Drop)), (Family::V6, Outcome::Rto)];
    let mut said =
        [live.stderr.take(), watch.stderr.take()].map(|stderr| BufReader::new(stderr.expect("piped")).lines());
    for lines in &mut said {
        let line = lines.next().expect("a line").expect("text");
        assert!(line.starts_with("ready source="), "{line}");
    }
    let scenarios = outcomes.map(|(family, outcome)| Scenario::run(&pair, family, outcome).expect("a scenario"));

    let (live, piped) = (live.wait_with_output().expect("it ends"), piped.wait_with_output().expect("it ends"));
    assert!(watch.wait().expect("it ends").success());
    let denied = scenarios[0].subject().remote.ip();
    for scenario in scenarios {
        scenario.finish().expect("an end to the scenario");
    }
    let [mut stats, _] = said;
    let stats = stats.next().expect("a line").expect("text");
    assert!(live.status.success() && stats.starts_with("stats seen="), "{stats}");
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
    for output in [&live, &piped] {
        let rows: Vec<_> = printed(output).lines().filter(|line| line.contains("denied")).collect();
        let prefix = denied.to_string().rsplit_once('.').map(|(front, _)| format!("{front}.0/24")).expect("IPv4");
        assert!(rows.len() == 1 && rows[0].starts_with(&format!("{prefix} ")), "{}", printed(output));
        assert!(!printed(output).contains("fd00:"), "an address without failures has no row");
    }
}
