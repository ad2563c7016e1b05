// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of `bpf/retrans.h`: bytes to an [`Event`]. Pure; nothing here touches libbpf.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::{Core, Event};
use crate::owner::Owner;
use crate::{CaState, Family, OwnerSource, RetransKind, RetransResult, TcpFlags, TcpState, Text, Timestamp, Transmit};

/// `RETRANS_RECORD_VERSION`.
pub(crate) const VERSION: u16 = 1;

/// The size of `struct retrans_record`.
pub(crate) const RECORD_LEN: usize = 200;

/// The size of `struct retrans_owner`, which stands behind the record where owners are asked for.
pub(crate) const OWNER_LEN: usize = 24;

/// The layout of `struct retrans_record`; `source/layout.rs` holds it against the built object, at compile time.
macro_rules! record_layout {
    ($then:ident) => {
        $then! {
            ts: u64 = 16,
            result: u32 = 24,
            err: i32 = 28,
            segs: u32 = 32,
            family: u16 = 36,
            sport: u16 = 38,
            dport: u16 = 40,
            kind: u8 = 42,
            state: u8 = 43,
            netns: u32 = 76,
            cookie: u64 = 80,
            cgroup: u64 = 88,
            seq: u32 = 96,
            end_seq: u32 = 100,
            len: u32 = 104,
            snd_una: u32 = 108,
            snd_nxt: u32 = 112,
            snd_wnd: u32 = 116,
            snd_cwnd: u32 = 120,
            ssthresh: u32 = 124,
            srtt_us: u32 = 128,
            rto_us: u32 = 132,
            mss: u32 = 136,
            retrans_out: u32 = 140,
            total_retrans: u32 = 144,
            wmem_queued: u32 = 148,
            sk_err_soft: i32 = 152,
            tcp_flags: u16 = 156,
            ca_state: u8 = 158,
            retransmits: u8 = 159,
            backoff: u8 = 160,
            pending: u8 = 161,
            transmit: u8 = 162,
            uid: u32 = 164,
            netns_cookie: u64 = 184,
            mark: u32 = 192,
            bound_dev_if: u32 = 196,
        }
    };
}
pub(crate) use record_layout;

/// Where the fields are that are arrays of bytes.
pub(crate) const SADDR: usize = 44;
pub(crate) const DADDR: usize = 60;
pub(crate) const CA_NAME: usize = 168;

/// Bit numbers of `retrans_header.present` (`enum retrans_field`).
pub(crate) mod present {
    pub(crate) const ERR: u32 = 0;
    pub(crate) const COOKIE: u32 = 1;
    pub(crate) const NETNS: u32 = 2;
    pub(crate) const CGROUP: u32 = 3;
    pub(crate) const SKB: u32 = 4;
    pub(crate) const TCP: u32 = 5;
    pub(crate) const ERR_SOFT: u32 = 6;
    pub(crate) const UID: u32 = 7;
    pub(crate) const MARK: u32 = 8;
    pub(crate) const BOUND_DEV_IF: u32 = 9;
    pub(crate) const NETNS_COOKIE: u32 = 10;
    pub(crate) const OWNER: u32 = 11;
}

/// A record whose header was checked.
struct Record<'a>(&'a [u8; RECORD_LEN]);

macro_rules! accessors {
    ($( $name:ident: $type:ty = $offset:literal, )*) => {
        impl Record<'_> {
            $( fn $name(&self) -> $type {
                <$type>::from_ne_bytes(self.bytes::<$offset, { size_of::<$type>() }>())
            } )*
        }
    };
}
record_layout!(accessors);

impl<'a> Record<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        let lengths = [RECORD_LEN, RECORD_LEN + OWNER_LEN];
        let (Some(record), true) = (bytes.first_chunk::<RECORD_LEN>(), lengths.contains(&bytes.len())) else {
            return Err(WireError::Length(bytes.len()));
        };
        let record = Record(record);
        let length = u16::from_ne_bytes(record.bytes::<0, 2>());
        let version = u16::from_ne_bytes(record.bytes::<2, 2>());
        if usize::from(length) != bytes.len() {
            return Err(WireError::Length(length.into()));
        }
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        Ok(record)
    }

    fn bytes<const OFFSET: usize, const SIZE: usize>(&self) -> [u8; SIZE] {
        const { assert!(OFFSET + SIZE <= RECORD_LEN) };
        let mut bytes = [0; SIZE];
        bytes.copy_from_slice(&self.0[OFFSET..OFFSET + SIZE]);
        bytes
    }

    fn has(&self, bit: u32) -> bool {
        u64::from_ne_bytes(self.bytes::<8, 8>()) & 1 << bit != 0
    }

    /// Local and peer address, and whether they are IPv4 carried by an IPv6 socket.
    fn addresses(&self) -> Result<(IpAddr, IpAddr, bool), WireError> {
        let v4 = |bytes: [u8; 4]| IpAddr::V4(Ipv4Addr::from(bytes));
        match Family::from_raw(self.family().into()) {
            Family::Inet => Ok((v4(self.bytes::<SADDR, 4>()), v4(self.bytes::<DADDR, 4>()), false)),
            Family::Inet6 => {
                let saddr = Ipv6Addr::from(self.bytes::<SADDR, 16>());
                let daddr = Ipv6Addr::from(self.bytes::<DADDR, 16>());
                match daddr.to_ipv4_mapped() {
                    // A socket not yet bound to an address has :: here, which is 0.0.0.0.
                    Some(daddr) => {
                        let saddr = saddr.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
                        Ok((saddr.into(), daddr.into(), true))
                    }
                    None => Ok((saddr.into(), daddr.into(), false)),
                }
            }
            _ => Err(WireError::Family(self.family())),
        }
    }
}

/// A record is not what this version reads. The object and the crate are built together, so this has no cause but
/// corruption; it is counted as dropped.
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

/// A record as an event. `epoch` is what takes `CLOCK_BOOTTIME` to the epoch, in nanoseconds.
pub(crate) fn decode(bytes: &[u8], epoch: u64) -> Result<Event, WireError> {
    let record = Record::new(bytes)?;
    let (saddr, daddr, mapped) = record.addresses()?;
    let mut event = Event::core_only(Core {
        ts: Timestamp::from_nanos(record.ts().wrapping_add(epoch)),
        result: RetransResult::from_raw(record.result()),
        err: record.has(present::ERR).then(|| record.err()),
        kind: RetransKind::from_raw(record.kind().into()),
        saddr,
        sport: record.sport(),
        daddr,
        dport: record.dport(),
        state: TcpState::from_raw(record.state().into()),
        segs: record.segs(),
        mapped,
    });
    event.transmit = Some(Transmit::from_raw(record.transmit().into()));
    event.cookie = record.has(present::COOKIE).then(|| record.cookie());
    event.netns = record.has(present::NETNS).then(|| record.netns());
    event.cgroup = record.has(present::CGROUP).then(|| record.cgroup());
    event.uid = record.has(present::UID).then(|| record.uid());
    event.netns_cookie = record.has(present::NETNS_COOKIE).then(|| record.netns_cookie());
    event.mark = record.has(present::MARK).then(|| record.mark());
    event.bound_dev_if = record.has(present::BOUND_DEV_IF).then(|| record.bound_dev_if());
    if record.has(present::SKB) {
        event.seq = Some(record.seq());
        event.end_seq = Some(record.end_seq());
        event.len = Some(record.len());
        event.tcp_flags = Some(TcpFlags(record.tcp_flags()));
    }
    if record.has(present::TCP) {
        event.snd_una = Some(record.snd_una());
        event.snd_nxt = Some(record.snd_nxt());
        event.snd_wnd = Some(record.snd_wnd());
        event.snd_cwnd = Some(record.snd_cwnd());
        event.ssthresh = Some(record.ssthresh());
        event.srtt_us = Some(record.srtt_us());
        event.rto_us = Some(record.rto_us());
        event.mss = Some(record.mss());
        event.retrans_out = Some(record.retrans_out());
        event.total_retrans = Some(record.total_retrans());
        event.wmem_queued = Some(record.wmem_queued());
        event.ca_state = Some(CaState::from_raw(record.ca_state().into()));
        event.retransmits = Some(record.retransmits());
        event.backoff = Some(record.backoff());
        event.pending = Some(record.pending());
        event.ca_name = Some(Text::from_c(record.bytes::<CA_NAME, { Text::CAPACITY }>()));
    }
    event.sk_err_soft = record.has(present::ERR_SOFT).then(|| record.sk_err_soft());
    let owner_of = |bytes: &[u8]| owner(bytes.first_chunk()?);
    if let Some(owner) = bytes.get(RECORD_LEN..).filter(|_| record.has(present::OWNER)).and_then(owner_of) {
        owner.put(&mut event);
    }
    Ok(event)
}

/// A `struct retrans_owner`; `None` if it is nobody, or not one alone.
pub(crate) fn owner(bytes: &[u8; OWNER_LEN]) -> Option<Owner> {
    let [p0, p1, p2, p3, source, _, _, _, comm @ ..] = *bytes;
    let pid = u32::from_ne_bytes([p0, p1, p2, p3]);
    let source = OwnerSource::from_raw(source.into());
    (pid != 0).then(|| Owner { source, pid, comm: Text::from_c(comm) })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Line;

    /// A record with a good header and anything behind it.
    pub(crate) fn any_record() -> impl Strategy<Value = [u8; RECORD_LEN]> {
        let random = prop::collection::vec(any::<u8>(), RECORD_LEN);
        (random, any::<bool>(), any::<bool>(), 0u8..12, 0u32..135).prop_map(|(random, inet6, mapped, small, result)| {
            let mut bytes: [u8; RECORD_LEN] = random.try_into().expect("as long as asked");
            bytes[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
            bytes[2..4].copy_from_slice(&VERSION.to_ne_bytes());
            // Half of the records with numbers that have names, so that both kinds are seen.
            if bytes[4] & 1 != 0 {
                bytes[24..28].copy_from_slice(&result.to_ne_bytes());
                (bytes[42], bytes[43], bytes[162]) = (small, small, small);
            }
            bytes[36..38].copy_from_slice(&if inet6 { 10u16 } else { 2 }.to_ne_bytes());
            if mapped {
                for at in [SADDR, DADDR] {
                    bytes[at..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
                }
            }
            bytes
        })
    }

    /// The same, as they are where owners are asked for.
    fn any_owned_record() -> impl Strategy<Value = [u8; RECORD_LEN + OWNER_LEN]> {
        (any_record(), prop::array::uniform24(any::<u8>()), 0u8..5).prop_map(|(record, mut owner, source)| {
            owner[4] = source;
            let mut owned = [0; RECORD_LEN + OWNER_LEN];
            owned[..RECORD_LEN].copy_from_slice(&record);
            owned[RECORD_LEN..].copy_from_slice(&owner);
            owned[0..2].copy_from_slice(&((RECORD_LEN + OWNER_LEN) as u16).to_ne_bytes());
            owned
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn an_owner_survives_the_line(record in any_owned_record()) {
            let event = decode(&record, 0).expect("a good header");
            let pid = u32::from_ne_bytes(record[RECORD_LEN..RECORD_LEN + 4].try_into().expect("four"));
            let known = pid != 0 && Record(record.first_chunk().expect("long enough")).has(present::OWNER);
            prop_assert_eq!(event.pid, known.then_some(pid));
            prop_assert_eq!(event.owner.map(OwnerSource::raw).is_some(), known);
            let comm = &record[RECORD_LEN + 8..];
            let comm = comm.split(|byte| *byte == 0).next();
            prop_assert_eq!(event.comm.as_ref().map(Text::as_bytes), comm.filter(|_| known));
            let text = event.to_string();
            prop_assert_eq!(text.parse::<Event>().expect(&text), event);
        }

        #[test]
        fn whatever_the_kernel_hands_over_survives_the_line(record in any_record(), epoch in any::<u64>()) {
            let event = decode(&record, epoch).expect("a good header");
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
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            // The result does not matter, that there is one does.
            let _ = decode(&bytes, 0);
        }

        #[test]
        fn a_wrong_length_is_refused(record in any_record(), at in 0..RECORD_LEN) {
            prop_assert_eq!(decode(&record[..at], 0), Err(WireError::Length(at)));
            let mut longer = record.to_vec();
            longer.push(0);
            prop_assert_eq!(decode(&longer, 0), Err(WireError::Length(RECORD_LEN + 1)));
            // One of the two that there are, but not the one that it says.
            longer.resize(RECORD_LEN + OWNER_LEN, 0);
            prop_assert_eq!(decode(&longer, 0), Err(WireError::Length(RECORD_LEN)));
        }
    }

    #[test]
    fn other_versions_and_families_are_refused() {
        let mut record = [0; RECORD_LEN];
        record[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
        assert_eq!(decode(&record, 0), Err(WireError::Version(0)));
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        assert_eq!(decode(&record, 0), Err(WireError::Family(0)));
        record[36..38].copy_from_slice(&1u16.to_ne_bytes());
        assert_eq!(decode(&record, 0), Err(WireError::Family(1)));
    }

    #[test]
    fn absent_bits_are_absent_fields() {
        let mut record = [0xff; RECORD_LEN];
        record[0..2].copy_from_slice(&(RECORD_LEN as u16).to_ne_bytes());
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        record[8..16].fill(0);
        record[36..38].copy_from_slice(&2u16.to_ne_bytes());
        let event = decode(&record, 0).expect("a good header");
        let keys: Vec<_> =
            event.to_string().split(' ').map(|pair| pair.split_once('=').expect("=").0.to_owned()).collect();
        assert_eq!(keys.join(" "), "ts result err kind family saddr sport daddr dport state segs class transmit");
        assert!(event.to_string().contains(" err=- "));
    }
}
