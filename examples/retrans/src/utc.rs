// SPDX-License-Identifier: MIT OR Apache-2.0
//! Formats points in time in UTC.

use jiff::Timestamp as Time;
use retrans_sdk::event::Timestamp;

/// Formats a point in time as `strftime` does. Every [`Timestamp`] has a calendar date: the last
/// one is in the year 2554.
#[must_use]
pub(crate) fn format(ts: Timestamp, format: &str) -> String {
    Time::from_nanosecond(ts.as_nanos().into())
        .map_or_else(|_| ts.to_string(), |time| time.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_time_have_a_date() {
        let at = |nanos, how| format(Timestamp::from_nanos(nanos), how);
        assert_eq!(at(0, "%F %T"), "1970-01-01 00:00:00");
        assert_eq!(at(1_795_444_066_718_984_846, "%F %T%.3f"), "2026-11-23 14:27:46.718");
        assert_eq!(at(u64::MAX, "%F %T"), "2554-07-21 23:34:33");
    }
}
