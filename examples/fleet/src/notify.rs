// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notifications for systemd: readiness and the watchdog.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Notifies systemd, if it started the process with `Type=notify`. Does nothing otherwise.
#[derive(Debug)]
pub struct Notifier {
    watchdog: bool,
}

impl Notifier {
    /// Reports that the service is ready. The caller calls [`alive`](Self::alive) every `interval`.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket of systemd cannot be written, or if `WatchdogSec=` is less
    /// than two intervals, so that systemd would kill the service.
    pub fn ready(interval: Duration) -> io::Result<Self> {
        let watchdog = sd_notify::watchdog_enabled();
        if let Some(limit) = watchdog.filter(|limit| *limit < 2 * interval) {
            let message = format!("WatchdogSec= is {limit:?}: set it to {:?} or more", 2 * interval);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        sd_notify::notify(&[NotifyState::Ready])?;
        Ok(Self { watchdog: watchdog.is_some() })
    }

    /// Reports that the service is alive, if systemd requires that.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket of systemd cannot be written.
    pub fn alive(&self) -> io::Result<()> {
        if self.watchdog { sd_notify::notify(&[NotifyState::Watchdog]) } else { Ok(()) }
    }

    /// Reports that the service stops.
    ///
    /// # Errors
    ///
    /// As [`alive`](Self::alive).
    pub fn stopping(&self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Stopping])
    }
}
