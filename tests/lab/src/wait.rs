// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting, never without a deadline.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How long any single step of the lab may take before it counts as failed. On a machine of its own no step needs a hundredth of
/// it. Where it is emulated, and busy, the longest is a process that is looked for: a look that takes half a second is not done again for half a minute
/// (`Builder::owners` takes a fiftieth of the time).
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` every other millisecond until it gives a value.
///
/// # Errors
/// The probe's own error at once, or a time-out that names `what`.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Error::new(format!("{what}: not within {limit:?}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
