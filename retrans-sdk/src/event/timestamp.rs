// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timestamp of an event, and its form in the key=value line.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::text::scanner::Scanner;
use crate::text::writer::LineWriter;

/// A point in time in nanoseconds since the Unix epoch, until the year 2554. It prints as seconds
/// with nine decimals. In a recording whose [`Clock`](crate::event::Clock) is unknown it counts
/// from another point in time.
///
/// The BPF programs read `CLOCK_BOOTTIME`, which is monotonic. An offset converts it to wall-clock
/// time. The offset remains the same until the wall clock is stepped, so that intervals are
/// measured by the monotonic clock. After a step it is that of the new wall-clock time, so
/// timestamps decrease after a step backward.
///
/// # Examples
///
/// ```
/// use retrans_sdk::event::Timestamp;
///
/// let ts: Timestamp = "1.5".parse()?;
/// assert_eq!(ts.as_nanos(), 1_500_000_000);
/// assert_eq!(ts.to_string(), "1.500000000");
/// # Ok::<(), retrans_sdk::event::ParseTimestampError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

const NANOS: u64 = 1_000_000_000;

impl Timestamp {
    /// Creates a timestamp from nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn write_to(self, out: &mut LineWriter<'_>) {
        out.unsigned(self.0 / NANOS);
        out.byte(b'.');
        out.nine_digits((self.0 % NANOS) as u32);
    }

    #[inline(always)]
    pub(crate) fn scan(from: &mut Scanner<'_>) -> Option<Self> {
        let seconds = from.unsigned()?;
        from.constant(b".")?;
        seconds.checked_mul(NANOS)?.checked_add(from.nine_digits()?.into()).map(Self)
    }

    /// Returns the time as a [`SystemTime`].
    #[must_use]
    pub fn as_system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / NANOS, self.0 % NANOS)
    }
}

/// The error of a text that is not a number of seconds with at most nine decimals, or is later than
/// the year 2554.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseTimestampError;

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a number of seconds since the epoch with at most nine decimals")
    }
}

impl std::error::Error for ParseTimestampError {}

/// Parses seconds with at most nine decimals.
///
/// # Errors
///
/// Returns [`ParseTimestampError`] for any other text, and for a time after the year 2554.
impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(seconds) || !digits(decimals) || decimals.len() > 9 {
            return Err(ParseTimestampError);
        }
        let nanos = decimals.parse::<u64>().map_err(|_| ParseTimestampError)? * 10u64.pow(9 - decimals.len() as u32);
        seconds
            .parse::<u64>()
            .ok()
            .and_then(|s| s.checked_mul(NANOS)?.checked_add(nanos))
            .map(Self)
            .ok_or(ParseTimestampError)
    }
}
