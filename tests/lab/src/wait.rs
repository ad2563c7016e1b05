// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits that always have a deadline.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// The limit for any single step of the lab. On an idle machine every step is at least a hundred
/// times shorter. On a busy emulated machine the longest step is the scan for a socket's process:
/// after a scan of half a second the next one follows half a minute later
/// (`StreamBuilder::resolve_owners` uses at most a fiftieth of the time).
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `probe` every two milliseconds until it returns a value.
///
/// # Errors
/// Returns the first error of `probe`, or a timeout that names `what`.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Error::new(format!("timeout after {limit:?}: {what}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
