// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses a line of a recording, in any format.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::clock::ClockOffset;
use super::kernel_text::{self, Found, KernelText};
use super::lines::{Piece, too_long};
use super::{DetectedFormat, Format};
use crate::event::Event;
use crate::event::clock::Clock;
#[cfg(feature = "json")]
use crate::event::schema;
use crate::event::verdict::{self, Verdict};
use crate::format::kv;

/// Keys and values that this version does not know.
pub(super) type Unknown = Vec<(String, String)>;

/// The maximum number of bytes before the first line of a recording. A page with a trace (systrace)
/// begins with megabytes of scripts.
const MAX_PREAMBLE: u64 = 16 * 1024 * 1024;

/// An item that a part of the input yields.
#[derive(Debug)]
pub(super) enum Parsed {
    Event(Box<Event>, Unknown),
    /// A verdict, if they are wanted ([`Parser::set_verdicts`]).
    Verdict(Box<Verdict>),
    /// Lost trace entries of any event, with their number if the line reports it.
    Lost(Option<u64>),
    /// A line before the recording, or a malformed line that is skipped.
    Skipped,
    /// Nothing, but a part of the input was read.
    Nothing,
}

/// Why a part of the input cannot be parsed.
pub(super) enum Problem {
    /// The line is malformed.
    Line(String),
    /// The input is not a recording.
    Recording(String),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Line(problem)
    }
}

/// The host and the kernel that the header of `perf script --header` states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TextOrigin {
    pub(super) host: Option<String>,
    pub(super) kernel: Option<String>,
}

impl TextOrigin {
    /// Reads a line of the header. The first line with a key is that of perf.
    fn read_header(&mut self, line: &str) {
        /// The kernel permits 64 bytes for both.
        const LONGEST: usize = 64;
        for (start, value) in [("# hostname : ", &mut self.host), ("# os release : ", &mut self.kernel)] {
            let found =
                line.strip_prefix(start).map(str::trim_end).filter(|text| !text.is_empty() && text.len() <= LONGEST);
            if let (None, Some(found)) = (&value, found) {
                *value = Some(found.to_owned());
            }
        }
    }
}

/// Parses lines, and finds out the format.
pub(super) struct Parser {
    /// The format, once it is known.
    format: Option<Format>,
    /// The number of the line that determined the format.
    first_line: Option<u64>,
    /// True if unknown keys are kept.
    keeps_unknown: bool,
    /// True if verdicts are parsed. Otherwise they are skipped unseen.
    keeps_verdicts: bool,
    kernel_text: KernelText,
    /// The host, if the header of the text states it.
    origin: TextOrigin,
    /// True once a line was recognized as kernel text.
    is_trace: bool,
    /// True once a line contained the columns of an event.
    has_events: bool,
    /// The number of bytes before the recording, with comments.
    preamble: u64,
    /// True if a line before the recording is not a comment.
    has_skipped: bool,
    found: VecDeque<Found>,
}

impl Parser {
    pub(super) fn new(format: Option<Format>, clock_offset: Option<ClockOffset>, keeps_unknown: bool) -> Self {
        Self {
            format,
            first_line: None,
            keeps_unknown,
            keeps_verdicts: false,
            kernel_text: KernelText::new(clock_offset),
            origin: TextOrigin::default(),
            is_trace: false,
            has_events: false,
            preamble: 0,
            has_skipped: false,
            found: VecDeque::new(),
        }
    }

    /// Sets whether the next lines yield verdicts.
    pub(super) fn set_verdicts(&mut self, keep: bool) {
        self.keeps_verdicts = keep;
    }

    /// Returns true if the form of a line shows that failures are reported as well.
    pub(super) fn shows_failures(&self) -> bool {
        self.kernel_text.shows_failures()
    }

    /// Returns the clock of the lines so far.
    pub(super) fn clock(&self) -> Clock {
        match self.format {
            None => Clock::Unknown,
            Some(Format::KeyVal | Format::Json) => Clock::Realtime,
            Some(Format::KernelText) => self.kernel_text.clock(),
        }
    }

    /// Returns the host of the text, as far as its header states it.
    pub(super) fn origin(&self) -> &TextOrigin {
        &self.origin
    }

    /// Returns true if the format is known to be kernel text.
    pub(super) fn is_kernel_text(&self) -> bool {
        self.format == Some(Format::KernelText)
    }

    /// Returns the format and the number of the line that determined it, if it was detected.
    pub(super) fn detected(&self) -> Option<DetectedFormat> {
        Some(DetectedFormat { format: self.format?, line: self.first_line? })
    }

    /// Parses a part of the input, and appends what it completes to `parsed`. The error does not
    /// contain the number of the line.
    pub(super) fn parse(
        &mut self,
        number: u64,
        piece: Piece<'_>,
        parsed: &mut VecDeque<Parsed>,
    ) -> Result<(), Problem> {
        let line = match piece {
            Piece::Line(line) => line,
            Piece::TooLong(length) if self.format.is_none() => {
                self.has_skipped = true;
                parsed.push_back(Parsed::Skipped);
                return self.count_preamble(length);
            }
            Piece::TooLong(_) => return Err(too_long().into()),
            Piece::Rest(length) if self.format.is_none() => return self.count_preamble(length),
            Piece::Rest(_) => return Ok(()),
        };
        // Windows marks UTF-8 with U+FEFF.
        let bytes =
            if number == 1 { line.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line.bytes) } else { line.bytes };
        if number == 1 && is_utf16(bytes) {
            return Err("UTF-16: convert the recording with `iconv -f UTF-16 -t UTF-8`".to_owned().into());
        }
        let text = String::from_utf8_lossy(bytes);
        // After the header, a file name in the text of an event may imitate such a line.
        if !self.has_events && self.format.is_none_or(|format| format == Format::KernelText) {
            if text.starts_with('#') {
                self.kernel_text.read_header(&text);
                self.origin.read_header(&text);
            }
            self.has_events = kernel_text::has_columns(&text);
        }
        // A verdict is not an attempt. It may also be the first line.
        if self.format.is_none_or(|format| format != Format::KernelText) && line.has_end && verdict::is_line(&text) {
            parsed.push_back(if self.keeps_verdicts { verdict_of(&text)? } else { Parsed::Nothing });
            return Ok(());
        }
        let format = match self.format {
            Some(format) => format,
            None => match format_of(&text) {
                Some(format) => format,
                None => {
                    if !text.starts_with('#') {
                        self.has_skipped = true;
                        parsed.push_back(Parsed::Skipped);
                    }
                    return self.count_preamble(bytes.len() as u64 + 1);
                }
            },
        };
        // Kernel text contains task names, which may contain any bytes or a truncated character.
        if matches!(text, Cow::Owned(_)) && format != Format::KernelText {
            return Err("not valid UTF-8".to_owned().into());
        }
        // A truncated line may be valid with another meaning: `sk_err_soft=1` instead of 13. A
        // truncated JSON object is never valid.
        if !line.has_end && format != Format::Json {
            if format == Format::KernelText && is_prompt(&text) {
                parsed.push_back(Parsed::Skipped);
                return Ok(());
            }
            return Err("unterminated last line (truncated recording?)".to_owned().into());
        }
        match format {
            Format::KeyVal => parsed.push_back(self.key_val(&text)?),
            Format::Json => parsed.push_back(json(&text, self.keeps_unknown)?),
            Format::KernelText => {
                self.is_trace = self.is_trace || kernel_text::is_recognised(&text);
                let may_be_other = text.starts_with("ts=") || text.starts_with('{');
                if may_be_other && !kernel_text::is_recognised(&text) {
                    if let Some(other) = format_of_events(&text) {
                        return Err(format!("{other} in kernel text").into());
                    }
                }
                let read = self.kernel_text.read(&text, &mut self.found);
                self.take_found(parsed);
                read?;
            }
        }
        // A malformed line does not determine the format.
        if self.format.is_none() {
            (self.format, self.first_line) = (Some(format), Some(number));
        }
        Ok(())
    }

    /// Appends what the last lines complete, after the last line.
    pub(super) fn finish(&mut self, parsed: &mut VecDeque<Parsed>) {
        self.kernel_text.finish(&mut self.found);
        self.take_found(parsed);
    }

    /// Returns the problem of the whole recording, after its last line was parsed.
    pub(super) fn problem(&self) -> Option<String> {
        match self.format {
            None if self.has_skipped => Some(NOT_A_RECORDING.to_owned()),
            Some(Format::KernelText) if !self.is_trace => Some("no line is kernel trace text".to_owned()),
            _ => None,
        }
    }

    /// Returns a problem of a line, with the format if it was detected at another line.
    pub(super) fn explain(&self, number: u64, problem: &str) -> String {
        match self.detected() {
            Some(DetectedFormat { format, line }) if line > 1 => {
                format!("line {number}: {problem} (the recording begins at line {line}, as {format})")
            }
            _ => format!("line {number}: {problem}"),
        }
    }

    fn count_preamble(&mut self, bytes: u64) -> Result<(), Problem> {
        self.preamble = self.preamble.saturating_add(bytes);
        if self.preamble > MAX_PREAMBLE {
            let problem = format!("{NOT_A_RECORDING} in the first {} MiB", MAX_PREAMBLE >> 20);
            return Err(Problem::Recording(problem));
        }
        Ok(())
    }

    fn key_val(&self, text: &str) -> Result<Parsed, String> {
        let mut unknown = Unknown::new();
        // A duplicate key is an error, whether or not unknown keys are kept.
        let mut keys = kv::UnknownKeys::new(self.keeps_unknown.then_some(&mut unknown));
        let event = kv::parse(text, |key, value, column| keys.add(key, value, column)).map_err(|e| e.to_string())?;
        Ok(Parsed::Event(Box::new(event), unknown))
    }

    fn take_found(&mut self, parsed: &mut VecDeque<Parsed>) {
        parsed.extend(self.found.drain(..).map(|found| match found {
            Found::Attempt(event) => Parsed::Event(event, Unknown::new()),
            Found::Lost(count) => Parsed::Lost(count),
        }));
    }
}

/// Returns true if a text begins with the mark of UTF-16, or with two characters of ASCII in it.
fn is_utf16(bytes: &[u8]) -> bool {
    match *bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [first, 0, second, 0, ..] | [0, first, 0, second, ..] => first != 0 && second != 0,
        _ => false,
    }
}

/// Returns true if the last line of a copied text is the prompt of the shell.
fn is_prompt(line: &str) -> bool {
    !line.starts_with(char::is_whitespace)
        && line.trim_end().ends_with(['#', '$', '%', '>'])
        && !kernel_text::is_recognised(line)
}

const NOT_A_RECORDING: &str = "no key=value line of an event, no JSON and no kernel text";

/// Returns the format of a line, or `None` if it belongs to no recording: a blank line, the prompt
/// of a shell, or a message of a tool.
///
/// A line of kernel text is recognized first, because it contains task names and paths, which may
/// imitate the other formats. Those contain no columns.
fn format_of(line: &str) -> Option<Format> {
    match format_of_events(line) {
        // An object of another event may contain the text of an attempt.
        Some(Format::Json) if !kernel_text::has_columns(line) => Some(Format::Json),
        _ if kernel_text::is_recognised(line) => Some(Format::KernelText),
        other => other,
    }
}

/// Returns the format of a line that contains an event of this crate, possibly a malformed one.
fn format_of_events(line: &str) -> Option<Format> {
    const KEYS: [&str; 11] =
        ["ts", "result", "err", "kind", "family", "saddr", "sport", "daddr", "dport", "state", "segs"];
    let line = line.trim_end();
    if line.starts_with('{') && line.ends_with('}') && line.contains("\"result\"") && line.contains("\"ts\"") {
        return Some(Format::Json);
    }
    let has = |key: &&str| line.split(' ').any(|pair| pair.split_once('=').is_some_and(|(found, _)| found == *key));
    // A task name with line ends is shorter.
    let is_begun = line.len() > 15
        && line.strip_prefix("ts=").is_some_and(|ts| ts.starts_with(|digit: char| digit.is_ascii_digit()));
    // A filter in the command of a shell prompt contains a few keys as well, and a line whose
    // beginning is missing contains most of them.
    let first = line.split('=').next().unwrap_or(line);
    let least = if KEYS.contains(&first) || has(&"ts") { 3 } else { 8 };
    (is_begun || KEYS.iter().filter(|key| has(key)).count() >= least).then_some(Format::KeyVal)
}

/// Parses the line of a verdict, or its object.
fn verdict_of(text: &str) -> Result<Parsed, String> {
    let verdict = if text.starts_with('{') { verdict_of_json(text)? } else { parsed(text)? };
    Ok(Parsed::Verdict(Box::new(verdict)))
}

fn parsed(line: &str) -> Result<Verdict, String> {
    line.parse().map_err(|error: verdict::ParseVerdictError| error.to_string())
}

/// Converts the object to a line. So there is one parser for both.
#[cfg(feature = "json")]
fn verdict_of_json(text: &str) -> Result<Verdict, String> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut line = verdict::PREFIX.trim_end().to_owned();
    for (key, value) in object.iter().filter(|(key, _)| *key != "what" && kv::is_key(key)) {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if kv::is_value(&value) {
            line.extend([" ", key, "=", &value]);
        }
    }
    parsed(&line)
}

#[cfg(not(feature = "json"))]
fn verdict_of_json(_: &str) -> Result<Verdict, String> {
    Err("JSON requires the feature `json`".to_owned())
}

#[cfg(feature = "json")]
fn json(text: &str, keeps_unknown: bool) -> Result<Parsed, String> {
    use std::collections::BTreeMap;

    use serde_json::Value;
    use serde_json::value::RawValue;

    let event = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut unknown = Unknown::new();
    if keeps_unknown {
        // Accepts every value that the event ignores, such as a number that no type contains.
        let object: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Values that a key=value line cannot contain are left out. Arrays and objects are not even
        // parsed, because they may be nested to any depth.
        unknown.extend(object.into_iter().filter(|(_, raw)| !raw.get().starts_with(['[', '{'])).filter_map(
            |(key, raw)| {
                let value = match serde_json::from_str::<Value>(raw.get()).ok()? {
                    Value::String(text) => text,
                    // Unchanged, whatever its size and precision.
                    Value::Number(_) => raw.get().to_owned(),
                    _ => return None,
                };
                let is_unknown = schema::by_key(&key, 0).is_none() && kv::is_key(&key) && kv::is_value(&value);
                is_unknown.then_some((key, value))
            },
        ));
    }
    Ok(Parsed::Event(Box::new(event), unknown))
}

#[cfg(not(feature = "json"))]
fn json(_: &str, _: bool) -> Result<Parsed, String> {
    Err("JSON requires the feature `json`".to_owned())
}
