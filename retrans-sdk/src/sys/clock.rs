// SPDX-License-Identifier: MIT OR Apache-2.0
//! Converts the clock of the BPF programs to wall-clock time.

use rustix::time::{ClockId, clock_gettime};

const NANOS: u64 = 1_000_000_000;

/// Returns the offset from `CLOCK_BOOTTIME` of the host to the Unix epoch, in nanoseconds.
pub(crate) fn boottime_to_epoch() -> u64 {
    let nanos = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec as u64 * NANOS + now.tv_nsec as u64
    };
    // The thread may be preempted between the clocks, so the pair that was read in the shortest
    // time is used.
    let pairs = (0..8).map(|_| {
        let before = nanos(ClockId::Boottime);
        let real = nanos(ClockId::Realtime);
        let after = nanos(ClockId::Boottime);
        (after - before, real.wrapping_sub(before + (after - before) / 2))
    });
    let offset = pairs.min().map_or(0, |(_, offset)| offset);
    // The BPF programs use the host's clock. This process reads the clock of its time namespace,
    // which adds an offset.
    offset
        .wrapping_add_signed(boottime_offset(&std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default()))
}

/// Returns the offset of CLOCK_BOOTTIME in nanoseconds, from `timens_offsets` (Linux 5.6): name or
/// number, seconds, nanoseconds.
fn boottime_offset(offsets: &str) -> i64 {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let ("boottime" | "7") = words.next()? else { return None };
        let (seconds, nanos) = (words.next()?.parse::<i64>().ok()?, words.next()?.parse::<i64>().ok()?);
        Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    };
    offsets.lines().find_map(of_line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let offsets = "monotonic           0         0\nboottime       100000        50\n";
        assert_eq!(boottime_offset(offsets), 100_000_000_000_050);
        assert_eq!(boottime_offset("1 0 0\n7 -5 0\n"), -5_000_000_000);
        assert_eq!(boottime_offset(""), 0);
    }
}
