// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every table made by [`reason_table`](macro@crate::reason_table) can do.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use crate::text::writer::Cursor;

/// From this number up a raw number is not one that a variant declares: `UNKNOWN_BASE | number` carries
/// a kernel enumerator that no variant stands for, so that it can never be taken for one.
pub const UNKNOWN_BASE: u32 = 0x1_0000;

/// The longest value a table may declare, in bytes.
pub const MAX_VALUE_LEN: usize = 32;

/// One row of a table: everything that a declaration says of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<T> {
    /// The variant.
    pub variant: T,
    /// What is printed and parsed: `[a-z][a-z0-9_]*`, at most [`MAX_VALUE_LEN`] bytes.
    pub value: &'static str,
    /// The enumerator in a C header; `None` where there is none.
    pub c_name: Option<&'static str>,
    /// The number, below [`UNKNOWN_BASE`].
    pub number: u32,
    /// The value of the coarser class, where the table has one.
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
    /// The key in `key=val`, which is also the key in filters and in JSON.
    const KEY: &'static str;

    /// Every variant that was declared, in the order of the declaration; never the unknown one.
    const ALL: &'static [Entry<Self>];

    /// The row of a declared variant; `None` for an unknown number.
    fn entry(self) -> Option<&'static Entry<Self>>;

    /// The number of a declared variant, or that of an unknown one as [`Unknown::raw`] gives it.
    fn raw(self) -> u32;

    /// The variant with this number, if one is declared.
    #[doc(hidden)]
    fn __known(number: u32) -> Option<Self>;

    /// Wraps a number that no variant has.
    #[doc(hidden)]
    fn __unknown(unknown: Unknown<Self>) -> Self;

    /// The variant declared with this number, else the unknown one that carries it. Never fails.
    ///
    /// A number below [`UNKNOWN_BASE`] that no variant has, and that number with [`UNKNOWN_BASE`] set, are the
    /// same unknown enumerator.
    fn from_raw(raw: u32) -> Self {
        Self::__known(raw).unwrap_or_else(|| {
            Self::__unknown(Unknown {
                raw: if raw < UNKNOWN_BASE { UNKNOWN_BASE | raw } else { raw },
                table: PhantomData,
            })
        })
    }

    /// The name of this value without its type: what is printed, in the line, in filters and in JSON alike.
    fn name(self) -> Name {
        match self.entry() {
            Some(entry) => Name(Named::Value(entry.value)),
            None => Name(Named::Number(kernel_number(self.raw()))),
        }
    }

    /// Prints as `key=value`, the form of the line.
    fn key_val(self) -> KeyVal<Name> {
        KeyVal { key: Self::KEY, value: self.name() }
    }

    /// What [`FromStr`] does: a declared value, or `k` and a number.
    #[doc(hidden)]
    fn __parse(text: &str) -> Result<Self, ParseReasonError> {
        Self::ALL
            .iter()
            .find(|entry| entry.value == text)
            .map(|entry| entry.variant)
            .or_else(|| parse_unknown(text).map(Self::from_raw))
            .ok_or(ParseReasonError { key: Self::KEY })
    }
}

/// The number of an unknown enumerator as the kernel has it.
const fn kernel_number(raw: u32) -> u32 {
    if raw >> 16 == UNKNOWN_BASE >> 16 { raw & 0xffff } else { raw }
}

/// `k17` to `0x10000 | 17`. One spelling a number: no sign, no leading zero, nothing that would print otherwise.
fn parse_unknown(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('k')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let number: u32 = digits.parse().ok()?;
    let raw = if number < UNKNOWN_BASE { UNKNOWN_BASE | number } else { number };
    (kernel_number(raw) == number).then_some(raw)
}

/// A number for which table `T` has no variant. Prints as `k` (for kernel) and the number. Only [`ReasonTable::from_raw`] makes one, and only where no
/// variant has the number, so it never stands beside a variant that means the same.
pub struct Unknown<T> {
    raw: u32,
    table: PhantomData<fn() -> T>,
}

impl<T> Unknown<T> {
    /// The number as the kernel has it.
    #[must_use]
    pub const fn number(self) -> u32 {
        kernel_number(self.raw)
    }

    /// The number as records carry it: [`UNKNOWN_BASE`]` | number`.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.raw
    }
}

// By hand: a derive would ask the same of T.
impl<T> Clone for Unknown<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Unknown<T> {}
impl<T> PartialEq for Unknown<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<T> Eq for Unknown<T> {}
impl<T> PartialOrd for Unknown<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Unknown<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<T> Hash for Unknown<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}
impl<T> fmt::Debug for Unknown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.number())
    }
}

/// The printed form of one value of some table. It never holds a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(Named);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Value(&'static str),
    Number(u32),
}

impl Name {
    #[inline(always)]
    pub(crate) fn put(self, out: &mut Cursor<'_>) {
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
            // Rare, so that the allocation does not matter.
            Named::Number(number) => f.pad(&format!("k{number}")),
        }
    }
}

/// Prints as `key=value`.
#[derive(Debug, Clone, Copy)]
pub struct KeyVal<V> {
    /// The key, from the grammar's alphabet.
    pub key: &'static str,
    /// A value whose printed form holds no space.
    pub value: V,
}

impl<V: fmt::Display> fmt::Display for KeyVal<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// A text is neither a value of the table nor `k` and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseReasonError {
    key: &'static str,
}

impl ParseReasonError {
    /// The key of the table that was asked.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        self.key
    }

    #[doc(hidden)]
    pub const fn __new(key: &'static str) -> Self {
        Self { key }
    }
}

impl fmt::Display for ParseReasonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a value of `{}`", self.key)
    }
}

impl std::error::Error for ParseReasonError {}
