// SPDX-License-Identifier: MIT OR Apache-2.0
//! `console` blocks are run, and print what the book says.

use std::process::{Command, Stdio};

use crate::page::{pages, root};
use crate::programs::built;

/// Each command with what it is said to print.
fn sessions(block: &str) -> Vec<(&str, String)> {
    let mut sessions: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), sessions.last_mut()) {
            (Some(command), _) => sessions.push((command, String::new())),
            (None, Some((_, printed))) => printed.extend([line, "\n"]),
            (None, None) => panic!("output of no command: {line}"),
        }
    }
    sessions
}

#[test]
fn a_session_is_as_it_is_printed() {
    let mut count = 0;
    for page in pages() {
        for block in page.blocks_that(|info| info == "console") {
            for (command, printed) in sessions(block.text) {
                let at = format!("{}: {command}", page.at(&block));
                let (name, arguments) = command
                    .strip_prefix("target/release/")
                    .and_then(|command| command.split_once(' '))
                    .unwrap_or_else(|| panic!("{at}: not a program of this project"));
                let program = built(name).unwrap_or_else(|| panic!("{at}: no such program"));
                let mut shell = Command::new("sh");
                shell.args(["-euc", &format!("\"$0\" {arguments}"), program]).current_dir(root()).stdin(Stdio::null());
                let output = shell.output().expect("a shell");
                assert!(output.status.success(), "{at}: {}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{at}");
                count += 1;
            }
        }
    }
    assert!(count > 0);
}
