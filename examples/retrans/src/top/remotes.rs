// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts attempts by remote address, in bounded memory.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use retrans_sdk::event::Timestamp;
use retrans_sdk::{Event, RetransResult};

/// The maximum number of addresses with a row.
pub(crate) const MOST: usize = 4096;

/// The counts of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    pub(crate) last: RetransResult,
    pub(crate) at: Timestamp,
}

/// The sum of the addresses that were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Others {
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    /// The number of rows that were removed. An address that was removed twice counts twice.
    pub(crate) removed: u64,
}

/// The order of the rows, largest first, or by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Order {
    #[default]
    Failures,
    Attempts,
    Latest,
    Address,
}

impl Order {
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Failures => Self::Attempts,
            Self::Attempts => Self::Latest,
            Self::Latest => Self::Address,
            Self::Address => Self::Failures,
        }
    }
}

/// The counts by address. If a new address arrives at the maximum number of rows, the quarter with
/// the fewest failures (then the fewest attempts, then the oldest last event) is added to
/// [`Others`] and removed, so that sums stay exact. A removed address that returns starts at zero.
#[derive(Debug, Clone)]
pub(crate) struct Remotes {
    rows: HashMap<IpAddr, Remote>,
    others: Others,
    most: usize,
}

impl Remotes {
    pub(crate) fn new(most: usize) -> Self {
        Self { rows: HashMap::new(), others: Others::default(), most: most.max(1) }
    }

    pub(crate) fn count(&mut self, event: &Event) {
        if self.rows.len() >= self.most && !self.rows.contains_key(&event.daddr) {
            self.fold();
        }
        let remote = self.rows.entry(event.daddr).or_insert(Remote {
            attempts: 0,
            failures: 0,
            last: event.result,
            at: event.ts,
        });
        remote.attempts += 1;
        remote.failures += u64::from(event.result != RetransResult::Success);
        // Events of different CPUs may arrive out of order.
        if event.ts >= remote.at {
            (remote.last, remote.at) = (event.result, event.ts);
        }
    }

    fn fold(&mut self) {
        let rows = self.sorted(Order::Failures);
        for (address, remote) in &rows[rows.len() - rows.len().div_ceil(4)..] {
            self.rows.remove(address);
            self.others.attempts += remote.attempts;
            self.others.failures += remote.failures;
            self.others.removed += 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn others(&self) -> Option<Others> {
        (self.others.removed > 0).then_some(self.others)
    }

    pub(crate) fn sorted(&self, order: Order) -> Vec<(IpAddr, Remote)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(address, remote)| (*address, *remote)).collect();
        // By address last, so that equal rows keep their places.
        rows.sort_unstable_by_key(|(address, r)| {
            let by = match order {
                Order::Failures => [r.failures, r.attempts, r.at.as_nanos()],
                Order::Attempts => [r.attempts, r.failures, r.at.as_nanos()],
                Order::Latest => [r.at.as_nanos(), r.failures, r.attempts],
                Order::Address => [0; 3],
            };
            (Reverse(by), *address)
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::tests::event;

    fn addresses(remotes: &Remotes, order: Order) -> Vec<String> {
        remotes.sorted(order).into_iter().map(|(address, _)| address.to_string()).collect()
    }

    #[test]
    fn each_order_is_total() {
        let mut remotes = Remotes::new(MOST);
        for (ts, result, daddr) in [
            ("9", "success", "10.0.0.3"),
            ("1", "denied", "10.0.0.2"),
            ("2", "success", "10.0.0.1"),
            ("3", "success", "10.0.0.1"),
            ("4", "success", "fd00::1"),
            ("4", "success", "fd00::2"),
        ] {
            remotes.count(&event(ts, result, "rto", daddr));
        }
        assert_eq!(addresses(&remotes, Order::Failures), ["10.0.0.2", "10.0.0.1", "10.0.0.3", "fd00::1", "fd00::2"]);
        assert_eq!(addresses(&remotes, Order::Attempts)[..2], ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(addresses(&remotes, Order::Latest)[0], "10.0.0.3");
        assert_eq!(addresses(&remotes, Order::Address)[..3], ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    }

    #[test]
    fn the_last_result_is_the_latest() {
        let mut remotes = Remotes::new(MOST);
        for (ts, result) in [("2", "denied"), ("3", "success"), ("1", "xmit_drop")] {
            remotes.count(&event(ts, result, "rto", "10.0.0.1"));
        }
        let (_, remote) = remotes.sorted(Order::default())[0];
        assert_eq!((remote.attempts, remote.failures), (3, 2));
        assert_eq!((remote.last, remote.at.as_nanos()), (RetransResult::Success, 3_000_000_000));
    }

    #[test]
    fn removed_addresses_stay_in_the_sum() {
        let mut remotes = Remotes::new(8);
        for i in 0..8 {
            let result = if i < 5 { "denied" } else { "success" };
            remotes.count(&event(&i.to_string(), result, "rto", &format!("10.0.0.{i}")));
        }
        assert_eq!((remotes.len(), remotes.others()), (8, None));
        remotes.count(&event("8", "denied", "rto", "10.0.0.7"));
        assert_eq!(remotes.len(), 8, "it has a row already");
        remotes.count(&event("9", "success", "rto", "10.0.0.9"));
        assert_eq!(remotes.others(), Some(Others { attempts: 2, failures: 0, removed: 2 }));
        assert!(
            !addresses(&remotes, Order::Address).contains(&"10.0.0.5".to_owned()),
            "it failed least and longest ago"
        );

        for i in 0..100_000_u32 {
            remotes.count(&event("10", "success", "rto", &IpAddr::from(i.to_be_bytes()).to_string()));
            assert!(remotes.len() <= 8);
        }
        let rows: u64 = remotes.sorted(Order::default()).iter().map(|(_, remote)| remote.attempts).sum();
        assert_eq!(rows + remotes.others().expect("some").attempts, 100_010);
        let failures: u64 = remotes.sorted(Order::default()).iter().map(|(_, remote)| remote.failures).sum();
        assert_eq!(failures + remotes.others().expect("some").failures, 6);
    }
}
