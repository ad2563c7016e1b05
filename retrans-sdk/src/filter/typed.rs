// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters built in Rust, from keys whose values have the type of the event's field.
//!
//! # Design
//!
//! A condition is built as the text of a filter and parsed at the end, so a typed filter cannot
//! differ from the textual one, and has the same limits.

use std::fmt;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{RangeFrom, RangeInclusive, RangeToInclusive};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::parse::MAX_CLAUSES;
use super::{Filter, FilterError};
use crate::event::kernel_str::KernelStr;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::tcp_flags::TcpFlags;
use crate::event::timestamp::Timestamp;
use crate::text::reason_table::ReasonTable;

/// A key of an event whose values are of type `T`. The functions of [`key`](super::key) return the
/// keys.
pub struct Key<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<T> Key<T> {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// Returns the name of the key, as it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Matches events whose value is any of these: `key=a,b`.
    pub fn eq(self, values: impl Into<Values<T>>) -> Condition {
        self.condition("=", &values.into().text)
    }

    /// Matches events with a value that differs from each of these: `key!=a,b`.
    ///
    /// A flag is `yes` or absent, so for a flag `ne(true)` is the same as `eq(false)`.
    pub fn ne(self, values: impl Into<Values<T>>) -> Condition
    where
        T: KeyValue,
    {
        let text = values.into().text;
        if T::IS_FLAG && text == "yes" {
            return self.is_absent();
        }
        self.condition("!=", &text)
    }

    /// Matches events without a value: `key=-`.
    pub fn is_absent(self) -> Condition {
        self.condition("=", "-")
    }

    /// Matches events with a value: `key!=-`.
    pub fn is_present(self) -> Condition {
        self.condition("!=", "-")
    }

    fn condition(self, operator: &str, values: &str) -> Condition {
        Condition { clauses: vec![format!("{}{operator}{values}", self.name)] }
    }
}

/// A condition of terms and clauses, from which a [`Filter`] is built.
///
/// # Examples
///
/// ```
/// use retrans_sdk::filter::key;
/// use retrans_sdk::{ResultClass, RetransResult};
///
/// let failed = key::result().ne(RetransResult::Success);
/// let filter = failed.and(key::dport().eq([443, 8443])).or(key::class().eq(ResultClass::Drop)).build()?;
/// assert_eq!(filter.to_string(), "result!=success dport=443,8443 --or class=drop");
/// # Ok::<(), retrans_sdk::filter::FilterError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a condition does nothing until it is built into a filter"]
pub struct Condition {
    /// The clauses as text. Each contains at least one term.
    clauses: Vec<String>,
}

impl Condition {
    /// Requires both: every clause of this condition with every clause of the other.
    pub fn and(self, other: Self) -> Self {
        let both =
            self.clauses.iter().flat_map(|ours| other.clauses.iter().map(move |theirs| format!("{ours} {theirs}")));
        Self { clauses: both.take(TOO_MANY).collect() }
    }

    /// Requires either: the clauses of both.
    pub fn or(self, other: Self) -> Self {
        Self { clauses: self.clauses.into_iter().chain(other.clauses).take(TOO_MANY).collect() }
    }

    /// Builds the filter.
    ///
    /// # Errors
    ///
    /// Returns [`FilterError`] if a clause contains a key twice, a list of values is empty, a range
    /// ends before it begins, or there are more clauses or values than a filter may have. The
    /// column refers to the filter's text.
    pub fn build(self) -> Result<Filter, FilterError> {
        self.to_string().parse()
    }
}

/// The number of clauses that are kept: one more than a filter may have. It causes the error and
/// bounds the products of `and`.
const TOO_MANY: usize = MAX_CLAUSES + 1;

/// Prints the text of the filter.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, clause) in self.clauses.iter().enumerate() {
            write!(f, "{}{clause}", if index == 0 { "" } else { " --or " })?;
        }
        Ok(())
    }
}

impl TryFrom<Condition> for Filter {
    type Error = FilterError;

    fn try_from(condition: Condition) -> Result<Self, Self::Error> {
        condition.build()
    }
}

/// The values that a key is compared with: values, ranges, prefixes, or the absence of a value.
///
/// | converted from | matches |
/// |---|---|
/// | a value, an array or a slice of values, an iterator (`collect`) | any of these |
/// | `low..=high`, `low..`, `..=high` of numbers and times | the numbers in the range |
/// | [`IpAddr`], [`IpNet`] and the types of one family | the address, the addresses in the prefix |
/// | [`Values::absent`] | the absence of a value |
///
/// # Examples
///
/// ```
/// use std::net::Ipv4Addr;
///
/// use ipnet::IpNet;
/// use retrans_sdk::filter::{Values, key};
///
/// let private: IpNet = "10.0.0.0/8".parse()?;
/// let remote = key::daddr().eq(Values::from(private).or(Ipv4Addr::LOCALHOST));
/// let ports = key::sport().ne(Values::from(22).or(32768..=60999));
/// let unmarked = key::mark().eq(Values::absent().or(0));
/// assert_eq!(
///     remote.and(ports).and(unmarked).build()?.to_string(),
///     "daddr=10.0.0.0/8,127.0.0.1 sport!=22,32768..60999 mark=-,0"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A value of another type does not compile:
///
/// ```compile_fail,E0277
/// use retrans_sdk::RetransKind;
/// use retrans_sdk::filter::key;
///
/// let _ = key::result().eq(RetransKind::Rto);
/// ```
pub struct Values<T> {
    text: String,
    value: PhantomData<fn() -> T>,
}

impl<T> Values<T> {
    fn new(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), value: PhantomData }
    }

    /// Matches the absence of a value.
    #[must_use]
    pub fn absent() -> Self {
        Self::new('-')
    }

    /// Adds alternatives: matches any of the previous values or of `more`.
    #[must_use]
    pub fn or(mut self, more: impl Into<Self>) -> Self {
        let more = more.into().text;
        if !self.text.is_empty() && !more.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&more);
        self
    }
}

impl<T> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self::new(&self.text)
    }
}

impl<T> fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A type of a key's values. Implemented only for the types of the event's fields.
pub trait KeyValue: sealed::Sealed {}

impl<T: sealed::Sealed> KeyValue for T {}

/// A [`KeyValue`] that has an order, so that ranges of it are allowed.
pub trait Ordered: KeyValue {}

mod sealed {
    pub trait Sealed {
        /// True for a flag: the only value is `yes`, and false is its absence.
        const IS_FLAG: bool = false;
        fn write(&self, out: &mut String);
    }
}

use sealed::Sealed;

macro_rules! printed {
    ($($type:ty),*) => {$(
        impl Sealed for $type {
            fn write(&self, out: &mut String) {
                // Writing to a String cannot fail.
                let _ = write!(out, "{self}");
            }
        }
    )*};
}
printed!(
    u8,
    u16,
    u32,
    u64,
    i32,
    Timestamp,
    TcpFlags,
    KernelStr,
    KernelSymbol,
    IpAddr,
    Ipv4Addr,
    Ipv6Addr,
    CgroupId,
    CookieId
);

macro_rules! ordered {
    ($($type:ty),*) => { $( impl Ordered for $type {} )* };
}
ordered!(u8, u16, u32, u64, i32, Timestamp);

impl<T: ReasonTable> Sealed for T {
    fn write(&self, out: &mut String) {
        let _ = write!(out, "{}", self.name());
    }
}

/// A flag that is absent unless it is set.
impl Sealed for bool {
    const IS_FLAG: bool = true;
    fn write(&self, out: &mut String) {
        out.push_str(if *self { "yes" } else { "-" });
    }
}

/// Writes the prefix without host bits, which the grammar does not allow.
impl Sealed for IpNet {
    fn write(&self, out: &mut String) {
        let _ = write!(out, "{}", self.trunc());
    }
}

/// A cgroup, or a cgroup and all cgroups below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CgroupId {
    /// The cgroup with this id.
    One(u64),
    /// The cgroup with this id, and all cgroups below it: `cgroup=ID/`.
    Subtree(u64),
}

impl fmt::Display for CgroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(id) => write!(f, "{id}"),
            Self::Subtree(id) => write!(f, "{id}/"),
        }
    }
}

/// The cookie of a socket, or the cookies of the application's own sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CookieId {
    /// The socket with this cookie.
    One(u64),
    /// A socket of this process: `cookie=mine`, see [`Filter::own_sockets`].
    OwnSockets,
}

impl fmt::Display for CookieId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(cookie) => write!(f, "{cookie}"),
            Self::OwnSockets => f.write_str("mine"),
        }
    }
}

fn list<'a, V: Sealed + 'a>(values: impl IntoIterator<Item = &'a V>) -> String {
    let mut text = String::new();
    for (index, value) in values.into_iter().enumerate() {
        // The separator depends on the index, so that the parser rejects an empty value.
        if index > 0 {
            text.push(',');
        }
        value.write(&mut text);
    }
    text
}

impl<T: KeyValue> From<T> for Values<T> {
    fn from(value: T) -> Self {
        Self::new(list([&value]))
    }
}

impl<T: KeyValue, const N: usize> From<[T; N]> for Values<T> {
    fn from(values: [T; N]) -> Self {
        Self::new(list(&values))
    }
}

impl<T: KeyValue> From<&[T]> for Values<T> {
    fn from(values: &[T]) -> Self {
        Self::new(list(values))
    }
}

impl<T: KeyValue> FromIterator<T> for Values<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut text = String::new();
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            value.write(&mut text);
        }
        Self::new(text)
    }
}

impl<T: Ordered> From<RangeInclusive<T>> for Values<T> {
    fn from(range: RangeInclusive<T>) -> Self {
        Self::new(format_args!("{}..{}", list([range.start()]), list([range.end()])))
    }
}

/// Conversions from types other than the key's own.
macro_rules! values_from {
    ($($from:ty => $value:ty: $convert:expr;)*) => {$(
        impl From<$from> for Values<$value> {
            fn from(value: $from) -> Self {
                let convert: fn($from) -> Self = $convert;
                convert(value)
            }
        }
        impl<const N: usize> From<[$from; N]> for Values<$value> {
            fn from(values: [$from; N]) -> Self {
                values.into_iter().fold(Self::new(""), Self::or)
            }
        }
        impl From<&[$from]> for Values<$value> {
            fn from(values: &[$from]) -> Self {
                values.iter().copied().fold(Self::new(""), Self::or)
            }
        }
    )*};
}
values_from! {
    Ipv4Addr => IpAddr: |address| Self::new(list([&address]));
    Ipv6Addr => IpAddr: |address| Self::new(list([&address]));
    IpNet => IpAddr: |net| Self::new(list([&net]));
    Ipv4Net => IpAddr: |net| Self::new(list([&IpNet::from(net)]));
    Ipv6Net => IpAddr: |net| Self::new(list([&IpNet::from(net)]));
    u64 => CgroupId: |id| CgroupId::One(id).into();
    u64 => CookieId: |cookie| CookieId::One(cookie).into();
}

/// Conversions from ranges without one end, which is then the end of the type.
macro_rules! open_ranges {
    ($($type:ty: $least:expr, $greatest:expr;)*) => {$(
        impl From<RangeFrom<$type>> for Values<$type> {
            fn from(range: RangeFrom<$type>) -> Self {
                (range.start..=$greatest).into()
            }
        }
        impl From<RangeToInclusive<$type>> for Values<$type> {
            fn from(range: RangeToInclusive<$type>) -> Self {
                ($least..=range.end).into()
            }
        }
    )*};
}
open_ranges! {
    u8: u8::MIN, u8::MAX;
    u16: u16::MIN, u16::MAX;
    u32: u32::MIN, u32::MAX;
    u64: u64::MIN, u64::MAX;
    i32: i32::MIN, i32::MAX;
    Timestamp: Timestamp::from_nanos(0), Timestamp::from_nanos(u64::MAX);
}
