// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP segments as packets.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader, TransportSlice};

use crate::{Context, Error, Result};

const HOPS: u8 = 64;

/// A received segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The sequence number of the SYN, or of the first byte.
    pub seq: u32,
    /// True for a SYN without ACK.
    pub syn: bool,
    /// The number of data bytes.
    pub len: u32,
    /// The whole packet, from the IP header.
    pub packet: Vec<u8>,
}

impl Segment {
    /// Parses a packet. Returns `None` if it is not a whole TCP segment.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
        let (from, to): (IpAddr, IpAddr) = match sliced.net.as_ref()? {
            net if net.is_ipv4() => {
                let header = net.ipv4_ref()?.header();
                (header.source_addr().into(), header.destination_addr().into())
            }
            net => {
                let header = net.ipv6_ref()?.header();
                (header.source_addr().into(), header.destination_addr().into())
            }
        };
        Some(Self {
            from: SocketAddr::new(from, tcp.source_port()),
            to: SocketAddr::new(to, tcp.destination_port()),
            seq: tcp.sequence_number(),
            syn: tcp.syn() && !tcp.ack(),
            len: u32::try_from(tcp.payload().len()).ok()?,
            packet: packet.to_owned(),
        })
    }
}

/// Builds the packet of a segment without data.
pub(super) fn build(from: IpAddr, to: IpAddr, header: TcpHeader) -> Result<Vec<u8>> {
    let mut packet = Vec::new();
    ip(from, to)?.tcp_header(header).write(&mut packet, &[]).context("cannot build a segment")?;
    Ok(packet)
}

/// Starts a packet.
pub(super) fn ip(from: IpAddr, to: IpAddr) -> Result<PacketBuilderStep<IpHeaders>> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ok(PacketBuilder::ipv4(from.octets(), to.octets(), HOPS)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Ok(PacketBuilder::ipv6(from.octets(), to.octets(), HOPS)),
        _ => Err(Error::new(format!("{from} and {to} are of different families"))),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice, TcpOptionElement};

    use super::*;

    const V4: [&str; 2] = ["100.64.1.2", "100.65.1.2"];
    const V6: [&str; 2] = ["fd00::1:2", "fd00::1:3"];

    fn built([from, to]: [&str; 2]) -> Vec<u8> {
        let mut header = TcpHeader::new(7, 40_000, 0xffff_fff0, 512);
        header.ack = true;
        header.acknowledgment_number = 5;
        let sack = TcpOptionElement::SelectiveAcknowledgement((10, 20), [Some((30, 40)), None, None]);
        header.set_options(&[sack]).unwrap();
        build(from.parse().unwrap(), to.parse().unwrap(), header).unwrap()
    }

    #[test]
    fn a_built_segment_is_parsed() {
        for addresses in [V4, V6] {
            let packet = built(addresses);
            let segment = Segment::parse(&packet).unwrap();
            let [from, to] = addresses.map(|address| address.parse().unwrap());
            let expected = Segment {
                from: SocketAddr::new(from, 7),
                to: SocketAddr::new(to, 40_000),
                seq: 0xffff_fff0,
                syn: false,
                len: 0,
                packet,
            };
            assert_eq!(segment, expected);
        }
    }

    #[test]
    fn checksums_are_valid() {
        let packet = built(V4);
        let ip = Ipv4HeaderSlice::from_slice(&packet).unwrap();
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        let tcp = TcpHeaderSlice::from_slice(&packet[20..]).unwrap();
        assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(&ip, &[]).unwrap());

        let packet = built(V6);
        let ip = etherparse::Ipv6HeaderSlice::from_slice(&packet).unwrap();
        let tcp = TcpHeaderSlice::from_slice(&packet[40..]).unwrap();
        assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv6(&ip, &[]).unwrap());
    }

    #[test]
    fn sack_blocks_are_as_in_rfc_2018() {
        let packet = built(V4);
        let header = TcpHeaderSlice::from_slice(&packet[20..]).unwrap();
        let options = header.options();
        assert_eq!(options[..18], [5, 18, 0, 0, 0, 10, 0, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0, 40]);
        assert!(options[18..].iter().all(|byte| *byte <= 1), "padding: {options:?}");
    }

    #[test]
    fn other_packets_are_not_segments() {
        for addresses in [V4, V6] {
            let packet = built(addresses);
            for len in 0..packet.len() {
                assert_eq!(Segment::parse(&packet[..len]), None, "the first {len} bytes");
            }
            // Any byte may have any value.
            for at in 0..packet.len() {
                for value in 0..=255 {
                    let mut packet = packet.clone();
                    packet[at] = value;
                    let _ = Segment::parse(&packet);
                }
            }
        }
        assert_eq!(Segment::parse(&[0xff; 100]), None);
    }

    #[test]
    fn two_families_do_not_mix() {
        let error = build(V4[0].parse().unwrap(), V6[0].parse().unwrap(), TcpHeader::default()).unwrap_err();
        assert!(error.to_string().contains("different families"), "{error}");
    }
}
