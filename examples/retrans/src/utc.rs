// SPDX-License-Identifier: MIT OR Apache-2.0
//! Formats points in time: in UTC, or in seconds if the clock is not known.

use jiff::Timestamp as Time;
use retrans_sdk::event::{Clock, Timestamp};

/// The precision of a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    Seconds,
    Milliseconds,
}

/// Formats a time of day; of an unknown clock, the seconds that it shows.
#[must_use]
pub(crate) fn time(ts: Timestamp, clock: Clock, precision: Precision) -> String {
    match (clock, precision) {
        (Clock::Realtime, Precision::Seconds) => format(ts, "%T"),
        (Clock::Realtime, Precision::Milliseconds) => format(ts, "%T%.3f"),
        (_, precision) => seconds(ts, precision),
    }
}

/// Formats a date and a time of day; of an unknown clock, the seconds that it shows.
#[must_use]
pub(crate) fn date_time(ts: Timestamp, clock: Clock, precision: Precision) -> String {
    match clock {
        Clock::Realtime => format(ts, "%F ") + &time(ts, clock, precision),
        _ => seconds(ts, precision),
    }
}

/// Formats a date; of an unknown clock, the seconds that it shows.
#[must_use]
pub(crate) fn date(ts: Timestamp, clock: Clock) -> String {
    match clock {
        Clock::Realtime => format(ts, "%F"),
        _ => seconds(ts, Precision::Seconds),
    }
}

/// Returns the unit of the times: `UTC`, or that they are seconds of an unknown clock.
#[must_use]
pub(crate) const fn unit(clock: Clock) -> &'static str {
    match clock {
        Clock::Realtime => "UTC",
        _ => "s of an unknown clock",
    }
}

/// Formats seconds without rounding, like the times of a day.
fn seconds(ts: Timestamp, precision: Precision) -> String {
    let (seconds, nanos) = (ts.as_nanos() / 1_000_000_000, ts.as_nanos() % 1_000_000_000);
    match precision {
        Precision::Seconds => seconds.to_string(),
        Precision::Milliseconds => format!("{seconds}.{:03}", nanos / 1_000_000),
    }
}

/// Formats a point in time as `strftime` does. Every [`Timestamp`] has a calendar date: the last
/// one is in the year 2554.
fn format(ts: Timestamp, format: &str) -> String {
    Time::from_nanosecond(ts.as_nanos().into())
        .map_or_else(|_| ts.to_string(), |time| time.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_time_have_a_date() {
        let at = |nanos, precision| date_time(Timestamp::from_nanos(nanos), Clock::Realtime, precision);
        assert_eq!(at(0, Precision::Seconds), "1970-01-01 00:00:00");
        assert_eq!(at(1_795_444_066_718_984_846, Precision::Milliseconds), "2026-11-23 14:27:46.718");
        assert_eq!(at(u64::MAX, Precision::Seconds), "2554-07-21 23:34:33");
    }

    #[test]
    fn a_time_of_an_unknown_clock_has_no_date() {
        let ts = Timestamp::from_nanos(17_783_867_820_000);
        for precise in [time, date_time] {
            assert_eq!(precise(ts, Clock::Unknown, Precision::Milliseconds), "17783.867");
            assert_eq!(precise(ts, Clock::Unknown, Precision::Seconds), "17783");
        }
        assert_eq!(date(ts, Clock::Unknown), "17783");
        assert_eq!((date(ts, Clock::Realtime), unit(Clock::Realtime)), ("1970-01-01".to_owned(), "UTC"));
    }
}
