// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many connections to one peer, which retransmit on demand.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use etherparse::TcpHeader;
use etherparse::TcpOptionElement::{MaximumSegmentSize, WindowScale};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;

use super::link::Link;
use super::segment::{Segment, build};
use crate::tcp::{connect_later, reset, socket};
use crate::wait::{PATIENCE, wait_for};
use crate::{Context, Counters, Error, Family, Fault, Packets, Pair, Result};

const PORT: u16 = 7000;
const SEQ: u32 = 1_000_000;
const MSS: u16 = 1440;
const SCALE: u8 = 7;
const WINDOW: u16 = 1 << 12;

/// The outstanding data of each connection, in bytes.
const DATA: usize = 100;

/// The number of file descriptors for everything else in the process.
const OTHER_DESCRIPTORS: u64 = 512;

/// Connections with one segment outstanding after a timeout, whose retransmissions a rule of this
/// host rejects. A failed attempt leaves the segment lost, so each duplicate acknowledgement causes
/// another attempt (`denied`). The caller decides how many attempts there are, when, and of which
/// connection. The retransmission timers add further attempts, ever more rarely.
pub struct Crowd {
    link: Link,
    clients: Vec<Socket>,
    /// The packet of a duplicate acknowledgement for each connection.
    acknowledgements: Vec<Vec<u8>>,
    denial: Option<Fault>,
    next: usize,
}

impl std::fmt::Debug for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crowd")
            .field("link", &self.link)
            .field("connections", &self.clients.len())
            .finish_non_exhaustive()
    }
}

impl Crowd {
    /// Opens this number of connections over IPv4, on their own device in the client's namespace.
    /// Returns once each makes attempts on demand. Raises RLIMIT_NOFILE if necessary.
    ///
    /// # Errors
    /// Returns an error if the lab cannot open them, or the limit cannot be raised.
    pub fn open(pair: &Pair, connections: usize) -> Result<Self> {
        admit_descriptors(connections as u64)?;
        // No timeout may occur before the rule exists: its attempt would succeed, and would itself
        // be outstanding.
        let link = Link::new(pair, Family::V4, "rto_min 1s")?;
        let mut crowd = Self { link, clients: Vec::new(), acknowledgements: Vec::new(), denial: None, next: 0 };
        for _ in 0..connections {
            crowd.join(pair)?;
        }
        for client in &crowd.clients {
            client.send(&[b'x'; DATA]).context("cannot send")?;
            // The queue of the device is short.
            crowd.receive("data", |segment| segment.len as usize == DATA)?;
        }
        crowd.denial = Some(Packets::output().at_least(DATA as u32).drop_in(pair.client())?);
        // After a second all of them have timed out.
        wait_for("an attempt of each connection on demand", PATIENCE, || {
            Ok(crowd.attempts_on_demand(pair)?.then_some(()))
        })?;
        Ok(crowd)
    }

    /// Returns the number of connections.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Makes the next connection attempt, in turn. The attempt is over when this returns.
    ///
    /// # Errors
    /// Returns an error if the device cannot be written to.
    pub fn attempt(&mut self) -> Result<()> {
        let packet = self.acknowledgements.get(self.next).ok_or_else(|| Error::new("no connections"))?;
        self.link.write(packet)?;
        self.next = (self.next + 1) % self.acknowledgements.len();
        Ok(())
    }

    /// Makes attempts until `done` returns true, at this rate or as fast as possible.
    ///
    /// # Errors
    /// Returns the errors of [`attempt`](Self::attempt).
    pub fn attempts(&mut self, per_second: Option<u64>, done: impl Fn() -> bool) -> Result<()> {
        /// The interval between two checks. After a delay all attempts that are due are made at
        /// once.
        const TICK: Duration = Duration::from_millis(1);
        const AT_ONCE: u64 = 256;
        let began = Instant::now();
        let mut made = 0;
        while !done() {
            let due = match per_second {
                Some(rate) => (began.elapsed().as_secs_f64() * rate as f64) as u64,
                None => made + AT_ONCE,
            };
            if due <= made {
                thread::sleep(TICK);
                continue;
            }
            let now = (due - made).min(AT_ONCE);
            (0..now).try_for_each(|_| self.attempt())?;
            made += now;
        }
        Ok(())
    }

    /// Opens one more connection.
    fn join(&mut self, pair: &Pair) -> Result<()> {
        let peer = SocketAddr::new(self.link.peer, PORT);
        let client = socket(pair.client(), Family::V4)?;
        connect_later(&client, peer)?;
        let syn = self.receive("a SYN", |segment| segment.syn)?;
        let answer = TcpHeader {
            ack: true,
            acknowledgment_number: syn.seq.wrapping_add(1),
            ..TcpHeader::new(PORT, syn.from.port(), SEQ, WINDOW)
        };
        let mut first = TcpHeader { syn: true, ..answer.clone() };
        first.set_options(&[MaximumSegmentSize(MSS), WindowScale(SCALE)]).context("cannot set TCP options")?;
        self.link.write(&build(peer.ip(), self.link.client, first)?)?;
        self.receive("the end of a handshake", |segment| !segment.syn && segment.from == syn.from)?;
        let again = TcpHeader { sequence_number: SEQ + 1, ..answer };
        self.acknowledgements.push(build(peer.ip(), self.link.client, again)?);
        self.clients.push(client);
        Ok(())
    }

    /// Returns the next segment from the kernel that satisfies `is_it`, and discards others.
    fn receive(&self, what: &str, is_it: impl Fn(&Segment) -> bool) -> Result<Segment> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(packet) = self.link.read(deadline)? {
            if let Some(segment) = Segment::parse(&packet).filter(|segment| is_it(segment)) {
                return Ok(segment);
            }
        }
        Err(Error::new(format!("the peer did not receive {what}")))
    }

    /// Returns whether one acknowledgement to each connection causes an attempt of each. Attempts
    /// of timers are not counted.
    fn attempts_on_demand(&mut self, pair: &Pair) -> Result<bool> {
        let before = Counters::read(pair.client())?;
        (0..self.connections()).try_for_each(|_| self.attempt())?;
        let Counters { retrans_fail, timeouts, .. } = Counters::read(pair.client())? - before;
        Ok(retrans_fail >= timeouts + self.connections() as u64)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.clients.iter().for_each(reset);
    }
}

/// Raises the limit, and the hard limit if necessary.
fn admit_descriptors(more: u64) -> Result<()> {
    let needed = more + OTHER_DESCRIPTORS;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = now.maximum.map(|maximum| maximum.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).context("cannot raise RLIMIT_NOFILE")
}
