// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICMP errors of a router that cannot forward a packet.

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{Icmpv4Type, Icmpv6Type};

use super::segment::{Segment, ip};
use crate::{Context, Result};

/// The number of bytes of the packet that are quoted. RFC 792 requires the IP header and 8 bytes;
/// RFC 1812 and RFC 4443 allow this number.
const QUOTED: usize = 512;

/// Builds "fragmentation needed" or "packet too big". The source is the address that the segment
/// was sent to.
pub(super) fn too_big(refused: &Segment, mtu: u16) -> Result<Vec<u8>> {
    let needed = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    error(refused, Icmpv4Type::DestinationUnreachable(needed), Icmpv6Type::PacketTooBig { mtu: mtu.into() })
}

/// Builds "network unreachable" or "no route to destination", with the same source. These two allow
/// TCP to revert its backoff (RFC 6069).
pub(super) fn unreachable(refused: &Segment) -> Result<Vec<u8>> {
    let network = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Network);
    error(refused, network, Icmpv6Type::DestinationUnreachable(DestUnreachableCode::NoRoute))
}

/// Builds "port unreachable" of the host that the segment was sent to: it rejects the port.
pub(super) fn port_unreachable(refused: &Segment) -> Result<Vec<u8>> {
    let port = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
    error(refused, port, Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port))
}

/// Builds the error of the segment's family.
fn error(refused: &Segment, v4: Icmpv4Type, v6: Icmpv6Type) -> Result<Vec<u8>> {
    let (router, sender) = (refused.to.ip(), refused.from.ip());
    let quoted = &refused.packet[..refused.packet.len().min(QUOTED)];
    let mut packet = Vec::new();
    let step = ip(router, sender)?;
    match router {
        IpAddr::V4(_) => step.icmpv4(v4).write(&mut packet, quoted),
        IpAddr::V6(_) => step.icmpv6(v6).write(&mut packet, quoted),
    }
    .context("cannot build an ICMP error")?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TcpHeader, TransportSlice};

    use super::*;
    use crate::tun::segment::build;

    fn refused(from: &str, to: &str) -> Segment {
        let mut packet = build(from.parse().unwrap(), to.parse().unwrap(), TcpHeader::new(40_000, 7, 1, 1)).unwrap();
        let segment = Segment::parse(&packet).unwrap();
        packet.resize(1500, b'x');
        Segment { packet, ..segment }
    }

    #[test]
    fn ipv4_says_fragmentation_needed() {
        let refused = refused("100.64.1.2", "100.65.1.2");
        let packet = too_big(&refused, 1280).unwrap();
        let sliced = SlicedPacket::from_ip(&packet).unwrap();
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("{sliced:?}") };
        let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1280 };
        assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(kind));
        assert_eq!(icmp.payload(), &refused.packet[..QUOTED]);
        assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
        let ip = sliced.net.as_ref().unwrap().ipv4_ref().unwrap().header();
        assert_eq!((ip.source_addr().into(), ip.destination_addr().into()), (refused.to.ip(), refused.from.ip()));
    }

    #[test]
    fn ipv6_says_packet_too_big() {
        let refused = refused("fd00::1:2", "fd00::1:3");
        let packet = too_big(&refused, 1280).unwrap();
        let sliced = SlicedPacket::from_ip(&packet).unwrap();
        let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else { panic!("{sliced:?}") };
        assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1280 });
        assert_eq!(icmp.payload(), &refused.packet[..QUOTED]);
        let ip = sliced.net.as_ref().unwrap().ipv6_ref().unwrap().header();
        assert!(icmp.is_checksum_valid(ip.source(), ip.destination()));
        assert_eq!((ip.source_addr().into(), ip.destination_addr().into()), (refused.to.ip(), refused.from.ip()));
    }

    #[test]
    fn errors_of_a_route_and_of_a_port_have_their_codes() {
        let kind = |error: fn(&Segment) -> Result<Vec<u8>>, from: &str, to: &str| {
            let packet = error(&refused(from, to)).unwrap();
            SlicedPacket::from_ip(&packet).unwrap().transport.map(|transport| match transport {
                TransportSlice::Icmpv4(icmp) => (icmp.type_u8(), icmp.code_u8()),
                TransportSlice::Icmpv6(icmp) => (icmp.type_u8(), icmp.code_u8()),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(kind(unreachable, "100.64.1.2", "100.65.1.2"), Some((3, 0)));
        assert_eq!(kind(unreachable, "fd00::1:2", "fd00::1:3"), Some((1, 0)));
        assert_eq!(kind(port_unreachable, "100.64.1.2", "100.65.1.2"), Some((3, 3)));
        assert_eq!(kind(port_unreachable, "fd00::1:2", "fd00::1:3"), Some((1, 4)));
    }
}
