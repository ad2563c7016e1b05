// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream for programs that await.

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

/// However it may come about that a descriptor is readable and nobody is told: nothing waits longer. An idle stream wakes its reader as seldom.
const SAFETY: Duration = Duration::from_secs(10);

/// After so many batches the runtime has its turn: a flood is not to keep timers, signals and other tasks from it.
const MOST_IN_A_ROW: u32 = 8;

/// A [`Stream`] as a stream of batches, on tokio's reactor and without a thread of its own. Feature `tokio`.
///
/// A batch has at most 256 events, in the order of the stream, and never none. The stream ends when a [`StopHandle`] says so, at the end of a recording or a script, or with an
/// error. Its futures can be dropped at any await: no event is lost by that. Dropping it detaches everything.
///
/// ```no_run
/// # async fn agent() -> Result<(), Box<dyn std::error::Error>> {
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
    /// Of the stream's descriptor, a copy: tokio's reactor reports the moment at which it becomes readable, and not that it is.
    readable: AsyncFd<OwnedFd>,
    stopped: AsyncFd<OwnedFd>,
    /// Expires every so often.
    safety: AsyncFd<OwnedFd>,
    failed: bool,
    /// Batches that were handed out since the runtime had its turn.
    in_a_row: u32,
}

impl fmt::Debug for AsyncStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncStream").field(&self.stream).finish()
    }
}

impl Stream {
    /// Hands the stream to tokio's reactor. Feature `tokio`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`](crate::ErrorKind::System) for want of descriptors: it takes four more.
    ///
    /// # Panics
    ///
    /// As [`AsyncFd`], outside a runtime of tokio's and in one without its I/O driver.
    #[track_caller]
    pub fn into_async(self) -> Result<AsyncStream, Error> {
        let failed = |error| Error::system("cannot wait for the stream", error);
        let copy = |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(failed);
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(failed)?;
        let every = Timespec { tv_sec: SAFETY.as_secs() as i64, tv_nsec: SAFETY.subsec_nanos().into() };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })
            .map_err(failed)?;
        let (readable, stopped) = (watch(copy(self.as_fd())?)?, watch(copy(self.stop_handle().eventfd().as_fd())?)?);
        Ok(AsyncStream { stream: self, readable, stopped, safety: watch(timer)?, failed: false, in_a_row: 0 })
    }
}

/// Has tokio's reactor report when it becomes readable.
#[allow(unsafe_code)]
fn watch(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, Error> {
    // SAFETY: an `OwnedFd` is open, and the same descriptor of the same file, until it is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(|error| unpollable(error.into()))
}

impl AsyncStream {
    /// The next batch; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Stream::for_each_timeout`]; it is the last item.
    pub async fn recv_batch(&mut self) -> Option<Result<Vec<Event>, Error>> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    /// The stream, for what there is to be known of it.
    #[must_use]
    pub const fn get_ref(&self) -> &Stream {
        &self.stream
    }

    /// The stream as it was: after a stop, for what is left in the ring.
    #[must_use]
    pub fn into_inner(self) -> Stream {
        self.stream
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stream.stats()
    }

    /// A handle by which another task or thread, or a signal handler's, ends the stream.
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
        if self.in_a_row >= MOST_IN_A_ROW {
            self.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            // First, and again after each time that readiness was taken back: what came before that moment is seen here, and what comes after makes it ready again.
            match self.stream.take_at_once() {
                Ok(events) if !events.is_empty() => {
                    self.in_a_row += 1;
                    return Poll::Ready(Some(Ok(events)));
                }
                Ok(_) if self.stream.is_over() => return Poll::Ready(None),
                // A flood of what the predicate refuses is not to keep others from running.
                Ok(_) if self.stream.has_more() => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Poll::Ready(ready) = self.safety.poll_read_ready(context) {
                let mut ready = ready.map_err(unpollable)?;
                // It fails if it has not expired.
                let _ = rustix::io::read(self.safety.get_ref(), &mut [0; 8]);
                ready.clear_ready();
                continue;
            }
            // It stays readable, and so is not taken back.
            if let Poll::Ready(ready) = self.stopped.poll_read_ready(context) {
                ready.map_err(unpollable)?.retain_ready();
                if self.stream.is_over() {
                    return Poll::Ready(None);
                }
            }
            let polled = self.readable.poll_read_ready(context);
            if polled.is_pending() {
                self.in_a_row = 0;
            }
            ready!(polled).map_err(unpollable)?.clear_ready();
        }
    }
}

fn unpollable(error: std::io::Error) -> Error {
    Error::new(crate::error::ErrorKind::System, "cannot wait for the stream").caused_by(error)
}

impl futures_core::Stream for AsyncStream {
    type Item = Result<Vec<Event>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_batch(context)
    }
}
