// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a stream's events come from: this host's kernel, or somebody who tells of them.

use std::os::fd::BorrowedFd;

use crate::error::Error;
use crate::event::buffer::Slots;
use crate::kernel::Source;
use crate::kernel::attachment::Attachment;
use crate::offline::channel::Told;

pub(crate) enum Feed {
    Kernel(Box<Source>, Attachment),
    Told(Told),
}

impl Feed {
    /// Puts up to `most` events into `events`, in place of what is there. Whether there may be more. Does not block.
    pub(crate) fn read(&mut self, most: usize, events: &mut Slots) -> Result<bool, Error> {
        match self {
            Self::Kernel(source, _) => source.read(most, events),
            Self::Told(told) => told.read(most, events),
        }
    }

    /// Readable when there is something to be read.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kernel(source, _) => source.fd(),
            Self::Told(told) => told.fd(),
        }
    }

    /// Whether nothing comes any more: of the kernel it never is.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Kernel(..) => false,
            Self::Told(told) => told.is_over(),
        }
    }

    pub(crate) fn kernel(&self) -> Option<&Source> {
        match self {
            Self::Kernel(source, _) => Some(source),
            Self::Told(_) => None,
        }
    }

    pub(crate) fn attachment(&self) -> Option<&Attachment> {
        match self {
            Self::Kernel(_, attachment) => Some(attachment),
            Self::Told(_) => None,
        }
    }
}
