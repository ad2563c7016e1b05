// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring's reader, and where its callback leaves what it is handed.
//!
//! The callback runs within `consume`, and there is one `Reader`: nobody waits for the lock. Without it, by unsafe code, a record
//! takes no less time (`make bench`, pipeline).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::RingBuffer;

use super::object::Object;
use crate::error::{Error, ErrorKind};
use crate::event::buffer::EventBuffer;
use crate::event::record;

/// What the callback leaves.
#[derive(Default)]
struct Inbox {
    /// In the order of the ring.
    events: EventBuffer,
    /// How many records were none.
    bad: u64,
}

pub(super) struct Reader {
    ring: RingBuffer<'static>,
    inbox: Arc<Mutex<Inbox>>,
}

impl Reader {
    /// One of the object's ring. `epoch` is what takes a record's time to the epoch, in nanoseconds.
    pub(super) fn new(object: &Object, epoch: u64) -> Result<Self, Error> {
        let inbox = Arc::<Mutex<Inbox>>::default();
        let write = Arc::clone(&inbox);
        // A panic in here would have to cross libbpf's C frames, and aborts: decoding has none, users are called elsewhere.
        let ring = object.ring(move |bytes| {
            let inbox = &mut *lock(&write);
            if inbox.events.add(|event| record::decode_into(event, bytes, epoch)).is_err() {
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
    pub(super) fn take(&mut self, events: &mut EventBuffer) -> u64 {
        events.clear();
        let inbox = &mut *lock(&self.inbox);
        std::mem::swap(&mut inbox.events, events);
        std::mem::take(&mut inbox.bad)
    }
}

fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}
