// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decodes the records of `bpf/retrans.h` to events. Independent of libbpf.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
#[cfg(feature = "test-util")]
use std::ops::Range;

use crate::event::Event;
use crate::event::drop_reason::DropReason;
use crate::event::kernel_str::KernelStr;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::kind::RetransKind;
use crate::event::owner::{Owner, OwnerSource};
use crate::event::result::RetransResult;
use crate::event::schema::optional_fields;
use crate::event::tcp_enums::{CaState, TcpState};
use crate::event::tcp_flags::TcpFlags;
use crate::event::timestamp::Timestamp;
use crate::event::transmit::Transmit;

/// `RETRANS_RECORD_VERSION`.
pub(crate) const VERSION: u16 = 2;

/// The size of `struct retrans_record`: a record with all fields.
pub(crate) const RECORD_LEN: usize = {
    let (mut end, mut i) = (CORE_LEN, 0);
    while i < PLACED.len() {
        if let Some(field) = &PLACED[i] {
            if field.end > end {
                end = field.end;
            }
        }
        i += 1;
    }
    end.next_multiple_of(WORD)
};

/// The size of a record without optional fields (`RETRANS_CORE_LENGTH`).
pub(crate) const CORE_LEN: usize = 80;

/// The size of a record with the fields that are recorded by default (`RETRANS_DEFAULT_LENGTH`).
/// The *extended* fields follow it, which are recorded only on request.
pub(crate) const DEFAULT_LEN: usize = 200;

/// The first presence bit of an extended field.
const FIRST_EXTENDED: u32 = 30;

/// The size of `struct retrans_owner`, which follows a record if owners are resolved.
pub(crate) const OWNER_LEN: usize = 24;

/// The fields of every record: the layout of `struct retrans_record`. `kernel/layout.rs` compares
/// it with the built object at compile time.
macro_rules! core_layout {
    ($then:ident) => {
        $then! {
            ts: u64 = 16,
            result: u32 = 24,
            err: i32 = 28,
            segs: u32 = 32,
            family: u8 = 36,
            transmit: u8 = 37,
            sport: u16 = 38,
            dport: u16 = 40,
            kind: u8 = 42,
            state: u8 = 43,
        }
    };
}
pub(crate) use core_layout;

/// The offsets of the addresses.
pub(crate) const SADDR: usize = 44;
pub(crate) const DADDR: usize = 60;

/// The offset of the number that states where `struct retrans_owner` is; 0 without owners.
pub(crate) const OWNER_AT: usize = 4;
/// The offset of the address of a drop.
pub(crate) const DROP_AT: usize = 208;

/// The presence bits of fields that are not in the list of optional fields.
pub(crate) const ERR: u32 = 0;
pub(crate) const OWNER: u32 = 8;

/// The presence bit of the cookie.
pub(crate) const COOKIE: u32 = 1;

/// An optional field of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Optional {
    pub(crate) key: &'static str,
    pub(crate) bit: u32,
    #[cfg_attr(not(feature = "test-util"), allow(dead_code, reason = "for the harness"))]
    start: usize,
    end: usize,
    /// Removes the field from an event.
    pub(crate) clear: fn(&mut Event),
}

/// The type of a field as the record contains it.
pub(crate) trait WireValue: Sized {
    type Wire;
    /// Returns `None` if the event cannot contain the value as it is in the record.
    fn from_wire(value: Self::Wire) -> Option<Self>;
}

macro_rules! wire_values {
    ($($type:ty: $wire:ty, $from:expr;)*) => {$(
        impl WireValue for $type {
            type Wire = $wire;
            #[inline(always)]
            fn from_wire(value: $wire) -> Option<Self> {
                let from: fn($wire) -> Option<Self> = $from;
                from(value)
            }
        }
    )*};
}
wire_values! {
    u8: u8, Some;
    u32: u32, Some;
    u64: u64, Some;
    i32: i32, Some;
    TcpFlags: u16, |value| Some(TcpFlags(value));
    CaState: u8, |value| Some(CaState::from_raw(value.into()));
    KernelStr: [u8; 16], |value| Some(KernelStr::from_c(value));
    // The number of the running kernel, which `kernel/drops.rs` maps to the table.
    DropReason: u32, |value| Some(DropReason::from_raw(value));
    // An address, which no event contains. `kernel/drops.rs` resolves it.
    KernelSymbol: u64, |_| None;
}

/// Returns the size of a value in the record.
pub(crate) const fn wire_size<T: WireValue>() -> usize {
    size_of::<T::Wire>()
}

impl Optional {
    /// Returns true for a field that is recorded only on request.
    pub(crate) const fn is_extended(&self) -> bool {
        self.bit >= FIRST_EXTENDED
    }
}

#[cfg(feature = "test-util")]
impl Optional {
    /// Returns the bytes of a record that contain the field.
    pub(crate) const fn place(&self) -> Range<usize> {
        self.start..self.end
    }
}

macro_rules! placed {
    ($name:ident: $type:ty => []) => {
        None
    };
    ($name:ident: $type:ty => [$offset:literal, $c_name:ident = $bit:literal]) => {
        Some(Optional {
            key: stringify!($name),
            bit: $bit,
            start: $offset,
            end: $offset + wire_size::<$type>(),
            clear: |event| event.$name = None,
        })
    };
}

macro_rules! decode_optional {
    ($event:ident, $record:ident, $name:ident: $type:ty => []) => {
        $event.$name = None;
    };
    ($event:ident, $record:ident, $name:ident: $type:ty => [$offset:literal, $c_name:ident = $bit:literal]) => {
        // Read unconditionally, which avoids a branch. A shorter record has no such field, which is
        // known when this is compiled.
        $event.$name = if $offset + wire_size::<$type>() > N {
            None
        } else {
            let value = $record.bytes::<$offset, { wire_size::<$type>() }>();
            let value = <<$type as WireValue>::Wire as FromNe<_>>::from_ne(value);
            if $record.has($bit) { <$type as WireValue>::from_wire(value) } else { None }
        };
    };
}

macro_rules! optionals {
    ($( $(#[$doc:meta])* $name:ident: $type:ty => $place:tt, )*) => {
        /// All optional fields; `None` for those that are decoded separately.
        const PLACED: &[Option<Optional>] = &[$( placed!($name: $type => $place), )*];

        /// Decodes all optional fields in one function, since a call for each field would need more
        /// time than the field.
        #[inline(always)]
        fn decode_optionals<const N: usize>(event: &mut Event, record: &Record<'_, N>) {
            $( decode_optional!(event, record, $name: $type => $place); )*
        }
    };
}
optional_fields!(optionals);

/// All optional fields that have a place in the record.
pub(crate) const OPTIONAL: &[Optional] = &{
    let mut all = [Optional { key: "", bit: 0, start: 0, end: 0, clear: |_| {} }; {
        let (mut count, mut i) = (0, 0);
        while i < PLACED.len() {
            count += PLACED[i].is_some() as usize;
            i += 1;
        }
        count
    }];
    let (mut count, mut i) = (0, 0);
    while i < PLACED.len() {
        if let Some(field) = PLACED[i] {
            all[count] = field;
            count += 1;
        }
        i += 1;
    }
    all
};

// Extended fields follow all others.
const _: () = {
    let mut i = 0;
    while i < OPTIONAL.len() {
        assert!(OPTIONAL[i].is_extended() == (OPTIONAL[i].end > DEFAULT_LEN));
        i += 1;
    }
};

/// Returns the length of a record with these fields, one bit for each.
pub(crate) const fn length_of(fields: u64) -> usize {
    let (mut length, mut i) = (CORE_LEN, 0);
    while i < OPTIONAL.len() {
        if fields & 1 << OPTIONAL[i].bit != 0 && OPTIONAL[i].end > length {
            length = OPTIONAL[i].end;
        }
        i += 1;
    }
    length.next_multiple_of(WORD)
}

const WORD: usize = 8;

/// The fields that fit into a record, by its length in words.
const ROOM: [u64; RECORD_LEN / WORD + 1] = {
    let mut room = [1 << ERR; RECORD_LEN / WORD + 1];
    let mut words = 0;
    while words < room.len() {
        let mut i = 0;
        while i < OPTIONAL.len() {
            if OPTIONAL[i].end <= words * WORD {
                room[words] |= 1 << OPTIONAL[i].bit;
            }
            i += 1;
        }
        words += 1;
    }
    room
};

/// Converts bytes in native order.
trait FromNe<B> {
    fn from_ne(bytes: B) -> Self;
}

macro_rules! from_ne {
    ($($type:ty)*) => {$(
        impl FromNe<[u8; size_of::<$type>()]> for $type {
            #[inline(always)]
            fn from_ne(bytes: [u8; size_of::<$type>()]) -> Self {
                Self::from_ne_bytes(bytes)
            }
        }
    )*};
}
from_ne!(u8 u16 u32 i32 u64);

impl<const N: usize> FromNe<Self> for [u8; N] {
    #[inline(always)]
    fn from_ne(bytes: Self) -> Self {
        bytes
    }
}

/// The first `N` bytes of a record, with a valid header.
struct Record<'a, const N: usize> {
    bytes: &'a [u8; N],
    present: u64,
}

macro_rules! accessors {
    ($( $name:ident: $type:ty = $offset:literal, )*) => {
        impl<const N: usize> Record<'_, N> {
            $(
                #[inline(always)]
                fn $name(&self) -> $type {
                    <$type>::from_ne_bytes(self.bytes::<$offset, { size_of::<$type>() }>())
                }
            )*
        }
    };
}
core_layout!(accessors);

/// Returns the 32-bit number at an offset of a record; 0 if the record is shorter.
#[inline(always)]
fn number_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

impl<'a, const N: usize> Record<'a, N> {
    /// Checks the header of a record of `len` bytes, which has room for the fields in `room`.
    #[inline(always)]
    fn new(bytes: &'a [u8; N], len: usize, room: u64) -> Result<Self, WireError> {
        let record = Record { bytes, present: 0 };
        let length = u16::from_ne_bytes(record.bytes::<0, 2>());
        let version = u16::from_ne_bytes(record.bytes::<2, 2>());
        if usize::from(length) != len {
            return Err(WireError::Length(length.into()));
        }
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let present = u64::from_ne_bytes(record.bytes::<8, 8>());
        // Fields that do not fit are absent.
        Ok(Record { present: present & room, ..record })
    }

    #[inline(always)]
    fn bytes<const OFFSET: usize, const SIZE: usize>(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        // Cannot fail: the caller has checked that the record is long enough.
        if let Some(from) = self.bytes.get(OFFSET..OFFSET + SIZE) {
            bytes.copy_from_slice(from);
        }
        bytes
    }

    #[inline(always)]
    fn has(&self, bit: u32) -> bool {
        self.present & 1 << bit != 0
    }

    /// Decodes the addresses, and whether they are IPv4 on an IPv6 socket.
    #[inline(always)]
    fn addresses(&self, event: &mut Event) -> Result<(), WireError> {
        let v4 = |bytes: [u8; 4]| IpAddr::V4(Ipv4Addr::from(bytes));
        match self.family() {
            AF_INET => {
                (event.saddr, event.daddr) = (v4(self.bytes::<SADDR, 4>()), v4(self.bytes::<DADDR, 4>()));
                event.mapped = false;
            }
            AF_INET6 => {
                let (saddr, daddr) = (self.bytes::<SADDR, 16>(), self.bytes::<DADDR, 16>());
                event.mapped = is_mapped(daddr);
                if event.mapped {
                    // The address of an unbound socket is ::, which is 0.0.0.0.
                    let [.., a, b, c, d] = if is_mapped(saddr) { saddr } else { [0; 16] };
                    event.saddr = v4([a, b, c, d]);
                    let [.., a, b, c, d] = daddr;
                    event.daddr = v4([a, b, c, d]);
                } else {
                    (event.saddr, event.daddr) = (Ipv6Addr::from(saddr).into(), Ipv6Addr::from(daddr).into());
                }
            }
            family => return Err(WireError::Family(family.into())),
        }
        Ok(())
    }
}

/// Returns whether an IPv6 address is IPv4-mapped (RFC 4291, 2.5.5.2).
#[inline(always)]
fn is_mapped(address: [u8; 16]) -> bool {
    u128::from_be_bytes(address) >> 32 == 0xffff
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The error of a record that this version cannot decode. The object and the crate are built
/// together, so only corruption causes it; it is counted as dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireError {
    Length(usize),
    Version(u16),
    Family(u16),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a record of {length} bytes"),
            Self::Version(version) => write!(f, "a record of version {version}"),
            Self::Family(family) => write!(f, "a record of address family {family}"),
        }
    }
}

/// Decodes a record into an event. `epoch_offset` converts `CLOCK_BOOTTIME` to the Unix epoch, in
/// nanoseconds.
///
/// It decodes in place, field by field. A returned value would be assembled elsewhere and copied.
#[inline]
pub(crate) fn decode_into(event: &mut Event, bytes: &[u8], epoch_offset: i64) -> Result<(), WireError> {
    match bytes.first_chunk::<DEFAULT_LEN>() {
        // The common case, without a copy.
        Some(record) if bytes.len() == DEFAULT_LEN => {
            decode_fields(event, &Record::new(record, bytes.len(), ROOM[DEFAULT_LEN / WORD])?, epoch_offset)
        }
        _ if bytes.len() < CORE_LEN || bytes.len() % WORD != 0 => Err(WireError::Length(bytes.len())),
        _ => match number_at(bytes, OWNER_AT) as usize {
            0 if bytes.len() <= RECORD_LEN => {
                decode_other(event, bytes, bytes.len(), ROOM[bytes.len() / WORD], epoch_offset)
            }
            at if (CORE_LEN..=RECORD_LEN).contains(&at) && at + OWNER_LEN == bytes.len() && at % WORD == 0 => {
                let present = decode_other(event, bytes, at, ROOM[at / WORD] | 1 << OWNER, epoch_offset);
                present.map(|()| {
                    if is_present(bytes, OWNER) {
                        if let Some(owner) = bytes.last_chunk().and_then(owner) {
                            owner.assign_to(event);
                        }
                    }
                })
            }
            _ => Err(WireError::Length(bytes.len())),
        },
    }
}

/// Returns true if a record contains the field with this presence bit.
fn is_present(bytes: &[u8], bit: u32) -> bool {
    let present = bytes.get(8..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    present & 1 << bit != 0
}

/// Decodes a record of another length, whose fields end at `end`.
fn decode_other(event: &mut Event, bytes: &[u8], end: usize, room: u64, epoch_offset: i64) -> Result<(), WireError> {
    let mut whole = [0; RECORD_LEN];
    whole[..end].copy_from_slice(&bytes[..end]);
    decode_fields(event, &Record::new(&whole, bytes.len(), room)?, epoch_offset)
}

/// Returns the running kernel's number of the reason of a drop, if the record contains it.
pub(crate) fn drop_number(bytes: &[u8]) -> Option<u32> {
    /// The bit of `drop_reason`, which is the first field after the default ones.
    const BIT: u32 = 30;
    is_present(bytes, BIT).then(|| number_at(bytes, DEFAULT_LEN))
}

/// Returns the address at which the packet of a record was dropped, if the record contains it.
pub(crate) fn drop_address(bytes: &[u8]) -> Option<u64> {
    /// The bit and the offset of `drop_at`. `kernel/layout.rs` compares the latter.
    const BIT: u32 = 32;
    let address = bytes.get(DROP_AT..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    address.filter(|_| is_present(bytes, BIT))
}

fn decode_fields<const N: usize>(
    event: &mut Event,
    record: &Record<'_, N>,
    epoch_offset: i64,
) -> Result<(), WireError> {
    record.addresses(event)?;
    event.ts = Timestamp::from_nanos(record.ts().wrapping_add_signed(epoch_offset));
    event.result = RetransResult::from_raw(record.result());
    event.err = if record.has(ERR) { Some(record.err()) } else { None };
    event.kind = RetransKind::from_raw(record.kind().into());
    event.sport = record.sport();
    event.dport = record.dport();
    event.state = TcpState::from_raw(record.state().into());
    event.segs = record.segs();
    decode_optionals(event, record);
    event.transmit = Some(Transmit::from_raw(record.transmit().into()));
    Ok(())
}

/// Decodes a record.
#[cfg(test)]
pub(crate) fn decode(bytes: &[u8], epoch_offset: i64) -> Result<Event, WireError> {
    let mut event = Event::blank();
    decode_into(&mut event, bytes, epoch_offset).map(|()| event)
}

/// Decodes a `struct retrans_owner`; `None` if no single process was identified.
pub(crate) fn owner(bytes: &[u8; OWNER_LEN]) -> Option<Owner> {
    let [p0, p1, p2, p3, source, _, _, _, comm @ ..] = *bytes;
    let pid = u32::from_ne_bytes([p0, p1, p2, p3]);
    let source = OwnerSource::from_raw(source.into());
    (pid != 0).then(|| Owner { source, pid, comm: KernelStr::from_c(comm) })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::kv::Line;

    /// Generates records with a valid header and random fields.
    pub(crate) fn any_record() -> impl Strategy<Value = [u8; RECORD_LEN]> {
        let random = prop::collection::vec(any::<u8>(), RECORD_LEN);
        (random, any::<bool>(), any::<bool>(), 0u8..12, 0u32..135).prop_map(|(random, inet6, mapped, small, result)| {
            let mut bytes: [u8; RECORD_LEN] = random.try_into().expect("as long as asked");
            bytes[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
            bytes[2..4].copy_from_slice(&VERSION.to_ne_bytes());
            let random = bytes[7];
            bytes[4..8].fill(0);
            // Half of the records have listed numbers, so that both cases are tested.
            if random & 1 != 0 {
                bytes[24..28].copy_from_slice(&result.to_ne_bytes());
                (bytes[42], bytes[43], bytes[37]) = (small, small, small);
            }
            bytes[36] = if inet6 { 10 } else { 2 };
            if mapped {
                for at in [SADDR, DADDR] {
                    bytes[at..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
                }
            }
            bytes
        })
    }

    /// Generates records with a socket owner.
    fn any_owned_record() -> impl Strategy<Value = [u8; RECORD_LEN + OWNER_LEN]> {
        (any_record(), prop::array::uniform24(any::<u8>()), 0u8..5).prop_map(|(record, mut owner, source)| {
            owner[4] = source;
            let mut owned = [0; RECORD_LEN + OWNER_LEN];
            owned[..RECORD_LEN].copy_from_slice(&record);
            owned[RECORD_LEN..].copy_from_slice(&owner);
            owned[0..2].copy_from_slice(&((RECORD_LEN + OWNER_LEN) as u16).to_ne_bytes());
            owned[OWNER_AT..OWNER_AT + 4].copy_from_slice(&(RECORD_LEN as u32).to_ne_bytes());
            owned
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn an_owner_survives_the_line(record in any_owned_record()) {
            let event = decode(&record, 0).expect("a good header");
            let pid = u32::from_ne_bytes(record[RECORD_LEN..RECORD_LEN + 4].try_into().expect("four"));
            let known = pid != 0 && u64::from_ne_bytes(record[8..16].try_into().expect("eight")) & 1 << OWNER != 0;
            prop_assert_eq!(event.pid, known.then_some(pid));
            prop_assert_eq!(event.owner.map(OwnerSource::raw).is_some(), known);
            let comm = &record[RECORD_LEN + 8..];
            let comm = comm.split(|byte| *byte == 0).next();
            prop_assert_eq!(event.comm.as_ref().map(KernelStr::as_bytes), comm.filter(|_| known));
            let text = event.to_string();
            prop_assert_eq!(text.parse::<Event>().expect(&text), event);
        }

        #[test]
        fn an_owner_follows_a_record_of_any_length(record in any_owned_record(), words in CORE_LEN / WORD..=RECORD_LEN / WORD) {
            let end = words * WORD;
            let mut shorter = record[..end].to_vec();
            shorter.extend(&record[RECORD_LEN..]);
            let length = shorter.len() as u16;
            shorter[0..2].copy_from_slice(&length.to_ne_bytes());
            shorter[OWNER_AT..OWNER_AT + 4].copy_from_slice(&(end as u32).to_ne_bytes());
            let (whole, decoded) = (decode(&record, 0).expect("a good header"), decode(&shorter, 0));
            // Streams with owners have no record of this length: it is the length of one without an
            // owner.
            if shorter.len() != DEFAULT_LEN {
                let decoded = decoded.expect("a good header");
                prop_assert_eq!((decoded.owner, decoded.pid, decoded.comm), (whole.owner, whole.pid, whole.comm));
            }
        }

        #[test]
        fn any_record_survives_the_line(record in any_record(), epoch_offset in any::<i64>()) {
            let event = decode(&record, epoch_offset).expect("a good header");
            let text = event.to_string();
            prop_assert!(text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{text}");
            for pair in text.split(' ') {
                prop_assert_eq!(pair.matches('=').count(), 1, "{}", text);
                prop_assert!(!pair.contains(['"', ',']), "{}", text);
            }
            prop_assert_eq!(text.parse::<Event>().expect(&text), event);
            let line: Line = text.parse().expect("an event is a line");
            prop_assert_eq!(line.to_string(), text);
        }

        #[test]
        fn decoding_arbitrary_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            // Only the absence of a panic is tested.
            let _ = decode(&bytes, 0);
        }

        #[test]
        fn a_wrong_length_is_rejected(record in any_record(), at in 0..RECORD_LEN) {
            let is_length = at >= CORE_LEN && at.is_multiple_of(WORD);
            prop_assert_eq!(decode(&record[..at], 0), Err(WireError::Length(if is_length { RECORD_LEN } else { at })));
            let mut longer = record.to_vec();
            longer.push(0);
            prop_assert_eq!(decode(&longer, 0), Err(WireError::Length(RECORD_LEN + 1)));
            // No owner, so the record is too long.
            longer.resize(RECORD_LEN + OWNER_LEN, 0);
            prop_assert_eq!(decode(&longer, 0), Err(WireError::Length(RECORD_LEN + OWNER_LEN)));
            // A valid length that differs from the one in the header.
            longer[OWNER_AT..OWNER_AT + 4].copy_from_slice(&(RECORD_LEN as u32).to_ne_bytes());
            prop_assert_eq!(decode(&longer, 0), Err(WireError::Length(RECORD_LEN)));
        }

        #[test]
        fn a_shorter_record_contains_the_fields_that_fit(record in any_record(), words in CORE_LEN / WORD..RECORD_LEN / WORD) {
            let mut shorter = record[..words * WORD].to_vec();
            shorter[0..2].copy_from_slice(&((words * WORD) as u16).to_ne_bytes());
            let mut with_less = record;
            let present = u64::from_ne_bytes(record[8..16].try_into().expect("eight"));
            let within = OPTIONAL.iter().filter(|field| field.end <= words * WORD);
            let room = within.fold(1 << ERR, |bits, field| bits | 1u64 << field.bit);
            with_less[8..16].copy_from_slice(&(present & room).to_ne_bytes());
            prop_assert_eq!(decode(&shorter, 0), decode(&with_less, 0));
        }
    }

    #[test]
    fn a_record_ends_after_the_last_requested_field() {
        assert_eq!((length_of(0), length_of(!0)), (CORE_LEN, RECORD_LEN));
        assert_eq!(length_of((1 << FIRST_EXTENDED) - 1), DEFAULT_LEN);
        for field in OPTIONAL {
            let length = length_of(1 << field.bit);
            assert!((field.end.max(CORE_LEN)..field.end.max(CORE_LEN) + WORD).contains(&length), "{field:?}");
            assert_ne!(ROOM[length / WORD] & 1 << field.bit, 0, "{field:?}");
        }
    }

    #[test]
    fn an_address_is_in_no_event() {
        let mut record = [0; RECORD_LEN];
        record[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        record[36] = 2;
        record[DROP_AT..DROP_AT + 8].copy_from_slice(&0xffff_ffff_8100_0000u64.to_ne_bytes());
        assert_eq!(drop_address(&record), None);
        record[8..16].copy_from_slice(&(1u64 << 32 | 1 << 30).to_ne_bytes());
        record[200] = 12;
        assert_eq!(drop_address(&record), Some(0xffff_ffff_8100_0000));
        assert_eq!(drop_address(&record[..208]), None);
        let event = decode(&record, 0).expect("a good header");
        assert_eq!((event.drop_at, event.drop_reason), (None, Some(DropReason::NetfilterDrop)));
    }

    #[test]
    fn other_versions_and_families_are_rejected() {
        let mut record = [0; RECORD_LEN];
        record[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
        assert_eq!(decode(&record, 0), Err(WireError::Version(0)));
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        assert_eq!(decode(&record, 0), Err(WireError::Family(0)));
        record[36] = 1;
        assert_eq!(decode(&record, 0), Err(WireError::Family(1)));
    }

    #[test]
    fn absent_bits_are_absent_fields() {
        let mut record = [0xff; RECORD_LEN];
        record[OWNER_AT..OWNER_AT + 4].fill(0);
        record[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        record[8..16].fill(0);
        record[36] = 2;
        let event = decode(&record, 0).expect("a good header");
        let keys: Vec<_> =
            event.to_string().split(' ').map(|pair| pair.split_once('=').expect("=").0.to_owned()).collect();
        assert_eq!(keys.join(" "), "ts result err kind family saddr sport daddr dport state segs class transmit");
        assert!(event.to_string().contains(" err=- "));
    }
}
