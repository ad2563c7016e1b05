// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clock of timestamps.

use std::fmt;

/// The clock of the timestamps in a stream or a recording.
///
/// [`Stats::clock`](crate::Stats::clock) and
/// [`RecordedLines::clock`](crate::offline::RecordedLines::clock) return it. It prints as
/// `realtime` or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Clock {
    /// `CLOCK_REALTIME`, the wall clock. Timestamps count from the Unix epoch.
    ///
    /// Live streams and mocks have this clock, and so do key=value lines and JSON. Kernel text has
    /// it if its offset from the epoch is known
    /// ([`Recording::clock_offset`](crate::offline::Recording::clock_offset)).
    Realtime,
    /// A clock that is not known. Timestamps count from a point in time that is not known, usually
    /// the boot of the host, so they are not dates. Differences between timestamps are still times
    /// in seconds.
    ///
    /// Kernel text does not state its clock, except for the header of `perf script --header`.
    /// Before the first line of an attempt was read, the clock of a recording is not known either.
    #[default]
    Unknown,
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Realtime => "realtime",
            Self::Unknown => "unknown",
        })
    }
}
