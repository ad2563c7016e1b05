// SPDX-License-Identifier: MIT OR Apache-2.0
//! The owner of a socket: its process, and how it was resolved.

use crate::event::Event;
use crate::event::kernel_str::KernelStr;
use retrans_macros::reason_table;

/// How the owner of a socket was resolved, and what [`Event::pid`] therefore means.
#[reason_table(key = "owner")]
#[non_exhaustive]
pub enum OwnerSource {
    /// The process connected the socket. It may since have passed the socket to others, by fork()
    /// or as a descriptor, or exited.
    #[reason(value = "connect")]
    Connect = 1,
    /// The process accepted the connection. It may since have passed the socket to others, or
    /// exited.
    #[reason(value = "accept")]
    Accept = 2,
    /// The process was the only one with a file descriptor of the socket, at some time since the
    /// stream was opened.
    #[reason(value = "holder")]
    Holder = 3,
}

/// A process as the BPF programs recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) source: OwnerSource,
    pub(crate) pid: u32,
    pub(crate) comm: KernelStr,
}

impl Owner {
    pub(crate) fn assign_to(self, event: &mut Event) {
        event.owner = Some(self.source);
        event.pid = Some(self.pid);
        event.comm = Some(self.comm);
    }
}
