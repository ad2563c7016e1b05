// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `retrans check` as a user does.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value as Json;

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
    command.arg("check").args(arguments).env_remove("KERNEL_SRC").output().expect("retrans is built")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

#[test]
fn all_formats_report_the_same() {
    let [lines, table, json] = ["kv", "table", "json"].map(|format| check(&["--format", format]));
    assert_eq!((lines.status.code(), table.status.code()), (Some(0), Some(0)), "{lines:?}");
    assert!(text(&table.stdout).starts_with("ok ") && text(&table.stdout).ends_with("No difference.\n"), "{table:?}");
    let reports: Vec<Json> = text(&json.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[0]["passed"], true);
    assert!(text(&lines.stdout).contains(reports[0]["subject"].as_str().expect("a subject")), "{lines:?}");
}

#[test]
fn a_different_header_returns_status_1() {
    let scratch = tempfile::tempdir().expect("a directory");
    let header = scratch.path().join("tcp_states.h");
    fs::write(&header, "enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 3 };\n").expect("a file");
    let output = check(&["--format", "table", header.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("TCP_SYN_SENT is 3, in the table 2"), "{output:?}");
    assert_eq!(check(&["/nonexistent"]).status.code(), Some(1));
}

#[test]
fn a_table_is_generated_from_a_header() {
    let scratch = tempfile::tempdir().expect("a directory");
    let header = scratch.path().join("rain.h");
    fs::write(&header, "enum rain { RAIN_LIGHT = 1, RAIN_HEAVY = 2 };\n").expect("a file");
    let header = header.to_str().expect("a path");
    let output = check(&["--generate", "rain", "--c-prefix", "RAIN_", header]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for part in ["reason_table(c_prefix = \"RAIN_\"", "Light = 1,", "Heavy = 2,"] {
        assert!(text(&output.stdout).contains(part), "{part}: {output:?}");
    }
    let missing = check(&["--generate", "snow", header]);
    assert_eq!((missing.status.code(), text(&missing.stdout)), (Some(2), ""), "{missing:?}");
    assert!(text(&missing.stderr).starts_with("retrans: "), "{missing:?}");
    assert_eq!(check(&["--c-prefix", "RAIN_"]).status.code(), Some(2));
}
