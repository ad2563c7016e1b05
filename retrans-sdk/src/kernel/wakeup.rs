// SPDX-License-Identifier: MIT OR Apache-2.0
//! When the reader of the ring is woken, and when it comes by itself. The other side of it is `bpf/wakeup.bpf.h`.
//!
//! A reader that has read something stays *awake*: it has a timer and comes once it expires, and records do not wake it unless
//! many are waiting. If it then finds nothing it goes to sleep, and the first record wakes it again.
//!
//! A program may have looked at whether the reader is awake right before it was told otherwise, and then hands in a record that wakes
//! nobody. So a reader that goes to sleep comes by once more: what such a program had reserved by then shows in the ring.

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
    /// The first record wakes it; no timer.
    Asleep,
    /// The same, but it comes once more.
    FallingAsleep,
    /// It comes when the timer expires.
    Awake,
}

pub(super) struct Wakeups {
    /// Readable when the ring has woken the reader or the timer has expired.
    epoll: OwnedFd,
    ring: OwnedFd,
    timer: OwnedFd,
    /// `struct retrans_reader`.
    reader: WritableWords,
    /// Zero: each record wakes.
    max_delay: Duration,
    phase: Phase,
    deadline: Instant,
}

impl Wakeups {
    pub(super) fn new(ring: OwnedFd, reader: WritableWords, max_delay: Duration) -> Result<Self, Error> {
        let failed = |errno| Error::system("cannot wait for the ring", errno);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(failed)?;
        for fd in [&ring, &timer] {
            epoll::add(&epoll, fd, EventData::new_u64(0), EventFlags::IN).map_err(failed)?;
        }
        Ok(Self { epoll, ring, timer, reader, max_delay, phase: Phase::Asleep, deadline: Instant::now() })
    }

    /// What to wait for. Whoever was woken reads the ring until it is empty, and says so.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Whether there are records in the ring, or about to be.
    fn has_records(&self) -> bool {
        let mut fds = [PollFd::new(&self.ring, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// The ring was read until it was empty; whether there was `any` record.
    pub(super) fn emptied(&mut self, any: bool) -> Result<(), Error> {
        if self.max_delay.is_zero() {
            return Ok(());
        }
        // What comes from now on may be much once more.
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
        // Before the phase: what fails here is done again by the next who comes.
        self.set_timer(phase != Phase::Asleep)?;
        self.phase = phase;
        Ok(())
    }

    /// Anew, or off: either takes back that it had expired.
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
