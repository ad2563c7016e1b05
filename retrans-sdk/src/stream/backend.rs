// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source of a stream's events: the running kernel, or a recording or mock.
//!
//! # Design
//!
//! Recordings and mocks feed the same `Stream`, and not a dedicated type or trait. So the code that
//! an application tests is the code that runs in production. User space filters and counts their
//! events in the same way as the BPF programs (`offline/pipeline.rs`), so `StatsReader` reports
//! both in the same way. A recording does not state whether failures were observable. Therefore its
//! failures are `Unobservable` until a line with a failure, or a line of kernel text with `err`,
//! was read.

use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::event::buffer::EventBuffer;
use crate::event::verdict::Verdict;
use crate::offline::channel::EventReceiver;
use crate::stream::live::Live;

pub(crate) enum Backend {
    Live(Box<Live>),
    Offline(EventReceiver),
}

impl Backend {
    /// Replaces the contents of `events` with up to `most` events. Returns true if there may be
    /// more events. Does not block.
    pub(crate) fn read(&mut self, most: usize, events: &mut EventBuffer) -> Result<bool, Error> {
        match self {
            Self::Live(live) => live.source.read(most, events),
            Self::Offline(receiver) => receiver.read(most, events),
        }
    }

    /// Returns a file descriptor that is readable when there are events.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Live(live) => live.source.fd(),
            Self::Offline(receiver) => receiver.fd(),
        }
    }

    /// Returns true if no further event can come. Always returns false for a live stream: the
    /// caller knows whether the stream is detached and whether its ring buffer is empty.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Live(..) => false,
            Self::Offline(receiver) => receiver.is_over(),
        }
    }

    /// Returns the verdicts that were read and not delivered yet.
    pub(crate) const fn verdicts(&mut self) -> Option<&mut Vec<Verdict>> {
        match self {
            Self::Live(live) => Some(live.source.verdicts()),
            Self::Offline(_) => None,
        }
    }

    pub(crate) const fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Offline(_) => None,
        }
    }

    /// Detaches a live stream from the kernel, or stops the sender of offline events.
    pub(crate) fn detach(&mut self) {
        match self {
            Self::Live(live) => live.source.programs.detach(),
            Self::Offline(receiver) => receiver.close(),
        }
    }
}
