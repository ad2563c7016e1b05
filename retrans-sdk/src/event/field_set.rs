// SPDX-License-Identifier: MIT OR Apache-2.0
//! The optional fields that a stream records.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use crate::event::Event;
use crate::event::record::{self, OPTIONAL};
use crate::text::escape::Escaped;

/// A set of optional fields.
///
/// [`StreamBuilder::fields`](crate::StreamBuilder::fields) sets the fields that events contain. The
/// default is every field except the *extended* ones, which are recorded only on request
/// ([`drops`](Self::drops) and others). The BPF programs do not read the other fields, and a record
/// ends after the last field in the set. They do not evaluate the extended fields in a filter: use
/// a predicate ([`StreamBuilder::predicate`](crate::StreamBuilder::predicate)). With
/// [`resolve_owners`](crate::StreamBuilder::resolve_owners) records have at least the length of the
/// default.
///
/// A set is parsed from keys separated by commas. The first eleven keys of the key=value line,
/// `class`, `mapped` and `transmit` are always present, so they are not in a set. `owner`, `pid`
/// and `comm` depend on `resolve_owners`. The set does not affect the filter of a stream, which is
/// evaluated on the attempt itself. For a predicate and for
/// [`Filter::matches`](crate::Filter::matches) a field that is not in the set is absent.
///
/// # Examples
///
/// ```
/// use retrans_sdk::FieldSet;
///
/// let fields: FieldSet = "cookie,netns,snd_cwnd".parse()?;
/// assert!(fields.contains("netns") && !fields.contains("srtt_us"));
/// assert!(FieldSet::all().contains("age_us") && !FieldSet::default().contains("age_us"));
/// assert_eq!(fields | "srtt_us".parse()?, "cookie,netns,snd_cwnd,srtt_us".parse()?);
/// assert_eq!("netns,ts".parse::<FieldSet>().unwrap_err().key(), "ts");
/// # Ok::<(), retrans_sdk::event::ParseFieldSetError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldSet(u64);

impl FieldSet {
    pub(crate) const COOKIE: Self = Self(1 << record::COOKIE);

    /// The fields that describe a dropped packet. They require a BPF program of their own.
    pub(crate) const DROPPED: Self = Self::of(&["drop_reason", "drop_at", "drop_dev"]);

    /// The fields that a stream records unless others are requested.
    pub(crate) const DEFAULT: Self = {
        let (mut bits, mut i) = (0, 0);
        while i < OPTIONAL.len() {
            if !OPTIONAL[i].is_extended() {
                bits |= 1 << OPTIONAL[i].bit;
            }
            i += 1;
        }
        Self(bits)
    };

    /// Returns the set of these keys. Does not compile if a constant contains another key.
    const fn of(keys: &[&str]) -> Self {
        let (mut bits, mut found, mut i) = (0, 0, 0);
        while i < OPTIONAL.len() {
            let mut k = 0;
            while k < keys.len() {
                if is_same(OPTIONAL[i].key, keys[k]) {
                    bits |= 1 << OPTIONAL[i].bit;
                    found += 1;
                }
                k += 1;
            }
            i += 1;
        }
        assert!(found == keys.len());
        Self(bits)
    }

    /// Returns the fields of the packet that the host dropped inside the attempt, and of the
    /// route's device: `drop_reason`, `drop_at`, `drop_dev`, `oif` and `dev`. They are recorded
    /// only on request. The first three attach a BPF program to the tracepoint `kfree_skb`, which
    /// runs for every packet that the host drops.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use retrans_sdk::{FieldSet, Stream};
    ///
    /// let mut stream = Stream::builder().fields(FieldSet::default() | FieldSet::drops()).open()?;
    /// for event in stream.iter() {
    ///     let event = event?;
    ///     if let Some(reason) = event.drop_reason {
    ///         println!("{} dropped: {reason}", event.daddr);
    ///     }
    /// }
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    #[must_use]
    pub const fn drops() -> Self {
        const DROPS: FieldSet = FieldSet::of(&["drop_reason", "drop_at", "drop_dev", "oif", "dev"]);
        DROPS
    }

    /// Returns true if the sets have a field in common.
    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the empty set: events contain only the fields that are always present.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Returns the set of all optional fields, including those that are recorded only on request.
    #[must_use]
    pub const fn all() -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < OPTIONAL.len() {
            bits |= 1 << OPTIONAL[i].bit;
            i += 1;
        }
        Self(bits)
    }

    /// Returns true if the set contains the field with this key.
    #[must_use]
    pub fn contains(self, key: &str) -> bool {
        self.keys().any(|of| of == key)
    }

    /// Returns the keys in the set, in the order of the record.
    pub fn keys(self) -> impl Iterator<Item = &'static str> {
        OPTIONAL.iter().filter(move |field| self.0 & 1 << field.bit != 0).map(|field| field.key)
    }

    /// Returns the length of a record with these fields in bytes, without the ring buffer's header
    /// of 8 bytes.
    #[must_use]
    pub const fn record_length(self) -> usize {
        record::length_of(self.0)
    }

    /// Removes the other fields from an event.
    pub(crate) fn restrict(self, event: &mut Event) {
        if self == Self::all() {
            return;
        }
        for field in OPTIONAL.iter().filter(|field| self.0 & 1 << field.bit == 0) {
            (field.clear)(event);
        }
    }

    /// Returns the bits by which the BPF programs identify the fields.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// Compares two texts in a constant.
const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// Returns the fields that a stream records unless others are requested.
impl Default for FieldSet {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Returns the union of two sets.
impl BitOr for FieldSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Parses keys separated by commas. The empty text is the empty set.
///
/// # Errors
///
/// Returns [`ParseFieldSetError`] with the first key that is not an optional field.
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

/// Prints the keys, separated by commas.
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

/// The error of a text that is not a list of optional fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFieldSetError {
    key: String,
}

impl ParseFieldSetError {
    /// Returns the part of the text that is not an optional field.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ParseFieldSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an optional field; the optional fields are {}",
            Escaped::value(&self.key),
            FieldSet::all()
        )
    }
}

impl std::error::Error for ParseFieldSetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_parses_from_its_printed_form() {
        for fields in [FieldSet::none(), FieldSet::all(), "uid".parse().expect("a field")] {
            assert_eq!(fields.to_string().parse(), Ok(fields));
        }
        assert_eq!(FieldSet::none().record_length(), record::CORE_LEN);
        assert_eq!(FieldSet::all().record_length(), record::RECORD_LEN);
        assert_eq!(FieldSet::default().record_length(), record::DEFAULT_LEN);
        assert_eq!((FieldSet::default() | FieldSet::drops()).record_length(), 248);
        assert!(!FieldSet::default().intersects(FieldSet::drops()));
        assert!(FieldSet::drops().intersects(FieldSet::DROPPED));
        for (text, key) in [("result", "result"), ("pid", "pid"), ("uid,", ""), ("uid, mark", " mark")] {
            assert_eq!(text.parse::<FieldSet>().expect_err("not a list").key(), key);
        }
    }

    /// Every optional field of an event has a bit, except those that are decoded separately.
    #[test]
    fn every_optional_key_of_the_line_is_in_the_full_set() {
        let elsewhere = ["class", "mapped", "transmit", "owner", "pid", "comm"];
        let mut keys: Vec<_> = crate::event::schema::keys().skip(11).filter(|key| !elsewhere.contains(key)).collect();
        let mut all: Vec<_> = FieldSet::all().keys().collect();
        keys.sort_unstable();
        all.sort_unstable();
        assert_eq!(keys, all);
    }
}
