// SPDX-License-Identifier: MIT OR Apache-2.0
//! The columns, and their length, which limits how many there are.

const SECOND: u64 = 1_000_000_000;

/// The maximum number of columns if the length is chosen automatically: they fit a terminal.
pub(crate) const COMFORTABLE: u64 = 40;

/// The maximum number of columns in any case.
pub(crate) const MOST: u64 = 500;

/// Common lengths in seconds. Each is a multiple of the previous one, so that columns can be
/// merged.
const LENGTHS: [u64; 14] = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 7 * 86_400];

/// Columns that begin at multiples of their length since the epoch.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    /// In nanoseconds.
    pub(crate) length: u64,
    chosen: bool,
    /// The first and the last column, counted in lengths since the epoch.
    range: Option<(u64, u64)>,
}

impl Buckets {
    /// Creates columns of this length in nanoseconds, or of a length that is chosen automatically.
    pub(crate) fn new(length: Option<u64>) -> Self {
        Self { length: length.unwrap_or(LENGTHS[0] * SECOND), chosen: length.is_none(), range: None }
    }

    /// Returns the number of columns.
    pub(crate) fn count(&self) -> u64 {
        self.range.map_or(0, |(first, last)| last - first + 1)
    }

    /// Returns the time at which the first column begins, in nanoseconds since the epoch.
    pub(crate) fn begin(&self) -> u64 {
        self.range.map_or(0, |(first, _)| first * self.length)
    }

    /// Returns the column of a time, counted in lengths since the epoch.
    pub(crate) fn of(&self, nanos: u64) -> u64 {
        nanos / self.length
    }

    /// Adds columns up to a time. Returns how many of the previous columns were merged into one.
    ///
    /// # Errors
    ///
    /// Returns an error if there would be too many columns of the requested length.
    pub(crate) fn admit(&mut self, nanos: u64) -> Result<u64, String> {
        let mut together = 1;
        loop {
            let at = self.of(nanos);
            let (first, last) = self.range.map_or((at, at), |(first, last)| (first.min(at), last.max(at)));
            let count = last - first + 1;
            if count <= if self.chosen { COMFORTABLE } else { MOST } {
                self.range = Some((first, last));
                return Ok(together);
            }
            if !self.chosen {
                return Err(format!(
                    "more than {MOST} columns: use --bucket {} or more",
                    (count as f64 * self.length as f64 / SECOND as f64 / MOST as f64).ceil()
                ));
            }
            let factor = self.next_factor();
            self.length *= factor;
            self.range = self.range.map(|(first, last)| (first / factor, last / factor));
            together *= factor;
        }
    }

    /// Returns the ratio between the next length and this one.
    fn next_factor(&self) -> u64 {
        let seconds = self.length / SECOND;
        // Lengths of a week and more are doubled until 40 columns cover all possible times.
        LENGTHS.iter().find(|length| **length > seconds).map_or(2, |next| next / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_multiples() {
        assert!(LENGTHS.windows(2).all(|pair| pair[1] > pair[0] && pair[1] % pair[0] == 0));
    }

    #[test]
    fn columns_grow_with_the_time_span() {
        let mut buckets = Buckets::new(None);
        assert_eq!((buckets.count(), buckets.begin()), (0, 0));
        assert_eq!(buckets.admit(100 * SECOND), Ok(1));
        assert_eq!(buckets.admit(139 * SECOND + 999), Ok(1));
        assert_eq!((buckets.count(), buckets.length, buckets.begin()), (40, SECOND, 100 * SECOND));
        assert_eq!(buckets.admit(99 * SECOND), Ok(5), "five columns were merged into one");
        assert_eq!((buckets.count(), buckets.length, buckets.begin()), (9, 5 * SECOND, 95 * SECOND));
        assert_eq!(buckets.admit(86_400 * SECOND), Ok(720));
        assert_eq!((buckets.count(), buckets.length, buckets.begin()), (25, 3600 * SECOND, 0));
    }

    #[test]
    fn all_possible_times_fit() {
        let mut buckets = Buckets::new(None);
        for nanos in [0, u64::MAX, 1] {
            buckets.admit(nanos).expect("an automatic length");
            assert!(buckets.count() <= COMFORTABLE);
        }
    }

    #[test]
    fn a_requested_length_is_kept() {
        let mut buckets = Buckets::new(Some(SECOND / 2));
        assert_eq!(buckets.admit(0), Ok(1));
        assert_eq!(buckets.admit(249 * SECOND), Ok(1));
        assert_eq!(buckets.count(), 499);
        let error = buckets.admit(1000 * SECOND).expect_err("too many");
        assert_eq!(error, "more than 500 columns: use --bucket 3 or more");
        assert_eq!(buckets.count(), 499, "a refused time changes nothing");
    }
}
