// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts events per second.

use retrans_sdk::event::Timestamp;

/// The number of seconds that are kept.
pub(crate) const KEPT: u64 = 120;

/// The number of seconds in a rate: the current second and those before it.
const RATED: u64 = 10;

pub(crate) const NANOS: u64 = 1_000_000_000;

/// Counts in each of the last [`KEPT`] seconds, and in total.
#[derive(Debug, Clone)]
pub(crate) struct Seconds {
    total: u64,
    /// In seconds since the epoch.
    newest: u64,
    /// Indexed by the second modulo [`KEPT`].
    counts: [u64; KEPT as usize],
}

impl Default for Seconds {
    fn default() -> Self {
        Self { total: 0, newest: 0, counts: [0; KEPT as usize] }
    }
}

impl Seconds {
    /// Adds a count at a time, which may be earlier than in a previous call.
    pub(crate) fn add(&mut self, ts: Timestamp, count: u64) {
        let second = ts.as_nanos() / NANOS;
        self.total += count;
        if second > self.newest {
            for passed in (self.newest + 1..=second).rev().take(KEPT as usize) {
                self.counts[(passed % KEPT) as usize] = 0;
            }
            self.newest = second;
        }
        if self.newest - second < KEPT {
            self.counts[(second % KEPT) as usize] += count;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    fn at(&self, second: u64) -> u64 {
        if second > self.newest || self.newest - second >= KEPT { 0 } else { self.counts[(second % KEPT) as usize] }
    }

    /// Returns the counts of the last `seconds` up to `now`, oldest first. `None` for a second
    /// before counting began, or one that is no longer kept.
    pub(crate) fn last(&self, seconds: u64, since: Timestamp, now: Timestamp) -> Vec<Option<u64>> {
        let (since, now) = (since.as_nanos() / NANOS, now.as_nanos() / NANOS);
        let ago =
            |ago| now.checked_sub(ago).filter(|second| ago < KEPT && *second >= since).map(|second| self.at(second));
        (0..seconds).rev().map(ago).collect()
    }

    /// Returns the recent count per second. The first second counts as a full one.
    pub(crate) fn rate(&self, since: Timestamp, now: Timestamp) -> f64 {
        let first = (now.as_nanos() / NANOS).saturating_sub(RATED - 1) * NANOS;
        let covered = now.as_nanos().saturating_sub(first.max(since.as_nanos())).max(NANOS);
        let count: u64 = self.last(RATED, since, now).into_iter().flatten().sum();
        count as f64 / (covered as f64 / NANOS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_nanos((seconds * NANOS as f64) as u64)
    }

    #[test]
    fn each_second_has_its_own_count() {
        let mut seconds = Seconds::default();
        for (ts, count) in [(1000.1, 1), (1000.9, 2), (1002.0, 4), (999.5, 8)] {
            seconds.add(at(ts), count);
        }
        let some = |counts: &[u64]| counts.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(seconds.last(6, at(900.0), at(1003.0)), some(&[0, 8, 3, 0, 4, 0]));
        assert_eq!(seconds.last(3, at(1000.5), at(1001.0)), [None, Some(3), Some(0)]);
        assert_eq!(seconds.total(), 15);
    }

    #[test]
    fn old_seconds_are_only_in_the_total() {
        let mut seconds = Seconds::default();
        seconds.add(at(10.0), 1);
        seconds.add(at(10.0 + KEPT as f64), 2);
        // The same index as the newest second.
        seconds.add(at(10.0), 4);
        let last = seconds.last(KEPT + 1, at(0.0), at(10.0 + KEPT as f64));
        assert_eq!((last[0], last[1], last[KEPT as usize]), (None, Some(0), Some(2)));
        seconds.add(at(1e9), 8);
        assert_eq!(seconds.last(KEPT, at(0.0), at(1e9)).into_iter().flatten().sum::<u64>(), 8);
        assert_eq!(seconds.total(), 15);
    }

    #[test]
    fn a_rate_covers_only_the_counted_time() {
        let mut seconds = Seconds::default();
        assert_eq!(seconds.rate(at(100.0), at(100.0)), 0.0);
        seconds.add(at(100.0), 6);
        assert_eq!(seconds.rate(at(100.0), at(100.1)), 6.0, "not 60");
        assert_eq!(seconds.rate(at(100.0), at(104.0)), 1.5);
        assert_eq!(seconds.rate(at(100.0), at(109.99999)), 6.0 / 9.99999);
        assert_eq!(seconds.rate(at(100.0), at(110.0)), 0.0, "the count is older than ten seconds");
    }
}
