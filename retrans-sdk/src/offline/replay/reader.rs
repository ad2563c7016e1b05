// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a recording part by part, in the calling thread.

use std::collections::VecDeque;
use std::io::Read;

use super::lines::Lines;
use super::parser::{Parsed, Parser, Problem};
use super::{BadLines, plain};
use crate::error::{Error, ErrorKind};

pub(super) struct Reader {
    lines: Lines,
    parser: Parser,
    bad_lines: BadLines,
    parsed: VecDeque<Parsed>,
    /// The end of the recording, which comes after what was parsed before it.
    end: Option<Result<(), Error>>,
}

impl Reader {
    pub(super) fn new(input: Box<dyn Read + Send>, parser: Parser, bad_lines: BadLines) -> Result<Self, Error> {
        let lines = Lines::new(plain(input)?);
        Ok(Self { lines, parser, bad_lines, parsed: VecDeque::new(), end: None })
    }

    pub(super) fn parser(&self) -> &Parser {
        &self.parser
    }

    pub(super) fn parser_mut(&mut self) -> &mut Parser {
        &mut self.parser
    }

    /// Returns true if [`next`](Self::next) does not wait for the input.
    pub(super) fn is_at_hand(&self) -> bool {
        !self.parsed.is_empty() || self.end.is_some() || self.lines.is_at_hand()
    }

    /// Returns what the next lines yield. Returns [`Parsed::Nothing`] after each part of the input
    /// that yields nothing, and `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Parsed>, Error> {
        if self.parsed.is_empty() && self.end.is_none() {
            self.read();
        }
        match (self.parsed.pop_front(), &mut self.end) {
            (Some(parsed), _) => Ok(Some(parsed)),
            (None, Some(end)) => std::mem::replace(end, Ok(())).map(|()| None),
            (None, None) => Ok(Some(Parsed::Nothing)),
        }
    }

    fn read(&mut self) {
        let end = match self.lines.next() {
            Ok(Some((number, piece))) => match self.parser.parse(number, piece, &mut self.parsed) {
                Ok(()) => return,
                Err(Problem::Line(_)) if self.bad_lines == BadLines::Skip => {
                    // A call chain does not continue after the line, as if it were the last one.
                    self.parser.finish(&mut self.parsed);
                    return self.parsed.push_back(Parsed::Skipped);
                }
                Err(Problem::Line(problem)) => Err(self.parser.explain(number, &problem)),
                Err(Problem::Recording(problem)) => Err(problem),
            },
            Ok(None) => self.parser.problem().map_or(Ok(()), Err),
            Err(error) => {
                self.parser.finish(&mut self.parsed);
                return self.end = Some(Err(error));
            }
        };
        self.parser.finish(&mut self.parsed);
        self.end = Some(end.map_err(|problem| Error::new(ErrorKind::Recording, problem)));
    }
}
