// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source of a stream's events: the running kernel, or a recording or mock.
//!
//! # Design
//!
//! Recordings and mocks feed the same `Stream`, not a type or trait of their own: the code that an
//! application tests is the code that runs in production. Their events pass the model of the filter
//! and are counted like those of the BPF programs (`offline/pipeline.rs`), so `StatsReader` does
//! not distinguish them. A recording does not state whether failures were observable. They are
//! unobservable until it contains one, or until the kernel's text contains `err`.

use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::event::buffer::EventBuffer;
use crate::offline::channel::EventReceiver;
use crate::stream::live::Live;

pub(crate) enum Backend {
    Live(Box<Live>),
    Offline(EventReceiver),
}

impl Backend {
    /// Replaces the contents of `events` with up to `most` events. Returns whether there may be
    /// more. Does not block.
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

    /// Returns whether no further event can come. Always false for a live stream: the caller knows
    /// whether it is detached and whether its ring buffer is empty.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Live(..) => false,
            Self::Offline(receiver) => receiver.is_over(),
        }
    }

    pub(crate) const fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Offline(_) => None,
        }
    }

    /// Detaches from the kernel, or makes the sender of offline events stop.
    pub(crate) fn detach(&mut self) {
        match self {
            Self::Live(live) => live.source.programs.detach(),
            Self::Offline(receiver) => receiver.close(),
        }
    }
}
