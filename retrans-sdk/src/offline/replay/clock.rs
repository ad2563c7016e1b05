// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clock of kernel text.
//!
//! # Design
//!
//! A line of kernel text does not state its clock, and a number does not prove it: the largest
//! uptime and the smallest wall-clock time are both plausible. So the clock is `Unknown` unless the
//! caller sets the offset, or perf wrote it into the header.

use std::time::Duration;

use crate::event::clock::Clock;
use crate::event::timestamp::Timestamp;
use crate::sys::clock::EpochOffset;

/// The offset from the clock of kernel text to the Unix epoch: the wall-clock time at which that
/// clock was 0. Its resolution is a nanosecond, and its range is 292 years in both directions.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use retrans_sdk::offline::ClockOffset;
///
/// let offset = ClockOffset::from(Duration::from_secs(1_795_453_000));
/// assert_eq!(offset.as_nanos(), 1_795_453_000_000_000_000);
/// // CLOCK_TAI is 37 seconds ahead of the wall clock.
/// let tai = ClockOffset::from_nanos(-37_000_000_000);
/// assert!(tai.as_nanos() < 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockOffset(i64);

impl ClockOffset {
    /// Creates an offset from nanoseconds, which are added to a timestamp.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the offset in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the time at which this host was booted: `CLOCK_REALTIME` minus the host's
    /// `CLOCK_BOOTTIME`, both read now. Requires no privileges.
    ///
    /// It is the offset of text that was recorded on this host since its last boot:
    ///
    /// - With the trace clock `boot`, or `perf record --clockid CLOCK_BOOTTIME`, the error is less
    ///   than a microsecond. If the wall clock was stepped in the meantime, the result uses
    ///   the current wall clock.
    /// - With the default clocks of tracefs, trace-cmd and perf, the error is the time for which
    ///   the host was suspended, and some milliseconds, because these clocks are neither adjusted
    ///   by NTP nor started with `CLOCK_BOOTTIME`.
    ///
    /// `btime` in /proc/stat is the same time without its fraction of a second.
    #[must_use]
    pub fn boot_time() -> Self {
        Self(EpochOffset::read().nanos())
    }
}

/// Converts a duration. One of more than 292 years is clamped to 292 years.
impl From<Duration> for ClockOffset {
    fn from(offset: Duration) -> Self {
        Self(i64::try_from(offset.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// The offset of a text, if it is known.
#[derive(Debug, Default)]
pub(super) struct TextClock {
    offset: Option<ClockOffset>,
    /// True if the caller has set the offset.
    is_set: bool,
}

impl TextClock {
    pub(super) fn new(set: Option<ClockOffset>) -> Self {
        Self { offset: set, is_set: set.is_some() }
    }

    /// Reads the offset from a line of the header that `perf script --header` prints, unless the
    /// caller has set it.
    pub(super) fn read_header(&mut self, line: &str) {
        if !self.is_set {
            self.offset = reference(line).or(self.offset);
        }
    }

    /// Converts a timestamp of the text. Returns `None` if it is not in the range of [`Timestamp`].
    pub(super) fn convert(&self, ts: Timestamp) -> Option<Timestamp> {
        let offset = self.offset.map_or(0, ClockOffset::as_nanos);
        ts.as_nanos().checked_add_signed(offset).map(Timestamp::from_nanos)
    }

    pub(super) fn clock(&self) -> Clock {
        if self.offset.is_some() { Clock::Realtime } else { Clock::Unknown }
    }
}

/// Parses the line that perf prints since Linux 5.10 if the clock was selected with `--clockid`:
/// `# reference time: 2026-11-23 14:27:46.718984 = 1795444066.718984 (TOD) = 17783.867820123
/// (monotonic)`. perf reads both clocks one after the other when it starts to record.
fn reference(line: &str) -> Option<ClockOffset> {
    let mut times = line.strip_prefix("# reference time: ")?.split(" = ").skip(1);
    let seconds = |text: &str, unit: &str, decimals: usize| {
        let (number, name) = text.trim_end().split_once(' ')?;
        let is_complete = number.split_once('.')?.1.len() == decimals && (unit.is_empty() || name == unit);
        is_complete.then(|| number.parse::<Timestamp>().ok())?
    };
    let wall = seconds(times.next()?, "(TOD)", 6)?;
    let clock = seconds(times.next()?, "", 9)?;
    let offset = i128::from(wall.as_nanos()) - i128::from(clock.as_nanos());
    i64::try_from(offset).ok().map(ClockOffset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_time_of_perf_is_read() {
        let line =
            |clock: &str| format!("# reference time: 2026-11-23 14:27:46.718984 = 1795444066.718984 (TOD) = {clock}");
        let offset = |line: &str| reference(line).map(ClockOffset::as_nanos);
        assert_eq!(offset(&line("17783.867820123 (monotonic)")), Some(1_795_426_282_851_163_877));
        assert_eq!(offset(&line("1795444103.718984000 (tai)")), Some(-37_000_000_000));
        assert_eq!(offset(&line("1795444066.718984000 (realtime)")), Some(0));
        // An early version of perf prints no leading zeros.
        for other in ["17783.8678 (monotonic)", "17783 (monotonic)", "17783.867820123"] {
            assert_eq!(offset(&line(other)), None, "{other}");
        }
        for other in ["# reference time disabled", "# clockid: monotonic (1)", "", "# reference time: a = b = c"] {
            assert_eq!(offset(other), None, "{other}");
        }
    }

    #[test]
    fn the_offset_of_the_caller_has_precedence() {
        let line = "# reference time: 2026-11-23 14:27:46.718984 = 1795444066.718984 (TOD) = 66.718984000 (boottime)";
        let ts = Timestamp::from_nanos(1_000_000_000);
        let mut clock = TextClock::new(None);
        assert_eq!((clock.clock(), clock.convert(ts)), (Clock::Unknown, Some(ts)));
        clock.read_header(line);
        let converted = Timestamp::from_nanos(1_795_444_001_000_000_000);
        assert_eq!((clock.clock(), clock.convert(ts)), (Clock::Realtime, Some(converted)));
        clock.read_header("# nrcpus online : 2");
        assert_eq!(clock.convert(ts), Some(converted), "another line of the header changes nothing");

        let mut clock = TextClock::new(Some(ClockOffset::from_nanos(-1)));
        clock.read_header(line);
        let converted = Timestamp::from_nanos(999_999_999);
        assert_eq!((clock.clock(), clock.convert(ts)), (Clock::Realtime, Some(converted)));
        assert_eq!(clock.convert(Timestamp::from_nanos(0)), None, "before 1970");
        let late = TextClock::new(Some(ClockOffset::from_nanos(1)));
        assert_eq!(late.convert(Timestamp::from_nanos(u64::MAX)), None);
    }

    #[test]
    fn the_boot_time_is_that_of_the_kernel() {
        let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
        let btime: i64 = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok()).expect("btime");
        let apart = ClockOffset::boot_time().as_nanos() - btime * 1_000_000_000;
        // /proc/stat contains no fraction, and the time of this time namespace.
        assert!((-1_000_000..1_001_000_000).contains(&apart), "{apart} ns after btime");
    }
}
