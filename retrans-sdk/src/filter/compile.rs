// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles a filter to `struct retrans_filter`, a list of range tests.
//!
//! # Design
//!
//! The whole filter runs in the kernel, as read-only data. Every test has the same form: it
//! compares a number with a range. The verifier knows the data and removes the code of every key
//! that is not tested. `Filter::matches` is the model of the C code.
//! `tests/live/tests/filter_harness.rs` compares both on random records, and checks that it detects
//! each deliberate mistake of `tests/live/bpf/mutations.rs`.
//!
//! `owner`, `pid` and `comm` are not available to the filter. On a host without fexit the owner of
//! an accepted socket is resolved only after its first event, so a filter would miss such events
//! without a report. A stream therefore rejects these keys. It also rejects the extended fields:
//! they are for the few attempts that pass, and as operands they would make the programs larger for
//! all.

use ipnet::IpNet;

use super::{Operand, Term};
use crate::event::kernel_str::KernelStr;
use crate::event::record::OPTIONAL;
use crate::event::result::{ResultClass, RetransResult};
use crate::event::schema::FieldType;
use crate::event::tcp_enums::Family;

/// `RETRANS_MAX_TESTS`.
pub(crate) const MAX_TESTS: usize = 512;
/// `RETRANS_MAX_SUBTREES`.
pub(crate) const MAX_SUBTREES: usize = 16;

/// The operands of `enum retrans_field` that are not optional fields, each with its key, if it has
/// one. `kernel/layout.rs` compares them with the built object.
macro_rules! operands {
    ($then:ident) => {
        $then! {
            RETRANS_FIELD_ERR = 0 "err",
            RETRANS_FIELD_TS = 64 "ts",
            RETRANS_FIELD_RESULT = 65 "result",
            RETRANS_FIELD_KIND = 66 "kind",
            RETRANS_FIELD_SPORT = 67 "sport",
            RETRANS_FIELD_DPORT = 68 "dport",
            RETRANS_FIELD_STATE = 69 "state",
            RETRANS_FIELD_SEGS = 70 "segs",
            RETRANS_FIELD_TRANSMIT = 71 "transmit",
            RETRANS_FIELD_INET = 72 "family",
            RETRANS_FIELD_MAPPED = 73 "mapped",
            RETRANS_FIELD_SADDR_HIGH = 74 "saddr",
            RETRANS_FIELD_SADDR_LOW = 75 "",
            RETRANS_FIELD_DADDR_HIGH = 76 "daddr",
            RETRANS_FIELD_DADDR_LOW = 77 "",
            RETRANS_FIELD_OWN_SOCKET = 78 "",
            RETRANS_FIELD_CA_NAME_TAIL = 79 "",
            RETRANS_FIELD_SUBTREE = 128 "",
        }
    };
}
pub(crate) use operands;

macro_rules! numbers {
    ($( $c_name:ident = $number:literal $key:literal, )*) => {
        /// The numbers of the operands.
        pub(crate) mod operand {
            $( pub(crate) const $c_name: u8 = $number; )*
        }

        /// The operands by key. A key with several operands is listed with the first one.
        const BY_KEY: &[(&str, u8)] = &[ $( ($key, operand::$c_name), )* ];
    };
}
operands!(numbers);

// The halves of an address are adjacent.
const _: () = assert!(operand::RETRANS_FIELD_SADDR_LOW == operand::RETRANS_FIELD_SADDR_HIGH + 1);
const _: () = assert!(operand::RETRANS_FIELD_DADDR_LOW == operand::RETRANS_FIELD_DADDR_HIGH + 1);

#[allow(clippy::expect_used, reason = "a test checks that each key that is not event-only has an operand")]
fn operand_of(key: &str) -> u8 {
    // The class derives from the result.
    let key = if key == ResultClass::KEY { RetransResult::KEY } else { key };
    let optional = OPTIONAL.iter().find(|field| field.key == key).map(|field| field.bit as u8);
    let other = || BY_KEY.iter().find(|(known, _)| *known == key).map(|(_, number)| *number);
    optional.or_else(other).expect("an operand")
}

/// `RETRANS_TEST_…`.
pub(crate) mod flag {
    pub(crate) const FETCH: u8 = 0x01;
    pub(crate) const ENDS_OPERAND: u8 = 0x02;
    pub(crate) const ENDS_TERM: u8 = 0x04;
    pub(crate) const ENDS_CLAUSE: u8 = 0x08;
    pub(crate) const NEGATED: u8 = 0x10;
    pub(crate) const OR_ABSENT: u8 = 0x20;
}

/// A test of an operand against the inclusive range `low..=high`; `struct retrans_test`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeTest {
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) field: u8,
    pub(crate) flags: u8,
}

/// A compiled filter. Without tests every attempt passes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct KernelFilter {
    pub(crate) tests: Vec<RangeTest>,
    /// The ids of the cgroups whose subtrees the filter tests.
    pub(crate) subtrees: Vec<u64>,
}

impl KernelFilter {
    /// Compiles clauses. `epoch_offset` converts `CLOCK_BOOTTIME` to the Unix epoch, in
    /// nanoseconds.
    pub(super) fn of(clauses: &[Vec<Term>], epoch_offset: i64) -> Self {
        let mut compiler = Compiler { epoch_offset, subtrees: Vec::new() };
        let mut tests: Vec<RangeTest> = Vec::new();
        for clause in clauses {
            for term in clause {
                tests.append(&mut compiler.term(term));
            }
            if let Some(last) = tests.last_mut() {
                last.flags |= flag::ENDS_CLAUSE;
            }
        }
        let mut before = None;
        for test in &mut tests {
            if before != Some(test.field) {
                test.flags |= flag::FETCH;
            }
            before = Some(test.field);
        }
        Self { tests, subtrees: compiler.subtrees }
    }

    /// Returns true if an operand is tested.
    pub(crate) fn uses(&self, field: u8) -> bool {
        self.tests.iter().any(|test| test.field == field)
    }
}

/// Returns the number of tests of a term.
pub(super) fn tests_of(term: &Term) -> usize {
    Compiler { epoch_offset: 0, subtrees: Vec::new() }.term(term).len()
}

/// Ranges that must all match: operand, low, high.
type Alternative = Vec<(u8, u64, u64)>;

struct Compiler {
    epoch_offset: i64,
    subtrees: Vec<u64>,
}

impl Compiler {
    fn term(&mut self, term: &Term) -> Vec<RangeTest> {
        let (mut operands, mut negated) = (Vec::<Alternative>::new(), term.negated);
        if term.field.key == ResultClass::KEY {
            let inverted;
            (operands, inverted) = of_classes(term);
            negated ^= inverted;
        } else {
            for operand in &term.operands {
                operands.append(&mut self.operand(term, operand));
            }
        }
        if operands.is_empty() {
            operands.push(vec![never(operand_of(term.field.key))]);
        }
        let mut tests = Vec::new();
        for operand in operands {
            tests.extend(operand.into_iter().map(|(field, low, high)| RangeTest { low, high, field, flags: 0 }));
            if let Some(last) = tests.last_mut() {
                last.flags |= flag::ENDS_OPERAND;
            }
        }
        if let Some(last) = tests.last_mut() {
            last.flags |= flag::ENDS_TERM;
            if negated {
                last.flags |= flag::NEGATED;
            } else if term.operands.contains(&Operand::Absent) {
                last.flags |= flag::OR_ABSENT;
            }
        }
        tests
    }

    /// Returns the alternatives of an operand; an empty list if no value matches.
    fn operand(&mut self, term: &Term, operand: &Operand) -> Vec<Alternative> {
        let field = operand_of(term.field.key);
        match (operand, term.field.field_type) {
            (Operand::Absent, _) => Vec::new(),
            // Their keys are not evaluated in the kernel.
            (Operand::Symbol(_) | Operand::Function(_), _) => Vec::new(),
            (Operand::Subtree(id), _) => vec![vec![(operand::RETRANS_FIELD_SUBTREE + self.subtree(*id), 1, 1)]],
            (Operand::OwnSocket, _) => vec![vec![(operand::RETRANS_FIELD_OWN_SOCKET, 1, 1)]],
            (Operand::Net(net), _) => vec![of_prefix(field, net)],
            (Operand::KernelStr(text), _) => of_text(field, text).into_iter().collect(),
            (Operand::Range { low, .. }, FieldType::Table { canonical, .. }) => {
                let raw = *low as u32;
                if field == operand::RETRANS_FIELD_INET {
                    let families = [(Family::Inet, 1), (Family::Inet6, 0)].into_iter();
                    let meant = families.filter(|(family, _)| family.raw() == raw);
                    return meant.map(|(_, inet)| vec![(field, inet, inet)]).collect();
                }
                // A record may contain an unlisted number without its base.
                let mut numbers = vec![raw, raw & 0xffff];
                numbers.dedup();
                numbers.retain(|number| canonical(*number) == raw);
                numbers.into_iter().map(|number| vec![(field, number.into(), number.into())]).collect()
            }
            (Operand::Range { low, high }, FieldType::Time) => {
                // `None` for a time before the host was booted.
                let in_boottime =
                    |nanos: i128| u64::try_from((nanos - i128::from(self.epoch_offset)).min(u64::MAX.into())).ok();
                let from = in_boottime(*low).unwrap_or_default();
                in_boottime(*high).map(|to| vec![(field, from, to)]).into_iter().collect()
            }
            (Operand::Range { low, high }, FieldType::Int { low: least, .. }) if least < 0 => {
                vec![vec![(field, ordered(*low), ordered(*high))]]
            }
            // The parser has checked the range.
            (Operand::Range { low, high }, _) => vec![vec![(field, *low as u64, *high as u64)]],
        }
    }

    fn subtree(&mut self, id: u64) -> u8 {
        let index = self.subtrees.iter().position(|subtree| *subtree == id).unwrap_or_else(|| {
            self.subtrees.push(id);
            self.subtrees.len() - 1
        });
        // The parser has checked the limit.
        index as u8
    }
}

/// Returns a range that no number matches.
const fn never(field: u8) -> (u8, u64, u64) {
    (field, 1, 0)
}

/// Maps signed numbers to unsigned ones in the same order.
const fn ordered(number: i128) -> u64 {
    number as i64 as u64 ^ 1 << 63
}

/// Returns the results of the classes, and true if all other results are meant. The class of an
/// unlisted result is `other`, so that class is compiled as the negation of the other classes.
fn of_classes(term: &Term) -> (Vec<Alternative>, bool) {
    let listed = |class: ResultClass| term.operands.contains(&Operand::exactly(class.raw().into()));
    let other = listed(ResultClass::Other);
    let results = RetransResult::ALL.iter().filter(|entry| listed(entry.variant.class()) != other);
    (
        results.map(|entry| vec![(operand::RETRANS_FIELD_RESULT, entry.number.into(), entry.number.into())]).collect(),
        other,
    )
}

/// Returns the ranges of a prefix. `high` is the operand of the high half of the address, and the
/// next operand is the low half.
fn of_prefix(high: u8, net: &IpNet) -> Alternative {
    match net {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            vec![(operand::RETRANS_FIELD_INET, 1, 1), (high + 1, first.into(), last.into())]
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let half = |bits: u128| (bits >> 64) as u64;
            let mut tests = vec![(operand::RETRANS_FIELD_INET, 0, 0), (high, half(first), half(last))];
            if net.prefix_len() > 64 {
                tests.push((high + 1, first as u64, last as u64));
            }
            tests
        }
    }
}

/// Returns the ranges of a text, two words padded with zeros. A kernel string cannot contain a NUL.
fn of_text(head: u8, text: &KernelStr) -> Option<Alternative> {
    let bytes = text.as_bytes();
    if bytes.contains(&0) {
        return None;
    }
    let word =
        |from: usize| u64::from_ne_bytes(std::array::from_fn(|at| bytes.get(from + at).copied().unwrap_or_default()));
    let (first, last) = (word(0), word(8));
    Some(vec![(head, first, first), (operand::RETRANS_FIELD_CA_NAME_TAIL, last, last)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;

    fn tests_of(text: &str) -> Vec<(u8, u64, u64, u8)> {
        let filter: Filter = text.parse().expect(text);
        let tests = filter.for_kernel(1_000_000_000).tests;
        tests.into_iter().map(|test| (test.field, test.low, test.high, test.flags)).collect()
    }

    #[test]
    fn every_key_has_an_operand_or_is_event_only() {
        for key in crate::event::schema::keys() {
            let text = format!("{key}=-");
            if text.parse::<Filter>().expect(key).event_only().next().is_some() {
                assert!(super::super::is_extended(key) || ["owner", "pid", "comm"].contains(&key), "{key}");
            } else {
                assert_eq!(tests_of(&text).len(), 1, "{key}");
            }
        }
    }

    #[test]
    fn a_filter_compiles_to_tests() {
        use flag::{ENDS_CLAUSE, ENDS_OPERAND, ENDS_TERM, FETCH, NEGATED, OR_ABSENT};
        const TERM: u8 = ENDS_OPERAND | ENDS_TERM;
        const CLAUSE: u8 = TERM | ENDS_CLAUSE;
        assert_eq!(tests_of(""), []);
        assert_eq!(
            tests_of("sport=1,5..9 dport!=443 --or cookie=-,7"),
            [
                (operand::RETRANS_FIELD_SPORT, 1, 1, FETCH | ENDS_OPERAND),
                (operand::RETRANS_FIELD_SPORT, 5, 9, TERM),
                (operand::RETRANS_FIELD_DPORT, 443, 443, FETCH | CLAUSE | NEGATED),
                (operand_of("cookie"), 7, 7, FETCH | CLAUSE | OR_ABSENT),
            ]
        );
        assert_eq!(
            tests_of("saddr=10.1.0.0/16,fd00::/72 family=inet"),
            [
                (operand::RETRANS_FIELD_INET, 1, 1, FETCH),
                (operand::RETRANS_FIELD_SADDR_LOW, 0x0a01_0000, 0x0a01_ffff, FETCH | ENDS_OPERAND),
                (operand::RETRANS_FIELD_INET, 0, 0, FETCH),
                (operand::RETRANS_FIELD_SADDR_HIGH, 0xfd00 << 48, 0xfd00 << 48, FETCH),
                (operand::RETRANS_FIELD_SADDR_LOW, 0, (1 << 56) - 1, FETCH | TERM),
                (operand::RETRANS_FIELD_INET, 1, 1, FETCH | CLAUSE),
            ]
        );
        assert_eq!(tests_of("err=-1"), [(operand::RETRANS_FIELD_ERR, (1 << 63) - 1, (1 << 63) - 1, FETCH | CLAUSE)]);
        assert_eq!(tests_of("ts=1.5..3"), [(operand::RETRANS_FIELD_TS, 500_000_000, 2_000_000_000, FETCH | CLAUSE)]);
        // Before the boot.
        assert_eq!(tests_of("ts=0..0.9"), [(operand::RETRANS_FIELD_TS, 1, 0, FETCH | CLAUSE)]);
        assert_eq!(tests_of("cookie!=-"), [(operand_of("cookie"), 1, 0, FETCH | CLAUSE | NEGATED)]);
        assert_eq!(
            tests_of("cgroup=5/,6 cookie=mine"),
            [
                (operand::RETRANS_FIELD_SUBTREE, 1, 1, FETCH | ENDS_OPERAND),
                (operand_of("cgroup"), 6, 6, FETCH | TERM),
                (operand::RETRANS_FIELD_OWN_SOCKET, 1, 1, FETCH | CLAUSE),
            ]
        );
        // The class `other` includes unlisted results, so the negation of the listed ones is
        // compiled.
        assert_eq!(tests_of("class=window"), [(operand::RETRANS_FIELD_RESULT, 8, 8, FETCH | CLAUSE)]);
        let listed = RetransResult::ALL.iter().filter(|entry| entry.variant.class() != ResultClass::Other);
        assert_eq!(tests_of("class=other").len(), listed.count());
        assert_eq!(tests_of("class=other").last().map(|test| test.3), Some(CLAUSE | NEGATED));
        // An unlisted number, with and without its base; a declared number is a different value.
        assert_eq!(
            tests_of("state=k99"),
            [
                (operand::RETRANS_FIELD_STATE, 0x1_0063, 0x1_0063, FETCH | ENDS_OPERAND),
                (operand::RETRANS_FIELD_STATE, 99, 99, CLAUSE)
            ]
        );
        assert_eq!(tests_of("state=k1"), [(operand::RETRANS_FIELD_STATE, 0x1_0001, 0x1_0001, FETCH | CLAUSE)]);
    }
}
