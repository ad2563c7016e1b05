// SPDX-License-Identifier: MIT OR Apache-2.0
//! The namespace of a script: addresses, the device, and packets.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use etherparse::{
    IpHeaders, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader,
    TcpOptionElement, TransportSlice, ip_number,
};
use retrans_lab::{Context, Error, Family, Netns, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::script::{Flags, Icmp};

/// The name of the device. Scripts use it.
const DEVICE: &str = "tun0";

/// The port that servers listen on. Scripts look for it.
pub(crate) const PORT: u16 = 8080;

/// The length of `struct virtio_net_hdr`, with which each packet of the device begins.
const VNET: usize = 10;

/// A size that no packet exceeds, with its header of the device.
const LARGEST: usize = VNET + (1 << 16) + 40;

/// Returns the address of the kernel, and that of the peer.
pub(crate) fn addresses(family: Family) -> (IpAddr, IpAddr) {
    if family.is_ipv4_on_the_wire() {
        ([192, 168, 0, 1].into(), [192, 0, 2, 1].into())
    } else {
        ([0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1].into(), [0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1].into())
    }
}

/// Returns an address in the form that a socket of this family uses.
pub(crate) fn socket_address(family: Family, address: IpAddr, port: u16) -> SocketAddr {
    match (family, address) {
        (Family::Mapped, IpAddr::V4(address)) => SocketAddr::new(address.to_ipv6_mapped().into(), port),
        _ => SocketAddr::new(address, port),
    }
}

/// Returns a Fast Open cookie that a script refers to by name. The cookies belong to the addresses
/// above, and to the keys that the scripts set.
pub(crate) fn cookie(family: Family, name: &str) -> &str {
    match (name, family.is_ipv4_on_the_wire()) {
        ("TFO_COOKIE", true) => "3021b9d889017eeb",
        ("TFO_COOKIE", false) => "c1d1e9742a47a9bc",
        ("TFO_COOKIE_ZERO", true) => "b7c12350a90dc8f5",
        ("TFO_COOKIE_ZERO", false) => "82af1a8f9a205c34",
        _ => name,
    }
}

/// A TUN device in a namespace. It is removed with this handle.
pub(crate) struct Link {
    device: SyncDevice,
    family: Family,
}

/// A segment that the kernel sent, with the numbers of its header.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    /// The port of the kernel's end, and that of the peer.
    pub(crate) ports: (u16, u16),
    pub(crate) flags: Flags,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) len: u32,
    /// The value of the timestamp option.
    pub(crate) stamp: Option<u32>,
}

impl Link {
    /// Creates the device, with the addresses and the MTU that packetdrill uses for the family.
    pub(crate) fn new(ns: &Netns, family: Family) -> Result<Self> {
        // With offload the kernel does not segment large packets, as the scripts expect.
        let device = ns.run(|| DeviceBuilder::new().name(DEVICE).enable(false).offload(true).build_sync());
        let device = device.context("cannot create a TUN device")?;
        device.set_nonblocking(true).context("cannot set a TUN device non-blocking")?;
        let (local, remote) = addresses(family);
        let (mtu, prefixes, detection) = if local.is_ipv4() { (1500, (16, 24), "") } else { (1520, (64, 64), "nodad") };
        ns.sh(&format!(
            "ip -batch - <<'END'\n\
             link set lo up\n\
             link set {DEVICE} mtu {mtu} multicast off\n\
             addr add {local}/{} dev {DEVICE} {detection}\n\
             link set {DEVICE} up\n\
             route add {remote}/{} dev {DEVICE} src {local}\n\
             END",
            prefixes.0,
            if local.is_ipv4() { 32 } else { 128 },
        ))?;
        Ok(Self { device, family })
    }

    /// Returns the next segment from the kernel, or `None` at the deadline.
    pub(crate) fn receive(&self, deadline: Instant) -> Result<Option<Sent>> {
        let mut packet = vec![0; LARGEST];
        loop {
            match self.device.recv(&mut packet) {
                Ok(len) => match parse(packet.get(VNET..len).unwrap_or_default()) {
                    Some(sent) => return Ok(Some(sent)),
                    // A flood of other packets must not exceed the deadline.
                    None if Instant::now() >= deadline => return Ok(None),
                    None => continue,
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("cannot read from the TUN device"),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for the TUN device"),
            }
        }
    }

    /// Sends a segment of the peer with this number of data bytes. Returns after the kernel has
    /// processed it. A segment larger than `mss` is marked as several that a device has merged
    /// (GRO).
    pub(crate) fn send(&self, ecn: u8, header: TcpHeader, len: u32, mss: Option<u16>) -> Result<()> {
        let mut packet = vec![0; VNET];
        let step = self.ip(ecn)?.tcp_header(header.clone());
        step.write(&mut packet, &data(len)?).context("cannot build a segment")?;
        if let Some(mss) = mss.filter(|mss| len > u32::from(*mss)) {
            let ip: u16 = if self.family.is_ipv4_on_the_wire() { 20 } else { 40 };
            /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`, `VIRTIO_NET_HDR_GSO_TCPV4` and `…_TCPV6`.
            const NEEDS_CHECKSUM: u8 = 1;
            let kind = if ip == 20 { 1 } else { 4 };
            // The offset of the checksum in a TCP header.
            let numbers = [ip + header.header_len_u16(), mss, ip, 16];
            packet[..2].copy_from_slice(&[NEEDS_CHECKSUM, kind]);
            for (at, number) in numbers.into_iter().enumerate() {
                packet[2 + 2 * at..][..2].copy_from_slice(&number.to_ne_bytes());
            }
        }
        self.write(&packet)
    }

    /// Returns whether the family has this ICMP error.
    pub(crate) fn has_icmp(&self, icmp: &Icmp) -> bool {
        if self.family.is_ipv4_on_the_wire() { icmp.v4.is_some() } else { icmp.v6.is_some() }
    }

    /// Sends the ICMP error of a router. It quotes a segment with this header.
    pub(crate) fn send_icmp(&self, icmp: &Icmp, quoted: TcpHeader) -> Result<()> {
        /// The number of bytes of the segment that are quoted, more than RFC 792 requires.
        const QUOTED: usize = 128;
        let (local, remote) = addresses(self.family);
        let mut segment = Vec::new();
        let step = PacketBuilder::ip(ip(local, remote, 0)?).tcp_header(quoted);
        step.write(&mut segment, &data(icmp.len)?).context("cannot build a segment")?;
        segment.truncate(QUOTED);
        let mut packet = vec![0; VNET];
        let missing = || Error::new("the family has no such ICMP error");
        let [high, low] = icmp.mtu.to_be_bytes();
        let step = self.ip(0)?;
        let written = if self.family.is_ipv4_on_the_wire() {
            let (kind, code) = icmp.v4.ok_or_else(missing)?;
            step.icmpv4_raw(kind, code, [0, 0, high, low]).write(&mut packet, &segment)
        } else {
            let (kind, code) = icmp.v6.ok_or_else(missing)?;
            step.icmpv6_raw(kind, code, [0, 0, high, low]).write(&mut packet, &segment)
        };
        written.context("cannot build an ICMP error")?;
        self.write(&packet)
    }

    fn ip(&self, ecn: u8) -> Result<PacketBuilderStep<IpHeaders>> {
        let (local, remote) = addresses(self.family);
        Ok(PacketBuilder::ip(ip(remote, local, ecn)?))
    }

    fn write(&self, packet: &[u8]) -> Result<()> {
        match self.device.send(packet).context("cannot write to the TUN device")? {
            len if len == packet.len() => Ok(()),
            len => Err(Error::new(format!("the TUN device accepted {len} of {} bytes", packet.len()))),
        }
    }
}

/// Returns the data of a segment, which is at most as long as an IP packet.
fn data(len: u32) -> Result<Vec<u8>> {
    let len = u16::try_from(len).context("the segment is too long")?;
    Ok(vec![b'x'; len.into()])
}

fn ip(from: IpAddr, to: IpAddr, ecn: u8) -> Result<IpHeaders> {
    const HOPS: u8 = 64;
    Ok(match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(0, HOPS, ip_number::TCP, from.octets(), to.octets());
            let mut header = header.context("cannot build an IP header")?;
            header.ecn = ecn.try_into().context("ECN bits")?;
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: ecn,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: ip_number::TCP,
                hop_limit: HOPS,
                source: from.octets(),
                destination: to.octets(),
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => return Err(Error::new(format!("{from} and {to} are of different families"))),
    })
}

/// Parses a packet. Returns `None` if it is not TCP.
fn parse(packet: &[u8]) -> Option<Sent> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
    let set = [
        (tcp.fin(), Flags::FIN),
        (tcp.syn(), Flags::SYN),
        (tcp.rst(), Flags::RST),
        (tcp.psh(), Flags::PSH),
        (tcp.ack(), Flags::ACK),
        (tcp.urg(), Flags::URG),
        (tcp.ece(), Flags::ECE),
        (tcp.cwr(), Flags::CWR),
        (tcp.ns(), Flags::AE),
    ];
    let flags = Flags(set.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag.0));
    let stamp = |option| match option {
        Ok(TcpOptionElement::Timestamp(value, _)) => Some(value),
        _ => None,
    };
    Some(Sent {
        at: Instant::now(),
        ports: (tcp.source_port(), tcp.destination_port()),
        flags,
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        len: u32::try_from(tcp.payload().len()).ok()?,
        stamp: tcp.options_iterator().find_map(stamp),
    })
}
