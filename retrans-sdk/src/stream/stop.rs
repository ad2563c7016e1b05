// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ends blocking reads from other threads and signal handlers.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::Error;

/// Ends the blocking reads of a stream, from any thread or signal handler.
///
/// Afterwards [`Stream::iter`](crate::Stream::iter) ends, and
/// [`Stream::for_each_timeout`](crate::Stream::for_each_timeout) and
/// [`Stream::recv_batch_timeout`](crate::Stream::recv_batch_timeout) return immediately. Clones
/// refer to the same stream.
///
/// # Examples
///
/// ```no_run
/// use std::thread;
/// use std::time::Duration;
///
/// use retrans_sdk::Stream;
///
/// let mut stream = Stream::open()?;
/// let stop = stream.stop_handle();
/// thread::spawn(move || {
///     thread::sleep(Duration::from_secs(60));
///     stop.stop();
/// });
/// for event in stream.iter() {
///     println!("{}", event?);
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Stop>);

#[derive(Debug)]
struct Stop {
    /// Wakes the threads that wait.
    eventfd: OwnedFd,
    stopped: AtomicBool,
}

impl StopHandle {
    pub(crate) fn new() -> Result<Self, Error> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("cannot create an eventfd", errno))?;
        Ok(Self(Arc::new(Stop { eventfd, stopped: AtomicBool::new(false) })))
    }

    /// Ends the blocking reads. Async-signal-safe.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        // Fails only if the count is already 2^64 - 2. Then the descriptor is already readable.
        let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Returns a file descriptor that is readable after a stop.
    pub(crate) fn eventfd(&self) -> &OwnedFd {
        &self.0.eventfd
    }
}
