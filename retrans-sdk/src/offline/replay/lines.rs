// SPDX-License-Identifier: MIT OR Apache-2.0
//! Splits input into lines, in bounded memory.

use std::io::{BufRead as _, BufReader, ErrorKind, Read};

use super::unreadable;
use crate::error::Error;

/// The maximum length of a line, many times the length of an event. It limits the memory use for
/// input without line ends.
const MAX_LINE: u64 = 64 * 1024;

pub(super) struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    number: u64,
    /// True if the input continues with the rest of a line that is too long.
    skips_rest: bool,
}

/// A part of the input.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    Line(RawLine<'a>),
    /// The beginning of a line that is too long, and its length; the rest is skipped.
    TooLong(u64),
    /// The length of a part of the rest of a line that is too long.
    Rest(u64),
}

/// A line without its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawLine<'a> {
    pub(super) bytes: &'a [u8],
    /// False for a last line without a line end.
    pub(super) has_end: bool,
}

impl Lines {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, input), line: Vec::new(), number: 0, skips_rest: false }
    }

    /// Returns true if the next line is already in the buffer.
    pub(super) fn is_at_hand(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// Returns the next part of the input, at most 64 KiB, with its line number (from 1). Returns
    /// `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Piece<'_>)>, Error> {
        if self.skips_rest {
            return Ok(self.skip_rest()?.map(|length| (self.number, Piece::Rest(length))));
        }
        self.line.clear();
        let read = self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.line).map_err(unreadable)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let has_end = self.line.last() == Some(&b'\n');
        if has_end {
            self.line.pop();
            // Lines may end with CRLF after an editor or a mail program.
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
        }
        self.skips_rest = !has_end && read as u64 == MAX_LINE;
        let line = RawLine { bytes: &self.line, has_end };
        Ok(Some((self.number, if self.skips_rest { Piece::TooLong(MAX_LINE) } else { Piece::Line(line) })))
    }

    /// Skips the part of the line that is in the buffer, and returns its length. Returns `None` at
    /// the end of the input.
    fn skip_rest(&mut self) -> Result<Option<u64>, Error> {
        let buffer = loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.map_err(unreadable)?.len(),
            }
        };
        let end = self.input.buffer().iter().position(|byte| *byte == b'\n');
        let skipped = end.map_or(buffer, |at| at + 1);
        self.input.consume(skipped);
        self.skips_rest = end.is_none();
        Ok((buffer > 0).then_some(skipped as u64))
    }
}

pub(super) fn too_long() -> String {
    format!("longer than {MAX_LINE} bytes")
}
