// SPDX-License-Identifier: MIT OR Apache-2.0
//! The trait and types of the tables that the macro [`reason_table`](macro@crate::reason_table)
//! defines.
//!
//! # Examples
//!
//! ```
//! use retrans_sdk::RetransKind;
//! use retrans_sdk::reason_table::ReasonTable;
//!
//! fn names<T: ReasonTable>() -> Vec<&'static str> {
//!     T::ALL.iter().map(|entry| entry.value).collect()
//! }
//!
//! assert!(names::<RetransKind>().contains(&"rto"));
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use crate::text::escape::Escaped;
use crate::text::suggest::nearest;
use crate::text::writer::LineWriter;

/// The first number that no variant can declare.
///
/// `UNLISTED_BASE | number` denotes a kernel enumerator whose name no variant has. It is therefore
/// distinct from a variant with the same number.
pub const UNLISTED_BASE: u32 = 0x1_0000;

/// The maximum length of a value that a table may declare, in bytes.
pub const MAX_VALUE_LEN: usize = 32;

/// One row of a table: everything that is declared for one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<T> {
    /// The variant.
    pub variant: T,
    /// The text that is printed and parsed: `[a-z][a-z0-9_]*`, or a C name in upper case, at most
    /// [`MAX_VALUE_LEN`] bytes.
    pub value: &'static str,
    /// The enumerator in a C header; `None` if the variant has none.
    pub c_name: Option<&'static str>,
    /// The number, below [`UNLISTED_BASE`].
    pub number: u32,
    /// The value of the class; `None` if the table has no class.
    pub class: Option<&'static str>,
    /// The variant's doc comment.
    pub description: &'static str,
}

impl<T> Entry<T> {
    /// Called by the expansion of `#[reason_table]`.
    #[doc(hidden)]
    pub const fn __new(
        variant: T,
        value: &'static str,
        c_name: Option<&'static str>,
        number: u32,
        class: Option<&'static str>,
        description: &'static str,
    ) -> Self {
        Self { variant, value, c_name, number, class, description }
    }
}

/// A table of named numbers. Implemented by [`reason_table`](macro@crate::reason_table) only.
pub trait ReasonTable:
    Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display + FromStr<Err = ParseReasonError> + Send + Sync + 'static
{
    /// The key in `key=value`, in filters and in JSON.
    const KEY: &'static str;

    /// All declared variants, in the order of the declaration, without the unlisted one.
    const ALL: &'static [Entry<Self>];

    /// Returns the row of a declared variant; `None` for an unlisted number.
    fn entry(self) -> Option<&'static Entry<Self>>;

    /// Returns the number of a declared variant, or [`Unlisted::raw`] of an unlisted number.
    fn raw(self) -> u32;

    /// Returns the variant with this number, if one is declared.
    #[doc(hidden)]
    fn __known(number: u32) -> Option<Self>;

    /// Wraps a number that no variant has.
    #[doc(hidden)]
    fn __unlisted(unlisted: Unlisted<Self>) -> Self;

    /// Returns the variant with this number, or the unlisted variant that contains the number. It
    /// never fails.
    ///
    /// A number below [`UNLISTED_BASE`] that no variant has, and the same number with
    /// [`UNLISTED_BASE`] set, are the same unlisted enumerator.
    fn from_raw(raw: u32) -> Self {
        Self::__known(raw).unwrap_or_else(|| {
            Self::__unlisted(Unlisted {
                raw: if raw < UNLISTED_BASE { UNLISTED_BASE | raw } else { raw },
                table: PhantomData,
            })
        })
    }

    /// Returns the printed form of this value. The key=value line, filters and JSON use the same
    /// form.
    fn name(self) -> Name {
        match self.entry() {
            Some(entry) => Name(Named::Value(entry.value)),
            None => Name(Named::Number(kernel_number(self.raw()))),
        }
    }

    /// Returns a pair that prints as `key=value`, the form of the key=value line.
    fn key_val(self) -> KeyVal<Name> {
        KeyVal { key: Self::KEY, value: self.name() }
    }

    /// Implements [`FromStr`]: parses a declared value, or `k` and a number.
    #[doc(hidden)]
    fn __parse(text: &str) -> Result<Self, ParseReasonError> {
        Self::ALL
            .iter()
            .find(|entry| entry.value == text)
            .map(|entry| entry.variant)
            .or_else(|| parse_unlisted(text).map(Self::from_raw))
            .ok_or_else(|| ParseReasonError::new::<Self>(text))
    }
}

/// Returns the number of an unlisted enumerator in the kernel.
const fn kernel_number(raw: u32) -> u32 {
    if raw >> 16 == UNLISTED_BASE >> 16 { raw & 0xffff } else { raw }
}

/// Parses `k17` to `0x10000 | 17`. Each number has one canonical form: no sign, no leading zero.
fn parse_unlisted(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('k')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let number: u32 = digits.parse().ok()?;
    let raw = if number < UNLISTED_BASE { UNLISTED_BASE | number } else { number };
    (kernel_number(raw) == number).then_some(raw)
}

/// A number that no variant of table `T` declares. It prints as `k` (for kernel) and the number.
///
/// Only [`ReasonTable::from_raw`] constructs one, and only if no variant has the number. Therefore
/// no variant has the same meaning.
pub struct Unlisted<T> {
    raw: u32,
    table: PhantomData<fn() -> T>,
}

impl<T> Unlisted<T> {
    /// Returns the number that the kernel uses.
    #[must_use]
    pub const fn number(self) -> u32 {
        kernel_number(self.raw)
    }

    /// Returns the number that records contain: [`UNLISTED_BASE`]` | number`.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.raw
    }
}

// Implemented by hand, since a derive would require the traits of T.
impl<T> Clone for Unlisted<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Unlisted<T> {}
impl<T> PartialEq for Unlisted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<T> Eq for Unlisted<T> {}
impl<T> PartialOrd for Unlisted<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Unlisted<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<T> Hash for Unlisted<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}
impl<T> fmt::Debug for Unlisted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.number())
    }
}

/// The printed form of a value of any table. It never contains a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(Named);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Value(&'static str),
    Number(u32),
}

impl Name {
    #[inline(always)]
    pub(crate) fn write_to(self, out: &mut LineWriter<'_>) {
        match self.0 {
            Named::Value(value) => out.bytes(value.as_bytes()),
            Named::Number(number) => {
                out.byte(b'k');
                out.unsigned(number.into());
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Named::Value(value) => f.pad(value),
            // The case is rare, so the allocation does not matter.
            Named::Number(number) => f.pad(&format!("k{number}")),
        }
    }
}

/// A pair that prints as `key=value`.
#[derive(Debug, Clone, Copy)]
pub struct KeyVal<V> {
    /// The key.
    pub key: &'static str,
    /// The value, whose printed form contains no space.
    pub value: V,
}

impl<V: fmt::Display> fmt::Display for KeyVal<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// The error of a text that is neither a value of the table nor `k` and a number.
///
/// # Examples
///
/// ```
/// use retrans_sdk::RetransResult;
///
/// let error = "deneid".parse::<RetransResult>().unwrap_err();
/// assert_eq!((error.key(), error.text()), ("result", "deneid"));
/// assert_eq!(error.suggestion(), Some("denied"));
/// assert_eq!(error.to_string(), "result=deneid: no such value; did you mean `denied`?");
/// ```
#[derive(Clone)]
pub struct ParseReasonError {
    key: &'static str,
    text: Box<str>,
    is_truncated: bool,
    /// Returns the value of the table that is nearest to a text.
    suggest: fn(&str) -> Option<&'static str>,
}

impl ParseReasonError {
    /// The maximum number of bytes of the text that are kept, since the input may be of any length.
    const MAX_TEXT: usize = 64;

    fn new<T: ReasonTable>(text: &str) -> Self {
        let end = (0..=text.len().min(Self::MAX_TEXT)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        let suggest = |text: &str| nearest(text, T::ALL.iter().map(|entry| entry.value));
        Self { key: T::KEY, text: text[..end].into(), is_truncated: end < text.len(), suggest }
    }

    /// Returns the key of the table.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// Returns the text that was rejected, or its first 64 bytes if it is longer.
    #[must_use]
    pub const fn text(&self) -> &str {
        &self.text
    }

    /// Returns the value of the table that the text probably means, if one is near.
    #[must_use]
    pub fn suggestion(&self) -> Option<&'static str> {
        if self.is_truncated { None } else { (self.suggest)(&self.text) }
    }
}

/// Compares key and text, and not the function that finds suggestions.
impl PartialEq for ParseReasonError {
    fn eq(&self, other: &Self) -> bool {
        (self.key, &self.text, self.is_truncated) == (other.key, &other.text, other.is_truncated)
    }
}
impl Eq for ParseReasonError {}

impl fmt::Debug for ParseReasonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParseReasonError").field("key", &self.key).field("text", &self.text).finish_non_exhaustive()
    }
}

impl fmt::Display for ParseReasonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped, since input must not control a terminal.
        let rest = if self.is_truncated { "…" } else { "" };
        write!(f, "{}={}{rest}: no such value", self.key, Escaped::value(&*self.text))?;
        match self.suggestion() {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseReasonError {}

/// Returns a name in snake case, by the rule of [`reason_table`](macro@crate::reason_table). The
/// macro crate has a copy, because it can only export macros.
#[cfg(any(test, feature = "check"))]
pub(crate) fn snake_case(name: &str) -> String {
    let letters = name.as_bytes();
    let mut snake = String::with_capacity(name.len() + 8);
    for (at, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            let before = letters[at - 1];
            let ends_acronym =
                before.is_ascii_uppercase() && letters.get(at + 1).is_some_and(|next| next.is_ascii_lowercase());
            if before.is_ascii_lowercase() || before.is_ascii_digit() || ends_acronym {
                snake.push('_');
            }
        }
        snake.push(char::from(letter.to_ascii_lowercase()));
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::kind::RetransKind;
    use crate::event::owner::OwnerSource;
    use crate::event::result::{ResultClass, RetransResult};
    use crate::event::tcp_enums::{CaState, Family, TcpState};
    use crate::event::transmit::Transmit;
    use crate::kernel::attach_method::AttachMethod;
    use crate::kernel::attachment::Unobservable;

    /// Asserts that the name of each variant is the name of its value.
    fn assert_names_match<T: ReasonTable>() {
        for entry in T::ALL {
            assert_eq!(snake_case(&format!("{:?}", entry.variant)), entry.value, "a variant of `{}`", T::KEY);
        }
    }

    #[test]
    fn variants_are_named_like_their_values() {
        assert_names_match::<AttachMethod>();
        assert_names_match::<CaState>();
        assert_names_match::<Family>();
        assert_names_match::<OwnerSource>();
        assert_names_match::<ResultClass>();
        assert_names_match::<RetransKind>();
        assert_names_match::<RetransResult>();
        assert_names_match::<TcpState>();
        assert_names_match::<Transmit>();
        assert_names_match::<Unobservable>();
    }

    #[test]
    fn an_error_carries_the_text_and_a_suggestion() {
        let error = |text: &str| text.parse::<RetransResult>().expect_err(text);
        assert_eq!(error("deneid").to_string(), "result=deneid: no such value; did you mean `denied`?");
        assert_eq!(error("Success").suggestion(), Some("success"));
        assert_eq!(error("moon").to_string(), "result=moon: no such value");
        assert_eq!(error("").to_string(), "result=: no such value");
        assert_eq!(error("a\x1b[31m\n").to_string(), "result=a\\u{1b}[31m\\n: no such value");
        assert_eq!("synack ".parse::<RetransKind>().expect_err("a space").suggestion(), Some("synack"));
    }

    #[test]
    fn an_error_keeps_a_bounded_part_of_the_text() {
        let error = format!("s{}", "é".repeat(1 << 20)).parse::<RetransResult>().expect_err("too long");
        assert_eq!(error.text(), format!("s{}", "é".repeat(31)), "63 bytes: a character is not cut in two");
        assert_eq!(error.suggestion(), None);
        assert!(error.to_string().ends_with("é…: no such value"), "{error}");
        let longest = "x".repeat(64).parse::<RetransResult>().expect_err("no value");
        assert!(longest.text().len() == 64 && !longest.to_string().contains('…'), "{longest}");
    }
}
