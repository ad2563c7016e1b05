// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts each value of a reason table over time.

use std::collections::BTreeMap;

use retrans_sdk::event::Timestamp;
use retrans_sdk::reason_table::ReasonTable;

use crate::top::seconds::Seconds;

/// The maximum number of rows. It is larger than any table; only a recording with synthetic unknown
/// numbers has more, which are counted in one row.
const MOST: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Rates<T> {
    rows: BTreeMap<T, Seconds>,
    others: Option<Seconds>,
}

impl<T> Default for Rates<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), others: None }
    }
}

impl<T: ReasonTable> Rates<T> {
    pub(crate) fn count(&mut self, name: T, ts: Timestamp) {
        let row = if self.rows.len() < MOST || self.rows.contains_key(&name) {
            self.rows.entry(name).or_default()
        } else {
            self.others.get_or_insert_default()
        };
        row.add(ts, 1);
    }

    /// Returns the rows in the order of the table. `None` is the sum of the values without a row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Option<T>, &Seconds)> {
        let rows = self.rows.iter().map(|(name, seconds)| (Some(*name), seconds));
        rows.chain(self.others.iter().map(|seconds| (None, seconds)))
    }
}

#[cfg(test)]
mod tests {
    use retrans_sdk::RetransResult;

    use super::*;

    #[test]
    fn the_number_of_rows_is_limited() {
        let mut rates = Rates::default();
        for raw in 0..10_000 {
            rates.count(RetransResult::from_raw(raw), Timestamp::from_nanos(0));
        }
        assert_eq!(rates.rows().count(), MOST + 1);
        let (name, others) = rates.rows().last().expect("rows");
        assert_eq!((name, others.total()), (None, 10_000 - MOST as u64));
    }
}
