// SPDX-License-Identifier: MIT OR Apache-2.0
//! The owner of a socket: its process, and how it was resolved.

use crate::event::Event;
use crate::event::kernel_str::KernelStr;
use retrans_macros::reason_table;

/// The way in which the owner of a socket was resolved, which defines the meaning of
/// [`Event::pid`].
///
/// [`StreamBuilder::resolve_owners`](crate::StreamBuilder::resolve_owners) enables it. Requires
/// Linux 5.12.
#[reason_table(key = "owner")]
#[non_exhaustive]
pub enum OwnerSource {
    /// The process connected the socket. It may have passed the socket to other processes since,
    /// by fork() or as a descriptor, or it may have exited.
    #[reason(value = "connect")]
    Connect = 1,
    /// The process accepted the connection. It may have passed the socket to other processes
    /// since, or it may have exited.
    #[reason(value = "accept")]
    Accept = 2,
    /// The process was the only one that held the socket when the kernel scanned the file
    /// descriptors of all processes. That scan ran when the stream was opened or later.
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
