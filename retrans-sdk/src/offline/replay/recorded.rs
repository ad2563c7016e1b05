// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines of a recording, read in the calling thread.

use std::fmt;
use std::io::Read;

use super::lines::{Lines, Piece, too_long};
use super::parser::{Parsed, Parser};
use super::{BadLines, Recording, plain};
use crate::error::{Error, ErrorKind};
use crate::format::kv::Line;

/// An iterator over the lines of a recording, which reads in the calling thread. It ends after the
/// first error.
///
/// [`Recording::lines`] returns it. An item is an error if the input cannot be read
/// ([`ErrorKind::System`]) or a line is malformed ([`ErrorKind::Recording`]).
pub struct RecordedLines {
    input: Input,
    parser: Parser,
    bad_lines: BadLines,
    name: Option<String>,
    skipped: u64,
    missed: Option<u64>,
}

enum Input {
    /// Nothing was read yet, so it is not known whether the input is compressed.
    Unread(Box<dyn Read + Send>),
    Open(Lines),
    Ended,
}

impl fmt::Debug for RecordedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedLines").field("skipped", &self.skipped).finish_non_exhaustive()
    }
}

impl RecordedLines {
    pub(super) fn new(recording: Recording) -> Self {
        let Recording { input, name, format, bad_lines, clock_offset, .. } = recording;
        let parser = Parser::new(format, clock_offset);
        Self { input: Input::Unread(input), parser, bad_lines, name, skipped: 0, missed: None }
    }

    /// Returns the number of malformed lines skipped so far ([`BadLines::Skip`]).
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the number of events that the kernel text so far reports as lost; `None` if the text
    /// does not report a number.
    #[must_use]
    pub const fn missed(&self) -> Option<u64> {
        self.missed
    }

    /// Returns true if the next line was already read, so that [`next`](Iterator::next) does not
    /// wait for the input.
    #[must_use]
    pub fn is_buffered(&self) -> bool {
        matches!(&self.input, Input::Open(lines) if lines.is_at_hand())
    }

    fn read(&mut self) -> Result<Option<Line>, Error> {
        if let Input::Unread(_) = self.input
            && let Input::Unread(input) = std::mem::replace(&mut self.input, Input::Ended)
        {
            self.input = Input::Open(Lines::new(plain(input)?));
        }
        let Input::Open(lines) = &mut self.input else { return Ok(None) };
        loop {
            let mut unknown = Vec::new();
            let parsed = match lines.next()? {
                None => break,
                Some(Piece::Line(line)) => self.parser.parse(line, Some(&mut unknown)),
                Some(Piece::TooLong) => Err(too_long()),
                Some(Piece::Rest) => Ok(Parsed::Nothing),
            };
            match parsed {
                Ok(Parsed::Event(event)) => return Ok(Some(Line { event: *event, unknown })),
                Ok(Parsed::Missed(count)) => {
                    self.missed = count.map(|count| self.missed.unwrap_or_default().saturating_add(count));
                }
                Ok(Parsed::Nothing) => {}
                Err(_) if self.bad_lines == BadLines::Skip => self.skipped += 1,
                Err(problem) => {
                    let message = format!("line {}: {problem}", lines.number());
                    return Err(Error::new(ErrorKind::Recording, message));
                }
            }
        }
        match self.parser.problem() {
            Some(problem) if lines.number() > 0 => Err(Error::new(ErrorKind::Recording, problem)),
            _ => Ok(None),
        }
    }
}

impl Iterator for RecordedLines {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().map_err(|error| match &self.name {
            Some(name) => error.within(name),
            None => error,
        });
        if !matches!(read, Ok(Some(_))) {
            self.input = Input::Ended;
        }
        read.transpose()
    }
}
