// SPDX-License-Identifier: MIT OR Apache-2.0
//! The key=value line: an event as `key=value` pairs separated by single spaces. A line parses to
//! the same event.
//!
//! # Design
//!
//! A line has two parsers. `parse_canonical` reads exactly the form that this version writes, in
//! one pass. `parse_any_order` reads any other line, accepts keys in any order, and reports the
//! mistake. Property tests require the same result of both. The writer does not use `fmt`, which
//! needs five times as long; it writes eight digits at a time. `make bench` measures both.
//!
//! `Line` keeps unknown keys. `Event` does not, because an event owns no heap memory. The parser of
//! `Event` rejects unknown keys rather than lose them.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use crate::event::Event;
use crate::event::schema::{self, Draft, FIELDS, MAX_LINE, scan_line, write_line};
use crate::text::escape::Escaped;
use crate::text::writer::WRITE_PADDING;

/// Prints the key=value line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(LineBuffer::new().line(self)).unwrap_or_default())
    }
}

/// A reusable buffer for a line. Printing many lines with it allocates no heap memory, and is
/// faster than `Display`.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
///
/// use retrans_sdk::Event;
/// use retrans_sdk::format::LineBuffer;
///
/// # let event: Event = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 \
/// #    dport=443 state=established segs=1".parse()?;
/// # let events = [event];
/// let mut buffer = LineBuffer::new();
/// let mut out = std::io::stdout().lock();
/// for event in &events {
///     out.write_all(buffer.line(event))?;
///     out.write_all(b"\n")?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LineBuffer([u8; MAX_LINE + WRITE_PADDING]);

impl LineBuffer {
    /// Creates a buffer of 1 to 2 KiB, stored inline.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; MAX_LINE + WRITE_PADDING])
    }

    /// Returns the key=value line of an event, as `Display` prints it, in ASCII and without a line
    /// end.
    pub fn line(&mut self, event: &Event) -> &[u8] {
        let len = write_line(event, &mut self.0);
        &self.0[..len]
    }
}

impl Default for LineBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LineBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineBuffer").finish_non_exhaustive()
    }
}

/// The error of a text that is not the key=value line of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseLineError {
    column: usize,
    problem: String,
}

impl ParseLineError {
    /// Returns the column of the mistake, in bytes, from 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    #[cfg(feature = "serde")]
    pub(crate) fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for ParseLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.problem)
    }
}

impl std::error::Error for ParseLineError {}

/// A recorded line: the event, and the keys that this version does not know, unchanged.
///
/// An unknown value of a known key, such as a result of a newer version, is an error.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use retrans_sdk::Filter;
/// use retrans_sdk::format::Line;
///
/// let recording = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 \
///     dport=443 state=established segs=1 class=drop";
/// let filter: Filter = "class=drop".parse()?;
/// for line in recording.lines() {
///     let line: Line = line.parse()?;
///     if filter.matches(&line.event) {
///         println!("{line}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The event.
    pub event: Event,
    /// The unknown keys and their values, in the order of the line.
    pub unknown: Vec<(String, String)>,
}

/// Prints the line with its unknown keys at the end.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)?;
        self.unknown.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

/// Parses a line with keys in any order.
///
/// # Errors
///
/// Returns [`ParseLineError`] for a text that is not a line, a missing or duplicate key, and an
/// invalid value.
impl FromStr for Line {
    type Err = ParseLineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut unknown = Vec::new();
        let mut keep = UnknownKeys::new(Some(&mut unknown));
        let event = parse(text, |key, value, column| keep.add(key, value, column))?;
        Ok(Self { event, unknown })
    }
}

/// The keys of a line that this version does not know, each at most once.
pub(crate) struct UnknownKeys<'text, 'pairs> {
    /// `None` if the pairs are not kept.
    pairs: Option<&'pairs mut Vec<(String, String)>>,
    /// The keys so far. A line may have any number of keys, so a search of `pairs` for each key
    /// would be quadratic.
    seen: HashSet<&'text str>,
}

impl<'text, 'pairs> UnknownKeys<'text, 'pairs> {
    /// Appends the pairs to `pairs`, if it is given.
    pub(crate) fn new(pairs: Option<&'pairs mut Vec<(String, String)>>) -> Self {
        Self { pairs, seen: HashSet::new() }
    }

    /// Adds a key and its value; a duplicate key is an error.
    pub(crate) fn add(&mut self, key: &'text str, value: &str, column: usize) -> Result<(), ParseLineError> {
        if !self.seen.insert(key) {
            return Err(ParseLineError { column, problem: format!("duplicate key `{key}`") });
        }
        if let Some(pairs) = &mut self.pairs {
            pairs.push((key.to_owned(), value.to_owned()));
        }
        Ok(())
    }
}

/// Parses a line with keys in any order.
///
/// # Errors
///
/// Returns [`ParseLineError`] as [`Line`] does, and for an unknown key, which an event cannot keep.
impl FromStr for Event {
    type Err = ParseLineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, |key, _, column| {
            let problem = format!("unknown key `{key}` (parse a `Line` to keep it)");
            Err(ParseLineError { column, problem })
        })
    }
}

/// Parses a line. `unknown` is called with each key that this version does not know, which is a key
/// of the grammar, its value and its column.
pub(crate) fn parse<'text>(
    text: &'text str,
    unknown: impl FnMut(&'text str, &'text str, usize) -> Result<(), ParseLineError>,
) -> Result<Event, ParseLineError> {
    match parse_canonical(text) {
        Some(draft) => validated(draft),
        None => parse_any_order(text, unknown),
    }
}

/// Parses a line in the form that this version prints, the common case.
pub(crate) fn parse_canonical(text: &str) -> Option<Draft> {
    let mut draft = draft();
    scan_line(&mut draft, text).map(|()| draft)
}

/// Parses any line: with keys in any order, and unknown keys.
pub(crate) fn parse_any_order<'text>(
    text: &'text str,
    mut unknown: impl FnMut(&'text str, &'text str, usize) -> Result<(), ParseLineError>,
) -> Result<Event, ParseLineError> {
    let mut draft = draft();
    let mut seen = 0u128;
    let (mut column, mut next) = (1, 0);

    for pair in text.split(' ') {
        let fail = |problem: String| Err(ParseLineError { column, problem });
        let Some((key, value)) = pair.split_once('=') else {
            return fail(format!("`{}` is not key=value", Escaped::value(pair)));
        };
        match schema::by_key(key, next) {
            Some((index, _)) if seen & 1 << index != 0 => return fail(format!("duplicate key `{key}`")),
            Some((index, field)) => {
                seen |= 1 << index;
                next = index + 1;
                if let Err(problem) = (field.set)(&mut draft, value) {
                    return fail(format!("`{key}={}`: {problem}", Escaped::value(value)));
                }
            }
            None if !is_key(key) => return fail(format!("`{}` is not a key", Escaped::value(key))),
            None if !is_value(value) => {
                return fail(format!("the value of `{key}` contains an invalid byte"));
            }
            None => unknown(key, value, column)?,
        }
        column += pair.len() + 1;
    }
    let fail = |problem: String| Err(ParseLineError { column: 1, problem });
    if let Some((_, missing)) = FIELDS.iter().enumerate().find(|(index, f)| f.always && seen & 1 << index == 0) {
        return fail(format!("missing key `{}`", missing.key));
    }
    validated(draft)
}

pub(crate) fn draft() -> Draft {
    Draft { event: Event::blank(), family: None, class: None }
}

/// Checks the values that derive from other fields.
pub(crate) fn validated(draft: Draft) -> Result<Event, ParseLineError> {
    let fail = |problem: String| Err(ParseLineError { column: 1, problem });
    let Draft { event, family, class } = draft;
    if event.saddr.is_ipv4() != event.daddr.is_ipv4() || family != Some(event.family()) {
        return fail("`family`, `saddr` and `daddr` contradict one another".to_owned());
    }
    if event.mapped && event.saddr.is_ipv6() {
        return fail("`mapped=yes` requires IPv4 addresses".to_owned());
    }
    if class.is_some_and(|class| class != event.class()) {
        return fail(format!("`class` contradicts `result`, whose class is {}", event.class()));
    }
    Ok(event)
}

/// Returns true if a text is a value of the grammar.
pub(crate) fn is_value(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_graphic() && !b"=,\"".contains(&b))
}

/// Returns true if a text is a key of the grammar, known or not.
pub(crate) fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::record::decode;
    use crate::event::record::tests::any_record;

    fn in_any_order(text: &str) -> Result<Event, ParseLineError> {
        parse_any_order(text, |key, _, column| Err(ParseLineError { column, problem: format!("`{key}`") }))
    }

    #[test]
    fn a_written_line_is_parsed_as_canonical() {
        let text = "ts=1795455390.000000176 result=denied err=-1 kind=rto family=inet6 saddr=fd00::1 sport=0 daddr=fd00::2 dport=1 \
            state=established segs=1 class=drop cookie=144552 uid=0 tcp_flags=0x018 ca_state=loss ca_name=reno sk_err_soft=-1";
        let event = parse_canonical(text).map(validated).expect("as it is written").expect("an event");
        assert_eq!(event.to_string(), text);
        assert_eq!(in_any_order(text), Ok(event));
    }

    const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 \
        state=established segs=1";

    #[test]
    fn any_number_of_unknown_keys_is_kept() {
        // 1 MiB. A search for each key among those before it needs minutes.
        let mut text = LINE.to_owned();
        let count = 140_000;
        (0..count).for_each(|number| text += &format!(" a{number:x}="));
        let line: Line = text.parse().expect("a line");
        assert_eq!(line.unknown.len(), count);
        assert_eq!((&*line.unknown[16].0, &*line.unknown[count - 1].0), ("a10", "a222df"));
        let column = text.len() + 2;
        let error = (text + " a10=").parse::<Line>().expect_err("a duplicate");
        assert_eq!(error, ParseLineError { column, problem: "duplicate key `a10`".to_owned() });
    }

    #[test]
    fn errors_are_escaped() {
        for harmful in ["\x1b]52;c;x\x07", "\u{9b}2J", "\u{202e}", "\r\n", "\x7f"] {
            let escaped = Escaped::value(harmful).to_string();
            for text in [
                format!("{LINE} {harmful}"),
                format!("{LINE} {harmful}=1"),
                format!("{LINE} later={harmful}"),
                LINE.replace("denied", harmful),
                LINE.replace("10.0.0.1", harmful),
            ] {
                for error in
                    [text.parse::<Line>().expect_err("malformed"), text.parse::<Event>().expect_err("malformed")]
                {
                    let error = error.to_string();
                    assert!(error.contains(&escaped) || error.ends_with("contains an invalid byte"), "{error}");
                    assert_eq!(
                        Escaped::value(&error.replace('\\', "")).to_string(),
                        error.replace('\\', ""),
                        "{error:?}"
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn both_parsers_return_the_same_event(record in any_record(), at in any::<prop::sample::Index>(), byte in b' '..=b'~') {
            let event = decode(&record, 0).expect("a good header");
            let text = event.to_string();
            prop_assert_eq!(in_any_order(&text), Ok(event));
            if let Some(draft) = parse_canonical(&text) {
                prop_assert_eq!(validated(draft), Ok(event));
            }
            // The same holds for a line with one changed byte.
            let mut text = text.into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let text = String::from_utf8(text).expect("ASCII");
            if let Some(draft) = parse_canonical(&text) {
                prop_assert_eq!(validated(draft), in_any_order(&text), "{}", text);
            }
        }
    }
}
