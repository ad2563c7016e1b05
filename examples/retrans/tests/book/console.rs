// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the commands of `console` blocks and compares what they print with the book.

use std::process::{Command, Stdio};

use crate::page::{pages, root};
use crate::programs::built;

/// Returns each command of a block, with the output in the book.
pub(crate) fn sessions(block: &str) -> Vec<(&str, String)> {
    let mut sessions: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), sessions.last_mut()) {
            (Some(command), _) => sessions.push((command, String::new())),
            (None, Some((_, printed))) => printed.extend([line, "\n"]),
            (None, None) => panic!("output before the first command: {line}"),
        }
    }
    sessions
}

#[test]
fn each_command_prints_what_the_book_shows() {
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
