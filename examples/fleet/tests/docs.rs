// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of docs/fleet.md: the agent has the options.
#![cfg(all(feature = "prometheus", feature = "parquet"))]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_options_of_the_page_exist() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fleet.md");
    let page = fs::read_to_string(page).expect("the page");
    let lines = page.lines().map(|line| line.trim_start_matches("sudo "));
    let commands: Vec<_> = lines.filter(|line| line.starts_with("retrans-agent ")).collect();
    assert!(commands.len() >= 2, "{commands:?}");
    for line in commands {
        // The last argument makes it print its help, unless it rejects one before.
        let script = format!("agent() {{ \"$AGENT\" \"$@\" --help; }}; {}", line.replacen("retrans-agent", "agent", 1));
        let output =
            Command::new("sh").args(["-c", &script]).env("AGENT", env!("CARGO_BIN_EXE_retrans-agent")).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
