// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of the optional fields a stream shall have.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use crate::event::Event;
use crate::event::record::{self, OPTIONAL};

/// Which of the optional fields events shall have: what is not asked for is not read in the kernel, and the record ends behind the
/// last field that is (with owners it does not). All of them, unless [set](crate::StreamBuilder::fields).
///
/// Read from keys of the line, separated by commas. The first eleven keys of the line, `class`, `mapped` and `transmit` are
/// there always; `owner`, `pid` and `comm` if [`StreamBuilder::resolve_owners`](crate::StreamBuilder::resolve_owners) says so. A stream's filter is not concerned: it is
/// decided in the kernel, on the attempt itself. To a predicate, and to [`Filter::matches`](crate::Filter::matches), what is left out is absent.
///
/// ```
/// use retrans_sdk::FieldSet;
///
/// let fields: FieldSet = "cookie,netns,snd_cwnd".parse()?;
/// assert!(fields.contains("netns") && !fields.contains("srtt_us"));
/// assert_eq!(fields | "srtt_us".parse()?, "cookie,netns,snd_cwnd,srtt_us".parse()?);
/// assert_eq!("netns,ts".parse::<FieldSet>().unwrap_err().key(), "ts");
/// # Ok::<(), retrans_sdk::event::ParseFieldSetError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldSet(u64);

impl FieldSet {
    pub(crate) const COOKIE: Self = Self(1 << record::COOKIE);

    /// None of them: what is there always, and no more.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// All of them.
    #[must_use]
    pub const fn all() -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < OPTIONAL.len() {
            bits |= 1 << OPTIONAL[i].bit;
            i += 1;
        }
        Self(bits)
    }

    /// Whether the field with this key is one of them.
    #[must_use]
    pub fn contains(self, key: &str) -> bool {
        self.keys().any(|of| of == key)
    }

    /// The keys of those that are.
    pub fn keys(self) -> impl Iterator<Item = &'static str> {
        OPTIONAL.iter().filter(move |field| self.0 & 1 << field.bit != 0).map(|field| field.key)
    }

    /// The length of a record with them, in bytes.
    #[must_use]
    pub const fn record_length(self) -> usize {
        record::length_of(self.0)
    }

    /// Takes the others out of an event.
    pub(crate) fn restrict(self, event: &mut Event) {
        if self == Self::all() {
            return;
        }
        for field in OPTIONAL.iter().filter(|field| self.0 & 1 << field.bit == 0) {
            (field.clear)(event);
        }
    }

    /// A bit each, as the kernel side has them.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

impl Default for FieldSet {
    fn default() -> Self {
        Self::all()
    }
}

/// Those of either.
impl BitOr for FieldSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromStr for FieldSet {
    type Err = ParseFieldSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let keys = text.split(',').filter(|_| !text.is_empty());
        keys.map(|key| {
            let field = OPTIONAL.iter().find(|field| field.key == key);
            field.map(|field| 1 << field.bit).ok_or_else(|| ParseFieldSetError { key: key.to_owned() })
        })
        .try_fold(Self::none(), |all, one| one.map(|bit: u64| Self(all.0 | bit)))
    }
}

/// As it is read.
impl fmt::Display for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys().enumerate().try_for_each(|(i, key)| write!(f, "{}{key}", if i == 0 { "" } else { "," }))
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldSet({self})")
    }
}

/// A text is not a list of optional fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFieldSetError {
    key: String,
}

impl ParseFieldSetError {
    /// What is none.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ParseFieldSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an optional field; these are: {}", self.key.escape_debug(), FieldSet::all())
    }
}

impl std::error::Error for ParseFieldSetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back() {
        for fields in [FieldSet::none(), FieldSet::all(), "uid".parse().expect("a field")] {
            assert_eq!(fields.to_string().parse(), Ok(fields));
        }
        assert_eq!(FieldSet::none().record_length(), record::CORE_LEN);
        assert_eq!(FieldSet::all().record_length(), record::RECORD_LEN);
        for (text, key) in [("result", "result"), ("pid", "pid"), ("uid,", ""), ("uid, mark", " mark")] {
            assert_eq!(text.parse::<FieldSet>().expect_err("not a list").key(), key);
        }
    }

    /// Every optional field of an event has a bit, except those that are decoded separately.
    #[test]
    fn every_optional_key_of_the_line_is_one() {
        let elsewhere = ["class", "mapped", "transmit", "owner", "pid", "comm"];
        let mut keys: Vec<_> = crate::event::schema::keys().skip(11).filter(|key| !elsewhere.contains(key)).collect();
        let mut all: Vec<_> = FieldSet::all().keys().collect();
        keys.sort_unstable();
        all.sort_unstable();
        assert_eq!(keys, all);
    }
}
