// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which process a socket belongs to: how it is known, and what a stream has to know it by.

use crate::event::Event;
use crate::event::kernel_str::KernelStr;
use retrans_macros::reason_table;

/// How it is known which process a socket belongs to, and so what [`Event::pid`] means.
#[reason_table(key = "owner")]
#[non_exhaustive]
pub enum OwnerSource {
    /// The process connected the socket. Others may have it by now, by fork() or handed over, and this one may be no more.
    #[reason(value = "connect")]
    Connect = 1,
    /// The process accepted the connection. Since then, as above.
    #[reason(value = "accept")]
    Accept = 2,
    /// The process was the only one with a descriptor of the socket, at a time since the stream was opened.
    #[reason(value = "holder")]
    Holder = 3,
}

/// A process, as the programs saw it.
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
