// SPDX-License-Identifier: MIT OR Apache-2.0
//! A channel of events for offline streams. Its descriptor is readable like the descriptor of a
//! ring buffer.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::buffer::EventBuffer;
use crate::offline::pipeline::Pipeline;

struct Shared {
    state: Mutex<State>,
    /// Notified when there is room again, and when the receiver is closed.
    changed: Condvar,
    /// Readable while there are events, and after the end.
    readable: OwnedFd,
    capacity: usize,
}

struct State {
    events: VecDeque<Event>,
    /// The end of the stream; `None` before it is reached. An error is replaced by `Ok` when it is
    /// returned, so that it is returned only once.
    end: Option<Result<(), Error>>,
    /// True once the receiver was closed.
    is_closed: bool,
}

impl State {
    /// Returns true if no further event can be sent: after the end, and after the receiver was
    /// closed.
    fn is_over(&self) -> bool {
        self.end.is_some() || self.is_closed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_readable(&self) {
        // Fails only if the count is already 2^64 - 2. Then the descriptor is already readable.
        let _ = rustix::io::write(&self.readable, &1u64.to_ne_bytes());
    }

    fn set_unreadable(&self) {
        // Fails if the descriptor is not readable, which is the intended state.
        let _ = rustix::io::read(&self.readable, &mut [0; 8]);
    }
}

/// Returns both ends of a channel that holds up to `capacity` events.
pub(crate) fn channel(pipeline: Pipeline, capacity: usize) -> Result<(EventSender, EventReceiver), Error> {
    let readable = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::system("cannot create an eventfd", errno))?;
    let state = State { events: VecDeque::new(), end: None, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), readable, capacity });
    Ok((EventSender { shared: Arc::clone(&shared), pipeline }, EventReceiver { shared }))
}

/// The sending end. Dropping it ends the stream.
pub(crate) struct EventSender {
    shared: Arc<Shared>,
    pipeline: Pipeline,
}

impl EventSender {
    /// Sends an event. If there is no room, the event is counted as lost.
    pub(crate) fn send(&mut self, event: Event) {
        let mut state = self.shared.lock();
        if state.is_over() {
            return;
        }
        // The event is counted before it can be received, so that `submitted` includes it first.
        let has_room = state.events.len() < self.shared.capacity;
        if let Some(event) = self.pipeline.pass(event, has_room) {
            state.events.push_back(event);
            if state.events.len() == 1 {
                self.shared.set_readable();
            }
        }
    }

    /// Counts an event as lost, as if there were no room.
    pub(crate) fn send_lost(&mut self, event: Event) {
        let state = self.shared.lock();
        if !state.is_over() {
            self.pipeline.pass(event, false);
        }
    }

    /// Sends all events, and waits whenever there is no room. Returns false if the receiver was
    /// closed.
    pub(crate) fn send_all(&mut self, events: &mut Vec<Event>) -> bool {
        let mut state = self.shared.lock();
        for event in events.drain(..) {
            while state.events.len() >= self.shared.capacity && !state.is_closed {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_closed {
                return false;
            }
            if let Some(event) = self.pipeline.pass(event, true) {
                state.events.push_back(event);
                if state.events.len() == 1 {
                    self.shared.set_readable();
                }
            }
        }
        !state.is_closed
    }

    /// Waits until a point in time. Returns false immediately if the receiver was closed.
    pub(crate) fn wait_until(&self, then: Instant) -> bool {
        let mut state = self.shared.lock();
        while !state.is_closed {
            let left = then.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return true;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Ends the stream. Only the first call has an effect.
    pub(crate) fn end(&self, with: Result<(), Error>) {
        let mut state = self.shared.lock();
        if state.end.is_none() {
            state.end = Some(with);
            self.shared.set_readable();
        }
    }

    /// Returns whether the receiver was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().is_closed
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        // A truncated stream must not look complete.
        let panicked = || Err(Error::new(ErrorKind::System, "the source of the stream's events panicked"));
        self.end(if std::thread::panicking() { panicked() } else { Ok(()) });
    }
}

/// The receiving end.
pub(crate) struct EventReceiver {
    shared: Arc<Shared>,
}

impl EventReceiver {
    /// Replaces the contents of `events` with up to `most` events. Returns true if there are more
    /// events, or a pending error. Does not block.
    pub(crate) fn read(&self, most: usize, events: &mut EventBuffer) -> Result<bool, Error> {
        events.clear();
        let mut state = self.shared.lock();
        let count = state.events.len().min(most);
        state.events.drain(..count).for_each(|event| events.push(event));
        let more = !state.events.is_empty();
        if !more && state.end.is_none() && !state.is_closed {
            self.shared.set_unreadable();
        }
        if count > 0 {
            self.shared.changed.notify_all();
            // If an error is pending, the caller must read again to receive it.
            return Ok(more || matches!(state.end, Some(Err(_))));
        }
        // The end is returned after all events.
        match state.end.take() {
            None => Ok(false),
            Some(end) => {
                state.end = Some(Ok(()));
                end.map(|()| false)
            }
        }
    }

    /// Returns true if no further event can come.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.shared.lock();
        let is_ended = match &state.end {
            Some(end) => end.is_ok(),
            None => state.is_closed,
        };
        state.events.is_empty() && is_ended
    }

    /// Stops receiving. Events that were sent before can still be read.
    pub(crate) fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.set_readable();
        self.shared.changed.notify_all();
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.shared.readable.as_fd()
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.events = VecDeque::new();
        drop(state);
        self.shared.changed.notify_all();
    }
}
