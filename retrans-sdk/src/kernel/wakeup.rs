// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wakes the reader of the ring buffer. The counterpart of `bpf/wakeup.bpf.h`.
//!
//! A reader that has read something stays *awake*: it returns when its timer expires, and records
//! do not wake it unless many are waiting. If it then finds nothing it goes to sleep, and the first
//! record wakes it again.
//!
//! A program may have read that the reader is awake right before the reader goes to sleep, and then
//! submits a record without a wake-up. Therefore a reader that goes to sleep returns once more, and
//! finds what such a program had reserved.
//!
//! # Design
//!
//! A wake-up lasts ten times as long as writing a record, so the reader and the programs both
//! decide about it. While the reader is awake, which it announces in a mapped word, the programs
//! wake it only once `wakeup_bytes` are waiting. Every 16th record of a CPU checks that (more often
//! with a small ring buffer), and the reader is not woken again before it has emptied the ring
//! buffer.
//!
//! The stream's file descriptor covers the ring buffer and the timer, so an event loop of the
//! application behaves like the stream's own wait.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::error::Error;
use crate::sys::mmap::WritableWords;

/// The words of `struct retrans_reader`.
const AWAKE: usize = 0;
const WOKEN: usize = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first record wakes the reader; no timer.
    Asleep,
    /// As asleep, but the reader returns once more.
    FallingAsleep,
    /// The reader returns when the timer expires.
    Awake,
}

pub(super) struct Wakeups {
    /// Readable when a record has woken the reader or the timer has expired.
    epoll: OwnedFd,
    ring: OwnedFd,
    timer: OwnedFd,
    /// `struct retrans_reader`.
    reader: WritableWords,
    /// With zero each record wakes the reader.
    max_delay: Duration,
    phase: Phase,
    deadline: Instant,
}

impl Wakeups {
    pub(super) fn new(ring: OwnedFd, reader: WritableWords, max_delay: Duration) -> Result<Self, Error> {
        let failed = |errno| Error::system("cannot wait for the ring buffer", errno);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(failed)?;
        for fd in [&ring, &timer] {
            epoll::add(&epoll, fd, EventData::new_u64(0), EventFlags::IN).map_err(failed)?;
        }
        Ok(Self { epoll, ring, timer, reader, max_delay, phase: Phase::Asleep, deadline: Instant::now() })
    }

    /// Returns the descriptor to wait for. The woken reader must read until the ring buffer is
    /// empty, and call [`emptied`](Self::emptied).
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Returns whether there are records in the ring buffer, or reserved.
    fn has_records(&self) -> bool {
        let mut fds = [PollFd::new(&self.ring, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Records that the ring buffer was read until it was empty, and whether it contained `any`
    /// record.
    pub(super) fn emptied(&mut self, any: bool) -> Result<(), Error> {
        if self.max_delay.is_zero() {
            return Ok(());
        }
        // Allow another early wake-up.
        if self.reader.load(WOKEN) != 0 {
            self.reader.store(WOKEN, 0);
        }
        let phase = match self.phase {
            _ if any => Phase::Awake,
            Phase::Asleep => return Ok(()),
            _ if Instant::now() < self.deadline => return Ok(()),
            Phase::Awake => Phase::FallingAsleep,
            Phase::FallingAsleep if self.has_records() => Phase::FallingAsleep,
            Phase::FallingAsleep => Phase::Asleep,
        };
        if phase != self.phase {
            self.reader.store(AWAKE, (phase == Phase::Awake).into());
        }
        // Before the phase is stored, so that a failure is retried at the next call.
        self.set_timer(phase != Phase::Asleep)?;
        self.phase = phase;
        Ok(())
    }

    /// Restarts or stops the timer; either clears an expiration.
    fn set_timer(&mut self, on: bool) -> Result<(), Error> {
        let delay = if on { self.max_delay } else { Duration::ZERO };
        self.deadline = Instant::now().checked_add(delay).unwrap_or(self.deadline);
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: delay.as_secs() as i64, tv_nsec: delay.subsec_nanos().into() };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: zero, it_value })
            .map(|_| ())
            .map_err(|errno| Error::system("cannot set a timer", errno))
    }
}
