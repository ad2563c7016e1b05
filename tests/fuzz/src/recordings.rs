// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recordings of every format.

use std::io::{self, Cursor, Read};

use retrans_sdk::event::Clock;
use retrans_sdk::format::Line;
use retrans_sdk::offline::{BadLines, DetectedFormat, Format, Recording};
use retrans_sdk::stats::TextLosses;

use crate::assert_printable;
use crate::values::assert_prints;

/// The most lines that are read: a small compressed file may contain any number.
const MOST_LINES: usize = 200;

/// The contents of a recording.
#[derive(Debug, PartialEq)]
struct Contents {
    lines: Vec<Line>,
    error: Option<String>,
    skipped: u64,
    losses: TextLosses,
    clock: Clock,
    detected: Option<DetectedFormat>,
}

/// Reads a recording.
fn read(input: impl Read + Send + 'static, format: Option<Format>, bad_lines: BadLines) -> Contents {
    let mut recording = Recording::from_reader(input).bad_lines(bad_lines);
    if let Some(format) = format {
        recording = recording.format(format);
    }
    let mut lines = recording.lines().expect("no speed is set");
    let (mut read, mut error) = (Vec::new(), None);
    for line in lines.by_ref().take(MOST_LINES) {
        match line {
            Ok(line) => read.push(line),
            Err(problem) => error = Some(problem.to_string()),
        }
    }
    let (skipped, losses) = (lines.skipped(), lines.text_losses());
    Contents { lines: read, error, skipped, losses, clock: lines.clock(), detected: lines.detected_format() }
}

/// An input that returns a few bytes at a time, as a pipe may.
struct Pieces {
    bytes: Cursor<Vec<u8>>,
    length: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.length);
        self.length = self.length % 7 + 1;
        self.bytes.read(&mut buffer[..length])
    }
}

/// Reads bytes in all ways, which must agree, and returns what they contain.
fn check(bytes: &[u8], format: Option<Format>) -> Contents {
    let whole = |bad_lines| read(Cursor::new(bytes.to_vec()), format, bad_lines);
    let (strict, lenient) = (whole(BadLines::Fail), whole(BadLines::Skip));
    let pieces = read(Pieces { bytes: Cursor::new(bytes.to_vec()), length: 3 }, format, BadLines::Skip);
    // How much of a damaged compressed file is decompressed before the error depends on the pieces.
    let is_damaged = |read: &Contents| read.error.as_ref().is_some_and(|error| error.starts_with("cannot read"));
    if is_damaged(&lenient) {
        assert!(is_damaged(&pieces), "{pieces:?}");
    } else {
        assert_eq!(pieces, lenient, "in pieces");
    }
    assert!(lenient.lines.starts_with(&strict.lines), "{strict:?}\n{lenient:?}");
    if strict.error.is_none() {
        assert_eq!(strict.lines, lenient.lines);
    }
    for error in [&strict.error, &lenient.error].into_iter().flatten() {
        assert_printable(error);
    }
    for line in &lenient.lines {
        assert_prints(&line.event);
        assert_printable(&line.to_string());
    }
    lenient
}

/// Text of the kernel's tracepoints.
pub(crate) fn kernel_text(bytes: &[u8]) {
    check(bytes, Some(Format::KernelText));
}

/// A recording whose format is detected.
pub(crate) fn any_format(bytes: &[u8]) {
    let contents = check(bytes, None);
    // A recording of the lines that were read contains the same.
    let text: String = contents.lines.iter().map(|line| format!("{line}\n")).collect();
    let again = read(Cursor::new(text.into_bytes()), Some(Format::KeyVal), BadLines::Fail);
    assert_eq!((again.lines, again.error), (contents.lines, None));
}

/// A compressed recording. The first byte decides whether the rest is compressed here, or is
/// compressed already.
pub(crate) fn zstd(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    if mode & 1 == 0 {
        check(bytes, None);
        return;
    }
    // After a blank line, the rest is not mistaken for another compressed file.
    let bytes = [b"\n", bytes].concat();
    let compressed = zstd::bulk::compress(&bytes, 1).expect("a buffer is large enough");
    let plain = read(Cursor::new(bytes), Some(Format::KeyVal), BadLines::Skip);
    assert_eq!(read(Cursor::new(compressed), Some(Format::KeyVal), BadLines::Skip), plain);
}
