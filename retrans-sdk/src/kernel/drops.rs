// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completes the fields of dropped packets: the names of reasons, and the symbols of addresses.
//!
//! # Design
//!
//! The kernel renumbers its reasons in nearly every release, so a number is mapped by the name that
//! the running kernel's BTF has for it. Subsystems have enums of their own, whose numbers do not
//! overlap. All enums whose names end in `drop_reason` are read, except those of modules.

use std::collections::BTreeMap;
use std::sync::Arc;

use libbpf_rs::btf::BtfType;
use libbpf_rs::btf::types::Enum;

use super::btf::{Names, members};
use crate::error::Error;
use crate::event::Event;
use crate::event::drop_reason::DropReason;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::record;
use crate::sys::kallsyms::Kallsyms;
use crate::text::reason_table::UNLISTED_BASE;

/// The prefix of the names in the kernel's own enum.
const PREFIX: &str = "SKB_DROP_REASON_";

/// The reasons of the running kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DropNames {
    /// The reasons of the table, by the number of the running kernel.
    listed: BTreeMap<u32, DropReason>,
    /// The names that the table lacks, by the number of the running kernel.
    unlisted: BTreeMap<u32, String>,
}

impl DropNames {
    /// Returns true for the enums that contain reasons.
    pub(super) fn is_enum(name: &[u8]) -> bool {
        name.ends_with(b"drop_reason")
    }

    /// Reads the reasons in these enums.
    pub(super) fn of<'btf>(enums: impl Iterator<Item = BtfType<'btf>>) -> Result<Self, Error> {
        let mut all = Vec::new();
        let mut names = Names::default();
        for found in enums.filter_map(|found| Enum::try_from(found).ok()) {
            all.append(&mut members(&found, &mut names)?);
        }
        Ok(Self::by_name(&all))
    }

    fn by_name(members: &[(String, i64)]) -> Self {
        let mut all = Self::default();
        for (name, number) in members {
            // The bits of a mask, which is not a reason, are negative in BTF.
            let Ok(number) = u32::try_from(*number) else { continue };
            match DropReason::ALL.iter().find(|entry| entry.c_name == Some(name.as_str())) {
                Some(entry) => {
                    all.listed.insert(number, entry.variant);
                }
                None => {
                    let name = name.strip_prefix(PREFIX).unwrap_or(name);
                    all.unlisted.entry(number).or_insert_with(|| name.to_owned());
                }
            }
        }
        all
    }

    /// Returns the reason with a number of the running kernel. Returns `None` for a number that the
    /// table cannot contain.
    fn reason(&self, number: u32) -> Option<DropReason> {
        /// The reasons of the subsystem mac80211 overlap with unlisted numbers. They concern
        /// received frames only.
        const MAC80211: std::ops::Range<u32> = UNLISTED_BASE..2 * UNLISTED_BASE;
        let unlisted = || match number {
            number if number < UNLISTED_BASE => Some(UNLISTED_BASE | number),
            // Reasons of subsystems stay as they are.
            number => Some(number).filter(|number| !MAC80211.contains(number)),
        };
        self.listed.get(&number).copied().or_else(|| unlisted().map(DropReason::from_raw))
    }

    /// Returns the kernel's name of an unlisted reason.
    pub(super) fn name_of(&self, reason: DropReason) -> Option<&str> {
        match reason {
            DropReason::Unlisted(unlisted) => self.unlisted.get(&unlisted.number()).map(String::as_str),
            _ => None,
        }
    }
}

/// Completes the fields of drops in events.
#[derive(Debug)]
pub(super) struct DropResolver {
    names: Option<Arc<DropNames>>,
    /// `None` if this process may not read the addresses of symbols.
    symbols: Option<Kallsyms>,
    /// The addresses that were resolved, or cannot be.
    resolved: BTreeMap<u64, Option<KernelSymbol>>,
}

/// The maximum number of addresses that are kept. A kernel drops packets in some hundred places.
const MAX_RESOLVED: usize = 4096;

impl DropResolver {
    /// Opens the symbols of the kernel. No address is resolved if the kernel lacks CONFIG_KALLSYMS,
    /// or a container masks /proc/kallsyms, or the process may not see addresses.
    pub(super) fn open(names: Option<Arc<DropNames>>) -> Self {
        Self { names, symbols: Kallsyms::open().ok().flatten(), resolved: BTreeMap::new() }
    }

    /// Completes an event from its record.
    pub(super) fn complete(&mut self, event: &mut Event, record: &[u8]) {
        event.drop_reason = record::drop_number(record).and_then(|number| self.names.as_ref()?.reason(number));
        event.drop_at = record::drop_address(record).and_then(|address| self.symbol(address));
    }

    fn symbol(&mut self, address: u64) -> Option<KernelSymbol> {
        if let Some(known) = self.resolved.get(&address) {
            return *known;
        }
        let found = self.symbols.as_mut().and_then(|symbols| {
            let (function, offset) = symbols.function_at(address).ok()??;
            KernelSymbol::new(&function, u32::try_from(offset).ok()?)
        });
        if self.resolved.len() >= MAX_RESOLVED {
            self.resolved.clear();
        }
        self.resolved.insert(address, found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> DropNames {
        let members = [
            ("SKB_NOT_DROPPED_YET", 0),
            ("SKB_DROP_REASON_NOT_SPECIFIED", 2),
            ("SKB_DROP_REASON_NETFILTER_DROP", 9),
            ("SKB_DROP_REASON_LATER", 12),
            ("SKB_DROP_REASON_SUBSYS_MASK", -65536),
            ("QDISC_DROP_FLOW_LIMIT", 0x3_0008),
            ("QDISC_DROP_LATER", 0x3_0009),
        ];
        DropNames::by_name(&members.map(|(name, number)| (name.to_owned(), number)))
    }

    #[test]
    fn reasons_are_matched_by_name() {
        let names = names();
        assert_eq!(names.reason(9), Some(DropReason::NetfilterDrop));
        assert_eq!(names.reason(0x3_0008), Some(DropReason::QdiscDropFlowLimit));
        // 12 is another reason in the table.
        let later = names.reason(12).expect("a reason");
        assert_eq!((later.to_string().as_str(), names.name_of(later)), ("k12", Some("LATER")));
        let of_subsystem = names.reason(0x3_0009).expect("a reason");
        assert_eq!(of_subsystem.to_string(), "k196617");
        assert_eq!(names.name_of(of_subsystem), Some("QDISC_DROP_LATER"));
        assert_eq!(of_subsystem.to_string().parse(), Ok(of_subsystem));
        assert_eq!(names.reason(99).and_then(|reason| names.name_of(reason)), None);
        assert_eq!(names.reason(0x1_0009), None);
    }

    #[test]
    fn the_number_in_a_record_is_of_the_running_kernel() {
        let mut resolver = DropResolver { names: Some(Arc::new(names())), symbols: None, resolved: BTreeMap::new() };
        let mut event = Event::sample(crate::RetransResult::Denied);
        let mut record = vec![0; 208];
        record[8..16].copy_from_slice(&(1u64 << 30).to_ne_bytes());
        for (number, expected) in
            [(9u32, "NETFILTER_DROP"), (12, "k12"), (0x3_0008, "QDISC_DROP_FLOW_LIMIT"), (77, "k77")]
        {
            record[200..204].copy_from_slice(&number.to_ne_bytes());
            resolver.complete(&mut event, &record);
            assert_eq!(event.drop_reason.map(|reason| reason.to_string()).as_deref(), Some(expected), "{number}");
        }
        // Without names nothing is known about a number. Without the bit the number is absent.
        resolver.names = None;
        resolver.complete(&mut event, &record);
        assert_eq!((event.drop_reason, event.drop_at), (None, None));
        resolver.names = Some(Arc::new(names()));
        resolver.complete(&mut event, &[0; 208]);
        assert_eq!(event.drop_reason, None);
    }

    #[test]
    fn an_address_in_a_function_is_resolved() {
        let Some(mut symbols) = Kallsyms::open().expect("/proc/kallsyms") else {
            // Without the capability the addresses are hidden.
            return;
        };
        // Found by another reader.
        let text = std::fs::read_to_string("/proc/kallsyms").expect("/proc/kallsyms");
        let line = text.lines().find(|line| line.ends_with(" T tcp_retransmit_skb")).expect("a function");
        let address = u64::from_str_radix(&line[..16], 16).expect("an address");
        let found = symbols.function_at(address + 4).expect("a file");
        assert_eq!(found, Some(("tcp_retransmit_skb".to_owned(), 4)));
    }
}
