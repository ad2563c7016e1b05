// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines, of whatever is read, in memory that does not grow.

use std::io::{BufRead as _, BufReader, Read};

use super::unreadable;
use crate::error::Error;

/// Many times what a line takes. What has no line ends at all is not read into memory for want of them.
const LONGEST: u64 = 64 * 1024;

pub(super) struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    number: u64,
}

/// A line, and whether it had an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole<'a> {
    pub(super) text: &'a str,
    pub(super) has_end: bool,
}

impl Lines {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, input), line: Vec::new(), number: 0 }
    }

    /// Whether the next one was read already.
    pub(super) fn is_at_hand(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The next line without its end, or what is wrong with it, and its number, the first being 1.
    #[allow(clippy::type_complexity)]
    pub(super) fn next(&mut self) -> Result<Option<(u64, Result<Whole<'_>, String>)>, Error> {
        self.line.clear();
        let read = self.input.by_ref().take(LONGEST).read_until(b'\n', &mut self.line).map_err(unreadable)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let has_end = self.line.last() == Some(&b'\n');
        if has_end {
            self.line.pop();
        } else if read as u64 == LONGEST {
            self.pass_over()?;
            return Ok(Some((self.number, Err(format!("it is longer than {LONGEST} bytes")))));
        }
        let line = match str::from_utf8(&self.line) {
            Ok(text) => Ok(Whole { text, has_end }),
            Err(_) => Err("it is not text".to_owned()),
        };
        Ok(Some((self.number, line)))
    }

    /// What is left of a line.
    fn pass_over(&mut self) -> Result<(), Error> {
        loop {
            let buffer = self.input.fill_buf().map_err(unreadable)?;
            let (len, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.input.consume(len);
            if is_end {
                return Ok(());
            }
        }
    }
}
