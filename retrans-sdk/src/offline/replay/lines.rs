// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines, of whatever is read, in memory that does not grow.

use std::io::{BufRead as _, BufReader, ErrorKind, Read};

use super::unreadable;
use crate::error::Error;

/// Many times what a line takes. What has no line ends at all is not read into memory for want of them.
const LONGEST: u64 = 64 * 1024;

pub(super) struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    number: u64,
    /// Whether what comes is the rest of a line that was too long.
    passes_over: bool,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    Line(Whole<'a>),
    /// The beginning of a line that is too long; its rest is passed over.
    TooLong,
    /// Some of such a rest.
    Rest,
}

/// A line without its end, and whether it had one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) has_end: bool,
}

impl Lines {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, input), line: Vec::new(), number: 0, passes_over: false }
    }

    /// Whether the next one was read already.
    pub(super) fn is_at_hand(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The number of the line that was read last, the first being 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What comes next, a buffer of it at most; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Piece<'_>>, Error> {
        if self.passes_over {
            return Ok(self.pass_over()?.then_some(Piece::Rest));
        }
        self.line.clear();
        let read = self.input.by_ref().take(LONGEST).read_until(b'\n', &mut self.line).map_err(unreadable)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let has_end = self.line.pop_if(|byte| *byte == b'\n').is_some();
        if has_end {
            // What went through an editor or a mail may have two.
            self.line.pop_if(|byte| *byte == b'\r');
        }
        self.passes_over = !has_end && read as u64 == LONGEST;
        Ok(Some(if self.passes_over { Piece::TooLong } else { Piece::Line(Whole { bytes: &self.line, has_end }) }))
    }

    /// Of the rest of a line what is at hand; false at the end of everything.
    fn pass_over(&mut self) -> Result<bool, Error> {
        let buffer = loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.map_err(unreadable)?.len(),
            }
        };
        let end = self.input.buffer().iter().position(|byte| *byte == b'\n');
        self.input.consume(end.map_or(buffer, |at| at + 1));
        self.passes_over = end.is_none();
        Ok(buffer > 0)
    }
}

pub(super) fn too_long() -> String {
    format!("it is longer than {LONGEST} bytes")
}
