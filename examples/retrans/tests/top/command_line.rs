// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `top`.

use std::process::{Command, Stdio};

use crate::screen::Screen;

#[test]
fn errors_at_the_start_return_status_2() {
    for (arguments, says) in [
        (&["dport=443", "stat=close"][..], "filter, column 11: no key `stat`; did you mean `state`?"),
        (&["--speed", "2"], "--replay <FILE>"),
        (&["--replay", "x", "--speed", "0"], "expected a number greater than 0, or inf"),
        (&["--replay", "x", "--speed", "nan"], "expected a number greater than 0, or inf"),
        (&["--replay", "x", "--attach-method", "fexit"], "cannot be used with"),
        (&["--attach-method", "none"], "invalid value 'none' for '--attach-method <METHOD>'"),
        (&["--replay", "/nonexistent"], "/nonexistent: No such file"),
        (&["--replay", "/dev/null"], "/dev/null: not a regular file"),
        (&["--replay", "recordings/lab.kv", "cookie=mine"], "`cookie=mine` requires a live stream"),
        (&["--unheard-of"], "--unheard-of"),
        // The only error is that there is no terminal.
        (&["--replay", "recordings/lab.kv"], "stdin and stdout must be a terminal"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_retrans"))
            .arg("top")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .output()
            .expect("top is built");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            (stderr.starts_with("retrans: ") || stderr.starts_with("error: ")) && stderr.contains(says),
            "{arguments:?}: {stderr}"
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_is_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_retrans")).args(["top", "--help"]).output().expect("top is built");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: retrans top [OPTIONS] [TERM]..."));
}

/// An error at the start is printed on an unchanged terminal.
#[test]
fn an_error_at_the_start_leaves_the_terminal_unchanged() {
    let ended = Screen::of(80, 24, &["--replay", "/nonexistent"]).end();
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.restored && !ended.written.contains(&0x1b), "{:?}", ended.text);
}
