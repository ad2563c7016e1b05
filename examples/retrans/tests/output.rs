// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the subcommands with a closed and a full output, and with input that would control the
//! terminal.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::pipe;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use retrans_sdk::event::{KernelStr, PercentEncoded};

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.kv");
const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../retrans-sdk/bpf/retrans.h");

/// The subcommands that print without privileges, each with its exit status.
const PRINTING: &[(&[&str], i32)] = &[
    (&["--help"], 0),
    (&["--version"], 0),
    (&["watch", "--help"], 0),
    (&["replay", RECORDING, "--format", "kv"], 0),
    (&["replay", RECORDING, "--format", "json"], 0),
    (&["replay", RECORDING, "--format", "table"], 0),
    (&["explain", RECORDING], 0),
    (&["histogram", RECORDING, "--format", "kv"], 0),
    (&["histogram", RECORDING, "--format", "json"], 0),
    (&["histogram", RECORDING, "--format", "table"], 0),
    (&["check", "--generate", "retrans_kind", HEADER], 0),
    (&["completions", "bash"], 0),
    (&["man"], 0),
    (&["man", "watch"], 0),
    #[cfg(feature = "demo")]
    (&["demo", "--replay", RECORDING], 0),
];

/// The subcommands that print an error, each with its exit status.
const FAILING: &[(&[&str], i32)] = &[
    (&["--unheard-of"], 2),
    (&["watch", "dport"], 2),
    (&["top", "--replay", "/nonexistent"], 2),
    (&["replay", "/nonexistent"], 2),
    (&["explain", "/nonexistent"], 2),
    (&["explain", "/dev/null"], 1),
    (&["histogram", "/nonexistent"], 2),
    (&["reconcile", "--pid", "4294967295"], 2),
    (&["check", "--generate", "none", HEADER], 2),
    (&["man", "none"], 2),
];

fn retrans(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
    command.args(arguments).env_remove("KERNEL_SRC").stdin(Stdio::null());
    command
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a device of every Linux").into()
}

fn closed() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("retrans is built");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_full_stdout_is_an_error() {
    for (arguments, _) in PRINTING {
        let (status, stderr) = run(retrans(arguments).stdout(full()));
        assert!(matches!(status, Some(1 | 2)), "{arguments:?}: {status:?}");
        let expected = "cannot write to stdout: No space left on device (os error 28)\n";
        assert!(stderr.starts_with("retrans: ") && stderr.ends_with(expected), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_closed_stdout_is_not_an_error() {
    for (arguments, expected) in PRINTING {
        let ended = run(retrans(arguments).stdout(closed()));
        assert_eq!(ended, (Some(*expected), String::new()), "{arguments:?}");
    }
}

#[test]
fn an_error_that_cannot_be_printed_keeps_its_status() {
    for (arguments, expected) in FAILING {
        for stderr in [full(), closed()] {
            assert_eq!(run(retrans(arguments).stderr(stderr)).0, Some(*expected), "{arguments:?}");
        }
        let (status, stderr) = run(&mut retrans(arguments));
        assert!(status == Some(*expected) && !stderr.is_empty(), "{arguments:?}: {stderr}");
    }
    for (arguments, _) in PRINTING {
        assert_ne!(run(retrans(arguments).stdout(full()).stderr(full())).0, Some(101), "a panic: {arguments:?}");
    }
}

/// Characters that set a title, write the clipboard, ring, forge lines, and reverse text.
const HARMFUL: [&[u8]; 8] = [
    b"\x1b]52;c;eA==\x07",
    b"\x1b[2J",
    b"\r\n",
    b"\x7f\x08",
    "\u{9b}2J".as_bytes(),
    "\u{202e}\u{2066}".as_bytes(),
    "\u{200b}\u{feff}".as_bytes(),
    b"\xff\x9b",
];

fn assert_harmless(output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = str::from_utf8(bytes).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
        let is_harmful = |c: char| {
            (c.is_control() && !['\n', '\t'].contains(&c))
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        };
        assert!(!text.contains(is_harmful), "{}", bytes.escape_ascii());
    }
    assert_ne!(output.status.code(), Some(101), "a panic: {output:?}");
}

fn is_refused(output: &Output) {
    assert_harmless(output);
    assert!(!output.status.success() && !output.stderr.is_empty() || !output.stdout.is_empty(), "{output:?}");
}

/// Writes a file whose name and text contain harmful bytes.
fn harmful_file(directory: &Path, harmful: &[u8], extension: &str, text: &[u8]) -> PathBuf {
    let name = [harmful, extension.as_bytes()].concat();
    let path = directory.join(OsStr::from_bytes(&name));
    fs::write(&path, text).expect("a file");
    path
}

fn with(harmful: &[u8], text: &str) -> Vec<u8> {
    let parts: Vec<_> = text.split('%').map(str::as_bytes).collect();
    parts.join(harmful)
}

const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 \
    state=established segs=1";

#[test]
fn nothing_in_a_recording_controls_the_terminal() {
    let json = r#"{"ts":"1.500000000","result":"denied","err":-1,"kind":"rto","family":"inet","saddr":"10.0.0.1","sport":4000,"daddr":"10.0.0.2","dport":443,"state":"established","segs":1"#;
    let kernel = "          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: skbaddr=0 skaddr=0 family=AF_INET sport=1 dport=2 \
        saddr=1.2.3.4 daddr=1.2.3.4 saddrv6=::ffff:1.2.3.4 daddrv6=::ffff:1.2.3.4 state=%";
    let texts = [
        "%".to_owned(),
        format!("{LINE} %"),
        format!("{LINE} %=1"),
        format!("{LINE} later=%"),
        format!("{LINE} comm=%"),
        LINE.replace("denied", "%"),
        LINE.replace("10.0.0.1", "%"),
        json.replace("denied", "%") + "}",
        json.to_owned() + ",\"%\":1}",
        json.to_owned() + ",\"later\":\"%\"}",
        json.to_owned() + "%",
        kernel.to_owned(),
        kernel.replace("<idle>", "%").replace("state=%", "state=TCP_ESTABLISHED"),
        kernel.replace("AF_INET", "%").replace("state=%", "state=TCP_ESTABLISHED"),
    ];
    let scratch = tempfile::tempdir().expect("a directory");
    for harmful in HARMFUL {
        for text in &texts {
            let text = [with(harmful, text), b"\n".to_vec()].concat();
            let path = harmful_file(scratch.path(), harmful, ".kv", &text);
            for format in ["kv", "json", "table"] {
                let arguments = [OsStr::new("replay"), path.as_os_str(), OsStr::new("--format"), OsStr::new(format)];
                is_refused(&retrans(&arguments).output().expect("retrans is built"));
            }
            for subcommand in ["histogram", "explain"] {
                let arguments = [OsStr::new(subcommand), path.as_os_str()];
                is_refused(&retrans(&arguments).output().expect("retrans is built"));
            }
        }
    }
}

/// Names that users of the traced host choose, as a recording contains them.
#[test]
fn no_recorded_name_controls_the_terminal() {
    let scratch = tempfile::tempdir().expect("a directory");
    for harmful in HARMFUL {
        let name = PercentEncoded(harmful);
        let short = PercentEncoded(&harmful[..harmful.len().min(KernelStr::CAPACITY)]);
        let text = format!("{LINE} owner=accept pid=7 comm={short} ca_name={short} cgroup_path=/{name}\n");
        let path = scratch.path().join("names.kv");
        fs::write(&path, &text).expect("a file");
        // The other subcommands that read a recording print no names.
        for arguments in [
            &["replay", "--format", "kv"][..],
            &["replay", "--format", "json"],
            &["replay", "--format", "table"],
            &["explain"],
        ] {
            let output = retrans(arguments).arg(&path).output().expect("retrans is built");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            assert_harmless(&output);
            if arguments.ends_with(&["kv"]) {
                let stdout = String::from_utf8_lossy(&output.stdout);
                assert!(stdout.contains(&format!(" comm={short} ")), "{stdout}");
            }
        }
    }
}

#[test]
fn nothing_in_a_header_controls_the_terminal() {
    let scratch = tempfile::tempdir().expect("a directory");
    for harmful in HARMFUL {
        for text in [
            "enum % { TCP_ESTABLISHED = 1 };",
            "enum e { TCP_ESTABLISHED = 1, % };",
            "enum e { TCP_ESTABLISHED = 1, TCP_SYN_% = 2 };",
            "enum e { TCP_ESTABLISHED = % };",
            "%",
        ] {
            let path = harmful_file(scratch.path(), harmful, ".h", &with(harmful, text));
            for format in ["kv", "json", "table"] {
                let arguments = [OsStr::new("check"), path.as_os_str(), OsStr::new("--format"), OsStr::new(format)];
                is_refused(&retrans(&arguments).output().expect("retrans is built"));
            }
            for name in [OsStr::new("e"), OsStr::from_bytes(harmful)] {
                let arguments = [OsStr::new("check"), OsStr::new("--generate"), name, path.as_os_str()];
                is_refused(&retrans(&arguments).output().expect("retrans is built"));
            }
        }
    }
}

#[test]
fn no_argument_controls_the_terminal() {
    for harmful in HARMFUL {
        let harmful = OsStr::from_bytes(harmful);
        for before in [
            &[][..],
            &["watch", "dport"],
            &["watch", "--format"],
            &["watch", "--fields"],
            &["watch", "--attach-method"],
            &["top", "--replay"],
            &["replay"],
            &["replay", RECORDING],
            &["replay", RECORDING, "--format"],
            &["explain"],
            &["explain", RECORDING],
            &["histogram"],
            &["check", "--generate"],
            &["check", "--format"],
            &["reconcile", "--pid"],
            &["doctor", "--format"],
            &["completions"],
            &["man"],
        ] {
            let arguments: Vec<_> = before.iter().map(OsStr::new).chain([harmful]).collect();
            let output = retrans(&arguments).output().expect("retrans is built");
            assert_harmless(&output);
            // A filter ignores white space, and `\r\n` is that.
            let is_space = harmful == OsStr::new("\r\n") && (before.is_empty() || before.last() == Some(&RECORDING));
            assert!(is_space || !output.status.success(), "{arguments:?}: {output:?}");
        }
    }
}
