// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures on the sender.
//!
//! The segment must be sent, and the fault must be in effect, before the timer expires. Starting
//! `nft` or `ip` in between would be a race on a busy machine. So a rule that matches only the
//! retransmission is installed in advance. A failing route would match the first transmission too.
//! In that case the timer is long, and one of two methods is used: the route is for marked packets
//! and the socket gets the mark after the data is sent, or a single rtnetlink request deletes the
//! route.

use std::sync::atomic::{AtomicU32, Ordering};

use socket2::SockRef;

use super::wire::{connected, lose_everything, send, sends};
use super::{Discard, Hold, Outcome, Refusal, RouteFault, Scenario, Start, Subject};
use crate::netlink::Request;
use crate::pair::LINK;
use crate::{Context, Error, Family, Fault, Netns, Packets, Pair, Probes, Result};

/// The upper two bytes of the marks. Other programs are unlikely to use them.
const MARKS: u32 = 0x5e7a_0000;

/// Returns a mark, which is also the number of a routing table. That number must not be one of the
/// first 256.
fn next_mark() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    MARKS | (NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff)
}

fn sends_then_sets_mark(mark: u32) -> Start {
    Start::new(move |scenario| {
        send(scenario, &[DATA])?;
        let conn = scenario.conn().ok_or_else(|| Error::new("the scenario has no connection"))?;
        // This also makes the socket forget its route.
        SockRef::from(conn.client()).set_mark(mark).context("cannot set SO_MARK")
    })
}

/// Selects the retransmitted data. The first transmission passes the rule, and is lost on the wire.
pub(super) fn sent_again(scenario: &Scenario, place: Packets) -> Packets {
    let Subject { local, remote, .. } = scenario.subject;
    place.sport(local.port()).dport(remote.port()).at_least(DATA as u32).after(1)
}

/// The data of a segment. It is larger than a packet without data.
pub(super) const DATA: usize = 100;

pub(super) fn denied(pair: &Pair, family: Family, refusal: Refusal) -> Result<Scenario> {
    let mut scenario = connected(pair, family, Outcome::Denied(refusal), sends(&[DATA]))?;
    lose_everything(&mut scenario, pair)?;
    let packets = sent_again(&scenario, Packets::output());
    scenario.faults.push(match refusal {
        Refusal::Drop => packets.drop_in(pair.client())?,
        Refusal::Reject => packets.reject_in(pair.client())?,
    });
    Ok(scenario)
}

pub(super) fn route_fail(pair: &Pair, family: Family, fault: RouteFault) -> Result<Scenario> {
    let outcome = Outcome::RouteFail(fault);
    // Five times the default.
    pair.set_rto_min(family, "rto_min 1s")?;
    let rule = |route: Option<&'static str>| -> Result<Scenario> {
        let mark = next_mark();
        let mut scenario = connected(pair, family, outcome, sends_then_sets_mark(mark))?;
        scenario.faults.push(add_failing_route(pair.client(), family, route, mark)?);
        Ok(scenario)
    };
    let mut scenario = match fault {
        RouteFault::Prohibit => rule(Some("prohibit"))?,
        RouteFault::Unreachable => rule(Some("unreachable"))?,
        RouteFault::Blackhole => rule(Some("blackhole"))?,
        RouteFault::Rule => rule(None)?,
        RouteFault::RouteDeleted => {
            let route = Request::delete_route(pair.client(), pair.prefix(family), Pair::prefix_length(family));
            sends_then_loses(pair, family, outcome, route)?
        }
        RouteFault::AddressDeleted => {
            let address = pair.client_addr(family).to_canonical();
            let address = Request::delete_address(pair.client(), LINK, address, Pair::prefix_length(family))?;
            sends_then_loses(pair, family, outcome, address)?
        }
    };
    lose_everything(&mut scenario, pair)?;
    Ok(scenario)
}

/// Makes the route of packets with this mark fail.
fn add_failing_route(ns: &Netns, family: Family, route: Option<&str>, mark: u32) -> Result<Fault> {
    let ip = if family.is_ipv4_on_the_wire() { "ip -4" } else { "ip -6" };
    let action = if route.is_some() { format!("lookup {mark}") } else { "unreachable".to_owned() };
    let mut lay = format!("{ip} rule add fwmark {mark:#x} {action}");
    let mut lift = format!("{ip} rule del fwmark {mark:#x} {action}");
    if let Some(kind) = route {
        lay = format!("{ip} route add {kind} default table {mark}\n{lay}");
        lift = format!("{lift}\n{ip} route flush table {mark}");
    }
    ns.sh(&lay)?;
    let ns = ns.clone();
    Ok(Fault::new(lay, move || ns.sh(&lift).map(drop)))
}

/// Sends the data, and then a request that makes further transmissions fail.
fn sends_then_loses(pair: &Pair, family: Family, outcome: Outcome, request: Request) -> Result<Scenario> {
    let start = Start::new(move |scenario| {
        send(scenario, &[DATA])?;
        request.send()
    });
    let mut scenario = connected(pair, family, outcome, start)?;
    scenario.faults.push(restored(pair, "a deletion"));
    Ok(scenario)
}

/// Returns a fault that restores the pair's addresses, routes and neighbours.
pub(super) fn restored(pair: &Pair, what: &str) -> Fault {
    let pair = pair.clone();
    Fault::new(what, move || pair.restore())
}

pub(super) fn in_host_queue(pair: &Pair, family: Family, hold: Hold) -> Result<Scenario> {
    let outcome = Outcome::InHostQueue(hold);
    match hold {
        Hold::Qdisc => {
            // The first segment leaves and is acknowledged, the next ones are queued, and their
            // timer expires.
            let mut scenario = connected(pair, family, outcome, sends(&[SEGMENT; 3]))?;
            scenario.faults.push(slow_queue(pair.client(), 20_000)?);
            Ok(scenario)
        }
        Hold::Neighbour => {
            let mut scenario = connected(pair, family, outcome, sends(&[DATA]))?;
            hide_neighbour(&mut scenario, pair, family)?;
            Ok(scenario)
        }
    }
}

/// Makes packets for the server wait in the client until its link-layer address is announced.
pub(super) fn hide_neighbour(scenario: &mut Scenario, pair: &Pair, family: Family) -> Result<()> {
    for version in ["ipv4", "ipv6"] {
        // The kernel drops waiting packets after this number of solicitations, one per second.
        let questions = format!("net/{version}/neigh/{LINK}/mcast_solicit");
        scenario.faults.push(pair.client().sysctl_scoped(&questions, "1000")?);
    }
    scenario.faults.push(restored(pair, "a missing neighbour"));
    let peer = pair.server_addr(family).to_canonical();
    let length = Pair::prefix_length(family);
    // No other host answers for a deleted address.
    pair.server().command("ip", &["addr", "del", &format!("{peer}/{length}"), "dev", LINK])?;
    pair.client().command("ip", &["neigh", "del", &peer.to_string(), "dev", LINK])?;
    Ok(())
}

/// The first segment leaves and is acknowledged, and the next ones are queued. They are more than
/// the socket may have in the queue once its send buffer is as small as possible.
pub(super) fn backlog(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        send(scenario, &[SEGMENT; 6])?;
        let conn = scenario.conn().ok_or_else(|| Error::new("the scenario has no connection"))?;
        SockRef::from(conn.client()).set_send_buffer_size(1).context("cannot set SO_SNDBUF")
    });
    let mut scenario = connected(pair, family, Outcome::Backlog, start)?;
    scenario.faults.push(slow_queue(pair.client(), 20_000)?);
    Ok(scenario)
}

pub(super) fn xmit_drop(pair: &Pair, family: Family, discard: Discard) -> Result<Scenario> {
    let outcome = Outcome::XmitDrop(discard);
    match discard {
        Discard::Qdisc if pair.probes() == Probes::Default || tbf(pair.client()).is_err() => {
            // Two segments leave and are lost: each finds the queue empty, and so does a tail loss
            // probe. The retransmission combines both, for which the queue has no room. In a slow
            // queue, a probe would find the second segment, and since Linux 5.13 the kernel would
            // then retransmit as soon as any segment of the socket leaves the queue.
            let mut scenario = connected(pair, family, outcome, sends(&[DATA; 2]))?;
            lose_everything(&mut scenario, pair)?;
            scenario.faults.push(queue(pair.client(), TIGHT)?);
            Ok(scenario)
        }
        Discard::Qdisc => {
            // The first segment leaves and is lost, the second is queued and fills the queue, which
            // has no room for the first when it is retransmitted.
            let mut scenario = connected(pair, family, outcome, sends(&[SEGMENT; 2]))?;
            lose_everything(&mut scenario, pair)?;
            scenario.faults.push(slow_queue(pair.client(), 2000)?);
            Ok(scenario)
        }
        Discard::Egress => {
            let mut scenario = connected(pair, family, outcome, sends(&[DATA]))?;
            lose_everything(&mut scenario, pair)?;
            let again = sent_again(&scenario, Packets::egress()).drop_in(pair.client())?;
            scenario.faults.push(again);
            Ok(scenario)
        }
    }
}

/// A rate at which a packet leaves after a minute and a half. The first two kilobytes leave at
/// once.
pub(super) const TRICKLE: &str = "tbf rate 80bit burst 2000";

/// The size of a segment. Two do not fit in the burst, and one fits in a segment of either family.
pub(super) const SEGMENT: usize = 1400;

/// Room for one packet with [`DATA`] and headers, but not for two. Every kernel with qdiscs has
/// this one.
pub(super) const TIGHT: &str = "bfifo limit 230";

pub(super) fn slow_queue(ns: &Netns, limit: u32) -> Result<Fault> {
    queue(ns, &format!("{TRICKLE} limit {limit}"))
}

pub(super) fn queue(ns: &Netns, qdisc: &str) -> Result<Fault> {
    ns.sh(&format!("tc qdisc add dev {LINK} root {qdisc}"))?;
    let ns = ns.clone();
    Ok(Fault::new(qdisc, move || ns.command("tc", &["qdisc", "del", "dev", LINK, "root"]).map(drop)))
}

/// Checks that this qdisc is available. It is usually a module.
///
/// # Errors
/// Returns an error if it is not available.
pub(crate) fn tbf(ns: &Netns) -> Result<()> {
    ns.sh(&format!("tc qdisc add dev lo root {TRICKLE} limit 2000; tc qdisc del dev lo root")).map(drop)
}
