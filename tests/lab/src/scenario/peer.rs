// SPDX-License-Identifier: MIT OR Apache-2.0
//! Outcomes that require a user-space peer.
//!
//! The peer's answers must arrive before the client's timers expire. If the timers must expire
//! later, the SYN-ACK is delayed, which makes them long. If they must not expire, the route sets a
//! minimum RTO longer than the scenario.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

use super::outcome::WindowFault;
use super::wire::probes_on;
use super::{Outcome, Scenario, Sockets, Start};
use crate::tun::{Path, Peer};
use crate::{Context, Error, Family, Pair, Probes, Result};

/// The timer expires 600 ms after the data was sent. A tail loss probe comes after 400 ms.
const SLOW: Path = Path { delay: Duration::from_millis(200), route: "" };

/// The timer does not expire.
const UNTIMED: &str = "rto_min 30s";

/// Returns the delay of the handshake that keeps a tail loss probe away for 400 ms, if the pair has
/// probes.
fn delay_of_probes(pair: &Pair) -> Duration {
    match pair.probes() {
        Probes::Off => Duration::ZERO,
        Probes::Default => SLOW.delay,
    }
}

/// Returns a scenario with a client connected to a peer.
pub(super) fn connected(pair: &Pair, family: Family, outcome: Outcome, path: Path, start: Start) -> Result<Scenario> {
    let setting = probes_on(pair, outcome)?;
    let (client, peer) = Peer::open(pair, family, path)?;
    let mut scenario = Scenario::of_peer(pair, outcome, client, peer, start)?;
    scenario.faults.extend(setting);
    Ok(scenario)
}

pub(super) fn ends(scenario: &Scenario) -> Result<(&TcpStream, &Peer)> {
    match &scenario.sockets {
        Sockets::Tun { client: Some(client), peer } => Ok((client, peer)),
        _ => Err(Error::new("the scenario has no peer")),
    }
}

/// Makes one write of each of these sizes, and returns the total. A write becomes one segment or
/// several.
pub(super) fn send(mut client: &TcpStream, writes: &[usize]) -> Result<u32> {
    writes.iter().try_for_each(|len| client.write_all(&vec![b'x'; *len])).context("cannot send")?;
    Ok(writes.iter().sum::<usize>() as u32)
}

/// A thousand bytes are outstanding, and the peer acknowledges the first 400.
pub(super) fn partial_ack(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[1000])?)?;
        peer.acknowledge(400).send()
    });
    connected(pair, family, Outcome::PartialAck, SLOW, start)
}

/// Two segments are outstanding. The peer accepts the first and closes its window.
pub(super) fn zero_window(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[100; 2])?)?;
        // Not every kernel accepts a closed window without a new acknowledgement.
        peer.acknowledge(100).window(0).send()
    });
    connected(pair, family, Outcome::ZeroWindow, SLOW, start)
}

/// Three segments are outstanding. The peer accepts the first and closes its window. So the last
/// segment, which is probed, is not the first.
pub(super) fn rcv_zero_window(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[100; 3])?)?;
        peer.acknowledge(100).window(0).send()
    });
    connected(pair, family, Outcome::RcvZeroWindow(WindowFault::Peer), SLOW, start)
}

/// Two segments are outstanding, and a router reports that they are too large.
/// `tcp_simple_retransmit` splits and retransmits both, and the peer accepts all.
pub(super) fn mtu_cut(pair: &Pair, family: Family) -> Result<Scenario> {
    let path = Path { delay: delay_of_probes(pair), route: UNTIMED };
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        cut(client, peer).map(drop)
    });
    connected(pair, family, Outcome::MtuCut, path, start)
}

/// Does the same on a connection that has sent nothing yet. Returns the number of bytes.
pub(super) fn cut(client: &TcpStream, peer: &Peer) -> Result<u32> {
    let sent = send(client, &[1400; 2])?;
    let segments = peer.receive_until(sent)?;
    // The minimum MTU of IPv6.
    peer.too_big(&segments[0], 1280)?;
    peer.receive_until(sent)?;
    peer.acknowledge(sent).send()?;
    Ok(sent)
}

/// The size of one skb. An skb can hold 64 KiB, and contains many segments.
const LARGE: usize = 40_000;

/// About twice the sum of SO_SNDBUF and 128 KiB of data is outstanding: so much that `tcp_fragment`
/// refuses to split an skb in the middle of the queue. This is the kernel's defence against peers
/// that make a sender split its queue into ever smaller pieces (commits f070ef2ac667 and
/// b617158dc096).
///
/// The peer acknowledges only three segments near the end. All segments before them count as lost
/// (RACK). The congestion window has room for as many segments as have arrived, which is fewer than
/// a large skb contains. The first skb is small and retransmitted unsplit. The next one would have
/// to be split, which fails. This fails again with each of the last segments. In the end the peer
/// accepts all.
pub(super) fn frag_nomem(pair: &Pair, family: Family) -> Result<Scenario> {
    let path = Path { delay: delay_of_probes(pair), route: "rto_min 30s initcwnd 400" };
    // A slow handshake would lead to a low pacing rate, and a low pacing rate to small skbs.
    let size = pair.client().sysctl_scoped("net/ipv4/tcp_min_tso_segs", "40")?;
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        sockopt::set_socket_send_buffer_size_force(client, 4 << 20).context("cannot set SO_SNDBUFFORCE")?;
        // The window of a SYN-ACK is too small.
        peer.acknowledge(0).send()?;
        let tail = send(client, &[&[100], &[LARGE; 10][..]].concat())?;
        let sent = tail + send(client, &[100; 6])?;
        peer.receive_until(sent)?;
        sockopt::set_socket_send_buffer_size(client, 1).context("cannot set SO_SNDBUF")?;
        // RACK needs three segments to declare a loss. With fewer it would wait.
        for end in [tail + 300, tail + 400, tail + 500, sent] {
            peer.acknowledge(0).sack(tail..end).send()?;
        }
        peer.acknowledge(sent).send()
    });
    let mut scenario = connected(pair, family, Outcome::FragNomem, path, start)?;
    scenario.faults.push(size);
    Ok(scenario)
}
