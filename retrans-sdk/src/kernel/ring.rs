// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the ring buffer.
//!
//! The callback runs during `consume`, and there is one [`RingReader`], so the lock is never
//! contended. Unsafe code without the lock does not reduce the time of a record (`make bench`,
//! pipeline).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::RingBuffer;

use super::drops::DropResolver;
use super::object::Object;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::buffer::EventBuffer;
use crate::event::record::{self, WireError};
use crate::event::verdict::Verdict;
use crate::sys::clock::EpochOffset;

/// The events that the callback has decoded.
struct Decoded {
    /// In the order of the ring buffer.
    events: EventBuffer,
    /// At most one batch of records, like the events.
    verdicts: Vec<Verdict>,
    /// The number of invalid records.
    malformed: u64,
    /// The offset of the events' times.
    epoch: EpochOffset,
    /// Completes the fields of drops, if they are requested.
    drops: Option<DropResolver>,
}

impl Decoded {
    fn new(epoch: EpochOffset, drops: Option<DropResolver>) -> Self {
        Self { events: EventBuffer::default(), verdicts: Vec::new(), malformed: 0, epoch, drops }
    }

    /// Decodes a record. All events of a batch have the same offset.
    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        if self.events.events().is_empty() {
            self.epoch.follow();
        }
        let epoch_offset = self.epoch.nanos();
        let drops = &mut self.drops;
        let decode = |event: &mut Event| {
            record::decode_into(event, bytes, epoch_offset)?;
            if let Some(drops) = drops {
                drops.complete(event, bytes);
            }
            Ok::<_, WireError>(())
        };
        if self.events.push_with(decode).is_err() {
            self.add_other(bytes, epoch_offset);
        }
    }

    /// Decodes a record that is not about an attempt.
    #[cold]
    fn add_other(&mut self, bytes: &[u8], epoch_offset: i64) {
        match Verdict::decode(bytes, epoch_offset) {
            Some(verdict) => self.verdicts.push(verdict),
            None => self.malformed += 1,
        }
    }

    /// Swaps the batch into `events`, appends its verdicts to `verdicts`, and returns the number of
    /// invalid records.
    fn take(&mut self, events: &mut EventBuffer, verdicts: &mut Vec<Verdict>) -> u64 {
        events.clear();
        std::mem::swap(&mut self.events, events);
        verdicts.append(&mut self.verdicts);
        std::mem::take(&mut self.malformed)
    }
}

pub(super) struct RingReader {
    ring: RingBuffer<'static>,
    decoded: Arc<Mutex<Decoded>>,
}

impl RingReader {
    /// Creates a reader of the object's ring buffer. `epoch` converts the times of records to
    /// wall-clock time.
    pub(super) fn new(object: &Object, epoch: EpochOffset, drops: Option<DropResolver>) -> Result<Self, Error> {
        let decoded = Arc::new(Mutex::new(Decoded::new(epoch, drops)));
        let write = Arc::clone(&decoded);
        // A panic in the callback would cross libbpf's C frames and abort. Decoding does not panic,
        // and user code runs elsewhere.
        let ring = object.ring(move |bytes| lock(&write).add(bytes))?;
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

    /// Swaps the decoded events into `events`, appends the decoded verdicts to `verdicts`, and
    /// returns the number of invalid records.
    pub(super) fn take(&mut self, events: &mut EventBuffer, verdicts: &mut Vec<Verdict>) -> u64 {
        lock(&self.decoded).take(events, verdicts)
    }
}

fn lock(decoded: &Mutex<Decoded>) -> MutexGuard<'_, Decoded> {
    decoded.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::record::{RECORD_LEN, VERSION};
    use crate::sys::clock::tests::FakeClock;

    const SECOND: i64 = 1_000_000_000;

    /// Returns a record of an attempt at this `CLOCK_BOOTTIME`.
    fn record(ts: i64) -> Vec<u8> {
        let mut record = vec![0; RECORD_LEN];
        record[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        record[16..24].copy_from_slice(&ts.to_ne_bytes());
        const AF_INET: u8 = 2;
        record[36] = AF_INET;
        record
    }

    /// Decodes a batch, and returns the times of its events in seconds since `CLOCK_BOOTTIME` was
    /// 0.
    fn batch(decoded: &mut Decoded, records: &[i64]) -> Vec<i64> {
        records.iter().for_each(|ts| decoded.add(&record(ts * SECOND)));
        let mut events = EventBuffer::default();
        assert_eq!(decoded.take(&mut events, &mut Vec::new()), 0);
        let times = events.events().iter().map(|event| event.ts.as_nanos() as i64);
        times.map(|ts| (ts - FakeClock::offset()) / SECOND).collect()
    }

    #[test]
    fn events_after_a_step_have_the_new_time() {
        let mut decoded = Decoded::new(FakeClock::start(), None);
        assert_eq!(batch(&mut decoded, &[10, 11]), [10, 11]);
        for step in [3600, -7200, 1, -1] {
            FakeClock::step(step * SECOND);
            assert_eq!(batch(&mut decoded, &[12, 13, 12]), [12, 13, 12], "{step}");
        }
    }

    #[test]
    fn a_batch_has_one_offset() {
        let mut decoded = Decoded::new(FakeClock::start(), None);
        decoded.add(&record(10 * SECOND));
        FakeClock::step(-5 * SECOND);
        assert_eq!(batch(&mut decoded, &[11]), [15, 16], "the step is followed by the next batch");
        assert_eq!(batch(&mut decoded, &[12]), [12]);
    }

    #[test]
    fn an_invalid_record_does_not_prevent_following() {
        let mut decoded = Decoded::new(FakeClock::start(), None);
        decoded.add(&[]);
        FakeClock::step(SECOND);
        decoded.add(&record(10 * SECOND));
        let mut events = EventBuffer::default();
        assert_eq!(decoded.take(&mut events, &mut Vec::new()), 1);
        assert_eq!(events.events()[0].ts.as_nanos() as i64, FakeClock::offset() + 10 * SECOND);
    }
}
