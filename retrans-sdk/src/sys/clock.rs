// SPDX-License-Identifier: MIT OR Apache-2.0
//! Converts the clock of the BPF programs to wall-clock time, and follows steps of the wall clock.
//!
//! # Design
//!
//! The BPF programs read the host's `CLOCK_BOOTTIME`, because `CLOCK_REALTIME` is not available to
//! them. The kernel derives both clocks from one timekeeper. NTP changes the rate of both, and the
//! time of a suspension is added to both, so neither changes the offset between them. Only a step
//! does: `clock_settime()`, `ADJ_SETOFFSET` and a leap second.
//!
//! The reader reads the clocks again for every batch that contains a record. So every event that
//! was recorded after a step has the new time, and no event waits for a period to elapse. This
//! costs three calls into the vDSO, less than 0.1 µs. A timerfd with `TFD_TIMER_CANCEL_ON_SET`
//! would need one more file descriptor and a system call per batch, and the clocks would have to be
//! read in any case.
//!
//! The clocks cannot be read at the same moment, so a reading yields an interval that contains the
//! offset. The offset in use is replaced only if the two intervals do not overlap, which proves a
//! step. Otherwise it remains the same number, and the time between two events is measured by the
//! monotonic clock alone.

use rustix::time::{ClockId, clock_gettime};

const NANOS: i64 = 1_000_000_000;

/// The largest rounding error of the kernel's conversion of a clock to nanoseconds, with a margin.
/// Intervals that are apart by less do not prove a step.
const ROUNDING: i64 = 100;

/// `CLOCK_BOOTTIME`, `CLOCK_REALTIME` and `CLOCK_BOOTTIME`, read in this order, in nanoseconds.
pub(crate) type Sample = [i64; 3];

/// The offset from the host's `CLOCK_BOOTTIME` to the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EpochOffset {
    /// The bounds of the offset in nanoseconds, as of the reading in use.
    bounds: (i64, i64),
    /// The offset of `CLOCK_BOOTTIME` in the time namespace of this process. The BPF programs read
    /// the host's clock.
    namespace: i64,
    sample: fn() -> Sample,
}

/// The maximum time between reading two clocks, in nanoseconds. A longer time means that the thread
/// was preempted.
const PREEMPTED: i64 = 10_000;

impl EpochOffset {
    /// Reads the clocks.
    pub(crate) fn read() -> Self {
        Self::read_by(sample)
    }

    /// Reads the clocks with a function.
    pub(crate) fn read_by(sample: fn() -> Sample) -> Self {
        Self::read_with(sample, namespace_offset())
    }

    fn read_with(sample: fn() -> Sample, namespace: i64) -> Self {
        Self { bounds: narrowest(sample), namespace, sample }
    }

    /// Returns the offset in nanoseconds, which is added to the time of a record.
    pub(crate) const fn nanos(&self) -> i64 {
        let (low, high) = self.bounds;
        low + (high - low) / 2 + self.namespace
    }

    /// Reads the clocks again, and uses the new offset if the wall clock was stepped.
    #[inline]
    pub(crate) fn follow(&mut self) {
        let (mut low, mut high) = bounds((self.sample)());
        // The thread was preempted between the clocks, so a small step would not be seen.
        if high - low > PREEMPTED {
            (low, high) = narrowest(self.sample);
        }
        if low > self.bounds.1 + ROUNDING || high < self.bounds.0 - ROUNDING {
            self.bounds = narrowest(self.sample);
        }
    }
}

/// Reads the clocks of this process.
pub(crate) fn sample() -> Sample {
    let nanos = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec * NANOS + now.tv_nsec
    };
    [nanos(ClockId::Boottime), nanos(ClockId::Realtime), nanos(ClockId::Boottime)]
}

/// Returns the bounds of the offset in a sample.
fn bounds([before, real, after]: Sample) -> (i64, i64) {
    (real - after, real - before)
}

/// Returns the narrowest bounds of several samples, because the thread may be preempted between two
/// clocks.
fn narrowest(sample: fn() -> Sample) -> (i64, i64) {
    let first = bounds(sample());
    (1..8).map(|_| bounds(sample())).fold(first, |best, new| if new.1 - new.0 < best.1 - best.0 { new } else { best })
}

/// Returns the offset of `CLOCK_BOOTTIME` in the time namespace of this process, in nanoseconds.
fn namespace_offset() -> i64 {
    let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    offset_in(&namespace.to_string_lossy(), &offsets)
}

/// Returns the offset in a namespace. `timens_offsets` contains the offsets of the namespace of the
/// children, which is another one after `unshare(CLONE_NEWTIME)`.
fn offset_in(namespace: &str, offsets: &str) -> i64 {
    /// The initial namespace, which has no offset (`PROC_TIME_INIT_INO`).
    const INITIAL: &str = "time:[4026531834]";
    if namespace == INITIAL { 0 } else { boottime_offset(offsets) }
}

/// Returns the offset of `CLOCK_BOOTTIME` in nanoseconds, from `timens_offsets` (Linux 5.6): name
/// or number, seconds, nanoseconds.
fn boottime_offset(offsets: &str) -> i64 {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let ("boottime" | "7") = words.next()? else { return None };
        let (seconds, nanos) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
        Some(seconds.saturating_mul(NANOS).saturating_add(nanos))
    };
    offsets.lines().find_map(of_line).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// The offset of the fake wall clock, the fake `CLOCK_BOOTTIME`, and the time between two
        /// readings of a clock.
        static FAKE: Cell<(i64, i64, i64)> = const { Cell::new((0, 0, 0)) };
    }

    const BEGAN: i64 = 1_795_444_066 * NANOS;

    /// A wall clock that a test sets.
    pub(crate) struct FakeClock;

    impl FakeClock {
        /// Sets the wall clock to 2026-11-23 when `CLOCK_BOOTTIME` is 0.
        pub(crate) fn start() -> EpochOffset {
            FAKE.set((BEGAN, 0, 50));
            EpochOffset::read_with(Self::sample, 0)
        }

        /// Returns the offset that a stream must use.
        pub(crate) fn offset() -> i64 {
            FAKE.get().0
        }

        /// Steps the wall clock.
        pub(crate) fn step(nanos: i64) {
            let (offset, boottime, pace) = FAKE.get();
            FAKE.set((offset + nanos, boottime, pace));
        }

        /// Sets the time between two readings of a clock.
        fn pace(nanos: i64) {
            let (offset, boottime, _) = FAKE.get();
            FAKE.set((offset, boottime, nanos));
        }

        fn sample() -> Sample {
            let (offset, boottime, pace) = FAKE.get();
            FAKE.set((offset, boottime + 3 * pace, pace));
            [boottime, boottime + pace + offset, boottime + 2 * pace]
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_is_followed() {
        let mut offset = FakeClock::start();
        assert_eq!(offset.nanos(), FakeClock::offset());
        for step in [NANOS, -NANOS, 3600 * NANOS, -86_400 * NANOS, 10_000, -10_000] {
            FakeClock::step(step);
            assert_eq!(offset.nanos(), FakeClock::offset() - step, "not before the clocks are read");
            offset.follow();
            assert_eq!(offset.nanos(), FakeClock::offset(), "{step}");
        }
    }

    #[test]
    fn without_a_step_the_offset_remains_the_same_number() {
        let mut offset = FakeClock::start();
        let began = offset.nanos();
        // The clocks differ by less than they can be read apart, or the thread is preempted.
        for (pace, drift) in [(40, 60), (1, 0), (5_000_000, 0), (0, -90), (50, 30)] {
            FakeClock::pace(pace);
            FakeClock::step(drift);
            offset.follow();
            assert_eq!(offset.nanos(), began, "{pace} {drift}");
        }
        // The error stays bounded although none of many small differences is a step.
        FakeClock::pace(50);
        for _ in 0..1000 {
            FakeClock::step(20);
            offset.follow();
            assert!((FakeClock::offset() - offset.nanos()).abs() <= 2 * 50 + ROUNDING + 20);
        }
        assert!(offset.nanos() > began);
    }

    #[test]
    fn the_real_clocks_are_not_stepped() {
        let mut offset = EpochOffset::read();
        let began = offset.nanos();
        (0..10_000).for_each(|_| offset.follow());
        let apart = (EpochOffset::read().nanos() - offset.nanos()).abs();
        assert!(apart < 1_000_000, "{apart} ns apart, {} ns since the first reading", offset.nanos() - began);
    }

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let offsets = "monotonic           0         0\nboottime       100000        50\n";
        assert_eq!(boottime_offset(offsets), 100_000_000_000_050);
        assert_eq!(boottime_offset("1 0 0\n7 -5 0\n"), -5_000_000_000);
        assert_eq!(boottime_offset(""), 0);
        assert_eq!(offset_in("time:[4026532177]", offsets), 100_000_000_000_050);
        assert_eq!(offset_in("time:[4026531834]", offsets), 0, "they are the offsets of the children");
        let shifted = EpochOffset { namespace: 7, ..FakeClock::start() };
        assert_eq!(shifted.nanos(), FakeClock::offset() + 7);
    }
}
