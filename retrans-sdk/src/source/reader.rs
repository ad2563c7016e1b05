// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring's reader, and where its callback leaves what it is handed.
//!
//! A lock for each record would take longer than half of its decoding, and nobody would ever wait for it: the callback runs within
//! `consume`, and there is one `Reader`.

use std::cell::UnsafeCell;
use std::sync::Arc;

use libbpf_rs::RingBuffer;

use super::object::Object;
use crate::error::{Error, ErrorKind};
use crate::slots::Slots;
use crate::wire;

/// What the callback leaves.
#[derive(Default)]
struct Inbox {
    /// In the order of the ring.
    events: Slots,
    /// How many records were none.
    bad: u64,
}

#[derive(Default)]
struct Shared(UnsafeCell<Inbox>);

// SAFETY: The inbox is reached in two places of this file. The callback has it while it runs, which libbpf has it do within `consume`, on
// the same thread; `take` has it while it runs. Both borrow the `Reader` mutably, so that neither runs while the other does, on
// whichever thread.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

pub(super) struct Reader {
    ring: RingBuffer<'static>,
    inbox: Arc<Shared>,
}

impl Reader {
    /// One of the object's ring. `epoch` is what takes a record's time to the epoch, in nanoseconds.
    pub(super) fn new(object: &Object, epoch: u64) -> Result<Self, Error> {
        let inbox = Arc::<Shared>::default();
        let write = Arc::clone(&inbox);
        // A panic in here would have to cross libbpf's C frames, and aborts: decoding has none, users are called elsewhere.
        let ring = object.ring(move |bytes| {
            // SAFETY: This runs within `consume` alone: see `Shared`.
            #[allow(unsafe_code)]
            let inbox = unsafe { &mut *write.0.get() };
            if inbox.events.add(|event| wire::decode_into(event, bytes, epoch)).is_err() {
                inbox.bad += 1;
            }
        })?;
        Ok(Self { ring, inbox })
    }

    /// Decodes up to `most` records, behind those that are there already. How many there were. Does not block.
    pub(super) fn consume(&mut self, most: usize) -> Result<usize, Error> {
        let read = self.ring.consume_raw_n(most);
        usize::try_from(read).map_err(|_| {
            let errno = std::io::Error::from_raw_os_error(-read);
            Error::new(ErrorKind::System, "cannot read the ring").caused_by(errno)
        })
    }

    /// Puts what is there into `events`, in place of what is there, and tells how many records were none.
    pub(super) fn take(&mut self, events: &mut Slots) -> u64 {
        events.clear();
        // SAFETY: `consume` does not run: see `Shared`.
        #[allow(unsafe_code)]
        let inbox = unsafe { &mut *self.inbox.0.get() };
        std::mem::swap(&mut inbox.events, events);
        std::mem::take(&mut inbox.bad)
    }
}
