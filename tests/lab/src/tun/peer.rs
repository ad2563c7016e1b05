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

use super::icmp;
use super::link::Link;
use super::segment::{Segment, build};
use crate::tcp::{canonical, connect_later, reset, socket};
use crate::wait::PATIENCE;
use crate::{Context, Error, Family, Netns, Pair, Result};

/// Nobody else is at the peer's address.
const PORT: u16 = 7000;

/// Of the SYN; the peer sends no data.
const SEQ: u32 = 1_000_000;

/// What fits in the device's MTU of 1500 over IPv6 also.
const MSS: u16 = 1440;

/// The largest there is (RFC 7323).
const SCALE: u8 = 14;

/// The window unless another is asked for: more than anyone sends here.
const WINDOW: u32 = 1 << 20;

/// What lies between the client and the peer.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// How long the peer takes for its SYN-ACK. The client's first time-outs derive from it: the RTO is three times as
    /// long, and never less than 200 ms, and the time until a tail loss probe twice as long.
    pub delay: Duration,
    /// Attributes of the client's route to the peer, in the words of `ip route`.
    pub route: &'static str,
}

/// The peer's side of an established connection. It says nothing of its own accord.
///
/// Positions in what the client sends are counted in bytes from its first, 0.
#[derive(Debug)]
pub struct Peer {
    link: Link,
    client: SocketAddr,
    here: SocketAddr,
    /// The sequence number of the client's first byte.
    first: u32,
}

impl Peer {
    /// Connects a client's socket to a new peer, on a device of their own in the client's namespace. SACK and window
    /// scaling are in use, timestamps are not.
    ///
    /// # Errors
    /// When the device cannot be made, or the handshake is not done within [`PATIENCE`].
    pub fn open(pair: &Pair, family: Family, path: Path) -> Result<(TcpStream, Self)> {
        const TRIES: u32 = 5;
        for _ in 0..TRIES {
            if let Some(opened) = Self::try_open(pair, family, path)? {
                return Ok(opened);
            }
        }
        Err(Error::new(format!("in {TRIES} handshakes there was always a SYN too many")))
    }

    /// `None` if the machine was so busy that the SYN was retransmitted: then there is no first round-trip time, and the
    /// timers are not those that were asked for.
    fn try_open(pair: &Pair, family: Family, path: Path) -> Result<Option<(TcpStream, Self)>> {
        let link = Link::new(pair, family, path.route)?;
        let client = socket(pair.client(), family)?;
        let here = SocketAddr::new(link.peer, PORT);
        let target = match (family, link.peer) {
            (Family::Mapped, IpAddr::V4(peer)) => SocketAddr::new(peer.to_ipv6_mapped().into(), PORT),
            _ => here,
        };
        connect_later(&client, target)?;
        // There is no remote address to be asked for yet.
        let local = client.local_addr().context("cannot read a socket's address")?;
        let local = local.as_socket().ok_or_else(|| Error::new("a socket without an address"))?;
        let mut peer = Self { link, client: canonical(local), here, first: 0 };
        if peer.client.ip() != peer.link.client {
            return Err(Error::new(format!("the client sends from {}", peer.client)));
        }

        let syn = peer.expect("a SYN", |segment| segment.syn)?;
        thread::sleep(path.delay);
        peer.first = syn.seq.wrapping_add(1);
        let options = [MaximumSegmentSize(MSS), SelectiveAcknowledgementPermitted, WindowScale(SCALE)];
        // Before the handshake is done a window is not scaled.
        peer.send(TcpHeader { syn: true, ..peer.header(SEQ, 0, u16::MAX) }, &options)?;
        if peer.expect("the end of the handshake", |_| true)?.syn {
            reset(&client);
            return Ok(None);
        }

        client.set_nonblocking(false).context("cannot set a socket blocking")?;
        Ok(Some((client.into(), peer)))
    }

    /// The device between the two, in the client's namespace.
    pub fn device(&self) -> &str {
        &self.link.name
    }

    /// Has what the client sends from now on wait in its namespace, for a link-layer address that nobody tells. Takes a device that is an
    /// Ethernet, as there is where TUN is not.
    ///
    /// # Errors
    /// When the device is none.
    pub fn hide(&self, client: &Netns) -> Result<()> {
        let device = self.device();
        for version in ["ipv4", "ipv6"] {
            // What waits for the answer is dropped after so many questions, one a second.
            client.sysctl(&format!("net/{version}/neigh/{device}/mcast_solicit"), "1000")?;
        }
        // What it knows of neighbours it forgets therewith.
        client.command("ip", &["link", "set", "dev", device, "arp", "on"]).map(drop)
    }

    /// Ends the connection, for a client that nobody has any more.
    ///
    /// # Errors
    /// When the device cannot be written to.
    pub fn abort(&self) -> Result<()> {
        self.send(TcpHeader { rst: true, ..self.header(SEQ + 1, 0, 0) }, &[])
    }

    /// The client's next segment; `None` if none comes in time. Whatever else is on the device is passed over.
    ///
    /// # Errors
    /// When the device cannot be read.
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

    /// The client's next segments, up to and with the one that ends at this byte.
    ///
    /// # Errors
    /// When it does not come within [`PATIENCE`], or the device cannot be read.
    pub fn receive_until(&self, end: u32) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        let end = self.first.wrapping_add(end);
        while segments.last().is_none_or(|last: &Segment| last.seq.wrapping_add(last.len) != end) {
            segments.push(self.expect("data", |_| true)?);
        }
        Ok(segments)
    }

    /// An acknowledgement of all before this byte.
    pub fn acknowledge(&self, upto: u32) -> Reply<'_> {
        Reply { peer: self, upto, window: WINDOW, blocks: Vec::new() }
    }

    /// Says in a router's stead that this segment was refused, and what the MTU is.
    ///
    /// # Errors
    /// When the device cannot be written to.
    pub fn too_big(&self, refused: &Segment, mtu: u16) -> Result<()> {
        self.link.write(&icmp::too_big(refused, mtu)?)
    }

    fn expect(&self, what: &str, is_it: impl Fn(&Segment) -> bool) -> Result<Segment> {
        let segment = self.receive(PATIENCE)?.ok_or_else(|| Error::new(format!("the peer did not get {what}")))?;
        if !is_it(&segment) {
            return Err(Error::new(format!("the peer got, instead of {what}, {segment:?}")));
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
    /// With room for so many bytes, in units of 16 KiB. Without this it is a MiB.
    pub fn window(mut self, bytes: u32) -> Self {
        self.window = bytes;
        self
    }

    /// With these bytes received out of order too. There is room for four such blocks, the latest first (RFC 2018).
    pub fn sack(mut self, block: Range<u32>) -> Self {
        self.blocks.push(block);
        self
    }

    /// Sends it. The client's socket has taken it in when this returns.
    ///
    /// # Errors
    /// When the window or the blocks do not fit in a segment, or the device cannot be written to.
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
