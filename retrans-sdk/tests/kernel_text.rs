// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel texts from the field: `tests/kernel_text` contains layouts that people posted or that
//! tools wrote. Addresses and task names are replaced.

use std::fs;
use std::path::{Path, PathBuf};

use retrans_sdk::offline::{BadLines, Format, Recording};
use retrans_sdk::stats::TextLosses;
use retrans_sdk::{Event, RetransKind, Stats, Stream};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel_text").join(name)
}

fn open(name: &str) -> Recording {
    Recording::open(path(name)).expect(name)
}

/// Returns the events, the error, and the counters.
fn read(recording: Recording) -> (Vec<Event>, Option<String>, Stats) {
    let mut stream = Stream::builder().replay(recording).expect("no filter");
    let (mut events, mut problem) = (Vec::new(), None);
    for event in stream.iter() {
        match event {
            Ok(event) => events.push(event),
            Err(error) => problem = Some(error.to_string()),
        }
    }
    (events, problem, stream.stats())
}

/// The files, their number of events, and the end of the error.
const FILES: [(&str, usize, Option<&str>); 16] = [
    (
        "02b-blog-edited-v6.txt",
        0,
        Some("line 1: only one of `saddrv6=::ffff:192.0.2.1` and `daddrv6=::192.0.2.2` is an IPv4-mapped address"),
    ),
    ("04-four-flags-and-tcp_probe.txt", 1, None),
    ("05-perf-F-period.txt", 12, None),
    ("08-forged-perf-period.txt", 53, None),
    ("09-bpf_printk.txt", 2, None),
    ("12-overwritten.txt", 13, None),
    ("13b-lost-of-other-tracepoints.txt", 1, None),
    ("14-perf-event-with-terms.txt", 2, None),
    (
        "15-failed-to-parse.txt",
        0,
        Some(
            "line 2: trace-cmd could not parse the format of the event (`[FAILED TO PARSE]`): print the recording with \
             a newer trace-cmd, or use the text of tracefs",
        ),
    ),
    ("20-blank-first-line.txt", 1, None),
    ("20c-prompt.txt", 1, None),
    ("kt_comm_newline.txt", 2, None),
    ("kt_esc.txt", 0, Some("line 2: unknown state `\\u{1b}]0;PWNED\\u{7}\\u{1b}[2J`")),
    ("perf-call-chains.txt", 8, None),
    ("tracefs-stacks.txt", 14, None),
    (
        "perf-without-event.txt",
        0,
        Some("line 1: the name of the event is missing: print it with `perf script -F +event`"),
    ),
];

#[test]
fn each_text_yields_its_events_or_an_error() {
    for (name, expected, problem) in FILES {
        let (events, error, stats) = read(open(name));
        assert_eq!(events.len(), expected, "{name}: {error:?}");
        assert_eq!(error.is_some(), problem.is_some(), "{name}: {error:?}");
        assert!(error.is_none_or(|error| error.contains(problem.unwrap_or_default())), "{name}");
        assert!(events.iter().all(|event| event.saddr.to_string() != "203.0.113.1"), "{name}: a forged event");
        assert_eq!(stats.missed, None, "{name}: entries of any event are not attempts");
    }
    let present: Vec<_> =
        fs::read_dir(path("")).expect("files").map(|entry| entry.expect("a file").file_name()).collect();
    assert_eq!(present.len(), FILES.len(), "{present:?}");
}

/// A second and simpler parser. It counts the lines whose event is one of the tracepoints: without
/// a forged task name, this is the first word after the time that ends with a colon.
fn attempts_in(text: &str) -> usize {
    let is_time = |word: &str| {
        word.strip_suffix(':').and_then(|time| time.split_once('.')).is_some_and(|(seconds, decimals)| {
            [seconds, decimals].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    let is_attempt = |line: &&str| {
        let mut words = line.split_whitespace().skip_while(|word| !is_time(word)).skip(1);
        let event = words.find(|word| word.ends_with(':') || word.contains('='));
        event.is_some_and(|name| name.contains("tcp_retransmit_s")) && line.contains("sport=")
            || line.contains(": skbaddr=") && line.contains("sport=")
    };
    text.lines().filter(is_attempt).count()
}

#[test]
fn no_line_with_an_attempt_is_passed_over() {
    for (name, expected, _) in FILES {
        let text = String::from_utf8(fs::read(path(name)).expect(name)).expect("UTF-8");
        let (events, error, stats) = read(open(name).format(Format::KernelText).bad_lines(BadLines::Skip));
        assert_eq!((events.len(), error), (expected, None), "{name}");
        let skipped = usize::try_from(stats.skipped.expect("a recording")).expect("few");
        // One line contains two attempts in no text of these.
        assert_eq!(events.len() + skipped, attempts_in(&text), "{name}");
    }
}

/// Files that follow each other, in several orders: the layout changes in the middle.
#[test]
fn no_line_of_mixed_layouts_is_passed_over() {
    let texts: Vec<_> = FILES.map(|(name, ..)| fs::read(path(name)).expect(name)).into();
    let (first, second) = texts.split_at(texts.len() / 2);
    let reversed: Vec<_> = texts.iter().rev().collect();
    let alternating: Vec<_> = first.iter().zip(second).flat_map(|(one, other)| [other, one]).collect();
    for order in [texts.iter().collect(), reversed, alternating] {
        let mixed = order.iter().fold(Vec::new(), |mut mixed, text| {
            mixed.extend_from_slice(text);
            if !mixed.ends_with(b"\n") {
                mixed.push(b'\n');
            }
            mixed
        });
        let attempts = attempts_in(std::str::from_utf8(&mixed).expect("UTF-8"));
        let recording = Recording::from_reader(std::io::Cursor::new(mixed));
        let (events, error, stats) = read(recording.format(Format::KernelText).bad_lines(BadLines::Skip));
        assert_eq!(error, None);
        assert!(events.iter().all(|event| event.saddr.to_string() != "203.0.113.1"), "a forged event");
        assert_eq!(events.len() as u64 + stats.skipped.expect("a recording"), attempts as u64);
    }
}

#[test]
fn losses_are_reported_and_are_not_attempts() {
    let losses = |name| read(open(name)).2.text_losses.map(|TextLosses { entries, unknown, .. }| (entries, unknown));
    assert_eq!(losses("12-overwritten.txt"), Some((552, 0)));
    assert_eq!(losses("13b-lost-of-other-tracepoints.txt"), Some((5000, 0)));
    assert_eq!(losses("05-perf-F-period.txt"), Some((0, 0)));
}

#[test]
fn lines_before_a_text_are_counted() {
    for (name, skipped, line) in [
        ("20-blank-first-line.txt", 1, 2),
        ("20c-prompt.txt", 1, 2),
        ("05-perf-F-period.txt", 0, 1),
        ("12-overwritten.txt", 0, 1),
    ] {
        let mut lines = open(name).lines().expect("no speed");
        assert!(lines.by_ref().all(|line| line.is_ok()), "{name}");
        assert_eq!(lines.skipped(), skipped, "{name}");
        let detected = lines.detected_format().expect("a format");
        assert_eq!((detected.format, detected.line), (Format::KernelText, line), "{name}");
    }
}

#[test]
fn call_chains_prove_kinds() {
    for name in ["05-perf-F-period.txt", "perf-call-chains.txt", "tracefs-stacks.txt"] {
        let (events, ..) = read(open(name));
        let of = |kind| events.iter().filter(|event| event.kind == kind).count();
        assert!(of(RetransKind::Tlp) > 0 && of(RetransKind::Rto) > 0, "{name}");
        assert_eq!(of(RetransKind::Unknown), 0, "{name}");
    }
}
