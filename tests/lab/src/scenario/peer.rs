// SPDX-License-Identifier: MIT OR Apache-2.0
//! What takes a peer whose every segment is the test's.
//!
//! What the peer has to say must arrive before the client's timers expire. Where they are to expire later, the SYN-ACK
//! came late, so that they are long; where they are not, the route makes the shortest RTO longer than any of this
//! takes.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

use super::outcome::WindowFault;
use super::{Outcome, Scenario, Sockets, Start};
use crate::tun::{Path, Peer};
use crate::{Context, Error, Family, Pair, Result};

/// The timer expires 600 ms after the data was sent, a tail loss probe comes after 400 ms.
const SLOW: Path = Path { delay: Duration::from_millis(200), route: "" };

/// The timer does not expire.
const UNTIMED: &str = "rto_min 30s";

/// A client connected to a peer, and a scenario around them.
pub(super) fn connected(pair: &Pair, family: Family, outcome: Outcome, path: Path, start: Start) -> Result<Scenario> {
    let probes = if matches!(outcome, Outcome::RcvZeroWindow(_)) { "3" } else { "0" };
    let setting = pair.client().sysctl_scoped("net/ipv4/tcp_early_retrans", probes)?;
    let (client, peer) = Peer::open(pair, family, path)?;
    let mut scenario = Scenario::of_peer(pair, outcome, client, peer, start)?;
    scenario.faults.push(setting);
    Ok(scenario)
}

pub(super) fn ends(scenario: &Scenario) -> Result<(&TcpStream, &Peer)> {
    match &scenario.sockets {
        Sockets::Tun { client: Some(client), peer } => Ok((client, peer)),
        _ => Err(Error::new("the scenario has no peer")),
    }
}

/// Sends segments of so many bytes, or what will be several, and gives the number of bytes in all.
pub(super) fn send(mut client: &TcpStream, writes: &[usize]) -> Result<u32> {
    writes.iter().try_for_each(|len| client.write_all(&vec![b'x'; *len])).context("cannot send")?;
    Ok(writes.iter().sum::<usize>() as u32)
}

/// A thousand bytes are out, and the peer acknowledges the first 400.
pub(super) fn partial_ack(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[1000])?)?;
        peer.acknowledge(400).send()
    });
    connected(pair, family, Outcome::PartialAck, SLOW, start)
}

/// Two segments are out, and the peer takes the first and no more.
pub(super) fn zero_window(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[100; 2])?)?;
        // Not every kernel believes in a closed window where nothing new is acknowledged with it.
        peer.acknowledge(100).window(0).send()
    });
    connected(pair, family, Outcome::ZeroWindow, SLOW, start)
}

/// Three segments are out, and the peer takes the first and no more. That leaves a last one to be probed which is not
/// the first.
pub(super) fn rcv_zero_window(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[100; 3])?)?;
        peer.acknowledge(100).window(0).send()
    });
    connected(pair, family, Outcome::RcvZeroWindow(WindowFault::Peer), SLOW, start)
}

/// Two segments are out that are too large, as a router says. `tcp_simple_retransmit` sends each in two, and the peer
/// takes all.
pub(super) fn mtu_cut(pair: &Pair, family: Family) -> Result<Scenario> {
    let path = Path { delay: Duration::ZERO, route: UNTIMED };
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        cut(client, peer).map(drop)
    });
    connected(pair, family, Outcome::MtuCut, path, start)
}

/// The same, on a connection that has sent nothing yet. Gives the number of bytes.
pub(super) fn cut(client: &TcpStream, peer: &Peer) -> Result<u32> {
    let sent = send(client, &[1400; 2])?;
    let segments = peer.receive_until(sent)?;
    // The least that IPv6 allows.
    peer.too_big(&segments[0], 1280)?;
    peer.receive_until(sent)?;
    peer.acknowledge(sent).send()?;
    Ok(sent)
}

/// Of one buffer, or skb, which can hold 64 KiB and is many segments.
const LARGE: usize = 40_000;

/// So much is out that `tcp_fragment` refuses to split a buffer in the middle of the queue: about twice the sum of
/// SO_SNDBUF and 128 KiB. It is a defence against peers who have a sender's queue split into ever smaller pieces
/// (commits f070ef2ac667 and b617158dc096).
///
/// The peer gets three segments near the end only. Thereby all before them are lost (RACK), and there is room on the
/// wire for as many as have arrived, which is fewer than a large buffer has. The first buffer is small, and sent again
/// as it is. The next would have to be split, and that fails; and again with each of the last segments. In the end the
/// peer takes all.
pub(super) fn frag_nomem(pair: &Pair, family: Family) -> Result<Scenario> {
    let path = Path { delay: Duration::ZERO, route: "rto_min 30s initcwnd 400" };
    // However long the handshake took: else a slow one makes for a low rate, and that for small buffers.
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
        // Three at once, which is what it takes for a loss; with fewer, RACK would wait and see.
        for end in [tail + 300, tail + 400, tail + 500, sent] {
            peer.acknowledge(0).sack(tail..end).send()?;
        }
        peer.acknowledge(sent).send()
    });
    let mut scenario = connected(pair, family, Outcome::FragNomem, path, start)?;
    scenario.faults.push(size);
    Ok(scenario)
}
