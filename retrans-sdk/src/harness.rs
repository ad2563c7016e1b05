// SPDX-License-Identifier: MIT OR Apache-2.0
//! Helpers for the tests of this repository (`tests/live/bpf`). They are not part of the API, and
//! no stability is promised.

pub mod readers;

use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::event::Event;
use crate::event::record::{self, DADDR, DEFAULT_LEN, ERR, OPTIONAL, SADDR, VERSION, core_layout};
use crate::filter::{Filter, KernelContext, MAX_SUBTREES, MAX_TESTS, RangeTest, operand};
use crate::kernel::attach_method::AttachMethod;
use crate::stream::Stream;
use crate::stream::builder::StreamBuilder;

/// Returns the `struct retrans_filter` of a filter.
#[must_use]
pub fn filter_bytes(filter: &Filter) -> Vec<u8> {
    let filter = filter.for_kernel(0);
    let mut bytes = Vec::new();
    bytes.extend((filter.tests.len() as u32).to_ne_bytes());
    bytes.extend((filter.subtrees.len() as u32).to_ne_bytes());
    bytes.extend(u64::from(filter.uses(operand::RETRANS_FIELD_OWN_SOCKET)).to_ne_bytes());
    bytes.extend(u64::from(filter.uses(operand::RETRANS_FIELD_TS)).to_ne_bytes());
    for index in 0..MAX_SUBTREES {
        bytes.extend(filter.subtrees.get(index).copied().unwrap_or_default().to_ne_bytes());
    }
    for index in 0..MAX_TESTS {
        let none = RangeTest { low: 0, high: 0, field: 0, flags: 0 };
        let RangeTest { low, high, field, flags } = filter.tests.get(index).copied().unwrap_or(none);
        bytes.extend(low.to_ne_bytes());
        bytes.extend(high.to_ne_bytes());
        bytes.extend([field, flags, 0, 0, 0, 0, 0, 0]);
    }
    bytes
}

/// Evaluates a filter in the model of the BPF programs, with the cgroups and the socket set that a
/// record does not contain.
#[must_use]
pub fn matches(filter: &Filter, event: &Event, cgroups: &[u64], in_socket_set: bool) -> bool {
    filter.matches_with(event, &KernelContext { cgroups: Some(cgroups), in_socket_set: Some(in_socket_set) })
}

/// Configures a stream that opens only with this companion.
pub fn with_companion(builder: StreamBuilder, companion: AttachMethod) -> StreamBuilder {
    builder.only_companion(companion)
}

/// Configures a stream that reads its clocks with a function, which returns `CLOCK_BOOTTIME`,
/// `CLOCK_REALTIME` and `CLOCK_BOOTTIME` in nanoseconds, read in this order. So a test can step the
/// wall clock of the stream without changing the host's.
pub fn with_clocks(builder: StreamBuilder, sample: fn() -> [i64; 3]) -> StreamBuilder {
    builder.clocks(sample)
}

/// Configures a stream that attaches no program to function entries. Then the programs at the exits
/// report no attempt, as if the compiler had inlined the functions.
pub fn without_entries(builder: StreamBuilder) -> StreamBuilder {
    builder.without_entries()
}

/// The maps and settings that are required to submit records like the BPF programs of a stream.
#[derive(Debug)]
pub struct RingOf<'a> {
    /// The ring buffer map.
    pub ring: BorrowedFd<'a>,
    /// The map of the state that the reader shares with the BPF programs.
    pub reader: BorrowedFd<'a>,
    /// `wakeup_bytes` and `wakeup_interval` of `wakeup.bpf.h`.
    pub wakeup: (u32, u32),
}

/// Returns the ring buffer of a live stream.
#[must_use]
pub fn ring_of(stream: &Stream) -> Option<RingOf<'_>> {
    let ([ring, reader], wakeup) = stream.ring()?;
    Some(RingOf { ring, reader, wakeup: (wakeup.bytes, wakeup.interval) })
}

/// Decodes a record.
///
/// # Panics
///
/// Panics if the record is invalid.
#[must_use]
pub fn event_of(record: &[u8]) -> Event {
    let mut event = Event::blank();
    read_into(&mut event, record);
    event
}

/// Decodes a record in place of another event, as a stream does.
///
/// # Panics
///
/// Panics if the record is invalid.
pub fn read_into(event: &mut Event, record: &[u8]) {
    if let Err(error) = record::decode_into(event, record, 0) {
        panic!("{error}");
    }
}

/// Returns a record with room for the standard fields, with a header and no values.
#[must_use]
pub fn empty_record() -> Vec<u8> {
    let mut record = vec![0; DEFAULT_LEN];
    record[0..2].copy_from_slice(&(DEFAULT_LEN as u16).to_ne_bytes());
    record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
    record
}

/// Returns the bytes of a record that contain a field.
///
/// # Panics
///
/// Panics if there is no such field.
#[must_use]
pub fn place_of(field: &str) -> Range<usize> {
    macro_rules! core {
        ($( $name:ident: $type:ty = $offset:literal, )*) => {
            match field {
                "present" => return 8..16,
                "saddr" => return SADDR..SADDR + 16,
                "daddr" => return DADDR..DADDR + 16,
                $( stringify!($name) => return $offset..$offset + size_of::<$type>(), )*
                _ => {}
            }
        };
    }
    core_layout!(core);
    match OPTIONAL.iter().find(|of| of.key == field) {
        Some(of) => of.place(),
        None => panic!("no field {field}"),
    }
}

/// Returns the presence bit of a field.
///
/// # Panics
///
/// Panics if there is no such field.
#[must_use]
pub fn bit_of(field: &str) -> u64 {
    if field == "err" {
        return 1 << ERR;
    }
    match OPTIONAL.iter().find(|of| of.key == field) {
        Some(of) => 1 << of.bit,
        None => panic!("no bit for {field}"),
    }
}
