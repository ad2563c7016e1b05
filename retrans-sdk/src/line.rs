// SPDX-License-Identifier: MIT OR Apache-2.0
//! The line: an event as `key=val` separated by single spaces, and back without loss.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::event::{Core, Event};
use crate::field::{self, Draft, FIELDS};
use crate::table::KeyVal;
use crate::{RetransKind, RetransResult, TcpState, Timestamp};

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for field in FIELDS {
            match (field.get)(self) {
                Some(value) => write!(f, "{separator}{}", KeyVal { key: field.key, value })?,
                None if field.always => write!(f, "{separator}{}", KeyVal { key: field.key, value: '-' })?,
                None => continue,
            }
            separator = " ";
        }
        Ok(())
    }
}

/// A text is not the line of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseLineError {
    column: usize,
    problem: String,
}

impl ParseLineError {
    /// Where the trouble starts, in bytes, the first being 1.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for ParseLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.problem)
    }
}

impl std::error::Error for ParseLineError {}

/// A line as it was recorded: the event, and the keys that this version does not know, kept as they were. A value that
/// this version does not know, such as a result of a newer one, is an error.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use retrans_sdk::{Filter, Line};
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
    /// Keys and values that are not an event's here, in the order of the line.
    pub unknown: Vec<(String, String)>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)?;
        self.unknown.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

impl FromStr for Line {
    type Err = ParseLineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut unknown = Vec::new();
        let event = parse(text, |key, value, column| {
            if unknown.iter().any(|(known, _)| known == key) {
                return Err(ParseLineError { column, problem: format!("`{key}` stands twice") });
            }
            unknown.push((key.to_owned(), value.to_owned()));
            Ok(())
        })?;
        Ok(Self { event, unknown })
    }
}

/// Refuses keys that it does not know, for it could not keep them: [`Line`] does.
impl FromStr for Event {
    type Err = ParseLineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, |key, _, column| {
            let problem = format!("`{key}` is not a key of this version (parse a `Line` to keep it)");
            Err(ParseLineError { column, problem })
        })
    }
}

fn parse(
    text: &str,
    mut unknown: impl FnMut(&str, &str, usize) -> Result<(), ParseLineError>,
) -> Result<Event, ParseLineError> {
    let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut draft = Draft {
        event: Event::core_only(Core {
            ts: Timestamp::from_nanos(0),
            result: RetransResult::ErrDefault,
            err: None,
            kind: RetransKind::Unproven,
            saddr: unspecified,
            sport: 0,
            daddr: unspecified,
            dport: 0,
            state: TcpState::Close,
            segs: 0,
            mapped: false,
        }),
        family: None,
        class: None,
    };
    let mut seen = 0u64;
    let mut column = 1;

    for pair in text.split(' ') {
        let fail = |problem: String| Err(ParseLineError { column, problem });
        let Some((key, value)) = pair.split_once('=') else {
            return fail(format!("`{}` is not key=val", pair.escape_debug()));
        };
        if !is_key(key) {
            return fail(format!("`{}` is not a key", key.escape_debug()));
        }
        match field::by_key(key) {
            Some((index, _)) if seen & 1 << index != 0 => return fail(format!("`{key}` stands twice")),
            Some((index, field)) => {
                seen |= 1 << index;
                if let Err(problem) = (field.set)(&mut draft, value) {
                    return fail(format!("`{key}={}`: {problem}", value.escape_debug()));
                }
            }
            None if !value.bytes().all(|b| b.is_ascii_graphic() && !b"=,\"".contains(&b)) => {
                return fail(format!("`{key}` holds a byte that a value may not hold"));
            }
            None => unknown(key, value, column)?,
        }
        column += pair.len() + 1;
    }
    let fail = |problem: String| Err(ParseLineError { column: 1, problem });
    if let Some((_, missing)) = FIELDS.iter().enumerate().find(|(index, f)| f.always && seen & 1 << index == 0) {
        return fail(format!("`{}` is missing", missing.key));
    }
    let Draft { event, family, class } = draft;
    if event.saddr.is_ipv4() != event.daddr.is_ipv4() || family != Some(event.family()) {
        return fail("`family`, `saddr` and `daddr` contradict one another".to_owned());
    }
    if event.mapped && event.saddr.is_ipv6() {
        return fail("`mapped=yes` goes with IPv4 addresses only".to_owned());
    }
    if class.is_some_and(|class| class != event.class()) {
        return fail(format!("`class` contradicts `result`, whose class is {}", event.class()));
    }
    Ok(event)
}

/// A key of this grammar, known here or not.
fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}
