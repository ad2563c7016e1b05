// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts by remote prefix, in bounded memory.

use std::cmp::Reverse;
use std::collections::HashMap;

use ipnet::IpNet;
use retrans_sdk::{Event, RetransResult};

use super::series::{Keyed, Series};
use crate::histogram::prefix::Prefixes as Lengths;

/// The maximum number of prefixes that are counted separately.
const MOST: usize = 4096;
/// The maximum number of results of a prefix. The SDK names fourteen.
const MOST_RESULTS: usize = 16;

/// The counts of a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    pub(crate) attempts: u64,
    pub(crate) failures: u64,
    /// Failed attempts by result.
    pub(crate) results: Keyed<RetransResult, u64>,
    /// All attempts and failed attempts over time.
    pub(crate) all: Series,
    pub(crate) failed: Series,
}

impl Default for Prefix {
    fn default() -> Self {
        Self {
            attempts: 0,
            failures: 0,
            results: Keyed::new(MOST_RESULTS),
            all: Series::default(),
            failed: Series::default(),
        }
    }
}

impl Prefix {
    /// Returns the most frequent failed result.
    pub(crate) fn mostly(&self) -> Option<RetransResult> {
        self.results.sorted_by(|count| *count).first().map(|(result, _)| **result)
    }
}

/// The order of prefixes, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Failures,
    Attempts,
}

/// The counts by prefix. If a new prefix arrives at the maximum number of rows, the quarter with
/// the fewest failures (then the fewest attempts) is added to the others and removed, so that sums
/// stay exact.
#[derive(Debug)]
pub(crate) struct Prefixes {
    lengths: Lengths,
    most: usize,
    rows: HashMap<IpNet, Prefix>,
    /// The attempts and failures of removed rows.
    pub(crate) others: (u64, u64),
    /// The number of rows that were removed. A prefix that was removed twice counts twice.
    pub(crate) removed: u64,
}

impl Prefixes {
    pub(crate) fn new(lengths: Lengths) -> Self {
        Self { lengths, most: MOST, rows: HashMap::new(), others: (0, 0), removed: 0 }
    }

    pub(crate) fn count(&mut self, event: &Event, column: u64) {
        let prefix = self.lengths.of(event.daddr);
        if self.rows.len() >= self.most && !self.rows.contains_key(&prefix) {
            self.remove_smallest();
        }
        let row = self.rows.entry(prefix).or_default();
        row.attempts += 1;
        row.all.add(column, 1);
        if event.result != RetransResult::Success {
            row.failures += 1;
            row.failed.add(column, 1);
            row.results.update(event.result, |count| *count += 1);
        }
    }

    fn remove_smallest(&mut self) {
        let smallest: Vec<IpNet> = {
            let rows = self.sorted(Order::Failures);
            rows[rows.len() - rows.len().div_ceil(4)..].iter().map(|(prefix, _)| *prefix).collect()
        };
        for prefix in smallest {
            if let Some(row) = self.rows.remove(&prefix) {
                self.others.0 += row.attempts;
                self.others.1 += row.failures;
                self.removed += 1;
            }
        }
    }

    pub(crate) fn merge(&mut self, columns: u64) {
        for row in self.rows.values_mut() {
            row.all.merge(columns);
            row.failed.merge(columns);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns all rows. Equal rows are in the order of their prefixes.
    pub(crate) fn sorted(&self, order: Order) -> Vec<(IpNet, &Prefix)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(prefix, row)| (*prefix, row)).collect();
        rows.sort_unstable_by_key(|(prefix, row)| {
            let weight = match order {
                Order::Failures => (row.failures, row.attempts),
                Order::Attempts => (row.attempts, row.failures),
            };
            (Reverse(weight), *prefix)
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::top::model::tests::event;

    #[test]
    fn removed_prefixes_stay_in_the_sum() {
        let mut prefixes = Prefixes { most: 8, ..Prefixes::new(Lengths::default()) };
        for i in 0..10_000_u32 {
            let result = if i % 3 == 0 { "denied" } else { "success" };
            let address = IpAddr::from((i << 8).to_be_bytes()).to_string();
            prefixes.count(&event("1", result, "rto", &address), u64::from(i % 7));
            assert!(prefixes.len() <= 8);
        }
        let rows = prefixes.sorted(Order::Failures);
        let sum = |of: fn(&Prefix) -> u64| rows.iter().map(|(_, row)| of(row)).sum::<u64>();
        assert_eq!(sum(|row| row.attempts) + prefixes.others.0, 10_000);
        assert_eq!(sum(|row| row.failures) + prefixes.others.1, 3334);
        assert_eq!(prefixes.removed as usize + rows.len(), 10_000);
    }

    #[test]
    fn the_orders_are_total() {
        let mut prefixes = Prefixes::new(Lengths::default());
        for (result, address) in [
            ("success", "10.0.3.1"),
            ("success", "10.0.3.2"),
            ("denied", "10.0.2.1"),
            ("route_fail", "10.0.1.1"),
            ("success", "fd00::1"),
        ] {
            prefixes.count(&event("1", result, "rto", address), 0);
        }
        let names = |order| prefixes.sorted(order).into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(Order::Failures), ["10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24", "fd00::/64"]);
        assert_eq!(names(Order::Attempts), ["10.0.3.0/24", "10.0.1.0/24", "10.0.2.0/24", "fd00::/64"]);
        let rows = prefixes.sorted(Order::Failures);
        assert_eq!((rows[0].1.mostly(), rows[2].1.mostly()), (Some(RetransResult::RouteFail), None));
    }
}
