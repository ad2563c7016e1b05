// SPDX-License-Identifier: MIT OR Apache-2.0
//! One attempt to retransmit, typed.

pub(crate) mod buffer;
pub(crate) mod field_set;
pub(crate) mod kernel_str;
pub(crate) mod kind;
pub(crate) mod owner;
pub(crate) mod record;
pub(crate) mod result;
pub(crate) mod schema;
pub(crate) mod tcp_enums;
pub(crate) mod tcp_flags;
pub(crate) mod timestamp;
pub(crate) mod transmit;

pub use self::field_set::{FieldSet, ParseFieldSetError};
pub use self::kernel_str::{KernelStr, ParseKernelStrError, PercentEncoded};
pub use self::kind::RetransKind;
pub use self::owner::OwnerSource;
pub use self::result::{ResultClass, RetransResult};
pub use self::schema::keys;
pub use self::tcp_enums::{CaState, Family, TcpState};
pub use self::tcp_flags::{ParseTcpFlagsError, TcpFlags};
pub use self::timestamp::{ParseTimestampError, Timestamp};
pub use self::transmit::Transmit;
pub use crate::sys::cgroup_paths::CgroupPaths;

use std::net::{IpAddr, Ipv4Addr};

use crate::event::schema::optional_fields;

macro_rules! event {
    ($( $(#[$doc:meta])* $name:ident: $type:ty => $place:tt, )*) => {
        /// One attempt to retransmit a TCP segment, with what came of it.
        ///
        /// The fields down to `segs` are always there. Each of the others is `None` where the source of the event has it
        /// not: an older kernel, a SYN-ACK (which has no segment and no full socket), a text that leaves it out.
        ///
        /// Field names are the keys of the line. Everything is as it was at the end of the attempt, read in the
        /// kernel under the socket's lock; but for the process that the socket belongs to, which is learned before, or behind it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub struct Event {
            /// When.
            pub ts: Timestamp,
            /// What came of it.
            pub result: RetransResult,
            /// The integer that the kernel gave: a negative errno, or +1 (`NET_XMIT_DROP`); 0 for every success, also where the
            /// tracepoint fires for successes only and has no such argument. `None` where the source cannot tell.
            pub err: Option<i32>,
            /// Why it was made.
            pub kind: RetransKind,
            /// The local address. Of an IPv4-mapped connection, the IPv4 address.
            pub saddr: IpAddr,
            /// The local port.
            pub sport: u16,
            /// The peer's address.
            pub daddr: IpAddr,
            /// The peer's port.
            pub dport: u16,
            /// The state of the connection.
            pub state: TcpState,
            /// The segments that the attempt stands for: what RetransSegs rises by when it reaches the transmit step.
            pub segs: u32,
            /// IPv4 carried by an IPv6 socket.
            pub mapped: bool,
            $( $(#[$doc])* pub $name: Option<$type>, )*
        }

        impl Event {
            /// What is to be filled in: nothing at no time, and no field that need not be there.
            pub(crate) const fn blank() -> Self {
                Self {
                    ts: Timestamp::from_nanos(0),
                    result: RetransResult::ErrDefault,
                    err: None,
                    kind: RetransKind::Unknown,
                    saddr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    sport: 0,
                    daddr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    dport: 0,
                    state: TcpState::Close,
                    segs: 0,
                    mapped: false,
                    $( $name: None, )*
                }
            }
        }
    };
}
optional_fields!(event);

impl Event {
    /// The coarse class of the result.
    #[must_use]
    pub const fn class(&self) -> ResultClass {
        self.result.class()
    }

    /// The family of the addresses; `inet` for an IPv4-mapped connection.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.saddr {
            IpAddr::V4(_) => Family::Inet,
            IpAddr::V6(_) => Family::Inet6,
        }
    }
}
