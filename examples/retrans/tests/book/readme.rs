// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the README is short, and that its output of `retrans watch` is in the recording.

use std::fs;
use std::process::{Command, Stdio};

use crate::console::sessions;
use crate::page::root;
use crate::programs::{accepts, built};
use crate::words::programs;

/// More than this is not read.
const MOST_LINES: usize = 150;

#[test]
fn the_readme_is_short() {
    let text = fs::read_to_string(root().join("README.md")).expect("the README");
    assert!(text.lines().count() <= MOST_LINES, "{} lines", text.lines().count());
}

/// `retrans watch` prints the same rows as `retrans replay`, which adds a column.
#[test]
fn the_output_in_the_readme_is_in_the_recording() {
    let text = fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, block) = text.split_once("```console\n").expect("a session");
    let (block, _) = block.split_once("```").expect("its end");
    let sessions = sessions(block);
    let [(command, printed)] = &sessions[..] else { panic!("{} commands", sessions.len()) };
    let programs = programs(command);
    let [watch] = &programs[..] else { panic!("{command}: not one program") };
    assert_eq!(watch.words[..2], ["target/release/retrans", "watch"]);
    assert!(watch.is_root);
    assert_eq!(accepts("retrans", &watch.words[1..]), Ok(()), "{command}");

    let terms = &watch.words[2..];
    let output = Command::new(built("retrans").expect("the program"))
        .args(["replay", "examples/retrans/recordings/lab.kv", "--format", "table", "family=inet"])
        .args(terms)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let replayed = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<_> = printed.lines().collect();
    assert_eq!(rows.len(), 4, "a header and three rows");
    assert!(rows[0].starts_with("TIME (UTC)"), "{}", rows[0]);
    assert!(rows.windows(2).skip(1).all(|pair| pair[0] < pair[1]), "the rows are in the order of time");
    for row in rows {
        assert!(replayed.lines().any(|line| line.starts_with(row)), "the recording has no such row: {row}");
    }
}
