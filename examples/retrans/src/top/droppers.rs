// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attempts by the part of this host that dropped their packet, in bounded memory.

use std::collections::BTreeMap;

use retrans_sdk::Event;
use retrans_sdk::event::Timestamp;

use crate::table;

/// The maximum number of droppers. A host has a few.
pub(crate) const MOST: usize = 64;

/// The attempts of a dropper.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropper {
    pub(crate) attempts: u64,
    /// The time of the last one.
    pub(crate) at: Timestamp,
}

/// The droppers, each with its attempts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Droppers {
    /// The attempts by reason, function and device, as they are printed.
    all: BTreeMap<String, Dropper>,
    others: u64,
}

impl Droppers {
    pub(crate) fn count(&mut self, event: &Event) {
        let Some(name) = table::dropper(event) else { return };
        let is_full = self.all.len() >= MOST;
        match self.all.get_mut(&name) {
            Some(dropper) => {
                dropper.attempts += 1;
                dropper.at = dropper.at.max(event.ts);
            }
            None if is_full => self.others += 1,
            None => drop(self.all.insert(name, Dropper { attempts: 1, at: event.ts })),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the attempts of the droppers in excess of [`MOST`].
    pub(crate) fn others(&self) -> u64 {
        self.others
    }

    /// Returns the droppers, those with the most attempts first.
    pub(crate) fn sorted(&self) -> Vec<(&str, Dropper)> {
        let mut sorted: Vec<_> = self.all.iter().map(|(name, dropper)| (name.as_str(), *dropper)).collect();
        sorted.sort_by_key(|(_, dropper)| std::cmp::Reverse(dropper.attempts));
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::tests::event;

    #[test]
    fn attempts_are_counted_by_dropper_in_bounded_memory() {
        let mut droppers = Droppers::default();
        let mut dropped = event("1", "xmit_drop", "rto", "10.0.0.2");
        droppers.count(&dropped);
        assert_eq!(droppers.len(), 0, "no drop is known");
        for (device, times) in [("eth0", 1), ("eth1", 3)] {
            dropped.drop_reason = Some("QDISC_DROP".parse().expect("a reason"));
            dropped.drop_dev = Some(device.parse().expect("a name"));
            (0..times).for_each(|_| droppers.count(&dropped));
        }
        let sorted: Vec<_> = droppers.sorted().into_iter().map(|(name, dropper)| (name, dropper.attempts)).collect();
        assert_eq!(sorted, [("QDISC_DROP on eth1", 3), ("QDISC_DROP on eth0", 1)]);
        for device in 0..2 * MOST {
            dropped.drop_dev = Some(format!("veth{device}").parse().expect("a name"));
            droppers.count(&dropped);
        }
        assert_eq!((droppers.len(), droppers.others()), (MOST, 2 + MOST as u64));
    }
}
