// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of an event's fields. The key=value line, its parser, the filter and JSON are generated
//! from it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::event::Event;
use crate::event::drop_reason::DropReason;
use crate::event::kernel_str::KernelStr;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::kind::RetransKind;
use crate::event::owner::OwnerSource;
use crate::event::result::{ResultClass, RetransResult};
use crate::event::tcp_enums::{CaState, Family, TcpState};
use crate::event::tcp_flags::TcpFlags;
use crate::event::timestamp::Timestamp;
use crate::event::transmit::Transmit;
use crate::text::reason_table::{MAX_VALUE_LEN, Name, ReasonTable};
use crate::text::scanner::Scanner;
use crate::text::writer::{LineWriter, WRITE_PADDING};

/// The list of the optional fields, in the order of the key=value line: documentation, key, type
/// and place in the record.
///
/// The place is `[offset, NAME = presence bit]`. NAME is the constant of the bit in `enum
/// retrans_field` (`bpf/retrans.h`). The filter in the BPF programs identifies a field by the same
/// number. The place is empty for fields that are decoded separately. The type in the record
/// follows from the type of the field (`record::WireValue`). `kernel/layout.rs` compares the place
/// and the type with the built object at compile time.
macro_rules! optional_fields {
    ($then:ident $($first:tt)*) => {
        $then! {
            $($first)*
            /// The progress of the attempt: `yes` if it reached the transmit step, `no` if it did
            /// not, `unknown` if neither is proven. Absent from recordings made by versions without
            /// this key.
            transmit: Transmit => [],
            /// The socket's cookie (`SO_COOKIE`), unique until the host reboots. For a SYN-ACK it
            /// is the cookie of the future accepted socket. In each of three cases (before Linux
            /// 5.12; with kretprobes; without the kernel's own BTF) the BPF programs cannot request
            /// a cookie. Then it is present only if something else on the host has requested the
            /// cookie of this socket before.
            cookie: u64 => [80, RETRANS_FIELD_COOKIE = 1],
            /// The inode number of the socket's network namespace (`/proc/PID/ns/net`).
            netns: u32 => [76, RETRANS_FIELD_NETNS = 2],
            /// The id of the socket's cgroup in the unified hierarchy, which is the inode number
            /// of its directory. Requires Linux 5.15. On a host that uses cgroup v1 the field
            /// is absent if the kernel reports the root cgroup, because unrelated containers are in
            /// it.
            cgroup: u64 => [88, RETRANS_FIELD_CGROUP = 3],
            /// The user id of the socket's owner (`sk_uid`), in the initial user namespace. For a
            /// SYN-ACK it is the user id of the listener's owner.
            uid: u32 => [104, RETRANS_FIELD_UID = 4],
            /// The cookie of the socket's network namespace (`SO_NETNS_COOKIE`). Unlike the inode
            /// number it is unique until the host reboots. Before Linux 5.12 it is present only for
            /// namespaces whose cookie has been read before.
            netns_cookie: u64 => [96, RETRANS_FIELD_NETNS_COOKIE = 7],
            /// The socket's mark (`SO_MARK`), 0 unless set. For a SYN-ACK it is the mark of the
            /// future accepted socket, or, for a listener of MPTCP or in a sockmap, the listener's.
            mark: u32 => [108, RETRANS_FIELD_MARK = 5],
            /// The index of the interface that the socket is bound to (`SO_BINDTODEVICE`), in its
            /// network namespace. For a SYN-ACK it is the interface of the future accepted socket.
            /// Absent if the socket is not bound.
            bound_dev_if: u32 => [112, RETRANS_FIELD_BOUND_DEV_IF = 6],
            /// The way in which the owner of the socket was resolved
            /// ([`StreamBuilder::resolve_owners`](crate::StreamBuilder::resolve_owners), Linux
            /// 5.12). `owner`, `pid` and `comm` are either all present or all absent.
            owner: OwnerSource => [],
            /// The process id of the socket owner, in the PID namespace of the process that opened
            /// the stream. `owner` defines its meaning. The process may have exited since. Requires
            /// Linux 5.12.
            pid: u32 => [],
            /// The name of that process (`/proc/PID/comm`) when the owner was resolved, at most 15
            /// bytes. Requires Linux 5.12.
            comm: KernelStr => [],
            /// The first sequence number of the segment (`TCP_SKB_CB(skb)->seq`).
            seq: u32 => [116, RETRANS_FIELD_SEQ = 9],
            /// The sequence number after the end of the segment (`TCP_SKB_CB(skb)->end_seq`).
            end_seq: u32 => [120, RETRANS_FIELD_END_SEQ = 10],
            /// The length of the segment (`skb->len`), in bytes.
            len: u32 => [124, RETRANS_FIELD_LEN = 11],
            /// The TCP flags of the segment (`TCP_SKB_CB(skb)->tcp_flags`).
            tcp_flags: TcpFlags => [128, RETRANS_FIELD_TCP_FLAGS = 12],
            /// The oldest unacknowledged sequence number (`tp->snd_una`).
            snd_una: u32 => [136, RETRANS_FIELD_SND_UNA = 13],
            /// The next sequence number to send (`tp->snd_nxt`).
            snd_nxt: u32 => [140, RETRANS_FIELD_SND_NXT = 14],
            /// The receiver's advertised window (`tp->snd_wnd`), in bytes.
            snd_wnd: u32 => [144, RETRANS_FIELD_SND_WND = 15],
            /// The congestion window (`tp->snd_cwnd`), in segments.
            snd_cwnd: u32 => [148, RETRANS_FIELD_SND_CWND = 16],
            /// The slow start threshold (`tp->snd_ssthresh`), in segments; 2147483647 until one is
            /// set.
            ssthresh: u32 => [152, RETRANS_FIELD_SSTHRESH = 17],
            /// The smoothed round-trip time (`tp->srtt_us` / 8), in microseconds; 0 before the
            /// first sample.
            srtt_us: u32 => [156, RETRANS_FIELD_SRTT_US = 18],
            /// The retransmission timeout (RTO) including back-off (`icsk_rto`), in microseconds.
            /// The resolution is one jiffy.
            rto_us: u32 => [160, RETRANS_FIELD_RTO_US = 19],
            /// The maximum segment size in use (`tp->mss_cache`), in bytes.
            mss: u32 => [164, RETRANS_FIELD_MSS = 20],
            /// The number of segments that were retransmitted and are not yet acknowledged
            /// (`tp->retrans_out`), excluding this one.
            retrans_out: u32 => [168, RETRANS_FIELD_RETRANS_OUT = 21],
            /// The number of segments that the connection has retransmitted in total
            /// (`tp->total_retrans`), including this attempt if it reached the transmit step.
            total_retrans: u32 => [172, RETRANS_FIELD_TOTAL_RETRANS = 22],
            /// The memory of the send queue (`sk_wmem_queued`), in bytes.
            wmem_queued: u32 => [176, RETRANS_FIELD_WMEM_QUEUED = 23],
            /// The congestion avoidance state (`icsk_ca_state`).
            ca_state: CaState => [130, RETRANS_FIELD_CA_STATE = 24],
            /// The number of consecutive timeouts (`icsk_retransmits`), including the one that
            /// caused this attempt. A zero-window probe does not increase it.
            retransmits: u8 => [131, RETRANS_FIELD_RETRANSMITS = 25],
            /// The exponent of the timeout's back-off (`icsk_backoff`).
            backoff: u8 => [132, RETRANS_FIELD_BACKOFF = 26],
            /// The purpose of the armed timer (`icsk_pending`): 0 for no timer, 1 RTO, 5 loss
            /// probe, 6 reordering.
            pending: u8 => [133, RETRANS_FIELD_PENDING = 27],
            /// The name of the congestion control algorithm (`icsk_ca_ops->name`).
            ca_name: KernelStr => [184, RETRANS_FIELD_CA_NAME = 28],
            /// The last soft error of the socket (`sk_err_soft`), a positive errno; 0 without an
            /// error.
            sk_err_soft: i32 => [180, RETRANS_FIELD_SK_ERR_SOFT = 29],
            /// The reason for which this host dropped the packet of the attempt, before the attempt
            /// ended. It is recorded only on request ([`FieldSet::drops`](crate::FieldSet::drops)),
            /// as are the four fields after it. Absent if no drop of this packet is proven.
            /// Requires Linux 5.17.
            drop_reason: DropReason => [200, RETRANS_FIELD_DROP_REASON = 30],
            /// The instruction of the kernel that dropped the packet. Absent if the process that
            /// opened the stream may not read addresses in `/proc/kallsyms`: that requires
            /// CAP_SYSLOG and `kernel.kptr_restrict` below 2, or `kptr_restrict` 0 and
            /// `kernel.perf_event_paranoid` at most 1.
            drop_at: KernelSymbol => [208, RETRANS_FIELD_DROP_AT = 32],
            /// The name of the packet's device when it was dropped (`skb->dev`). Absent if the
            /// packet had no device yet, as at the netfilter hook OUTPUT.
            drop_dev: KernelStr => [216, RETRANS_FIELD_DROP_DEV = 33],
            /// The index of the route's device at the end of the attempt
            /// (`sk_dst_cache->dev->ifindex`), in the network namespace of the socket. Absent if
            /// the socket has no route.
            oif: u32 => [204, RETRANS_FIELD_OIF = 31],
            /// The name of that device (`sk_dst_cache->dev->name`).
            dev: KernelStr => [232, RETRANS_FIELD_DEV = 51],
            /// The time since the segment was last sent before this attempt, in microseconds
            /// (`skb->skb_mstamp_ns` at the entry of the attempt). An earlier attempt that reached
            /// the transmit step and failed counts as sent. Absent if no BPF program ran at the
            /// entry and the attempt reached the transmit step, which overwrites the time; and in
            /// excess of 71 minutes. Recorded on request ([`FieldSet`](crate::FieldSet)).
            age_us: u32 => [248, RETRANS_FIELD_AGE_US = 34],
            /// The number of segments in flight (`tp->packets_out`): sent and not cumulatively
            /// acknowledged. Recorded on request.
            packets_out: u32 => [252, RETRANS_FIELD_PACKETS_OUT = 35],
            /// The number of segments marked as lost (`tp->lost_out`). Recorded on request.
            lost_out: u32 => [256, RETRANS_FIELD_LOST_OUT = 36],
            /// The number of segments that the peer acknowledged selectively (`tp->sacked_out`).
            /// Without SACK, it is the number of duplicate ACKs. Recorded on request.
            sacked_out: u32 => [260, RETRANS_FIELD_SACKED_OUT = 37],
            /// The reordering that the socket tolerates (`tp->reordering`), in segments. Recorded
            /// on request.
            reordering: u32 => [264, RETRANS_FIELD_REORDERING = 38],
            /// The number of segments that the peer reported as received twice (`tp->dsack_dups`,
            /// RFC 2883), since the connection began. Recorded on request.
            dsack_dups: u32 => [268, RETRANS_FIELD_DSACK_DUPS = 39],
            /// The number of retransmitted segments of this recovery that the peer has not reported
            /// as received twice (`tp->undo_retrans`). At 0, all of them were unneeded, and the
            /// kernel restores the congestion window. -1 if nothing was retransmitted when the
            /// recovery began. Recorded on request.
            undo_retrans: i32 => [272, RETRANS_FIELD_UNDO_RETRANS = 40],
            /// The number of segments that were delivered to the peer, including retransmitted ones
            /// (`tp->delivered`), since the connection began. Recorded on request.
            delivered: u32 => [276, RETRANS_FIELD_DELIVERED = 41],
            /// The number of bytes that were retransmitted (`tp->bytes_retrans`), since the
            /// connection began, including this attempt if it reached the transmit step. Recorded
            /// on request.
            bytes_retrans: u64 => [280, RETRANS_FIELD_BYTES_RETRANS = 42],
            /// The pacing rate (`sk->sk_pacing_rate`), in bytes per second; 18446744073709551615
            /// without a limit. Recorded on request.
            pacing_rate: u64 => [288, RETRANS_FIELD_PACING_RATE = 43],
            /// The minimum round-trip time of the last minutes (`tp->rtt_min`), in microseconds.
            /// Absent before the first sample. Recorded on request.
            min_rtt_us: u32 => [296, RETRANS_FIELD_MIN_RTT_US = 44],
            /// The path MTU in use (`icsk_pmtu_cookie`), in bytes. Recorded on request.
            pmtu: u32 => [300, RETRANS_FIELD_PMTU = 45],
            /// The priority of the socket's packets (`sk->sk_priority`, `SO_PRIORITY`). Recorded on
            /// request.
            priority: u32 => [304, RETRANS_FIELD_PRIORITY = 46],
            /// The number of timeouts of the connection (`tp->total_rto`). Requires Linux 6.7.
            /// Recorded on request.
            total_rto: u32 => [308, RETRANS_FIELD_TOTAL_RTO = 47],
            /// The TOS byte of IPv4 (`inet->tos`), or the traffic class of IPv6
            /// (`inet6_sk(sk)->tclass`), with the bits of ECN. Recorded on request.
            tos: u8 => [312, RETRANS_FIELD_TOS = 48],
            /// 1 if the socket belongs to an MPTCP connection (`tp->is_mptcp`), else 0. Recorded on
            /// request.
            is_mptcp: u8 => [313, RETRANS_FIELD_IS_MPTCP = 49],
            /// 1 if the process has closed the socket (`SOCK_DEAD`), so that the kernel sends the
            /// rest of the data by itself; else 0. Recorded on request.
            orphan: u8 => [314, RETRANS_FIELD_ORPHAN = 50],
        }
    };
}
pub(crate) use optional_fields;

/// The value of a field, with what printing and comparing need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Time(Timestamp),
    Name { name: Name, raw: u32 },
    Int(i64),
    Id(u64),
    Flags(TcpFlags),
    Addr(IpAddr),
    KernelStr(KernelStr),
    Symbol(KernelSymbol),
    Yes,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(v) => v.fmt(f),
            Self::Name { name, .. } => name.fmt(f),
            Self::Int(v) => v.fmt(f),
            Self::Id(v) => v.fmt(f),
            Self::Flags(v) => v.fmt(f),
            Self::Addr(v) => v.fmt(f),
            Self::KernelStr(v) => v.fmt(f),
            Self::Symbol(v) => v.fmt(f),
            Self::Yes => f.write_str("yes"),
        }
    }
}

/// The type of a field. It determines the operands that the filter accepts.
#[derive(Clone, Copy)]
pub(crate) enum FieldType {
    Time,
    /// Named values. `parse` returns the number of a name, `canonical` the canonical number of any
    /// number.
    Table {
        parse: fn(&str) -> Option<u32>,
        canonical: fn(u32) -> u32,
        names: fn() -> String,
    },
    Int {
        low: i64,
        high: i64,
    },
    Id,
    Flags,
    Addr,
    KernelStr,
    Symbol,
    Flag,
}

/// A type of field values.
pub(crate) trait FieldValue: Copy {
    const TYPE: FieldType;
    /// The maximum number of bytes that it prints.
    const WIDTH: usize;
    fn value(self) -> Value;
    /// Returns an order-preserving number, by which the filter compares values that have one.
    fn number(self) -> i64;
    /// Prints the value.
    fn write_to(self, out: &mut LineWriter<'_>);
    /// Scans exactly what [`write_to`](Self::write_to) prints, which is fast. `None` means that the
    /// text has another form, which may be valid: [`parse`](Self::parse) then decides.
    fn scan(from: &mut Scanner<'_>) -> Option<Self>;
    fn parse(text: &str) -> Result<Self, String>;
}

/// Maps unsigned numbers to signed ones in the same order.
const fn scaled(value: u64) -> i64 {
    (value ^ 1 << 63) as i64
}

impl FieldType {
    /// Returns the [`FieldValue::number`] of a value of the type, clamped to its range.
    pub(crate) fn number(self, value: i128) -> i64 {
        match self {
            Self::Time | Self::Id => scaled(value.clamp(0, u64::MAX.into()) as u64),
            _ => value.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
        }
    }
}

/// The maximum width of any value.
const WIDEST: usize = 80;

/// Returns true if a text is the canonical form of a value. A line that parses therefore prints
/// unchanged.
fn is_spelt<T: FieldValue>(value: T, text: &str) -> bool {
    const { assert!(T::WIDTH <= WIDEST) };
    let mut buffer = [0; WIDEST + WRITE_PADDING];
    let mut out = LineWriter::new(&mut buffer);
    value.write_to(&mut out);
    out.written() == text.as_bytes()
}

fn integer<T: FieldValue + FromStr>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(value) if is_spelt(value, text) => Ok(value),
        _ => Err("not an integer in range".to_owned()),
    }
}

macro_rules! integer_fields {
    ($($type:ty: $method:ident),*) => {$(
        impl FieldValue for $type {
            const TYPE: FieldType = FieldType::Int { low: <$type>::MIN as i64, high: <$type>::MAX as i64 };
            const WIDTH: usize = 11;
            fn value(self) -> Value {
                Value::Int(self.into())
            }
            fn number(self) -> i64 {
                self.into()
            }
            #[inline(always)]
            fn write_to(self, out: &mut LineWriter<'_>) {
                out.$method(self.into());
            }
            #[inline(always)]
            fn scan(from: &mut Scanner<'_>) -> Option<Self> {
                from.$method()?.try_into().ok()
            }
            fn parse(text: &str) -> Result<Self, String> {
                integer(text)
            }
        }
    )*};
}
integer_fields!(u8: unsigned, u16: unsigned, u32: unsigned, i32: signed);

macro_rules! from_str_fields {
    ($($type:ty => $variant:ident, $width:literal, $number:expr, $write:expr, $scan:expr;)*) => {$(
        impl FieldValue for $type {
            const TYPE: FieldType = FieldType::$variant;
            const WIDTH: usize = $width;
            fn value(self) -> Value {
                Value::$variant(self)
            }
            fn number(self) -> i64 {
                let number: fn(Self) -> i64 = $number;
                number(self)
            }
            #[inline(always)]
            fn write_to(self, out: &mut LineWriter<'_>) {
                let write: fn(Self, &mut LineWriter<'_>) = $write;
                write(self, out);
            }
            #[inline(always)]
            fn scan(from: &mut Scanner<'_>) -> Option<Self> {
                let scan: fn(&mut Scanner<'_>) -> Option<Self> = $scan;
                scan(from)
            }
            fn parse(text: &str) -> Result<Self, String> {
                let value: Self = text.parse().map_err(|e: <$type as FromStr>::Err| e.to_string())?;
                if is_spelt(value, text) { Ok(value) } else { Err(format!("not in canonical form, which is {value}")) }
            }
        }
    )*};
}
from_str_fields! {
    Timestamp => Time, 21, |time| scaled(time.as_nanos()), Timestamp::write_to, Timestamp::scan;
    TcpFlags => Flags, 6, |flags| flags.0.into(), TcpFlags::write_to, TcpFlags::scan;
    IpAddr => Addr, 39, |_| 0, |address, out| out.address(address), address;
    KernelStr => KernelStr, 48, |_| 0, KernelStr::write_to, KernelStr::scan;
    KernelSymbol => Symbol, 75, |_| 0, KernelSymbol::write_to, KernelSymbol::scan;
}

fn address(from: &mut Scanner<'_>) -> Option<IpAddr> {
    let before = from.clone();
    if let Some(address) = from.v4() {
        return Some(address.into());
    }
    *from = before;
    FieldValue::parse(std::str::from_utf8(from.value()).ok()?).ok()
}

impl FieldValue for u64 {
    const TYPE: FieldType = FieldType::Id;
    const WIDTH: usize = 20;
    fn value(self) -> Value {
        Value::Id(self)
    }
    fn number(self) -> i64 {
        scaled(self)
    }
    #[inline(always)]
    fn write_to(self, out: &mut LineWriter<'_>) {
        out.unsigned(self);
    }
    #[inline(always)]
    fn scan(from: &mut Scanner<'_>) -> Option<Self> {
        from.unsigned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        integer(text)
    }
}

impl<T: ReasonTable> FieldValue for T {
    const TYPE: FieldType =
        FieldType::Table { parse: number_of::<T>, canonical: |raw| T::from_raw(raw).raw(), names: names_of::<T> };
    const WIDTH: usize = MAX_VALUE_LEN;
    fn value(self) -> Value {
        Value::Name { name: self.name(), raw: self.raw() }
    }
    fn number(self) -> i64 {
        self.raw().into()
    }
    #[inline(always)]
    fn write_to(self, out: &mut LineWriter<'_>) {
        self.name().write_to(out);
    }
    #[inline(always)]
    fn scan(from: &mut Scanner<'_>) -> Option<Self> {
        let text = from.value();
        T::ALL.iter().find(|entry| entry.value.as_bytes() == text).map(|entry| entry.variant)
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("not one of {}", names_of::<T>()))
    }
}

fn number_of<T: ReasonTable>(text: &str) -> Option<u32> {
    text.parse::<T>().ok().map(T::raw)
}

fn names_of<T: ReasonTable>() -> String {
    let names: Vec<_> = T::ALL.iter().map(|entry| entry.value).collect();
    names.join(" ")
}

/// An event while a line is being parsed.
pub(crate) struct Draft {
    pub(crate) event: Event,
    /// The values of keys that derive from other fields, to be validated.
    pub(crate) family: Option<Family>,
    pub(crate) class: Option<ResultClass>,
}

/// A field: one key of the key=value line.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    /// True if the parser requires the field in every line. An absent value is then printed as `-`,
    /// which only `err` can have.
    pub(crate) always: bool,
    pub(crate) field_type: FieldType,
    pub(crate) get: fn(&Event) -> Option<Value>,
    /// Returns the [`FieldValue::number`] of the value. Faster than `get`.
    pub(crate) number: fn(&Event) -> Option<i64>,
    /// Returns the address, for fields that are addresses.
    pub(crate) address: Option<fn(&Event) -> IpAddr>,
    pub(crate) set: fn(&mut Draft, &str) -> Result<(), String>,
}

/// Returns ` key=` as a constant, which is written without a loop.
macro_rules! prefix {
    ($name:ident) => {
        const { concat!(" ", stringify!($name), "=").as_bytes() }
    };
}

/// Defines a field by its sort: `core` (or `first`, or an `address`), `err` with its own form,
/// `follows` for values that derive from other fields (`family`, `class`), `flag`, or `optional`.
macro_rules! field {
    (first $name:ident: $type:ty) => {
        field!(core $name: $type)
    };
    (core $name:ident: $type:ty) => {
        Field {
            key: stringify!($name),
            always: true,
            field_type: <$type as FieldValue>::TYPE,
            get: |event| Some(event.$name.value()),
            number: |event| Some(event.$name.number()),
            address: None,
            set: |draft, text| {
                draft.event.$name = <$type as FieldValue>::parse(text)?;
                Ok(())
            },
        }
    };
    (address $name:ident: $type:ty) => {
        Field { address: Some(|event| event.$name), ..field!(core $name: $type) }
    };
    (err $name:ident: $type:ty) => {
        Field {
            key: stringify!($name),
            always: true,
            field_type: <$type as FieldValue>::TYPE,
            get: |event| event.$name.map(FieldValue::value),
            number: |event| event.$name.map(FieldValue::number),
            address: None,
            set: |draft, text| {
                draft.event.$name = if text == "-" { None } else { Some(FieldValue::parse(text)?) };
                Ok(())
            },
        }
    };
    (follows($always:literal) $name:ident: $type:ty) => {
        Field {
            key: <$type as ReasonTable>::KEY,
            always: $always,
            field_type: <$type as FieldValue>::TYPE,
            get: |event| Some(event.$name().value()),
            number: |event| Some(event.$name().number()),
            address: None,
            set: |draft, text| {
                draft.$name = Some(FieldValue::parse(text)?);
                Ok(())
            },
        }
    };
    (flag $name:ident: $type:ty) => {
        Field {
            key: stringify!($name),
            always: false,
            field_type: FieldType::Flag,
            get: |event| event.$name.then_some(Value::Yes),
            number: |event| event.$name.then_some(1),
            address: None,
            set: |draft, text| {
                draft.event.$name = text == "yes";
                if draft.event.$name { Ok(()) } else { Err("not `yes`".to_owned()) }
            },
        }
    };
    (optional $name:ident: $type:ty) => {
        Field {
            key: stringify!($name),
            always: false,
            field_type: <$type as FieldValue>::TYPE,
            get: |event| event.$name.map(FieldValue::value),
            number: |event| event.$name.map(FieldValue::number),
            address: None,
            set: |draft, text| {
                draft.event.$name = Some(FieldValue::parse(text)?);
                Ok(())
            },
        }
    };
}

/// Prints a field that has a value, preceded by a space except for the first.
macro_rules! write_field {
    (first $name:ident, $event:ident, $out:ident) => {{
        $out.constant(const { concat!(stringify!($name), "=").as_bytes() });
        $event.$name.write_to($out);
    }};
    (core $name:ident, $event:ident, $out:ident) => {{
        $out.constant(prefix!($name));
        $event.$name.write_to($out);
    }};
    (address $name:ident, $event:ident, $out:ident) => {
        write_field!(core $name, $event, $out)
    };
    (err $name:ident, $event:ident, $out:ident) => {{
        $out.constant(prefix!($name));
        match $event.$name {
            Some(value) => value.write_to($out),
            None => $out.byte(b'-'),
        }
    }};
    (follows($always:literal) $name:ident, $event:ident, $out:ident) => {{
        $out.constant(prefix!($name));
        $event.$name().write_to($out);
    }};
    (flag $name:ident, $event:ident, $out:ident) => {
        if $event.$name {
            $out.constant(prefix!($name));
            $out.constant(b"yes");
        }
    };
    (optional $name:ident, $event:ident, $out:ident) => {
        if let Some(value) = $event.$name {
            $out.constant(prefix!($name));
            value.write_to($out);
        }
    };
}

/// Scans a field as [`write_field`] prints it, and nothing else.
macro_rules! scan_field {
    (first $name:ident: $type:ty, $draft:ident, $from:ident) => {{
        $from.constant(const { concat!(stringify!($name), "=").as_bytes() })?;
        $draft.event.$name = <$type as FieldValue>::scan($from)?;
    }};
    (core $name:ident: $type:ty, $draft:ident, $from:ident) => {{
        $from.constant(prefix!($name))?;
        $draft.event.$name = <$type as FieldValue>::scan($from)?;
    }};
    (address $name:ident: $type:ty, $draft:ident, $from:ident) => {
        scan_field!(core $name: $type, $draft, $from)
    };
    (err $name:ident: $type:ty, $draft:ident, $from:ident) => {{
        $from.constant(prefix!($name))?;
        // A lone `-`, without digits.
        $draft.event.$name = match $from.value() {
            b"-" => None,
            value => Some(<$type as FieldValue>::parse(std::str::from_utf8(value).ok()?).ok()?),
        };
    }};
    (follows($always:literal) $name:ident: $type:ty, $draft:ident, $from:ident) => {
        if $from.constant(prefix!($name)).is_some() {
            $draft.$name = Some(<$type as FieldValue>::scan($from)?);
        } else if $always {
            return None;
        }
    };
    (flag $name:ident: $type:ty, $draft:ident, $from:ident) => {
        $draft.event.$name = $from.constant(const { concat!(" ", stringify!($name), "=yes").as_bytes() }).is_some();
    };
    (optional $name:ident: $type:ty, $draft:ident, $from:ident) => {
        if $from.constant(prefix!($name)).is_some() {
            $draft.event.$name = Some(<$type as FieldValue>::scan($from)?);
        }
    };
}

macro_rules! width {
    ($type:ty, flag) => {
        "yes".len()
    };
    ($type:ty, $($sort:tt)*) => {
        <$type as FieldValue>::WIDTH
    };
}

macro_rules! lists {
    ($( $sort:ident $(($always:literal))? $name:ident: $type:ty, )*) => {
        /// All fields, in the order of the line.
        pub(crate) static FIELDS: &[Field] = &[$( field!($sort $(($always))? $name: $type), )*];

        /// The maximum length of a line, in bytes.
        pub(crate) const MAX_LINE: usize = 0 $( + prefix!($name).len() + width!($type, $sort $(($always))?) )*;

        /// Prints the line in one function, since a call for each field would need more time than
        /// the field.
        pub(crate) fn write_line(event: &Event, buffer: &mut [u8; MAX_LINE + WRITE_PADDING]) -> usize {
            let mut out = LineWriter::new(buffer);
            let out = &mut out;
            $( write_field!($sort $(($always))? $name, event, out); )*
            out.len()
        }

        /// Scans exactly what [`write_line`] prints. `None` means that the text has another form,
        /// which may be valid: the general parser then decides. Values that derive from other
        /// fields are not validated.
        pub(crate) fn scan_line(draft: &mut Draft, text: &str) -> Option<()> {
            let mut from = Scanner::new(text);
            let from = &mut from;
            $( scan_field!($sort $(($always))? $name: $type, draft, from); )*
            from.is_at_end().then_some(())
        }
    };
}

macro_rules! fields {
    ($dollar:tt $( $(#[$doc:meta])* $name:ident: $type:ty => $place:tt, )*) => {
        /// Passes all fields, in the order of the key=value line, to the macro `$then`.
        macro_rules! all_fields {
            ($dollar then:ident) => {
                $dollar then! {
                    first ts: Timestamp,
                    core result: RetransResult,
                    err err: i32,
                    core kind: RetransKind,
                    follows(true) family: Family,
                    address saddr: IpAddr,
                    core sport: u16,
                    address daddr: IpAddr,
                    core dport: u16,
                    core state: TcpState,
                    core segs: u32,
                    follows(false) class: ResultClass,
                    flag mapped: bool,
                    $( optional $name: $type, )*
                }
            };
        }
        pub(crate) use all_fields;
    };
}
// The macro that is defined inside needs a dollar sign for its own parameters.
optional_fields!(fields $);
all_fields!(lists);

/// Returns the field with this key. The search starts at `hint`, since a line contains its keys in
/// order.
pub(crate) fn by_key(key: &str, hint: usize) -> Option<(usize, &'static Field)> {
    let all = FIELDS.iter().enumerate();
    all.clone().skip(hint).chain(all.take(hint)).find(|(_, field)| field.key == key)
}

/// Returns all keys of the key=value line, in its order. The filter and JSON use the same keys.
///
/// # Examples
///
/// ```
/// let always: Vec<_> = retrans_sdk::event::keys().take(3).collect();
/// assert_eq!(always, ["ts", "result", "err"]);
/// ```
pub fn keys() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_each_table_is_a_field() {
        for key in [RetransResult::KEY, RetransKind::KEY, Transmit::KEY, TcpState::KEY, CaState::KEY, DropReason::KEY] {
            assert!(matches!(by_key(key, 0), Some((_, Field { field_type: FieldType::Table { .. }, .. }))), "{key}");
        }
    }

    #[test]
    fn every_key_is_unique() {
        for (index, key) in keys().enumerate() {
            assert_eq!(by_key(key, 0).map(|(at, _)| at), Some(index), "{key}");
        }
        assert!(FIELDS.len() <= u128::BITS as usize, "the parser keeps a bit for each");
    }
}
