// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BPF programs, loaded and attached. The only module that depends on libbpf.

pub(crate) mod attach_method;
pub(crate) mod attachment;
pub(crate) mod btf;
mod btf_subset;
#[cfg(feature = "check")]
pub(crate) mod c_enum;
mod capabilities;
pub(crate) mod config;
pub(crate) mod diagnosis;
mod drops;
#[cfg(not(retrans_docs_only))]
mod layout;
mod libbpf_error;
mod libbpf_log;
#[cfg_attr(retrans_docs_only, path = "object_stub.rs")]
mod object;
mod open;
pub(crate) mod owner_hooks;
mod plan;
#[cfg(not(retrans_docs_only))]
mod probe;
#[cfg(not(retrans_docs_only))]
mod program;
mod ring;
mod socket_owners;
pub(crate) mod socket_set;
pub(crate) mod support;
pub(crate) mod verdict_hooks;
mod wakeup;

/// The skeleton that libbpf-cargo generates from `bpf/retrans.bpf.c`.
#[cfg(not(retrans_docs_only))]
#[allow(unsafe_code, unreachable_pub, clippy::all)]
#[allow(clippy::expect_used, clippy::panic, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/retrans.skel.rs"));
}

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

#[cfg(feature = "check")]
pub(crate) use self::btf::{ThirdArgument, VMLINUX, read as read_btf, third_argument};
#[cfg(feature = "check")]
pub(crate) use self::c_enum::{enums, enums_of_object};
#[cfg(feature = "test-util")]
use self::config::Wakeup;
use self::drops::DropNames;
use self::object::Object;
#[cfg(feature = "check")]
pub(crate) use self::object::object_bytes;
pub(crate) use self::open::{open, open_counters};
pub(crate) use self::plan::Companions;
use self::ring::RingReader;
use self::socket_owners::SocketOwners;
use self::socket_set::SocketSet;
use self::wakeup::Wakeups;
use crate::error::Error;
use crate::event::buffer::EventBuffer;
use crate::event::drop_reason::DropReason;
use crate::event::result::RetransResult;
use crate::event::verdict::Verdict;
use crate::kernel::owner_hooks::OwnerHooks;
use crate::kernel::verdict_hooks::VerdictHooks;
use crate::stats::reader::StatsReader;
use crate::stats::user_counters::add;

/// The ring buffer and the BPF programs that fill it.
pub(crate) struct Source {
    ring: RingReader,
    wakeups: Wakeups,
    shows_cookie: bool,
    /// Verdicts that were decoded and not taken yet. They are taken before the next batch is read.
    verdicts: Vec<Verdict>,
    pub(crate) programs: Attached,
}

/// The attached BPF programs. Dropping it detaches them.
pub(crate) struct Attached {
    object: Object,
    /// The resolution of socket owners, if requested.
    owners: Option<SocketOwners>,
    /// The kernel's names of unlisted results, by number.
    names: BTreeMap<u32, String>,
    /// The kernel's names of the reasons of drops, if it reports reasons.
    drop_names: Option<Arc<DropNames>>,
    /// The set of own sockets, if the filter uses it.
    pub(crate) own_sockets: Option<SocketSet>,
    pub(crate) stats: StatsReader,
    /// The hooks that report verdicts, if requested.
    verdict_hooks: Option<VerdictHooks>,
}

impl Attached {
    /// Detaches the programs; maps and counters remain. Requires no capability.
    pub(crate) fn detach(&mut self) {
        self.object.detach();
        if let Some(owners) = &mut self.owners {
            owners.detach();
        }
    }

    /// Returns the kernel's name of an unlisted result.
    pub(crate) fn kernel_name(&self, result: RetransResult) -> Option<&str> {
        self.names.get(&result.raw()).map(String::as_str)
    }

    /// Returns the kernel's name of an unlisted reason of a drop.
    pub(crate) fn kernel_drop_reason(&self, reason: DropReason) -> Option<&str> {
        self.drop_names.as_ref()?.name_of(reason)
    }

    /// Returns the hooks that report verdicts, if requested.
    pub(crate) const fn verdict_hooks(&self) -> Option<&VerdictHooks> {
        self.verdict_hooks.as_ref()
    }

    /// Returns the hooks that resolve socket owners, if requested.
    pub(crate) fn owner_hooks(&self) -> Option<&OwnerHooks> {
        self.owners.as_ref().map(|owners| &owners.hooks)
    }
}

impl Source {
    /// Replaces the contents of `events` with up to `most` events, and counts invalid records.
    /// Returns whether there may be more. Does not block.
    pub(crate) fn read(&mut self, most: usize, events: &mut EventBuffer) -> Result<bool, Error> {
        events.clear();
        let mut read = self.ring.consume(most)?;
        if read < most {
            // A program that submits a record now either sees that the reader has caught up, and
            // wakes it, or its record is seen here.
            fence(Ordering::SeqCst);
            read += self.ring.consume(most - read)?;
        }
        let malformed = self.ring.take(events, &mut self.verdicts);
        if read < most {
            self.wakeups.emptied(read > 0)?;
        }
        if malformed > 0 {
            add(&self.programs.stats.user().dropped, malformed);
        }
        if let Some(owners) = &self.programs.owners {
            for event in events.events_mut() {
                owners.complete(event);
                // The cookie was recorded for the owner only.
                event.cookie = event.cookie.filter(|_| self.shows_cookie);
            }
        }
        Ok(read == most)
    }

    /// Returns the verdicts that were read with the last batches.
    pub(crate) const fn verdicts(&mut self) -> &mut Vec<Verdict> {
        &mut self.verdicts
    }

    /// Returns the maps of the ring buffer and its wake-up settings, for the test harness.
    #[cfg(feature = "test-util")]
    pub(crate) fn ring(&self) -> ([BorrowedFd<'_>; 2], Wakeup) {
        (self.programs.object.ring_maps(), self.programs.object.wakeup())
    }

    /// Returns a descriptor that is readable when there are records, and occasionally when there is
    /// no record.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wakeups.fd()
    }
}
