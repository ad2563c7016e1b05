// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring's reader, and where its callback leaves what it is handed.
//!
//! The callback runs within `consume`, and there is one `RingReader`: nobody waits for the lock. Without it, by unsafe code, a record
//! takes no less time (`make bench`, pipeline).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::RingBuffer;

use super::object::Object;
use crate::error::{Error, ErrorKind};
use crate::event::buffer::EventBuffer;
use crate::event::record;

/// What the callback leaves.
#[derive(Default)]
struct Decoded {
    /// In the order of the ring.
    events: EventBuffer,
    /// How many records were none.
    malformed: u64,
}

pub(super) struct RingReader {
    ring: RingBuffer<'static>,
    decoded: Arc<Mutex<Decoded>>,
}

impl RingReader {
    /// One of the object's ring. `epoch_offset` is what takes a record's time to the epoch, in nanoseconds.
    pub(super) fn new(object: &Object, epoch_offset: u64) -> Result<Self, Error> {
        let decoded = Arc::<Mutex<Decoded>>::default();
        let write = Arc::clone(&decoded);
        // A panic in here would have to cross libbpf's C frames, and aborts: decoding has none, users are called elsewhere.
        let ring = object.ring(move |bytes| {
            let decoded = &mut *lock(&write);
            if decoded.events.push_with(|event| record::decode_into(event, bytes, epoch_offset)).is_err() {
                decoded.malformed += 1;
            }
        })?;
        Ok(Self { ring, decoded })
    }

    /// Decodes up to `most` records, behind those that are there already. How many there were. Does not block.
    pub(super) fn consume(&mut self, limit: usize) -> Result<usize, Error> {
        let read = self.ring.consume_raw_n(limit);
        usize::try_from(read).map_err(|_| {
            let errno = std::io::Error::from_raw_os_error(-read);
            Error::new(ErrorKind::System, "cannot read the ring").caused_by(errno)
        })
    }

    /// Puts what is there into `events`, in place of what is there, and tells how many records were none.
    pub(super) fn take(&mut self, events: &mut EventBuffer) -> u64 {
        events.clear();
        let decoded = &mut *lock(&self.decoded);
        std::mem::swap(&mut decoded.events, events);
        std::mem::take(&mut decoded.malformed)
    }
}

fn lock(decoded: &Mutex<Decoded>) -> MutexGuard<'_, Decoded> {
    decoded.lock().unwrap_or_else(PoisonError::into_inner)
}
