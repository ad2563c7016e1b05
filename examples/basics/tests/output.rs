// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the programs with a closed and a full output, and with input that would control the
//! terminal.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, pipe};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;

use retrans_sdk::event::{KernelStr, PercentEncoded};

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

const LINE: &str = "ts=1.500000000 result=rcv_zero_window err=-11 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 \
    dport=443 state=established segs=1";

#[track_caller]
fn assert_harmless(bytes: &[u8]) {
    let text = str::from_utf8(bytes).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    let is_harmful = |c: char| {
        (c.is_control() && !['\n', '\t'].contains(&c))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.contains(is_harmful), "{}", bytes.escape_ascii());
    assert!(!text.contains("panicked"), "{text}");
}

/// Returns the output of each program that prints a recording.
fn outputs(recording: &str) -> Vec<Output> {
    let programs: [(&str, &[&str]); 4] = [
        (env!("CARGO_BIN_EXE_agent"), &[]),
        (env!("CARGO_BIN_EXE_alert"), &["--failures", "1"]),
        (env!("CARGO_BIN_EXE_sidecar"), &[]),
        (env!("CARGO_BIN_EXE_stalled"), &[]),
    ];
    let run = |(program, arguments): (&str, &[&str])| {
        Command::new(program).args(arguments).args(["--replay", recording]).output().expect("the program is built")
    };
    programs.into_iter().map(run).collect()
}

#[test]
fn no_recorded_name_controls_the_terminal() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("names.kv");
    let recording = path.to_str().expect("UTF-8");
    for harmful in HARMFUL {
        let name = PercentEncoded(harmful);
        let short = PercentEncoded(&harmful[..harmful.len().min(KernelStr::CAPACITY)]);
        let line = format!("{LINE} owner=accept pid=7 comm={short} ca_name={short} cgroup_path=/{name}\n");
        fs::write(&path, line.repeat(3)).expect("a file");
        // The other programs print no names.
        let sidecar = Command::new(env!("CARGO_BIN_EXE_sidecar")).args(["--replay", recording]).output();
        let sidecar = sidecar.expect("the program is built");
        assert!(sidecar.status.success() && !sidecar.stdout.is_empty(), "{sidecar:?}");
        assert_harmless(&sidecar.stdout);
        assert_harmless(&sidecar.stderr);

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port").to_string();
        let collector = thread::spawn(move || {
            let mut bytes = Vec::new();
            // Each batch has its own connection. The test ends with an empty one.
            while listener.accept().expect("a connection").0.read_to_end(&mut bytes).expect("lines") > 0 {}
            bytes
        });
        let ship = Command::new(env!("CARGO_BIN_EXE_ship")).args([address.as_str(), "--replay", recording]).output();
        assert!(ship.expect("the program is built").status.success());
        drop(TcpStream::connect(&address).expect("the collector listens"));
        let shipped = collector.join().expect("no panic");
        assert_eq!(shipped.iter().filter(|byte| **byte == b'\n').count(), 3, "{}", shipped.escape_ascii());
        assert_harmless(&shipped);
        let part = format!(" comm={short} ");
        assert!(shipped.windows(part.len()).any(|window| window == part.as_bytes()), "{}", shipped.escape_ascii());
    }
}

#[test]
fn no_malformed_line_controls_the_terminal() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("malformed.kv");
    let recording = path.to_str().expect("UTF-8");
    for harmful in HARMFUL {
        for at in [" ", " comm=", " later=", " %="] {
            let text = [format!("{LINE}{at}").as_bytes(), harmful, b"\n"].concat();
            fs::write(&path, text).expect("a file");
            for output in outputs(recording) {
                assert!(!output.status.success() && !output.stderr.is_empty(), "{output:?}");
                assert_harmless(&output.stdout);
                assert_harmless(&output.stderr);
            }
        }
    }
}

/// The maximum number of addresses and of connections that the programs keep.
const MOST: u32 = 10_000;

/// Returns lines with different remote addresses, each with a closed window.
fn from_addresses(range: std::ops::Range<u32>, seconds: u32) -> String {
    range.fold(String::new(), |mut text, number| {
        let [_, b, c, d] = number.to_be_bytes();
        let line = LINE.replace("daddr=10.0.0.2", &format!("daddr=10.{b}.{c}.{d}"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.replace("ts=1.", &format!("ts={seconds}.")));
        text
    })
}

#[test]
fn what_an_alert_forgets_is_counted() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("addresses.kv");
    // Three addresses have no room; a minute later all before them are forgotten.
    let text = from_addresses(0..MOST + 3, 1) + &from_addresses(MOST + 3..MOST + 4, 100);
    fs::write(&path, text).expect("a file");
    let mut alert = Command::new(env!("CARGO_BIN_EXE_alert"));
    let output =
        alert.args(["--failures", "1", "--within", "60", "--replay"]).arg(&path).output().expect("it is built");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains(&format!("forgotten={}\n", MOST + 3)), "{stderr}");
    let raised = String::from_utf8_lossy(&output.stdout).matches(" alert=raised ").count();
    assert_eq!(raised, MOST as usize + 1);
}

#[test]
fn what_the_watch_for_stalled_connections_forgets_is_counted() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("connections.kv");
    // One attempt of each connection, and three of the last one, which is reported.
    let text = from_addresses(0..MOST + 1, 1) + &from_addresses(MOST..MOST + 1, 2).repeat(2);
    fs::write(&path, text).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_stalled")).arg("--replay").arg(&path).output().expect("it is built");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains(&format!("forgotten={MOST}\n")), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches(" stalled=").count(), 1, "{output:?}");
}
