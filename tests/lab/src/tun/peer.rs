// SPDX-License-Identifier: MIT OR Apache-2.0
//! The peer's side of one connection.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use etherparse::TcpOptionElement::{
    MaximumSegmentSize, SelectiveAcknowledgement, SelectiveAcknowledgementPermitted, WindowScale,
};
use etherparse::{TcpHeader, TcpOptionElement};
use socket2::Socket;

use super::icmp;
use super::link::Link;
use super::segment::{Segment, build};
use crate::tcp::{canonical, connect_later, reset, socket};
use crate::wait::PATIENCE;
use crate::{Context, Error, Family, Netns, Pair, Result};

/// The peer's port. Nothing else uses the peer's address.
const PORT: u16 = 7000;

/// The sequence number of the SYN; the peer sends no data.
const SEQ: u32 = 1_000_000;

/// An MSS that fits the device's MTU of 1500, also over IPv6.
const MSS: u16 = 1440;

/// The maximum window scale (RFC 7323).
const SCALE: u8 = 14;

/// The default window: larger than anything sent here.
const WINDOW: u32 = 1 << 20;

/// The path between the client and the peer.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The delay of the peer's SYN-ACK. The client's first timeouts derive from it: the RTO is
    /// three times as long, and at least 200 ms. The time until a tail loss probe is twice as long.
    pub delay: Duration,
    /// Attributes of the client's route to the peer, in the syntax of `ip route`.
    pub route: &'static str,
}

/// The peer's side of an established connection. It sends nothing on its own.
///
/// Positions in the client's data are byte offsets from 0.
#[derive(Debug)]
pub struct Peer {
    link: Link,
    client: SocketAddr,
    here: SocketAddr,
    /// The sequence number of the client's first byte.
    first: u32,
}

impl Peer {
    /// Connects a client's socket to a new peer, on their own device in the client's namespace.
    /// SACK and window scaling are in use, timestamps are not.
    ///
    /// # Errors
    /// Returns an error if the device cannot be created, or if the handshake lasts longer than
    /// [`PATIENCE`].
    pub fn open(pair: &Pair, family: Family, path: Path) -> Result<(TcpStream, Self)> {
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            if let Some(opened) = Self::try_open(pair, family, path)? {
                return Ok(opened);
            }
        }
        Err(Error::new(format!("a SYN was retransmitted in each of {TRIES} handshakes")))
    }

    /// Returns `None` if the SYN was retransmitted because the machine was busy. Then there is no
    /// first RTT sample, and the timers are not as requested.
    fn try_open(pair: &Pair, family: Family, path: Path) -> Result<Option<(TcpStream, Self)>> {
        let link = Link::new(pair, family, path.route)?;
        let client = socket(pair.client(), family)?;
        let here = SocketAddr::new(link.peer, PORT);
        let target = match (family, link.peer) {
            (Family::Mapped, IpAddr::V4(peer)) => SocketAddr::new(peer.to_ipv6_mapped().into(), PORT),
            _ => here,
        };
        connect_later(&client, target)?;
        // The remote address is not available yet.
        let local = client.local_addr().context("cannot read a socket's address")?;
        let local = local.as_socket().ok_or_else(|| Error::new("a socket has no address"))?;
        let mut peer = Self { link, client: canonical(local), here, first: 0 };
        if peer.client.ip() != peer.link.client {
            return Err(Error::new(format!("unexpected address of the client: {}", peer.client)));
        }

        let syn = peer.expect("a SYN", |segment| segment.syn)?;
        thread::sleep(path.delay);
        peer.first = syn.seq.wrapping_add(1);
        let options = [MaximumSegmentSize(MSS), SelectiveAcknowledgementPermitted, WindowScale(SCALE)];
        // The window of a SYN-ACK is not scaled.
        peer.send(TcpHeader { syn: true, ..peer.header(SEQ, 0, u16::MAX) }, &options)?;
        if peer.expect("the end of the handshake", |_| true)?.syn {
            reset(&client);
            return Ok(None);
        }

        client.set_nonblocking(false).context("cannot set a socket blocking")?;
        Ok(Some((client.into(), peer)))
    }

    /// Creates a peer on its own device, and a client's socket that is bound and not connected.
    /// Returns both with the address that the client connects to, mapped if the family is.
    ///
    /// Such a peer can only receive segments and send ICMP errors.
    ///
    /// # Errors
    /// Returns an error if the device or the socket cannot be created.
    pub fn unconnected(pair: &Pair, family: Family, path: Path) -> Result<(Socket, SocketAddr, Self)> {
        let link = Link::new(pair, family, path.route)?;
        let client = socket(pair.client(), family)?;
        let mapped = |address| match (family, address) {
            (Family::Mapped, IpAddr::V4(address)) => address.to_ipv6_mapped().into(),
            _ => address,
        };
        let address = SocketAddr::new(mapped(link.client), 0);
        client.bind(&address.into()).with_context(|| format!("cannot bind to {address}"))?;
        let local = client.local_addr().context("cannot read a socket's address")?;
        let local = local.as_socket().ok_or_else(|| Error::new("a socket has no address"))?;
        let target = SocketAddr::new(mapped(link.peer), PORT);
        let peer = Self { client: canonical(local), here: canonical(target), link, first: 0 };
        Ok((client, target, peer))
    }

    /// Returns the client's address, as IPv4 if it is mapped.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// Returns the peer's own address.
    pub fn address(&self) -> SocketAddr {
        self.here
    }

    /// Returns the name of the device in the client's namespace.
    pub fn device(&self) -> &str {
        &self.link.name
    }

    /// Makes the client's packets wait in its namespace for a link-layer address that is never
    /// announced. Requires an Ethernet device, which is used without TUN.
    ///
    /// # Errors
    /// Returns an error if the device is not Ethernet.
    pub fn hide(&self, client: &Netns) -> Result<()> {
        let device = self.device();
        for version in ["ipv4", "ipv6"] {
            // The kernel drops waiting packets after this number of solicitations, one per second.
            client.sysctl(&format!("net/{version}/neigh/{device}/mcast_solicit"), "1000")?;
        }
        // This also flushes its neighbours.
        client.command("ip", &["link", "set", "dev", device, "arp", "on"]).map(drop)
    }

    /// Resets the connection of a client whose socket is closed.
    ///
    /// # Errors
    /// Returns an error if the device cannot be written to.
    pub fn abort(&self) -> Result<()> {
        self.send(TcpHeader { rst: true, ..self.header(SEQ + 1, 0, 0) }, &[])
    }

    /// Returns the client's next segment, or `None` at the time limit. Other packets are discarded.
    ///
    /// # Errors
    /// Returns an error if the device cannot be read.
    pub fn receive(&self, limit: Duration) -> Result<Option<Segment>> {
        let deadline = Instant::now() + limit;
        while let Some(packet) = self.link.read(deadline)? {
            let segment = Segment::parse(&packet).filter(|s| (s.from, s.to) == (self.client, self.here));
            if segment.is_some() {
                return Ok(segment);
            }
        }
        Ok(None)
    }

    /// Returns the client's next segments, up to the one that ends at this byte.
    ///
    /// # Errors
    /// Returns an error if it is not received before [`PATIENCE`] ends, or if the device cannot be
    /// read.
    pub fn receive_until(&self, end: u32) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        let end = self.first.wrapping_add(end);
        while segments.last().is_none_or(|last: &Segment| last.seq.wrapping_add(last.len) != end) {
            segments.push(self.expect("data", |_| true)?);
        }
        Ok(segments)
    }

    /// Returns an acknowledgement of everything before this byte.
    pub fn acknowledge(&self, upto: u32) -> Reply<'_> {
        Reply { peer: self, upto, window: WINDOW, blocks: Vec::new() }
    }

    /// Sends the error of a router that refused this segment, with this MTU.
    ///
    /// # Errors
    /// Returns an error if the device cannot be written to.
    pub fn too_big(&self, refused: &Segment, mtu: u16) -> Result<()> {
        self.link.write(&icmp::too_big(refused, mtu)?)
    }

    /// Sends the error of a router that has no route for this segment: ENETUNREACH.
    ///
    /// # Errors
    /// Returns an error if the device cannot be written to.
    pub fn unreachable(&self, refused: &Segment) -> Result<()> {
        self.link.write(&icmp::unreachable(refused)?)
    }

    /// Sends the error of a host that rejects this segment's port: ECONNREFUSED.
    ///
    /// # Errors
    /// Returns an error if the device cannot be written to.
    pub fn port_unreachable(&self, refused: &Segment) -> Result<()> {
        self.link.write(&icmp::port_unreachable(refused)?)
    }

    /// Resets the connection that this SYN requests.
    ///
    /// # Errors
    /// Returns an error if the device cannot be written to.
    pub fn refuse(&self, syn: &Segment) -> Result<()> {
        let acknowledgment_number = syn.seq.wrapping_add(1);
        self.send(TcpHeader { rst: true, acknowledgment_number, ..self.header(0, 0, 0) }, &[])
    }

    fn expect(&self, what: &str, is_it: impl Fn(&Segment) -> bool) -> Result<Segment> {
        let segment = self.receive(PATIENCE)?.ok_or_else(|| Error::new(format!("the peer did not receive {what}")))?;
        if !is_it(&segment) {
            return Err(Error::new(format!("the peer received {segment:?} instead of {what}")));
        }
        Ok(segment)
    }

    fn header(&self, seq: u32, upto: u32, window: u16) -> TcpHeader {
        TcpHeader {
            ack: true,
            acknowledgment_number: self.first.wrapping_add(upto),
            ..TcpHeader::new(self.here.port(), self.client.port(), seq, window)
        }
    }

    fn send(&self, mut header: TcpHeader, options: &[TcpOptionElement]) -> Result<()> {
        header.set_options(options).context("cannot set TCP options")?;
        self.link.write(&build(self.here.ip(), self.client.ip(), header)?)
    }
}

/// An acknowledgement that is not sent yet.
#[derive(Debug)]
#[must_use = "it is not sent before send is called"]
pub struct Reply<'a> {
    peer: &'a Peer,
    upto: u32,
    window: u32,
    blocks: Vec<Range<u32>>,
}

impl Reply<'_> {
    /// Sets the advertised window, in bytes; the unit is 16 KiB. The default is 1 MiB.
    pub fn window(mut self, bytes: u32) -> Self {
        self.window = bytes;
        self
    }

    /// Adds a SACK block. There is room for four, the latest first (RFC 2018).
    pub fn sack(mut self, block: Range<u32>) -> Self {
        self.blocks.push(block);
        self
    }

    /// Sends the acknowledgement. The client's socket has processed it when this returns.
    ///
    /// # Errors
    /// Returns an error if the window or the blocks do not fit in a segment, or the device cannot
    /// be written to.
    pub fn send(self) -> Result<()> {
        let window = u16::try_from(self.window >> SCALE).context("cannot advertise such a window")?;
        let edge = |bytes: u32| self.peer.first.wrapping_add(bytes);
        let mut blocks = self.blocks.iter().map(|block| (edge(block.start), edge(block.end)));
        let options = match blocks.next() {
            None => Vec::new(),
            Some(first) => vec![SelectiveAcknowledgement(first, [blocks.next(), blocks.next(), blocks.next()])],
        };
        if blocks.next().is_some() {
            return Err(Error::new("more than four SACK blocks"));
        }
        self.peer.send(self.peer.header(SEQ + 1, self.upto, window), &options)
    }
}
