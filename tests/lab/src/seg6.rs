// SPDX-License-Identifier: MIT OR Apache-2.0
//! A failure at the transmit step with the errno of an earlier one.

use socket2::SockRef;

use crate::pair::LINK;
use crate::{Conn, Context, Family, Fault, Pair, Result};

/// A route with IPv6 segment routing (SRv6) whose first segment is unreachable. The socket has a
/// route, so its header is rebuilt, and the segment is counted and sent. Then the encapsulation
/// fails with -EHOSTUNREACH. Only marked packets use the route. Requires CONFIG_IPV6_SEG6_LWTUNNEL.
#[derive(Debug)]
#[must_use = "a fault is lifted as soon as it is dropped"]
pub struct Seg6 {
    _fault: Fault,
}

/// Also the number of the routing table.
const MARK: u32 = 0x5e6_0006;

/// An address of the documentation prefix.
const NOWHERE: &str = "2001:db8::6";

impl Seg6 {
    /// Adds the route in the client's namespace. No packet uses it yet.
    ///
    /// # Errors
    /// Returns an error if `ip` fails.
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

    /// Makes the client's end use the route for all further packets.
    ///
    /// # Errors
    /// Returns an error if the mark cannot be set.
    pub fn take(&self, conn: &Conn) -> Result<()> {
        SockRef::from(conn.client()).set_mark(MARK).context("cannot set SO_MARK")
    }
}
