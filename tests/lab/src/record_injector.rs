// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes records to a stream's ring buffer without a retransmission, at any rate:
//! `tests/lab/bpf/record_injector.bpf.c`.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{MapCore as _, MapFlags, OpenObject, ProgramInput};
use retrans_sdk::harness::{RingOf, bit_of, empty_record, place_of, ring_of};
use retrans_sdk::{FieldSet, Stream};
use self_cell::{MutBorrow, self_cell};

use self::skel::{RecordInjectorSkel, RecordInjectorSkelBuilder};
use crate::{Context, Error, Result};

/// The skeleton that libbpf-cargo generates.
#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/record_injector.skel.rs"));
}

self_cell!(
    struct Skeleton {
        owner: MutBorrow<MaybeUninit<OpenObject>>,
        #[not_covariant]
        dependent: RecordInjectorSkel,
    }
);

/// Writes records whose `cookie` is their number. If they are timed, their `ts` is the time of
/// writing.
pub struct RecordInjector(Skeleton);

/// The result of [`RecordInjector::inject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectedRecords {
    /// Records written.
    pub count: u64,
    /// Records not written because the ring buffer was full.
    pub lost: u64,
}

impl RecordInjector {
    /// Writes to the ring buffer of a stream and wakes its reader in the same way as the stream's
    /// own programs. The stream's counters do not include these records.
    ///
    /// # Errors
    /// Returns an error if the kernel has no `bpf_loop()`: before Linux 5.17.
    pub fn for_stream(stream: &Stream) -> Result<Self> {
        let RingOf { ring, reader, wakeup } = ring_of(stream).ok_or_else(|| Error::new("not a live stream"))?;
        Self::open(ring, Some(reader), wakeup, true, &record(FieldSet::default()))
    }

    /// Returns an injector that does not read the clock for each record, for the highest rate. The
    /// records contain these fields in addition to those that are always present.
    ///
    /// # Errors
    /// Returns the errors of [`for_stream`](Self::for_stream).
    pub fn for_stream_untimed(stream: &Stream, fields: FieldSet) -> Result<Self> {
        let RingOf { ring, reader, wakeup } = ring_of(stream).ok_or_else(|| Error::new("not a live stream"))?;
        Self::open(ring, Some(reader), wakeup, false, &record(fields))
    }

    /// Writes to a ring buffer that belongs to no stream, without timestamps. The reader counts as
    /// awake.
    ///
    /// # Errors
    /// Returns the errors of [`for_stream`](Self::for_stream).
    pub fn for_ring(ring: BorrowedFd<'_>, wakeup: (u32, u32)) -> Result<Self> {
        let injector = Self::open(ring, None, wakeup, false, &record(FieldSet::default()))?;
        injector.mark_reader_awake()?;
        Ok(injector)
    }

    /// Marks the reader of such a ring buffer as awake, after it has emptied the buffer.
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the change.
    pub fn mark_reader_awake(&self) -> Result<()> {
        let reader = [1u64, 0].map(u64::to_ne_bytes).concat();
        let tell = |skeleton: &RecordInjectorSkel<'_>| {
            skeleton.maps.rt_reader.update(&0u32.to_ne_bytes(), &reader, MapFlags::ANY)
        };
        self.0.with_dependent(|_, skeleton| tell(skeleton)).context("cannot mark the reader as awake")
    }

    fn open(
        ring: BorrowedFd<'_>,
        reader: Option<BorrowedFd<'_>>,
        wakeup: (u32, u32),
        timed: bool,
        record: &[u8],
    ) -> Result<Self> {
        let skeleton = Skeleton::try_new(MutBorrow::new(MaybeUninit::uninit()), |object| {
            let mut open = RecordInjectorSkelBuilder::default().open(object.borrow_mut())?;
            open.maps.rt_events.reuse_fd(ring)?;
            if let Some(reader) = reader {
                open.maps.rt_reader.reuse_fd(reader)?;
            }
            let rodata = open.maps.rodata_data.as_mut().expect("an opened skeleton has its read-only data");
            (rodata.wakeup_bytes, rodata.wakeup_interval) = wakeup;
            rodata.timed = timed;
            for (word, bytes) in rodata.record.iter_mut().zip(record.chunks_exact(8)) {
                *word = u64::from_ne_bytes(bytes.try_into().expect("eight"));
            }
            open.load()
        });
        skeleton.context("cannot load the record injector").map(Self)
    }

    /// Writes `count` records, numbered from `first`.
    ///
    /// # Errors
    /// Returns an error if the kernel does not run the program.
    pub fn inject(&self, first: u64, count: u64) -> Result<InjectedRecords> {
        let mut order = [first, count, 0].map(u64::to_ne_bytes).concat();
        let input = ProgramInput { context_in: Some(&mut order), ..ProgramInput::default() };
        let run =
            self.0.with_dependent(|_, skeleton| skeleton.progs.inject.test_run(input).map(|run| run.return_value));
        let rounds = run.context("cannot run the record injector")?;
        if u64::from(rounds) != count {
            return Err(Error::new(format!("the record injector wrote {} of {count} records", rounds as i32)));
        }
        let lost = u64::from_ne_bytes(*order.last_chunk().expect("three words"));
        Ok(InjectedRecords { count: count - lost, lost })
    }
}

/// Returns a record with these fields and plausible values.
fn record(fields: FieldSet) -> Vec<u8> {
    let mut record = empty_record();
    // Records are injected with the length of the default fields.
    record[0..2].copy_from_slice(&(FieldSet::default().record_length() as u16).to_ne_bytes());
    let mut put = |field: &str, value: &[u8]| record[place_of(field)].copy_from_slice(value);
    let present = fields.keys().map(bit_of).fold(bit_of("err"), |all, bit| all | bit);
    put("present", &present.to_ne_bytes());
    put("result", &1u32.to_ne_bytes());
    put("kind", &[1]);
    put("state", &[1]);
    put("transmit", &[2]);
    put("family", &[2]);
    put("segs", &1u32.to_ne_bytes());
    put("saddr", &[10, 9, 136, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    put("daddr", &[10, 9, 136, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    put("sport", &39919u16.to_ne_bytes());
    put("dport", &443u16.to_ne_bytes());
    put("netns", &4_026_532_192u32.to_ne_bytes());
    put("cgroup", &4711u64.to_ne_bytes());
    put("uid", &1000u32.to_ne_bytes());
    for field in ["seq", "snd_una"] {
        put(field, &1_795_455_390u32.to_ne_bytes());
    }
    for field in ["end_seq", "snd_nxt"] {
        put(field, &1_795_456_838u32.to_ne_bytes());
    }
    for (field, value) in [("len", 1448u32), ("mss", 1448), ("snd_wnd", 65160), ("snd_cwnd", 10), ("rto_us", 204_000)] {
        put(field, &value.to_ne_bytes());
    }
    put("tcp_flags", &0x018u16.to_ne_bytes());
    put("ca_state", &[4]);
    put("ca_name", b"cubic\0\0\0\0\0\0\0\0\0\0\0");
    record
}
