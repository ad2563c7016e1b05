// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which attempts to hear of, in the grammar of the line.

mod kernel;
mod parse;

use std::fmt;

use ipnet::IpNet;

pub(crate) use self::kernel::{KernelFilter, MAX_CLAUSES, MAX_RANGES};
pub use self::parse::FilterError;
use crate::Text;
use crate::event::Event;
use crate::field::{Field, Value};

/// Which attempts to hear of.
///
/// Read from a text: terms separated by white space, of which all must hold; `--or` starts another set of terms (a
/// clause), and one clause that holds is enough. No term at all lets everything through.
///
/// | term | holds if |
/// |---|---|
/// | `key=a,b` | the value is any of these |
/// | `key!=a,b` | there is a value and it is none of these |
/// | `sport=32768..60999` | the number is in the range, both ends included |
/// | `daddr=10.0.0.0/8` | the address is in the prefix; IPv4 prefixes hold for IPv4-mapped connections too |
/// | `cookie=-` | there is no value; `cookie!=-`: there is one |
///
/// The keys are those of the line ([`keys`](crate::keys)), and the values are spelt as there. A key stands at most once
/// in a clause.
///
/// ```
/// use retrans_sdk::Filter;
///
/// let filter: Filter = "result!=success dport=443,8443 --or class=drop".parse()?;
/// let error = "dport=443 stat=close".parse::<Filter>().unwrap_err();
/// assert_eq!(error.column(), 11);
/// # Ok::<(), retrans_sdk::FilterError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    clauses: Vec<Vec<Term>>,
}

impl Filter {
    /// Whether an event passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.clauses.is_empty() || self.clauses.iter().any(|clause| clause.iter().all(|term| term.holds(event)))
    }

    /// The part that the kernel side decides. It lets through at least what [`matches`](Self::matches) does.
    pub(crate) fn for_kernel(&self) -> KernelFilter {
        KernelFilter::of(&self.clauses)
    }
}

/// In the grammar that it was read from, white space and `--or` normalised.
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

/// One `key=…` or `key!=…`.
#[derive(Clone)]
struct Term {
    field: &'static Field,
    negated: bool,
    operands: Vec<Operand>,
    text: String,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One of the values in a term's list.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operand {
    Absent,
    /// Everything that has a number, tables included; both ends inclusive.
    Range {
        low: i128,
        high: i128,
    },
    Net(IpNet),
    Text(Text),
}

impl Term {
    fn holds(&self, event: &Event) -> bool {
        self.holds_for((self.field.get)(event))
    }

    fn holds_for(&self, value: Option<Value>) -> bool {
        match value {
            // Of an absent value nothing holds but that it is absent.
            None => !self.negated && self.operands.contains(&Operand::Absent),
            Some(value) => self.operands.iter().any(|operand| operand.holds(&value)) != self.negated,
        }
    }
}

impl Operand {
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Range { low, high }, value) => number(value).is_some_and(|n| (*low..=*high).contains(&n)),
            (Self::Net(net), Value::Addr(addr)) => net.contains(addr),
            (Self::Text(operand), Value::Text(text)) => operand == text,
            _ => false,
        }
    }
}

/// A value on the scale that ranges are compared on.
fn number(value: &Value) -> Option<i128> {
    match *value {
        Value::Time(ts) => Some(ts.as_nanos().into()),
        Value::Name { raw, .. } => Some(raw.into()),
        Value::Int(int) => Some(int.into()),
        Value::Id(id) => Some(id.into()),
        Value::Flags(flags) => Some(flags.0.into()),
        Value::Yes => Some(1),
        Value::Addr(_) | Value::Text(_) => None,
    }
}
