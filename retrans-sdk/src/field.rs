// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one list of an event's fields. The line, its parser, the filter and JSON all walk [`FIELDS`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::event::Event;
use crate::table::{Name, ReasonTable};
use crate::{
    CaState, Family, OwnerSource, ResultClass, RetransKind, RetransResult, TcpFlags, TcpState, Text, Timestamp,
    Transmit,
};

/// The declaration of the optional fields: key, type, documentation, in the order of the line.
macro_rules! optional_fields {
    ($then:ident) => {
        $then! {
            /// Whether the attempt reached the transmit step. `unknown` where nothing proves it; absent from what was recorded before
            /// there was the key.
            transmit: Transmit,
            /// The socket's cookie (`SO_COOKIE`), unique until the host reboots. Of a SYN-ACK: the one that the accepted
            /// socket will have. Before Linux 5.12 only of sockets that somebody has asked for it.
            cookie: u64,
            /// The inode number of the socket's network namespace (`/proc/PID/ns/net`).
            netns: u32,
            /// The id of the socket's cgroup in the unified hierarchy: that directory's inode number. Since Linux 5.15.
            cgroup: u64,
            /// The user that the socket belongs to, by its number in the first user namespace; of a SYN-ACK the listener's.
            uid: u32,
            /// The cookie of the socket's network namespace (`SO_NETNS_COOKIE`), unique until the host reboots, other than its inode
            /// number. Before Linux 5.12 only of namespaces that somebody has asked for it.
            netns_cookie: u64,
            /// The socket's mark (`SO_MARK`), 0 unless one was set. Of a SYN-ACK: the one that the accepted socket will have.
            mark: u32,
            /// The index of the interface that the socket is bound to (`SO_BINDTODEVICE`), in its network namespace. Of a SYN-ACK: the
            /// one of the accepted socket. Absent if there is none.
            bound_dev_if: u32,
            /// How it is known which process the socket belongs to ([`Builder::owners`](crate::Builder::owners)); the three stand
            /// together, and are absent where it is not known.
            owner: OwnerSource,
            /// The process that the socket belongs to, in the sense that `owner` says, by its number in the PID namespace of
            /// whoever opened the stream. It may have ended since.
            pid: u32,
            /// That process's name (`/proc/PID/comm`) at that time.
            comm: Text,
            /// The first sequence number of the segment.
            seq: u32,
            /// The sequence number behind the segment.
            end_seq: u32,
            /// The segment's length in bytes.
            len: u32,
            /// The segment's TCP flags.
            tcp_flags: TcpFlags,
            /// The oldest sequence number that is unacknowledged.
            snd_una: u32,
            /// The next sequence number to send.
            snd_nxt: u32,
            /// The window that the receiver offers, in bytes.
            snd_wnd: u32,
            /// The congestion window, in segments.
            snd_cwnd: u32,
            /// The slow start threshold, in segments; 2147483647 stands for none yet.
            ssthresh: u32,
            /// The smoothed round-trip time, in microseconds; 0 before the first sample.
            srtt_us: u32,
            /// The retransmission timeout (RTO), backed off already, in microseconds.
            rto_us: u32,
            /// The maximum segment size in use, in bytes.
            mss: u32,
            /// Segments retransmitted and not yet acknowledged, without this one.
            retrans_out: u32,
            /// Segments retransmitted over the connection's life, this attempt included if it reached the transmit step.
            total_retrans: u32,
            /// Bytes of memory in the send queue.
            wmem_queued: u32,
            /// The congestion avoidance state.
            ca_state: CaState,
            /// Expired timeouts in a row (`icsk_retransmits`), the one behind this attempt included.
            retransmits: u8,
            /// The exponent of the timeout's back-off.
            backoff: u8,
            /// What the retransmission timer is armed for (`icsk_pending`): 0 nothing, 1 RTO, 5 loss probe, 6 reordering.
            pending: u8,
            /// The name of the congestion control.
            ca_name: Text,
            /// The last soft error of the socket, a positive errno; 0 for none.
            sk_err_soft: i32,
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
    Text(Text),
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
            Self::Text(v) => v.fmt(f),
            Self::Yes => f.write_str("yes"),
        }
    }
}

/// What the values of a field look like: how the filter reads its operands.
#[derive(Clone, Copy)]
pub(crate) enum FieldType {
    Time,
    /// By name; `parse` gives a name's number, `canonical` that of whatever a number means.
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
    Text,
    Flag,
}

/// A type that a field may have.
pub(crate) trait FieldValue: Copy {
    const TYPE: FieldType;
    fn value(self) -> Value;
    fn parse(text: &str) -> Result<Self, String>;
}

/// A text as a number of type `T`, in the one spelling that printing gives.
fn integer<T: FromStr + fmt::Display>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(value) if value.to_string() == text => Ok(value),
        _ => Err("not an integer in range".to_owned()),
    }
}

macro_rules! integer_fields {
    ($($type:ty),*) => {$(
        impl FieldValue for $type {
            const TYPE: FieldType = FieldType::Int { low: <$type>::MIN as i64, high: <$type>::MAX as i64 };
            fn value(self) -> Value {
                Value::Int(self.into())
            }
            fn parse(text: &str) -> Result<Self, String> {
                integer(text)
            }
        }
    )*};
}
integer_fields!(u8, u16, u32, i32);

macro_rules! from_str_fields {
    ($($type:ty => $variant:ident),*) => {$(
        impl FieldValue for $type {
            const TYPE: FieldType = FieldType::$variant;
            fn value(self) -> Value {
                Value::$variant(self)
            }
            fn parse(text: &str) -> Result<Self, String> {
                let value: Self = text.parse().map_err(|e: <$type as FromStr>::Err| e.to_string())?;
                // One spelling a value, or a line would not come back as it was.
                if value.to_string() == text { Ok(value) } else { Err(format!("to be spelt {value}")) }
            }
        }
    )*};
}
from_str_fields!(Timestamp => Time, TcpFlags => Flags, IpAddr => Addr, Text => Text);

impl FieldValue for u64 {
    const TYPE: FieldType = FieldType::Id;
    fn value(self) -> Value {
        Value::Id(self)
    }
    fn parse(text: &str) -> Result<Self, String> {
        integer(text)
    }
}

impl<T: ReasonTable> FieldValue for T {
    const TYPE: FieldType =
        FieldType::Table { parse: number_of::<T>, canonical: |raw| T::from_raw(raw).raw(), names: names_of::<T> };
    fn value(self) -> Value {
        Value::Name { name: self.name(), raw: self.raw() }
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

/// An event while a line is being read into it.
pub(crate) struct Draft {
    pub(crate) event: Event,
    /// What the line said of values that follow from others.
    pub(crate) family: Option<Family>,
    pub(crate) class: Option<ResultClass>,
}

/// One key of the line.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    /// One of the eleven that every line has; `-` where it has no value.
    pub(crate) always: bool,
    pub(crate) field_type: FieldType,
    pub(crate) get: fn(&Event) -> Option<Value>,
    pub(crate) set: fn(&mut Draft, &str) -> Result<(), String>,
}

macro_rules! core_field {
    ($name:ident: $type:ty) => {
        Field {
            key: stringify!($name),
            always: true,
            field_type: <$type as FieldValue>::TYPE,
            get: |event| Some(event.$name.value()),
            set: |draft, text| {
                draft.event.$name = <$type as FieldValue>::parse(text)?;
                Ok(())
            },
        }
    };
}

macro_rules! fields {
    ($( $(#[$doc:meta])* $name:ident: $type:ty, )*) => {
        /// Every field, in the order of the line.
        pub(crate) static FIELDS: &[Field] = &[
            core_field!(ts: Timestamp),
            core_field!(result: RetransResult),
            Field {
                key: "err",
                always: true,
                field_type: <i32 as FieldValue>::TYPE,
                get: |event| event.err.map(FieldValue::value),
                set: |draft, text| {
                    draft.event.err = if text == "-" { None } else { Some(FieldValue::parse(text)?) };
                    Ok(())
                },
            },
            core_field!(kind: RetransKind),
            Field {
                key: Family::KEY,
                always: true,
                field_type: <Family as FieldValue>::TYPE,
                get: |event| Some(event.family().value()),
                set: |draft, text| {
                    draft.family = Some(FieldValue::parse(text)?);
                    Ok(())
                },
            },
            core_field!(saddr: IpAddr),
            core_field!(sport: u16),
            core_field!(daddr: IpAddr),
            core_field!(dport: u16),
            core_field!(state: TcpState),
            core_field!(segs: u32),
            Field {
                key: ResultClass::KEY,
                always: false,
                field_type: <ResultClass as FieldValue>::TYPE,
                get: |event| Some(event.class().value()),
                set: |draft, text| {
                    draft.class = Some(FieldValue::parse(text)?);
                    Ok(())
                },
            },
            Field {
                key: "mapped",
                always: false,
                field_type: FieldType::Flag,
                get: |event| event.mapped.then_some(Value::Yes),
                set: |draft, text| {
                    draft.event.mapped = text == "yes";
                    if draft.event.mapped { Ok(()) } else { Err("not yes".to_owned()) }
                },
            },
            $( Field {
                key: stringify!($name),
                always: false,
                field_type: <$type as FieldValue>::TYPE,
                get: |event| event.$name.map(FieldValue::value),
                set: |draft, text| {
                    draft.event.$name = Some(FieldValue::parse(text)?);
                    Ok(())
                },
            }, )*
        ];
    };
}
optional_fields!(fields);

/// The field with this key.
pub(crate) fn by_key(key: &str) -> Option<(usize, &'static Field)> {
    FIELDS.iter().enumerate().find(|(_, field)| field.key == key)
}

/// Every key of the line, in its order. The filter and JSON have the same.
pub fn keys() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_fields_agree_on_the_key() {
        for key in [RetransResult::KEY, RetransKind::KEY, Transmit::KEY, TcpState::KEY, CaState::KEY] {
            assert!(matches!(by_key(key), Some((_, Field { field_type: FieldType::Table { .. }, .. }))), "{key}");
        }
    }

    #[test]
    fn no_key_stands_twice() {
        for (index, key) in keys().enumerate() {
            assert_eq!(by_key(key).map(|(at, _)| at), Some(index), "{key}");
        }
        assert!(FIELDS.len() <= u64::BITS as usize, "the parser keeps a bit for each");
    }
}
