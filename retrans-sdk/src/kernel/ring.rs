// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the ring buffer.
//!
//! The callback runs during `consume`, and there is one [`RingReader`], so the lock is never
//! contended. Unsafe code without the lock does not reduce the time of a record (`make bench`,
//! pipeline).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::RingBuffer;

use super::object::Object;
use crate::error::{Error, ErrorKind};
use crate::event::buffer::EventBuffer;
use crate::event::record;

/// The events that the callback has decoded.
#[derive(Default)]
struct Decoded {
    /// In the order of the ring buffer.
    events: EventBuffer,
    /// The number of invalid records.
    malformed: u64,
}

pub(super) struct RingReader {
    ring: RingBuffer<'static>,
    decoded: Arc<Mutex<Decoded>>,
}

impl RingReader {
    /// Creates a reader of the object's ring buffer. `epoch_offset` converts `CLOCK_BOOTTIME` to
    /// the Unix epoch, in nanoseconds.
    pub(super) fn new(object: &Object, epoch_offset: u64) -> Result<Self, Error> {
        let decoded = Arc::<Mutex<Decoded>>::default();
        let write = Arc::clone(&decoded);
        // A panic in the callback would cross libbpf's C frames and abort. Decoding does not panic,
        // and user code runs elsewhere.
        let ring = object.ring(move |bytes| {
            let decoded = &mut *lock(&write);
            if decoded.events.push_with(|event| record::decode_into(event, bytes, epoch_offset)).is_err() {
                decoded.malformed += 1;
            }
        })?;
        Ok(Self { ring, decoded })
    }

    /// Decodes up to `limit` records and returns their number. Does not block.
    pub(super) fn consume(&mut self, limit: usize) -> Result<usize, Error> {
        let read = self.ring.consume_raw_n(limit);
        usize::try_from(read).map_err(|_| {
            let errno = std::io::Error::from_raw_os_error(-read);
            Error::new(ErrorKind::System, "cannot read the ring buffer").caused_by(errno)
        })
    }

    /// Swaps the decoded events into `events`, and returns the number of invalid records.
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
