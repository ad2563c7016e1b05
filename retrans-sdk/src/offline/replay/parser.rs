// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses a line of a recording, in any format.

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

/// The contents of a line.
pub(super) enum Parsed {
    Event(Box<Event>),
    /// Lost events, with their number if the line reports it.
    Missed(Option<u64>),
    /// A line that is not about an attempt.
    Nothing,
}

impl Parsed {
    fn of(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

pub(super) struct Parser {
    /// The format, once it is known.
    format: Option<Format>,
    clock_offset: Duration,
    shows_failures: bool,
    /// True once a line was recognized as kernel text.
    is_trace: bool,
}

impl Parser {
    pub(super) fn new(format: Option<Format>, clock_offset: Duration) -> Self {
        Self { format, clock_offset, shows_failures: false, is_trace: false }
    }

    /// Returns true if the form of a line shows that failures are reported as well.
    pub(super) fn shows_failures(&self) -> bool {
        self.shows_failures
    }

    /// Parses a line, and appends the keys that this version does not know to `unknown` if it is
    /// present.
    pub(super) fn parse(&mut self, line: RawLine<'_>, mut unknown: Option<&mut Unknown>) -> Result<Parsed, String> {
        let text = String::from_utf8_lossy(line.bytes);
        // A leading comment does not determine the format.
        if self.format.is_none() && text.starts_with('#') {
            return Ok(Parsed::Nothing);
        }
        let format = self.format.map_or_else(|| format_of(&text), Ok)?;
        // Kernel text contains task names, which may contain any bytes or a truncated character.
        if matches!(text, Cow::Owned(_)) && format != Format::KernelText {
            return Err("not valid UTF-8".to_owned());
        }
        // A truncated line may be valid with another meaning: `sk_err_soft=1` instead of 13. A
        // truncated JSON object is never valid.
        if !line.has_end && format != Format::Json {
            return Err("unterminated last line (truncated recording?)".to_owned());
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
        // A malformed line does not determine the format.
        if parsed.is_ok() {
            self.format = Some(format);
        }
        parsed
    }

    /// Returns the problem of the whole recording, after its last line was parsed.
    pub(super) fn problem(&self) -> Option<&'static str> {
        (self.format == Some(Format::KernelText) && !self.is_trace).then_some("no line is kernel trace text")
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
        // If the line is malformed, the parser of key=value lines reports the column.
        _ if line.contains('=') => Ok(Format::KeyVal),
        _ => Err("neither key=value nor JSON nor kernel text".to_owned()),
    }
}

#[cfg(feature = "json")]
fn json(text: &str, unknown: Option<&mut Unknown>) -> Result<Event, String> {
    use serde_json::{Map, Value};

    let event = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(unknown) = unknown {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Values that a key=value line cannot contain are left out.
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
    Err("JSON requires the feature `json`".to_owned())
}
