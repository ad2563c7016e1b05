// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device, and the addresses of its two ends.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::device::Device;
use crate::{Context, Error, Family, Pair, Result};

/// A device in the client's namespace. It is removed with this handle.
pub(super) struct Link {
    device: Device,
    pub(super) name: String,
    /// The address of the kernel's end.
    pub(super) client: IpAddr,
    /// The address of the peer.
    pub(super) peer: IpAddr,
}

impl Link {
    /// Creates a device for this family, with these attributes of the client's route to the peer.
    pub(super) fn new(pair: &Pair, family: Family, route: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peer{number}");
        let [client, peer] = addresses(pair, family, number);
        let device = Device::new(pair.client(), &name)?;
        // Only sockets send: multicast is off, so there are no group membership reports, and
        // duplicate address detection is off. (The pair's settings prevent the rest.)
        let detection = if family.is_ipv4_on_the_wire() { "" } else { "nodad" };
        pair.client().sh(&format!(
            "ip -batch - <<'END'\n\
             link set {name} multicast off\n\
             addr add {client} dev {name} {detection}\n\
             link set {name} up\n\
             route add {peer} dev {name} src {client} {route}\n\
             END"
        ))?;
        Ok(Self { device, name, client, peer })
    }

    /// Returns the next packet from the kernel, or `None` at the deadline.
    pub(super) fn read(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut packet = vec![0; self.device.largest()];
        loop {
            match self.device.receive(&mut packet) {
                Ok(len) => {
                    packet.truncate(len);
                    return Ok(Some(packet));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).context("cannot read from the device"),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).context("cannot wait for the device"),
            }
        }
    }

    /// Sends a packet to the kernel, which has processed it when this returns.
    pub(super) fn write(&self, packet: &[u8]) -> Result<()> {
        match self.device.send(packet).context("cannot write to the device")? {
            len if len == packet.len() => Ok(()),
            len => Err(Error::new(format!("the device accepted {len} of {} bytes", packet.len()))),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("client", &self.client).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Returns the addresses of the client and the peer. They are derived from the pair's number and
/// the device's, in subnets other than the pair's.
fn addresses(pair: &Pair, family: Family, number: u32) -> [IpAddr; 2] {
    match (pair.client_addr(Family::V4), pair.client_addr(Family::V6)) {
        (IpAddr::V4(v4), _) if family.is_ipv4_on_the_wire() => {
            let [_, high, low, _] = v4.octets();
            // 100.64.0.0/10 has room for 32 devices of a pair at a time.
            let net = 64 + 2 * (number % 32) as u8;
            [net, net + 1].map(|net| Ipv4Addr::new(100, net, high, low).into())
        }
        (_, IpAddr::V6(v6)) => {
            let [_, _, _, net, ..] = v6.segments();
            let [high, low] = [(number >> 16) as u16, number as u16];
            [1, 2].map(|host| Ipv6Addr::new(0xfd00, 0, 1, net, 0, high, low, host).into())
        }
        _ => unreachable!("a pair has an address of either family"),
    }
}
