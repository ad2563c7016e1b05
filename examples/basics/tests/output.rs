// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the programs with a closed and a full output.

use std::fs::File;
use std::io::pipe;
use std::process::{Command, Stdio};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../retrans/recordings/lab.kv");

/// The programs that print events of a recording, with arguments by which they print any.
const PRINTING: [(&str, &[&str]); 4] = [
    (env!("CARGO_BIN_EXE_agent"), &["--replay", RECORDING]),
    (env!("CARGO_BIN_EXE_alert"), &["--failures", "1", "--replay", RECORDING]),
    (env!("CARGO_BIN_EXE_sidecar"), &["--replay", RECORDING]),
    (env!("CARGO_BIN_EXE_reset_reasons"), &[]),
];

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a device of every Linux").into()
}

fn closed() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().expect("the program is built");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_full_stdout_is_an_error() {
    for (program, arguments) in PRINTING {
        let (status, stderr) = run(Command::new(program).args(arguments).stdout(full()));
        assert!(matches!(status, Some(1 | 2)), "{program}: {status:?}");
        // Without BTF there is no report.
        let has_no_report = stderr.starts_with("cannot compare: ");
        assert!(stderr.contains("No space left on device") || has_no_report, "{program}: {stderr}");
        assert!(!stderr.contains("panicked"), "{program}: {stderr}");
    }
}

#[test]
fn a_closed_stdout_is_not_an_error() {
    for (program, arguments) in PRINTING {
        let (expected, _) = run(Command::new(program).args(arguments).stdout(Stdio::null()));
        let (status, stderr) = run(Command::new(program).args(arguments).stdout(closed()));
        assert_eq!(status, expected, "{program}: {stderr}");
        assert!(!stderr.contains("Error") && !stderr.contains("panicked"), "{program}: {stderr}");
    }
}

#[test]
fn a_full_stderr_changes_no_status() {
    for (program, arguments) in PRINTING {
        let (expected, _) = run(Command::new(program).args(arguments));
        assert_eq!(run(Command::new(program).args(arguments).stderr(full())).0, expected, "{program}");
    }
}
