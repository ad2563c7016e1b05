// SPDX-License-Identifier: MIT OR Apache-2.0
//! Levels that show the size of a count relative to the largest count. There are a level for zero
//! and seven levels above it.

use std::ops::RangeInclusive;

/// The number of levels above zero.
pub(crate) const LEVELS: u64 = 7;

/// Returns the level of a count: 0 only if the count is 0, [`LEVELS`] for the largest.
pub(crate) fn level(count: u64, most: u64) -> u64 {
    if most == 0 { 0 } else { (u128::from(count) * u128::from(LEVELS)).div_ceil(most.into()) as u64 }
}

/// Returns the counts of a level. With small counts some levels have none, which returns `None`.
pub(crate) fn counts_of(wanted: u64, most: u64) -> Option<RangeInclusive<u64>> {
    // Returns the smallest count above this level.
    let above = |level: u64| (u128::from(level) * u128::from(most) / u128::from(LEVELS)) as u64 + 1;
    let range = above(wanted.checked_sub(1)?)..=above(wanted) - 1;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_in_the_range_of_its_level() {
        for most in [1, 2, 3, 6, 7, 8, 20, 100, 1_000_003] {
            assert_eq!((level(0, most), level(most, most)), (0, LEVELS));
            for count in (1..=most.min(2000)).chain([most]) {
                let level = level(count, most);
                assert!((1..=LEVELS).contains(&level));
                assert!(counts_of(level, most).is_some_and(|range| range.contains(&count)), "{count} of {most}");
            }
            let covered: u64 =
                (1..=LEVELS).filter_map(|level| counts_of(level, most)).map(|r| r.end() - r.start() + 1).sum();
            assert_eq!(covered, most, "each count once");
        }
        assert_eq!((level(0, 0), counts_of(0, 9)), (0, None));
        assert_eq!(level(u64::MAX, u64::MAX), LEVELS);
    }
}
