// SPDX-License-Identifier: MIT OR Apache-2.0
//! The event type and the types of its fields. An event is one attempt to retransmit.

pub(crate) mod buffer;
pub(crate) mod clock;
pub(crate) mod drop_reason;
pub(crate) mod field_set;
pub(crate) mod kernel_str;
pub(crate) mod kernel_symbol;
pub(crate) mod kind;
pub(crate) mod owner;
pub(crate) mod record;
pub(crate) mod result;
pub(crate) mod schema;
pub(crate) mod tcp_enums;
pub(crate) mod tcp_flags;
pub(crate) mod timestamp;
pub(crate) mod transmit;
pub(crate) mod verdict;

pub use self::clock::Clock;
pub use self::drop_reason::DropReason;
pub use self::field_set::{FieldSet, ParseFieldSetError};
pub use self::kernel_str::{KernelStr, ParseKernelStrError, PercentEncoded};
pub use self::kernel_symbol::{KernelSymbol, ParseKernelSymbolError};
pub use self::kind::RetransKind;
pub use self::owner::OwnerSource;
pub use self::result::{ResultClass, RetransResult};
pub use self::schema::keys;
pub use self::tcp_enums::{CaState, Family, TcpState};
pub use self::tcp_flags::{ParseTcpFlagsError, TcpFlags};
pub use self::timestamp::{ParseTimestampError, Timestamp};
pub use self::transmit::Transmit;
pub use self::verdict::{EndReason, ParseVerdictError, UnneededProof, Verdict, VerdictKind};
pub use crate::sys::cgroup_paths::CgroupPaths;

use std::net::{IpAddr, Ipv4Addr};

use crate::event::schema::optional_fields;

macro_rules! event {
    ($( $(#[$doc:meta])* $name:ident: $type:ty => $place:tt, )*) => {
        /// One attempt to retransmit a TCP segment, with its result.
        ///
        /// The fields down to `mapped` are always present. Each of the others is `None` where it is
        /// not available:
        ///
        /// - on a kernel that is older than the version in the field's description
        /// - for a SYN-ACK, which has no segment and no full socket
        /// - in a recording without the key
        /// - if [`StreamBuilder::fields`](crate::StreamBuilder::fields) excludes it
        ///
        /// The names of the fields are the keys of the key=value line. The BPF programs read the
        /// values at the end of the attempt, under the socket's lock. The owner of the socket is
        /// resolved before or after the attempt.
        ///
        /// # Examples
        ///
        /// An event prints as a key=value line, which parses to the same event:
        ///
        /// ```
        /// use retrans_sdk::{Event, ResultClass, RetransResult};
        ///
        /// let line = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 \
        ///     sport=4000 daddr=10.0.0.2 dport=443 state=established segs=1 class=drop";
        /// let event: Event = line.parse()?;
        /// assert_eq!(event.result, RetransResult::Denied);
        /// assert_eq!(event.class(), ResultClass::Drop);
        /// assert_eq!((event.dport, event.err, event.cookie), (443, Some(-1), None));
        /// assert_eq!(event.to_string(), line);
        /// # Ok::<(), retrans_sdk::format::ParseLineError>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub struct Event {
            /// The wall-clock time at the end of the attempt, in nanoseconds since the Unix epoch.
            pub ts: Timestamp,
            /// The result of the attempt.
            pub result: RetransResult,
            /// The return value of the kernel's function: 0 for every success, a negative errno,
            /// or +1 (`NET_XMIT_DROP`). `None` if the attach method does not observe it. The
            /// key=value line then contains `err=-`.
            pub err: Option<i32>,
            /// The reason for which the kernel retransmits.
            pub kind: RetransKind,
            /// The local address. For an IPv4-mapped connection it is the IPv4 address.
            pub saddr: IpAddr,
            /// The local port.
            pub sport: u16,
            /// The peer's address. For an IPv4-mapped connection it is the IPv4 address.
            pub daddr: IpAddr,
            /// The peer's port.
            pub dport: u16,
            /// The state of the connection (`skc_state`).
            pub state: TcpState,
            /// The number of segments of the attempt (`tcp_gso_segs`; 1 for a SYN-ACK). RetransSegs
            /// is incremented by it if the attempt reaches the transmit step.
            pub segs: u32,
            /// True if the connection is IPv4 on an IPv6 socket (IPv4-mapped).
            pub mapped: bool,
            $( $(#[$doc])* pub $name: Option<$type>, )*
        }

        impl Event {
            /// Returns an event without optional fields, to fill in.
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

    /// Returns the family of the addresses. It is `inet` for an IPv4-mapped connection.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.saddr {
            IpAddr::V4(_) => Family::Inet,
            IpAddr::V6(_) => Family::Inet6,
        }
    }
}
