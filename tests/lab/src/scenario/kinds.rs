// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attempts that differ in their kind, and in little else.

use std::net::UdpSocket;
use std::time::Duration;

use socket2::SockRef;

use super::local::{TRICKLE, hide_neighbour, tbf};
use super::peer::{connected, ends, send};
use super::wire::{connected as wired, lose_everything, send as send_over};
use super::{Outcome, Scenario, Sockets, Start};
use crate::pair::LINK;
use crate::tun::{Path, Peer};
use crate::wait::{PATIENCE, wait_for};
use crate::{Context, Counters, Error, Family, Netns, Pair, Probes, Result};

/// The timer expires 210 ms after the data was sent.
const QUICK: Path = Path { delay: Duration::from_millis(70), route: "" };

/// Too large for two of them to be combined in one retransmission.
const SEGMENT: usize = 1400;

/// Waits until the timer has expired and the first segment is retransmitted. With tail loss probes,
/// a probe with the last segment comes before it.
fn one_timeout(peer: &Peer, probes: Probes) -> Result<()> {
    if probes == Probes::Default {
        peer.receive(PATIENCE)?.ok_or_else(|| Error::new("there was no tail loss probe"))?;
    }
    let again = peer.receive(PATIENCE)?;
    again.map(drop).ok_or_else(|| Error::new("the timer did not expire"))
}

/// Waits for the same event by the kernel's counter. It is used if no packet arrives.
fn one_timeout_counted(ns: &Netns) -> Result<()> {
    wait_for("a timeout", PATIENCE, || Ok((Counters::read(ns)?.timeouts > 0).then_some(())))
}

/// Three segments are outstanding, and the timer expires before any is acknowledged. Then the peer
/// acknowledges the first, which makes room for the others.
pub(super) fn slow_start(pair: &Pair, family: Family) -> Result<Scenario> {
    let probes = pair.probes();
    let start = Start::new(move |scenario| {
        let (client, peer) = ends(scenario)?;
        let sent = send(client, &[SEGMENT; 3])?;
        peer.receive_until(sent)?;
        one_timeout(peer, probes)?;
        peer.acknowledge(SEGMENT as u32).send()?;
        peer.acknowledge(sent).send()
    });
    connected(pair, family, Outcome::SlowStart, QUICK, start)
}

/// Does the same as `slow_start`, but a router in between reports that the packets are too large.
/// The next retransmission may have either cause.
pub(super) fn mtu_cut_in_loss(pair: &Pair, family: Family) -> Result<Scenario> {
    let probes = pair.probes();
    let start = Start::new(move |scenario| {
        let (client, peer) = ends(scenario)?;
        let sent = send(client, &[SEGMENT; 3])?;
        let segments = peer.receive_until(sent)?;
        one_timeout(peer, probes)?;
        peer.too_big(&segments[0], 1280)?;
        peer.acknowledge(SEGMENT as u32).send()?;
        peer.acknowledge(sent).send()
    });
    connected(pair, family, Outcome::MtuCutInLoss, QUICK, start)
}

/// The peer closes its window, and the client's process closes its socket. The kernel's next
/// segment is not a probe, because no process waits for an answer.
pub(super) fn orphan_zero_window(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[100; 2])?)?;
        peer.acknowledge(100).window(0).send()?;
        let client = match &mut scenario.sockets {
            Sockets::Tun { client, .. } => client.take(),
            _ => None,
        };
        let client = client.ok_or_else(|| Error::new("the scenario has no peer"))?;
        // The close must not send a reset.
        SockRef::from(&client).set_linger(None).context("cannot set SO_LINGER")?;
        Ok(())
    });
    connected(pair, family, Outcome::OrphanZeroWindow, QUICK, start)
}

/// The first copy is in the client's queue when the timer expires. Then an acknowledgement without
/// new information arrives. It leaves the socket in the same state as a drained queue.
pub(super) fn duplicate_ack_in_loss(pair: &Pair, family: Family) -> Result<Scenario> {
    let ns = pair.client().clone();
    let has_tbf = tbf(&ns).is_ok();
    let start = Start::new(move |scenario| {
        let (client, peer) = ends(scenario)?;
        // This uses up the queue's burst.
        let first = send(client, &[SEGMENT])?;
        peer.receive_until(first)?;
        peer.acknowledge(first).send()?;
        if !has_tbf {
            peer.hide(&ns)?;
        }
        send(client, &[SEGMENT])?;
        one_timeout_counted(&ns)?;
        peer.acknowledge(first).send()
    });
    let scenario = connected(pair, family, Outcome::DuplicateAckInLoss, QUICK, start)?;
    let (_, peer) = ends(&scenario)?;
    if !has_tbf {
        return Ok(scenario);
    }
    // The removal of the device also removes the queue.
    pair.client().sh(&format!("tc qdisc add dev {} root {TRICKLE} limit 20000", peer.device()))?;
    Ok(scenario)
}

/// The rate and the burst.
const DRAIN: &str = "tbf rate 16kbit burst 1600 limit 20000";

/// The size of a datagram that is queued before the segment.
const FILLER: usize = 1000;

/// The first copy is queued after other packets when the timer expires, half a second after it was
/// sent. After nearly a second it leaves, and is lost. The timer would expire again after one and a
/// half seconds.
pub(super) fn resume(pair: &Pair, family: Family) -> Result<Scenario> {
    pair.set_rto_min(family, "rto_min 500ms")?;
    if tbf(pair.client()).is_err() {
        return resume_of_neighbour(pair, family);
    }
    let (ns, server) = (pair.client().clone(), pair.server_addr(family));
    let start = Start::new(move |scenario| {
        let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let others = ns.run(|| UdpSocket::bind(local)).context("cannot make a socket")?;
        for _ in 0..3 {
            // No socket receives it.
            others.send_to(&[0; FILLER], (server, 9)).context("cannot send")?;
        }
        send_over(scenario, &[100])
    });
    let mut scenario = wired(pair, family, Outcome::Resume, start)?;
    lose_everything(&mut scenario, pair)?;
    pair.client().sh(&format!("tc qdisc add dev {LINK} root {DRAIN}"))?;
    let ns = pair.client().clone();
    scenario
        .faults
        .push(crate::Fault::new(DRAIN, move || ns.command("tc", &["qdisc", "del", "dev", LINK, "root"]).map(drop)));
    Ok(scenario)
}

/// Does the same without such a queue: the segment waits for the neighbour's address, which is
/// announced after the timeout.
fn resume_of_neighbour(pair: &Pair, family: Family) -> Result<Scenario> {
    let (ns, telling) = (pair.client().clone(), pair.neighbour_announcement(family)?);
    let start = Start::new(move |scenario| {
        send_over(scenario, &[100])?;
        one_timeout_counted(&ns)?;
        telling.send()
    });
    let mut scenario = wired(pair, family, Outcome::Resume, start)?;
    lose_everything(&mut scenario, pair)?;
    hide_neighbour(&mut scenario, pair, family)?;
    Ok(scenario)
}
