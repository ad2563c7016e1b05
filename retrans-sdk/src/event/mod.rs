// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events: one attempt to retransmit each, with typed fields.

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
        /// One attempt to retransmit a TCP segment, with its result.
        ///
        /// The fields down to `segs` are always present. Each of the others is `None` where it is
        /// not available: on an older kernel, for a SYN-ACK (which has no segment and no full
        /// socket), in a recording without the key, and if
        /// [`StreamBuilder::fields`](crate::StreamBuilder::fields) excludes it.
        ///
        /// Field names are the keys of the key=value line. The BPF programs read all values at the
        /// end of the attempt, under the socket's lock, except for the owner of the socket, which
        /// is resolved before or after it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub struct Event {
            /// The time of the attempt.
            pub ts: Timestamp,
            /// The result.
            pub result: RetransResult,
            /// The return value of the kernel's function: a negative errno, or +1
            /// (`NET_XMIT_DROP`); 0 for every success. `None` where the attach method does not
            /// observe it.
            pub err: Option<i32>,
            /// The reason that the kernel retransmits.
            pub kind: RetransKind,
            /// The local address; for an IPv4-mapped connection the IPv4 address.
            pub saddr: IpAddr,
            /// The local port.
            pub sport: u16,
            /// The peer's address.
            pub daddr: IpAddr,
            /// The peer's port.
            pub dport: u16,
            /// The state of the connection.
            pub state: TcpState,
            /// The number of segments of the attempt: the increment of RetransSegs when it reaches
            /// the transmit step.
            pub segs: u32,
            /// Whether the connection is IPv4 on an IPv6 socket.
            pub mapped: bool,
            $( $(#[$doc])* pub $name: Option<$type>, )*
        }

        impl Event {
            /// Returns an event to be filled in, without optional fields.
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
    /// Returns the class of the result.
    #[must_use]
    pub const fn class(&self) -> ResultClass {
        self.result.class()
    }

    /// Returns the family of the addresses: `inet` for an IPv4-mapped connection.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.saddr {
            IpAddr::V4(_) => Family::Inet,
            IpAddr::V6(_) => Family::Inet6,
        }
    }
}
