// SPDX-License-Identifier: MIT OR Apache-2.0
//! A failure of the transmit step that has the errno of one before it.

use socket2::SockRef;

use crate::pair::LINK;
use crate::{Conn, Context, Family, Fault, Pair, Result};

/// A route by IPv6 segments (SRv6) of which the first cannot be reached: the socket has a route, so its header is rebuilt, and the
/// segment is counted and sent; what wraps it up then says -EHOSTUNREACH. For packets with a mark only. Takes
/// CONFIG_IPV6_SEG6_LWTUNNEL.
#[derive(Debug)]
#[must_use = "a fault is lifted as soon as it is dropped"]
pub struct Seg6 {
    _fault: Fault,
}

/// Also the number of the routing table.
const MARK: u32 = 0x5e6_0006;

/// In a prefix for documentation.
const NOWHERE: &str = "2001:db8::6";

impl Seg6 {
    /// Lays the route in the client's namespace. Nothing takes it yet.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn unreachable(pair: &Pair) -> Result<Self> {
        let (ns, prefix, length) = (pair.client().clone(), pair.prefix(Family::V6), Pair::prefix_length(Family::V6));
        ns.sh(&format!(
            "ip -6 route add unreachable {NOWHERE}
             ip -6 route add {prefix}/{length} encap seg6 mode encap segs {NOWHERE} dev {LINK} table {MARK}
             ip -6 rule add fwmark {MARK:#x} lookup {MARK}"
        ))?;
        let lift = format!(
            "ip -6 rule del fwmark {MARK:#x} lookup {MARK}
             ip -6 route flush table {MARK}
             ip -6 route del unreachable {NOWHERE}"
        );
        Ok(Self { _fault: Fault::new("a route by segments", move || ns.sh(&lift).map(drop)) })
    }

    /// From now on the client's end takes it.
    ///
    /// # Errors
    /// When the mark cannot be set.
    pub fn take(&self, conn: &Conn) -> Result<()> {
        SockRef::from(conn.client()).set_mark(MARK).context("cannot set SO_MARK")
    }
}
