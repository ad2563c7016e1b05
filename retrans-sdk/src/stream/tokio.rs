// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream for async programs.
//!
//! # Design
//!
//! tokio waits on the stream's own file descriptor, without an additional thread. tokio's reactor
//! reports only the moment at which the descriptor becomes readable, and not that it still is
//! readable. Therefore readiness is cleared only after the ring buffer was read until it was empty.
//! Then the ring buffer is read once more, because a record may have arrived before readiness was
//! cleared. In addition, a timer makes the stream read every ten seconds, in case readiness is ever
//! missed. The timeouts of the tests are shorter, so that such a miss fails a test.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::Error;
use crate::event::Event;
use crate::stats::Stats;
use crate::stream::Stream;
use crate::stream::stop::StopHandle;

/// The interval at which the stream is read even without a readiness event. A missed readiness
/// event delays the stream by at most this time.
const RECHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The number of batches after which the runtime is given control, so a busy stream does not starve
/// timers, signals and other tasks.
const MAX_BATCHES_PER_POLL: u32 = 8;

/// A [`Stream`] as an async stream of batches, driven by tokio's reactor without an additional
/// thread. Requires the feature `tokio`.
///
/// [`Stream::into_async`] returns it. A batch contains 1 to 256 events, in the order of the stream.
/// The stream ends after a stop by a [`StopHandle`], at the end of a recording or a mock, or with
/// an error. Its futures are cancel-safe: dropping one at an await loses no event. Dropping the
/// stream detaches the BPF programs.
///
/// # Examples
///
/// ```no_run
/// # async fn agent() -> Result<(), retrans_sdk::Error> {
/// let mut stream = retrans_sdk::Stream::builder().open()?.into_async()?;
/// while let Some(batch) = stream.recv_batch().await {
///     for event in batch? {
///         println!("{event}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct AsyncStream {
    stream: Stream,
    /// A duplicate of the stream's descriptor. tokio's reactor reports the moment at which it
    /// becomes readable, not that it is readable.
    readable: AsyncFd<OwnedFd>,
    stopped: AsyncFd<OwnedFd>,
    /// Expires after each [`RECHECK_INTERVAL`].
    recheck: AsyncFd<OwnedFd>,
    failed: bool,
    /// The number of batches since the runtime was given control.
    batches_in_a_row: u32,
}

impl fmt::Debug for AsyncStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncStream").field(&self.stream).finish()
    }
}

impl Stream {
    /// Registers the stream with tokio's reactor. Requires the feature `tokio`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`](crate::ErrorKind::System) if the process cannot open four more file
    /// descriptors.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime, and in a runtime without its I/O driver, as [`AsyncFd`]
    /// does.
    #[track_caller]
    pub fn into_async(self) -> Result<AsyncStream, Error> {
        let failed = |error| Error::system("cannot wait for the stream", error);
        let copy = |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(failed);
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(failed)?;
        let every =
            Timespec { tv_sec: RECHECK_INTERVAL.as_secs() as i64, tv_nsec: RECHECK_INTERVAL.subsec_nanos().into() };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })
            .map_err(failed)?;
        let (readable, stopped) = (watch(copy(self.as_fd())?)?, watch(copy(self.stop_handle().eventfd().as_fd())?)?);
        Ok(AsyncStream { stream: self, readable, stopped, recheck: watch(timer)?, failed: false, batches_in_a_row: 0 })
    }
}

/// Registers a descriptor with tokio's reactor.
#[allow(unsafe_code)]
fn watch(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, Error> {
    // SAFETY: an `OwnedFd` is open, and the same descriptor of the same file, until it is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(|error| wait_error(error.into()))
}

impl AsyncStream {
    /// Receives the next batch. Returns `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Stream::for_each_timeout`]. An error is the last item.
    pub async fn recv_batch(&mut self) -> Option<Result<Vec<Event>, Error>> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    /// Returns the stream, for example to read its attachment.
    #[must_use]
    pub const fn get_ref(&self) -> &Stream {
        &self.stream
    }

    /// Returns the stream itself, for example to read what is left in the ring buffer after a stop.
    #[must_use]
    pub fn into_inner(self) -> Stream {
        self.stream
    }

    /// Detaches the BPF programs, as [`Stream::detach`] does. The events that are left in the ring
    /// buffer can still be received. Then the stream ends.
    ///
    /// Blocks the thread for 3 to 101 milliseconds.
    pub fn detach(&mut self) {
        self.stream.detach();
    }

    /// Returns the current counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stream.stats()
    }

    /// Returns a handle with which another task, thread or signal handler ends the stream.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stream.stop_handle()
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<Event>, Error>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let polled = self.poll_events(context);
        self.failed = matches!(polled, Poll::Ready(Some(Err(_))));
        polled
    }

    fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Vec<Event>, Error>>> {
        if self.batches_in_a_row >= MAX_BATCHES_PER_POLL {
            self.batches_in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            // Reads first, and again after readiness was cleared. This finds the events that
            // arrived before readiness was cleared. Later events set readiness again.
            match self.stream.take_at_once() {
                Ok(events) if !events.is_empty() => {
                    self.batches_in_a_row += 1;
                    return Poll::Ready(Some(Ok(events)));
                }
                Ok(_) if self.stream.is_over() => return Poll::Ready(None),
                // Events that the predicate rejects must not starve other tasks.
                Ok(_) if self.stream.has_more() => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Poll::Ready(ready) = self.recheck.poll_read_ready(context) {
                let mut ready = ready.map_err(wait_error)?;
                // Fails if the timer has not expired.
                let _ = rustix::io::read(self.recheck.get_ref(), &mut [0; 8]);
                ready.clear_ready();
                continue;
            }
            // After a stop the descriptor stays readable, so its readiness is retained.
            if let Poll::Ready(ready) = self.stopped.poll_read_ready(context) {
                ready.map_err(wait_error)?.retain_ready();
                if self.stream.is_over() {
                    return Poll::Ready(None);
                }
            }
            let polled = self.readable.poll_read_ready(context);
            if polled.is_pending() {
                self.batches_in_a_row = 0;
            }
            ready!(polled).map_err(wait_error)?.clear_ready();
        }
    }
}

fn wait_error(error: std::io::Error) -> Error {
    Error::new(crate::error::ErrorKind::System, "cannot wait for the stream").caused_by(error)
}

impl futures_core::Stream for AsyncStream {
    type Item = Result<Vec<Event>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_batch(context)
    }
}
