// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exit status of `demo` is its verdict, also if the reader of stdout has exited.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::demo;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.kv");

/// Replays a recording without a reader, and returns the exit status and the lines on stderr.
fn replayed(recording: &Path) -> (Option<i32>, Vec<String>) {
    let mut command = demo();
    command.arg("--replay").arg(recording).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("demo is built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), stderr.lines().map(str::to_owned).collect())
}

#[test]
fn a_missing_row_is_a_failure_without_a_reader() {
    assert_eq!(replayed(Path::new(RECORDING)), (Some(0), Vec::new()));

    let recording = fs::read_to_string(RECORDING).expect("the recording");
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("without.kv");
    let without = recording.lines().filter(|line| !line.ends_with(" scenario=rto")).map(|line| format!("{line}\n"));
    fs::write(&path, without.collect::<String>()).expect("a file");
    assert_eq!(replayed(&path), (Some(1), vec!["retrans: rto: not among 0 events".to_owned()]));
}
