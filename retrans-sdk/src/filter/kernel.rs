// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of a filter that the kernel side decides: result, class, family, sport and dport. Mirrors
//! `struct retrans_filter`; what does not fit there is let through, and decided in user space.

use super::{Operand, Term};
use crate::field::FieldValue;
use crate::result::{self, RESULT_SLOTS};
use crate::{Family, ResultClass, RetransResult};

/// `RETRANS_MAX_CLAUSES`.
pub(crate) const MAX_CLAUSES: usize = 16;
/// `RETRANS_MAX_RANGES`.
pub(crate) const MAX_RANGES: usize = 8;

/// No clause: everything passes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct KernelFilter {
    pub(crate) clauses: Vec<KernelClause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelClause {
    /// A bit a result slot.
    pub(crate) results: u32,
    /// Bit 0: inet; bit 1: inet6.
    pub(crate) families: u32,
    /// Inclusive ranges, at most [`MAX_RANGES`].
    pub(crate) sport: Vec<(u16, u16)>,
    pub(crate) dport: Vec<(u16, u16)>,
}

impl KernelFilter {
    pub(super) fn of(clauses: &[Vec<Term>]) -> Self {
        if clauses.len() > MAX_CLAUSES {
            return Self::default();
        }
        Self { clauses: clauses.iter().map(|clause| KernelClause::of(clause)).collect() }
    }
}

impl KernelClause {
    fn of(terms: &[Term]) -> Self {
        let term = |key| terms.iter().find(|term| term.field.key == key);
        let holds = |key, value| term(key).is_none_or(|term: &Term| term.holds_for(Some(value)));

        let mut results = 0;
        for slot in 0..RESULT_SLOTS {
            // The slot without a result of its own takes numbers that user space must look at.
            let passes = result::of_slot(slot).is_none_or(|result| {
                holds(RetransResult::KEY, result.value()) && holds(ResultClass::KEY, result.class().value())
            });
            results |= u32::from(passes) << slot;
        }
        let mut families = 0;
        for (bit, family) in [Family::Inet, Family::Inet6].into_iter().enumerate() {
            families |= u32::from(holds(Family::KEY, family.value())) << bit;
        }
        Self { results, families, sport: ports(term("sport")), dport: ports(term("dport")) }
    }
}

/// The ports that a term admits, as few ranges as it takes; all of them if that is more than fit.
fn ports(term: Option<&Term>) -> Vec<(u16, u16)> {
    const ALL: (u16, u16) = (0, u16::MAX);
    let Some(term) = term else { return vec![ALL] };

    let mut listed: Vec<(u16, u16)> = term
        .operands
        .iter()
        .filter_map(|operand| match operand {
            // In range: the parser has seen to it.
            Operand::Range { low, high } => Some((*low as u16, *high as u16)),
            _ => None,
        })
        .collect();
    listed.sort_unstable();

    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (low, high) in listed {
        match merged.last_mut() {
            Some((_, end)) if u32::from(low) <= u32::from(*end) + 1 => *end = high.max(*end),
            _ => merged.push((low, high)),
        }
    }
    let ranges = if term.negated { complement(&merged) } else { merged };
    if ranges.len() > MAX_RANGES { vec![ALL] } else { ranges }
}

/// What sorted, separate ranges leave out.
fn complement(ranges: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut gaps = Vec::new();
    let mut next = Some(0);
    for &(low, high) in ranges {
        if let Some(start) = next.filter(|start| *start < low) {
            gaps.push((start, low - 1));
        }
        next = high.checked_add(1);
    }
    gaps.extend(next.map(|start| (start, u16::MAX)));
    gaps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Event;
    use crate::filter::Filter;
    use crate::result::tests::slot;
    use crate::wire::{RECORD_LEN, decode, tests::any_record};

    /// What `bpf/filter.bpf.h` does with it.
    fn passes(filter: &KernelFilter, event: &Event) -> bool {
        let within = |ranges: &[(u16, u16)], port| ranges.iter().any(|(low, high)| (*low..=*high).contains(&port));
        filter.clauses.is_empty()
            || filter.clauses.iter().any(|clause| {
                clause.results & 1 << slot(event.result.raw()) != 0
                    && clause.families & if event.family() == Family::Inet { 1 } else { 2 } != 0
                    && within(&clause.sport, event.sport)
                    && within(&clause.dport, event.dport)
            })
    }

    /// Fewer operands than there are ranges, so that all of it fits.
    fn port_term() -> impl Strategy<Value = String> {
        let operand = prop_oneof![
            any::<u16>().prop_map(|port| port.to_string()),
            (any::<u16>(), any::<u16>()).prop_map(|(a, b)| format!("{}..{}", a.min(b), a.max(b))),
            Just("-".to_owned()),
            Just("0".to_owned()),
            Just("65535".to_owned()),
        ];
        let key = prop_oneof![Just("sport"), Just("dport")];
        (key, any::<bool>(), prop::collection::vec(operand, 1..MAX_RANGES))
            .prop_map(|(key, not, operands)| format!("{key}{}={}", if not { "!" } else { "" }, operands.join(",")))
    }

    fn name_term() -> impl Strategy<Value = String> {
        let names = |key: &'static str, names: Vec<&'static str>| {
            (any::<bool>(), prop::collection::vec(prop::sample::select(names), 1..4))
                .prop_map(move |(not, names)| format!("{key}{}={}", if not { "!" } else { "" }, names.join(",")))
        };
        let values = |all: Vec<&'static str>| [all, vec!["-", "k1", "k99"]].concat();
        prop_oneof![
            names("result", values(RetransResult::ALL.iter().map(|e| e.value).collect())),
            names("class", values(ResultClass::ALL.iter().map(|e| e.value).collect())),
            names("family", vec!["inet", "inet6"]),
        ]
    }

    fn filter(term: impl Strategy<Value = String>, clauses: usize) -> impl Strategy<Value = Filter> {
        let clause = prop::collection::vec(term, 1..4);
        prop::collection::vec(clause, 1..=clauses).prop_filter_map("a key twice", |clauses| {
            let clauses: Vec<_> = clauses.into_iter().map(|clause| clause.join(" ")).collect();
            clauses.join(" --or ").parse().ok()
        })
    }

    fn decided_here() -> impl Strategy<Value = Filter> {
        filter(prop_oneof![port_term(), name_term()], 6)
    }

    fn anything() -> impl Strategy<Value = Filter> {
        let more =
            vec!["snd_wnd=0..1000000000", "saddr!=0.0.0.0/1", "sport!=2,4,6,8,10,12,14,16,18,20", "state=listen"];
        filter(prop_oneof![port_term(), name_term(), prop::sample::select(more).prop_map(str::to_owned)], 20)
    }

    fn records() -> impl Strategy<Value = Vec<[u8; RECORD_LEN]>> {
        prop::collection::vec(any_record(), 20)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, max_global_rejects: 100_000, ..Default::default() })]

        #[test]
        fn the_kernel_lets_through_all_that_matches(filter in anything(), records in records()) {
            let kernel = filter.for_kernel();
            for record in records {
                let event = decode(&record, 0).expect("a good header");
                prop_assert!(passes(&kernel, &event) || !filter.matches(&event), "{filter}: {event}");
            }
        }

        #[test]
        fn what_it_decides_it_decides_exactly(filter in decided_here(), records in records()) {
            let kernel = filter.for_kernel();
            for record in records {
                let event = decode(&record, 0).expect("a good header");
                if result::of_slot(slot(event.result.raw())).is_some() {
                    prop_assert_eq!(passes(&kernel, &event), filter.matches(&event), "{}: {}", filter, event);
                }
            }
        }
    }

    fn ports_of(text: &str) -> Vec<(u16, u16)> {
        ports(Some(&text.parse::<Filter>().expect(text).clauses[0][0]))
    }

    #[test]
    fn ports_become_ranges() {
        assert_eq!(ports(None), [(0, 65535)]);
        assert_eq!(ports_of("sport=443,8443"), [(443, 443), (8443, 8443)]);
        assert_eq!(ports_of("sport=5..9,1..6,10"), [(1, 10)]);
        assert_eq!(ports_of("sport!=0,65535"), [(1, 65534)]);
        assert_eq!(ports_of("sport!=0..65535"), []);
        assert_eq!(ports_of("sport=-"), []);
        assert_eq!(ports_of("sport!=-"), [(0, 65535)]);
        assert_eq!(ports_of("sport=1,3,5,7,9,11,13,15,17"), [(0, 65535)], "nine do not fit");
    }
}
