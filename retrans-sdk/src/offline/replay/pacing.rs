// SPDX-License-Identifier: MIT OR Apache-2.0
//! Delays events to the speed of a recording.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::event::timestamp::Timestamp;

pub(super) struct Pacer {
    factor: f64,
    /// The timestamp of the first event, and the time at which the event was sent.
    start: Option<(Timestamp, Instant)>,
}

/// The longest delay, which an [`Instant`] can represent.
const MAX_WAIT: Duration = Duration::from_secs(1 << 32);

impl Pacer {
    pub(super) fn new(factor: f64) -> Result<Self, Error> {
        if factor.is_finite() && factor > 0.0 {
            return Ok(Self { factor, start: None });
        }
        Err(Error::new(
            ErrorKind::Recording,
            format!("invalid speed {factor}: the factor must be finite and greater than 0"),
        ))
    }

    /// Returns the time at which the event with this timestamp is to be sent.
    pub(super) fn due(&mut self, ts: Timestamp) -> Instant {
        let (first, start) = *self.start.get_or_insert_with(|| (ts, Instant::now()));
        let passed = Duration::from_nanos(ts.as_nanos().saturating_sub(first.as_nanos()));
        let wait = Duration::try_from_secs_f64(passed.as_secs_f64() / self.factor).unwrap_or(MAX_WAIT);
        start.checked_add(wait.min(MAX_WAIT)).unwrap_or(start)
    }
}
