// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines of a recording, read in the calling thread.

use std::fmt;
use std::io::Read;

use super::parser::{Parsed, Parser, TextOrigin};
use super::reader::Reader;
use super::{BadLines, DetectedFormat, Recording};
use crate::error::Error;
use crate::event::clock::Clock;
use crate::event::verdict::Verdict;
use crate::format::kv::Line;
use crate::stats::TextLosses;

/// An iterator over the lines of a recording, which reads in the calling thread. It ends after the
/// first error.
///
/// [`Recording::lines`] returns it. An item is an error if the input cannot be read
/// ([`ErrorKind::System`](crate::ErrorKind::System)) or a line is malformed
/// ([`ErrorKind::Recording`](crate::ErrorKind::Recording)).
pub struct RecordedLines {
    input: Input,
    bad_lines: BadLines,
    name: Option<String>,
    detected: Option<DetectedFormat>,
    clock: Clock,
    skipped: u64,
    losses: TextLosses,
    /// Set at the end of the input.
    origin: TextOrigin,
}

/// A line of a recording: an attempt, or a verdict on attempts
/// ([`RecordedLines::next_item`]).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation for each attempt, and items are not stored"
)]
pub enum RecordedItem {
    /// An attempt, with the keys that this version does not know.
    Attempt(Line),
    /// A verdict.
    Verdict(Verdict),
}

enum Input {
    /// Nothing was read yet, so it is not known whether the input is compressed.
    Unread(Box<dyn Read + Send>, Box<Parser>),
    Open(Box<Reader>),
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
        let input = Input::Unread(input, Box::new(Parser::new(format, clock_offset, true)));
        Self {
            input,
            bad_lines,
            name,
            detected: None,
            clock: Clock::Unknown,
            skipped: 0,
            losses: TextLosses::default(),
            origin: TextOrigin::default(),
        }
    }

    /// Returns the number of lines skipped so far: lines before the recording, and malformed lines
    /// ([`BadLines::Skip`]).
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns the losses that the lines so far report. Only kernel text contains such reports.
    #[must_use]
    pub const fn text_losses(&self) -> TextLosses {
        self.losses
    }

    /// Returns the detected format and the line that determined it. Returns `None` if the format
    /// was set with [`Recording::format`], or is not known yet.
    #[must_use]
    pub const fn detected_format(&self) -> Option<DetectedFormat> {
        self.detected
    }

    /// Returns the clock of the lines so far: [`Clock::Unknown`] before the first line of an
    /// attempt was read, and for kernel text whose offset from the epoch is not known
    /// ([`Recording::clock_offset`]).
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns the name of the host, as the lines so far state it. Only the header of
    /// `perf script --header` does. It is text of another program, so escape it
    /// ([`Escaped`](crate::format::Escaped)).
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::offline::Recording;
    ///
    /// let text = "# hostname : web-3\n# os release : 6.18.0\n swapper 0 [001] 17783.867820: \
    ///     tcp:tcp_retransmit_synack: family=AF_INET sport=443 dport=4000 saddr=10.0.0.1 daddr=10.0.0.2 \
    ///     saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2\n";
    /// let mut lines = Recording::from_reader(text.as_bytes()).lines()?;
    /// lines.next().unwrap()?;
    /// assert_eq!((lines.host(), lines.kernel()), (Some("web-3"), Some("6.18.0")));
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.origin().host.as_deref()
    }

    /// Returns the kernel release of the [`host`](Self::host), as the lines so far state it.
    #[must_use]
    pub fn kernel(&self) -> Option<&str> {
        self.origin().kernel.as_deref()
    }

    fn origin(&self) -> &TextOrigin {
        match &self.input {
            Input::Open(reader) => reader.parser().origin(),
            _ => &self.origin,
        }
    }

    /// Returns true if the next line was already read, so that [`next`](Iterator::next) does not
    /// wait for the input.
    #[must_use]
    pub fn is_buffered(&self) -> bool {
        matches!(&self.input, Input::Open(reader) if reader.is_at_hand())
    }

    /// Returns the next attempt or verdict. The iterator skips verdicts, and therefore also accepts
    /// malformed ones.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::offline::{RecordedItem, Recording};
    ///
    /// let text = "what=verdict ts=1.500000000 verdict=ended why=reset cookie=17 netns=1 family=inet \
    ///     saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established attempts=1 segs=1\n";
    /// let mut lines = Recording::from_reader(text.as_bytes()).lines()?;
    /// while let Some(item) = lines.next_item() {
    ///     match item? {
    ///         RecordedItem::Verdict(verdict) => assert_eq!(format!("{verdict}\n"), text),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same errors as an item of the iterator, also for a malformed verdict. The next call
    /// returns `None`.
    pub fn next_item(&mut self) -> Option<Result<RecordedItem, Error>> {
        self.next_of(true)
    }

    fn next_of(&mut self, verdicts: bool) -> Option<Result<RecordedItem, Error>> {
        let read = self.read(verdicts).map_err(|error| match &self.name {
            Some(name) => error.within(name),
            None => error,
        });
        if !matches!(read, Ok(Some(_))) {
            self.origin = self.origin().clone();
            self.input = Input::Ended;
        }
        read.transpose()
    }

    fn read(&mut self, verdicts: bool) -> Result<Option<RecordedItem>, Error> {
        if let Input::Unread(..) = self.input {
            if let Input::Unread(input, parser) = std::mem::replace(&mut self.input, Input::Ended) {
                self.input = Input::Open(Box::new(Reader::new(input, *parser, self.bad_lines)?));
            }
        }
        let Input::Open(reader) = &mut self.input else { return Ok(None) };
        reader.parser_mut().set_verdicts(verdicts);
        loop {
            let next = reader.next();
            (self.detected, self.clock) = (reader.parser().detected(), reader.parser().clock());
            match next? {
                None => return Ok(None),
                Some(Parsed::Event(event, unknown)) => {
                    return Ok(Some(RecordedItem::Attempt(Line { event: *event, unknown })));
                }
                Some(Parsed::Verdict(verdict)) => return Ok(Some(RecordedItem::Verdict(*verdict))),
                Some(Parsed::Lost(count)) => self.losses.add(count),
                Some(Parsed::Skipped) => self.skipped += 1,
                Some(Parsed::Nothing) => {}
            }
        }
    }
}

impl Iterator for RecordedLines {
    type Item = Result<Line, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_of(false)? {
                Ok(RecordedItem::Attempt(line)) => return Some(Ok(line)),
                // Not requested, so this is not reached.
                Ok(RecordedItem::Verdict(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
