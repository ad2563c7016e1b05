// SPDX-License-Identifier: MIT OR Apache-2.0
//! Delays events to the speed of a recording.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::event::timestamp::Timestamp;

pub(super) struct Pacer {
    factor: f64,
    /// The timestamp of the first event, and the time at which the event was sent.
    start: Option<(Timestamp, Instant)>,
    /// The timestamp of the last event, and the time at which the event was to be sent.
    last: Option<(Timestamp, Instant)>,
}

/// A timestamp that is earlier than the previous one by at least this difference follows a step of
/// the wall clock. Events of two CPUs are out of order by much less.
const STEP_BACK: u64 = 1_000_000_000;

/// The longest delay, which an [`Instant`] can represent.
const MAX_WAIT: Duration = Duration::from_secs(1 << 32);

impl Pacer {
    pub(super) fn new(factor: f64) -> Result<Self, Error> {
        if factor.is_finite() && factor > 0.0 {
            return Ok(Self { factor, start: None, last: None });
        }
        Err(Error::new(
            ErrorKind::Recording,
            format!("invalid speed {factor}: the factor must be finite and greater than 0"),
        ))
    }

    /// Returns the time at which the event with this timestamp is to be sent. After a step backward
    /// of the recorded wall clock, the replay continues without a gap.
    pub(super) fn due(&mut self, ts: Timestamp) -> Instant {
        if let Some((last, due)) = self.last {
            if last.as_nanos().saturating_sub(ts.as_nanos()) >= STEP_BACK {
                self.start = Some((ts, due));
            }
        }
        let due = self.due_since_start(ts);
        self.last = Some((ts, due));
        due
    }

    fn due_since_start(&mut self, ts: Timestamp) -> Instant {
        let (first, start) = *self.start.get_or_insert_with(|| (ts, Instant::now()));
        let passed = Duration::from_nanos(ts.as_nanos().saturating_sub(first.as_nanos()));
        let wait = Duration::try_from_secs_f64(passed.as_secs_f64() / self.factor).unwrap_or(MAX_WAIT);
        start.checked_add(wait.min(MAX_WAIT)).unwrap_or(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_backward_does_not_end_the_pacing() {
        let mut pacer = Pacer::new(2.0).expect("a valid factor");
        let mut due = |seconds: f64| pacer.due(Timestamp::from_nanos((seconds * 1e9) as u64));
        let began = due(1000.0);
        // The wall clock is stepped by 900 s. Out of order by a moment is not a step.
        let times = [1001.0, 1000.9, 100.0, 101.0, 101.0, 102.0].map(|seconds| (due(seconds) - began).as_secs_f64());
        for (time, expected) in times.into_iter().zip([0.5, 0.45, 0.45, 0.95, 0.95, 1.45]) {
            assert!((time - expected).abs() < 1e-6, "{times:?}");
        }
    }
}
