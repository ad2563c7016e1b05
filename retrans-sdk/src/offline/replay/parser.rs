// SPDX-License-Identifier: MIT OR Apache-2.0
//! A line of a recording, of whichever format.

use std::borrow::Cow;
use std::time::Duration;

use super::Format;
use super::kernel_text::{self, TraceLine};
use super::lines::RawLine;
use crate::event::Event;
#[cfg(feature = "json")]
use crate::event::schema;
use crate::format::kv;

/// Keys and values that this version does not know.
pub(super) type Unknown = Vec<(String, String)>;

/// What there is in a line.
pub(super) enum Parsed {
    Event(Box<Event>),
    /// That so many events were lost, if it says how many.
    Missed(Option<u64>),
    /// Nothing that is for us.
    Nothing,
}

impl Parsed {
    fn of(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

pub(super) struct Parser {
    /// Once it is known.
    format: Option<Format>,
    clock_offset: Duration,
    shows_failures: bool,
    /// Whether there was any line as a kernel's text has them.
    is_trace: bool,
}

impl Parser {
    pub(super) fn new(format: Option<Format>, clock_offset: Duration) -> Self {
        Self { format, clock_offset, shows_failures: false, is_trace: false }
    }

    /// Whether a line said so much that it would have told of a failure.
    pub(super) fn shows_failures(&self) -> bool {
        self.shows_failures
    }

    /// Parses a line, and appends the keys that this version does not know to `unknown`, where there is one.
    pub(super) fn parse(&mut self, line: RawLine<'_>, mut unknown: Option<&mut Unknown>) -> Result<Parsed, String> {
        let text = String::from_utf8_lossy(line.bytes);
        // A comment before all else is none of a format.
        if self.format.is_none() && text.starts_with('#') {
            return Ok(Parsed::Nothing);
        }
        let format = self.format.map_or_else(|| format_of(&text), Ok)?;
        // A task's name may be of any bytes, or cut in the middle of a letter.
        if matches!(text, Cow::Owned(_)) && format != Format::KernelText {
            return Err("it is not text".to_owned());
        }
        // What is torn may read well and say something else: `sk_err_soft=1` of 13. JSON has an end of its own.
        if !line.has_end && format != Format::Json {
            return Err("it has no end, and may be cut off".to_owned());
        }
        let parsed = match format {
            Format::KeyVal => {
                let keep = |key: &str, value: &str, column| match &mut unknown {
                    Some(unknown) => kv::keep_unknown(unknown, key, value, column),
                    None => Ok(()),
                };
                kv::parse(&text, keep).map(Parsed::of).map_err(|error| error.to_string())
            }
            Format::Json => json(&text, unknown).map(Parsed::of),
            Format::KernelText => self.kernel_text(&text),
        };
        // What is none says nothing of the others.
        if parsed.is_ok() {
            self.format = Some(format);
        }
        parsed
    }

    /// At the end: what is wrong with all of it.
    pub(super) fn problem(&self) -> Option<&'static str> {
        (self.format == Some(Format::KernelText) && !self.is_trace).then_some("no line of it is of a trace")
    }

    fn kernel_text(&mut self, text: &str) -> Result<Parsed, String> {
        self.is_trace |= kernel_text::is_recognised(text);
        match kernel_text::parse(text, self.clock_offset)? {
            TraceLine::Attempt { event, shows_failures } => {
                self.shows_failures |= shows_failures;
                Ok(Parsed::Event(event))
            }
            TraceLine::Lost(count) => Ok(Parsed::Missed(count)),
            TraceLine::Nothing => Ok(Parsed::Nothing),
        }
    }
}

fn format_of(line: &str) -> Result<Format, String> {
    match line {
        _ if line.starts_with('{') => Ok(Format::Json),
        _ if kernel_text::is_recognised(line) => Ok(Format::KernelText),
        // With an error that says where it is none.
        _ if line.contains('=') => Ok(Format::KeyVal),
        _ => Err("it is neither `key=val` nor JSON nor a kernel's text".to_owned()),
    }
}

#[cfg(feature = "json")]
fn json(text: &str, unknown: Option<&mut Unknown>) -> Result<Event, String> {
    use serde_json::{Map, Value};

    let event = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(unknown) = unknown {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // A value that a line cannot hold is left out.
        unknown.extend(object.into_iter().filter_map(|(key, value)| {
            let value = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            let is_unknown = schema::by_key(&key, 0).is_none() && kv::is_key(&key) && kv::is_value(&value);
            is_unknown.then_some((key, value))
        }));
    }
    Ok(event)
}

#[cfg(not(feature = "json"))]
fn json(_: &str, _: Option<&mut Unknown>) -> Result<Event, String> {
    Err("it is JSON, which takes the feature `json`".to_owned())
}
