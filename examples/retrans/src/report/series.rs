// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts by column of the time axis, and counts by key, both in bounded memory.

use std::collections::BTreeMap;

/// Counts by column. A column is a time, divided by the length of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Series(BTreeMap<u64, u64>);

impl Series {
    pub(crate) fn add(&mut self, column: u64, count: u64) {
        *self.0.entry(column).or_default() += count;
    }

    /// Merges columns: this number of columns becomes one.
    pub(crate) fn merge(&mut self, columns: u64) {
        for (column, count) in std::mem::take(&mut self.0) {
            self.add(column / columns, count);
        }
    }

    pub(crate) fn get(&self, column: u64) -> u64 {
        self.0.get(&column).copied().unwrap_or_default()
    }

    /// Returns the largest count.
    pub(crate) fn most(&self) -> u64 {
        self.0.values().copied().max().unwrap_or_default()
    }
}

/// Values by key, for at most a fixed number of keys. A key in excess of it has no value, and its
/// attempts are counted as others.
#[derive(Debug, Clone)]
pub(crate) struct Keyed<K, V> {
    rows: BTreeMap<K, V>,
    most: usize,
    others: u64,
}

impl<K: Ord + Clone, V: Default> Keyed<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { rows: BTreeMap::new(), most, others: 0 }
    }

    /// Changes the value of a key, or counts the key as another one.
    pub(crate) fn update(&mut self, key: K, change: impl FnOnce(&mut V)) {
        if self.rows.len() < self.most || self.rows.contains_key(&key) {
            change(self.rows.entry(key).or_default());
        } else {
            self.others += 1;
        }
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.values_mut()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.rows.keys()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn others(&self) -> u64 {
        self.others
    }

    /// Returns the rows, the largest first. Equal rows are in the order of their keys.
    pub(crate) fn sorted_by<W: Ord>(&self, weight: impl Fn(&V) -> W) -> Vec<(&K, &V)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(_, value)| std::cmp::Reverse(weight(value)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_columns_keep_their_sum() {
        let mut series = Series::default();
        [(7, 1), (9, 2), (10, 4), (14, 8)].into_iter().for_each(|(column, count)| series.add(column, count));
        series.merge(5);
        assert_eq!([0, 1, 2, 3].map(|column| series.get(column)), [0, 3, 12, 0]);
        assert_eq!(series.most(), 12);
    }

    #[test]
    fn keys_are_bounded() {
        let mut keyed = Keyed::<u32, u64>::new(2);
        [5, 3, 3, 9, 9, 5, 5].into_iter().for_each(|key| keyed.update(key, |count| *count += 1));
        assert_eq!(keyed.sorted_by(|count| *count), [(&5, &3), (&3, &2)]);
        assert_eq!((keyed.others(), keyed.get(&9)), (2, None));
    }
}
