// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of this repository need to run the kernel side's filter on records of their own (`tests/bpf`). Not a part
//! of the API: it may change with any version.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::event::Event;
use crate::event::record::{self, DADDR, ERR, OPTIONAL, RECORD_LEN, SADDR, VERSION, core_layout};
use crate::filter::{Filter, KernelContext, MAX_SUBTREES, MAX_TESTS, RangeTest, operand};
use crate::kernel::attach_method::AttachMethod;
use crate::stream::Stream;
use crate::stream::builder::StreamBuilder;

/// `struct retrans_filter` of a filter.
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

/// What the kernel side must say of a record, by the model: the ids of its cgroup and of those above, and whether the socket
/// is the application's own, are not in the record.
#[must_use]
pub fn matches(filter: &Filter, event: &Event, cgroups: &[u64], in_socket_set: bool) -> bool {
    filter.matches_with(event, &KernelContext { cgroups: Some(cgroups), in_socket_set: Some(in_socket_set) })
}

/// A stream with this beside its source, or none.
pub fn with_companion(builder: StreamBuilder, companion: AttachMethod) -> StreamBuilder {
    builder.only_companion(companion)
}

/// What it takes to hand in records as a stream's programs do.
#[derive(Debug)]
pub struct RingOf<'a> {
    /// The map.
    pub ring: BorrowedFd<'a>,
    /// That of what its reader tells the programs.
    pub reader: BorrowedFd<'a>,
    /// `wakeup_bytes` and `wakeup_interval` of `wakeup.bpf.h`.
    pub wakeup: (u32, u32),
}

/// That of a live stream.
#[must_use]
pub fn ring_of(stream: &Stream) -> Option<RingOf<'_>> {
    let ([ring, reader], wakeup) = stream.ring()?;
    Some(RingOf { ring, reader, wakeup: (wakeup.bytes, wakeup.interval) })
}

/// A record as an event.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn event_of(record: &[u8]) -> Event {
    let mut event = Event::blank();
    read_into(&mut event, record);
    event
}

/// The same in place of another event, as a stream does it.
///
/// # Panics
/// When it is none.
pub fn read_into(event: &mut Event, record: &[u8]) {
    if let Err(error) = record::decode_into(event, record, 0) {
        panic!("{error}");
    }
}

/// A record without a value: its header, and room for the fields.
#[must_use]
pub fn empty_record() -> Vec<u8> {
    let mut record = vec![0; RECORD_LEN];
    record[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
    record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
    record
}

/// Where a field of a record is.
///
/// # Panics
/// When there is none of this name.
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

/// The bit by which a record says that it has a field.
///
/// # Panics
/// When there is none of this name.
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
