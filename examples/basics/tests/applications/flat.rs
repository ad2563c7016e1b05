// SPDX-License-Identifier: MIT OR Apache-2.0
//! A long recording requires no more memory than a short one.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The size of the whole input: many times more than the program ever reads ahead.
const WHOLE: usize = 128 << 20;
const BEGINNING: usize = 8 << 20;
/// Variation between two measurements.
const SLACK: u64 = 1 << 20;

#[test]
fn a_long_recording_requires_no_more_memory_than_its_beginning() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retrans/recordings/lab.kv");
    let text = fs::read_to_string(recording).expect("the recording");
    let mut agent = Command::new(env!("CARGO_BIN_EXE_agent"))
        .args(["--replay", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("agent is built");
    let status = format!("/proc/{}/status", agent.id());
    let most = || {
        let status = fs::read_to_string(&status).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its size");
        line.trim().strip_suffix(" kB").and_then(|size| size.parse::<u64>().ok()).expect("a size") << 10
    };
    let mut input = agent.stdin.take().expect("piped");
    let (mut written, mut times, mut at_the_beginning) = (0, 0, 0);
    while written < WHOLE {
        input.write_all(text.as_bytes()).expect("it reads");
        (written, times) = (written + text.len(), times + 1);
        if at_the_beginning == 0 && written >= BEGINNING {
            at_the_beginning = most();
        }
    }
    let at_the_end = most();
    drop(input);
    let output = agent.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    println!("bytes={written} at_the_beginning={at_the_beginning} at_the_end={at_the_end}\n{said}");
    assert!(output.status.success(), "{said}");
    let lines = times * text.lines().count();
    assert!(said.contains(&format!("stats seen={lines} filtered=0 limited=0 lost=0 submitted={lines} ")), "{said}");
    assert!(at_the_end <= at_the_beginning + SLACK, "{at_the_beginning}, then {at_the_end}");
}
