// SPDX-License-Identifier: MIT OR Apache-2.0
//! Points in time for people, in UTC.

use jiff::Timestamp as Time;
use retrans_sdk::event::Timestamp;

/// As `strftime` has it, of a point in time. Every [`Timestamp`] has a calendar date: they end in the year 2554.
#[must_use]
pub(crate) fn format(ts: Timestamp, format: &str) -> String {
    Time::from_nanosecond(ts.as_nanos().into())
        .map_or_else(|_| ts.to_string(), |time| time.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_known_from_end_to_end() {
        let at = |nanos, how| format(Timestamp::from_nanos(nanos), how);
        assert_eq!(at(0, "%F %T"), "1970-01-01 00:00:00");
        assert_eq!(at(1_795_444_066_718_984_846, "%F %T%.3f"), "2026-11-23 14:27:46.718");
        assert_eq!(at(u64::MAX, "%F %T"), "2554-07-21 23:34:33");
    }
}
