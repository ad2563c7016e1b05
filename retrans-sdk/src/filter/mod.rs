// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters, which select the attempts that a stream reports.
//!
//! A [`Filter`] is parsed from text, or built in Rust from the functions of [`key`].

mod compile;
mod current;
pub mod key;
mod parse;
pub(crate) mod typed;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use self::compile::{KernelFilter, MAX_SUBTREES, MAX_TESTS, RangeTest, operand, operands};
pub use self::parse::FilterError;
pub use self::typed::{CgroupId, Condition, CookieId, Key, KeyValue, Ordered, Values};
use crate::event::Event;
use crate::event::kernel_str::KernelStr;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::record::OPTIONAL;
use crate::event::schema::{Field, Value};

/// A filter, which selects the attempts that a stream reports.
///
/// A filter is parsed from text, or built in Rust. The text consists of clauses separated by
/// `--or`, and a clause consists of terms separated by white space. An attempt passes if all terms
/// of one clause match. Every attempt passes a filter without terms.
///
/// | term | matches if |
/// |---|---|
/// | `key=a,b` | the value is any of these |
/// | `key!=a,b` | there is a value, and it is different from each of these |
/// | `sport=32768..60999` | the number is in the range, both ends included |
/// | `daddr=10.0.0.0/8` | the address is in the prefix; IPv4 prefixes match IPv4-mapped connections too |
/// | `cookie=-` | there is no value; `cookie!=-`: there is one |
/// | `cgroup=34/` | the cgroup is this one or one below it |
/// | `drop_at=nft_do_chain` | the instruction is anywhere in the function |
/// | `cookie=mine` | the socket is one of the application's own ([`own_sockets`](Self::own_sockets)) |
///
/// Keys and values are spelt as in the key=value line ([`keys`](crate::event::keys)). A clause
/// contains a key at most once. A filter has at most 16 clauses, 512 values, and 16 different
/// `cgroup=ID/`. An address counts as two or three values.
///
/// The BPF programs evaluate every term, except those with the keys `owner`, `pid` and `comm`, and
/// with an extended field ([`event_only`](Self::event_only)). A live stream rejects these keys in
/// its filter; use a [`predicate`](crate::StreamBuilder::predicate). `cgroup=ID/`, `cookie=mine`
/// and their negations cannot always be evaluated from an event alone
/// ([`live_only`](Self::live_only)).
///
/// # Examples
///
/// ```
/// use retrans_sdk::Filter;
///
/// let filter: Filter = "result!=success dport=443,8443 --or class=drop".parse()?;
/// let error = "dport=443 stat=close".parse::<Filter>().unwrap_err();
/// assert_eq!(error.column(), 11);
/// # Ok::<(), retrans_sdk::filter::FilterError>(())
/// ```
///
/// If a filter is built in Rust, the compiler checks the types of the values ([`Condition`]):
///
/// ```
/// use retrans_sdk::RetransResult;
/// use retrans_sdk::filter::key;
///
/// let filter = key::result().ne(RetransResult::Success).and(key::dport().eq([443, 8443])).build()?;
/// assert_eq!(filter.to_string(), "result!=success dport=443,8443");
/// # Ok::<(), retrans_sdk::filter::FilterError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    clauses: Vec<Vec<Term>>,
}

impl Filter {
    /// Returns true if an event passes.
    ///
    /// The terms that the kernel can evaluate have the same result as in the kernel, with two
    /// exceptions:
    ///
    /// - The values `mine` and `ID/` require more than the event ([`live_only`](Self::live_only)).
    ///   Here `mine` never matches, and `ID/` matches only an event of exactly this cgroup. Other
    ///   values of the same term are evaluated as usual. A negated term with such a value never
    ///   matches.
    /// - A field that the stream does not record ([`FieldSet`](crate::FieldSet)) is absent here,
    ///   although the kernel evaluates it. Of the terms with its key, only `key=-` matches.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_with(event, &KernelContext::default())
    }

    /// Returns the terms that cannot always be evaluated from an event alone, as they were written.
    /// An event does not contain the parents of its cgroup, and it does not show that the socket is
    /// the application's own.
    pub fn live_only(&self) -> impl Iterator<Item = &str> {
        let is_live_only = |term: &&Term| {
            term.operands.iter().any(|operand| matches!(operand, Operand::Subtree(_) | Operand::OwnSocket))
        };
        self.clauses.iter().flatten().filter(is_live_only).map(|term| &*term.text)
    }

    /// Returns the terms that the BPF programs cannot evaluate, as they were written. These are the
    /// terms with the keys `owner`, `pid` and `comm`, and with an extended field
    /// ([`FieldSet`](crate::FieldSet)). A live stream does not open with them.
    pub fn event_only(&self) -> impl Iterator<Item = &str> {
        self.clauses.iter().flatten().filter(|term| is_event_only(term.field)).map(|term| &*term.text)
    }

    pub(crate) fn matches_with(&self, event: &Event, context: &KernelContext<'_>) -> bool {
        self.clauses.is_empty()
            || self.clauses.iter().any(|clause| clause.iter().all(|term| term.holds(event, context)))
    }

    /// Compiles the filter for the BPF programs. It must not contain
    /// [`event_only`](Self::event_only) terms. `epoch_offset` converts `CLOCK_BOOTTIME` to the Unix
    /// epoch, in nanoseconds.
    pub(crate) fn for_kernel(&self, epoch_offset: i64) -> KernelFilter {
        KernelFilter::of(&self.clauses, epoch_offset)
    }
}

/// Returns true if the BPF programs cannot evaluate terms of this field.
fn is_event_only(field: &Field) -> bool {
    ["owner", "pid", "comm"].contains(&field.key) || is_extended(field.key)
}

/// Returns true if this is the key of an extended field.
pub(crate) fn is_extended(key: &str) -> bool {
    OPTIONAL.iter().any(|field| field.key == key && field.is_extended())
}

/// Facts about an attempt that the BPF programs know in addition to its event.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KernelContext<'a> {
    /// The ids of the cgroup and of its parents.
    pub(crate) cgroups: Option<&'a [u64]>,
    /// True if the socket is in the application's set.
    pub(crate) in_socket_set: Option<bool>,
}

/// Prints the filter in its grammar, with normalized white space.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, clause) in self.clauses.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " --or " })?;
            for (j, term) in clause.iter().enumerate() {
                write!(f, "{}{}", if j == 0 { "" } else { " " }, term.text)?;
            }
        }
        Ok(())
    }
}

/// A term: `key=…` or `key!=…`.
#[derive(Clone)]
struct Term {
    field: &'static Field,
    negated: bool,
    operands: Vec<Operand>,
    /// The operands in the form that is fastest to compare.
    compared: Compared,
    text: String,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone)]
enum Compared {
    /// One range of numbers, which is the common case, and the number to compare.
    Number(Range, fn(&Event) -> Option<i64>),
    /// Ranges of numbers only.
    Numbers(Vec<Range>),
    /// Address prefixes only.
    Prefixes(Vec<Prefix>, fn(&Event) -> IpAddr),
    /// The operands themselves.
    Operands,
}

/// The numbers from `low` to `low + width`.
#[derive(Clone, Copy)]
struct Range {
    low: i64,
    width: u64,
}

impl Range {
    fn new(low: i64, high: i64) -> Option<Self> {
        (low <= high).then(|| Self { low, width: high.wrapping_sub(low) as u64 })
    }

    #[inline(always)]
    fn contains(self, value: i64) -> bool {
        value.wrapping_sub(self.low) as u64 <= self.width
    }
}

/// An address prefix.
#[derive(Clone, Copy)]
struct Prefix {
    is_ipv4: bool,
    mask: u128,
    bits: u128,
}

impl Prefix {
    fn of(net: &IpNet) -> Self {
        let (is_ipv4, mask) = (net.addr().is_ipv4(), bits_of(net.netmask()));
        Self { is_ipv4, mask, bits: bits_of(net.addr()) & mask }
    }

    fn contains(&self, is_ipv4: bool, bits: u128) -> bool {
        self.is_ipv4 == is_ipv4 && bits & self.mask == self.bits
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// One of the values of a term.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operand {
    Absent,
    /// A range of numbers, or of the numbers of named values; both ends inclusive.
    Range {
        low: i128,
        high: i128,
    },
    Net(IpNet),
    KernelStr(KernelStr),
    Symbol(KernelSymbol),
    /// Any instruction of the function of this symbol.
    Function(KernelSymbol),
    /// The cgroup with this id, or one below it.
    Subtree(u64),
    /// A socket of the application's set.
    OwnSocket,
}

impl Operand {
    /// Returns the operand that only this number satisfies.
    const fn exactly(number: i128) -> Self {
        Self::Range { low: number, high: number }
    }
}

impl Term {
    fn new(field: &'static Field, negated: bool, operands: Vec<Operand>, text: String) -> Self {
        let number = |value| field.field_type.number(value);
        let range = |operand: &Operand| match *operand {
            Operand::Range { low, high } => Range::new(number(low), number(high)),
            _ => None,
        };
        let prefix = |operand: &Operand| match operand {
            Operand::Net(net) => Some(Prefix::of(net)),
            _ => None,
        };
        let prefixes = || Some(Compared::Prefixes(operands.iter().map(prefix).collect::<Option<_>>()?, field.address?));
        let numbers = operands.iter().map(range).collect::<Option<Vec<_>>>().map(|ranges| match ranges[..] {
            [range] => Compared::Number(range, field.number),
            _ => Compared::Numbers(ranges),
        });
        let compared = numbers.or_else(prefixes).unwrap_or(Compared::Operands);
        Self { field, negated, operands, compared, text }
    }

    #[inline]
    fn holds(&self, event: &Event, context: &KernelContext<'_>) -> bool {
        match &self.compared {
            Compared::Number(range, number) => number(event).is_some_and(|value| range.contains(value) != self.negated),
            _ => self.holds_general(event, context),
        }
    }

    /// Evaluates the other forms. It is not inlined, which keeps `holds` short.
    #[inline(never)]
    fn holds_general(&self, event: &Event, context: &KernelContext<'_>) -> bool {
        match &self.compared {
            Compared::Number(..) | Compared::Operands => self.holds_by_operand(event, context),
            Compared::Numbers(ranges) => {
                let is_any = |value| ranges.iter().any(|range| range.contains(value));
                (self.field.number)(event).is_some_and(|value| is_any(value) != self.negated)
            }
            Compared::Prefixes(prefixes, address) => {
                let address = address(event);
                let (is_ipv4, bits) = (address.is_ipv4(), bits_of(address));
                prefixes.iter().any(|prefix| prefix.contains(is_ipv4, bits)) != self.negated
            }
        }
    }

    fn holds_by_operand(&self, event: &Event, context: &KernelContext<'_>) -> bool {
        // An absent value matches `-` only.
        let Some(value) = (self.field.get)(event) else {
            return !self.negated && self.operands.contains(&Operand::Absent);
        };
        let mut all_known = true;
        for operand in &self.operands {
            match operand.holds(&value, context) {
                Some(true) => return !self.negated,
                Some(false) => {}
                None => all_known = false,
            }
        }
        // No operand is known to match. If one of them cannot be evaluated, neither the term nor
        // its negation matches.
        self.negated && all_known
    }
}

impl Operand {
    /// Returns true if a value matches, and `None` if that is not known.
    fn holds(&self, value: &Value, context: &KernelContext<'_>) -> Option<bool> {
        match (self, value) {
            (Self::Range { low, high }, value) => Some(number(value).is_some_and(|n| (*low..=*high).contains(&n))),
            (Self::Net(net), Value::Addr(addr)) => Some(net.contains(addr)),
            (Self::KernelStr(operand), Value::KernelStr(text)) => Some(operand == text),
            (Self::Symbol(operand), Value::Symbol(symbol)) => Some(operand == symbol),
            (Self::Function(operand), Value::Symbol(symbol)) => Some(operand.function() == symbol.function()),
            (Self::Subtree(id), Value::Id(cgroup)) if id == cgroup => Some(true),
            (Self::Subtree(id), Value::Id(_)) => context.cgroups.map(|above| above.contains(id)),
            (Self::OwnSocket, _) => context.in_socket_set,
            _ => Some(false),
        }
    }
}

/// Returns the number of a value, which is compared with ranges.
fn number(value: &Value) -> Option<i128> {
    match *value {
        Value::Time(ts) => Some(ts.as_nanos().into()),
        Value::Name { raw, .. } => Some(raw.into()),
        Value::Int(int) => Some(int.into()),
        Value::Id(id) => Some(id.into()),
        Value::Flags(flags) => Some(flags.0.into()),
        Value::Yes => Some(1),
        Value::Addr(_) | Value::KernelStr(_) | Value::Symbol(_) => None,
    }
}
