// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures on the sender itself.
//!
//! The segment must be out, and the fault in force, before the timer expires, 200 ms later. Starting `nft` or `ip` in
//! between would make that a race on a busy machine. So the way to fail is laid beforehand, for packets with a mark
//! that no other socket has, and once the data is out the socket takes it by a single call, SO_MARK.

use std::sync::atomic::{AtomicU32, Ordering};

use socket2::SockRef;

use super::wire::{connected, lose_everything, send};
use super::{Outcome, RouteFault, Scenario, Sockets};
use crate::pair::LINK;
use crate::{Blackhole, Context, Error, Family, Fault, Netns, Pair, Result};

/// Two bytes of a number that others are unlikely to use.
const MARKS: u32 = 0x5e7a_0000;

/// Also the number of a routing table, which must not be one of the first 256.
fn next_mark() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    MARKS | (NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff)
}

fn send_then_mark(scenario: &mut Scenario) -> Result<()> {
    send(scenario, &[100])?;
    let Sockets::Connection { conn, mark } = &scenario.sockets else {
        return Err(Error::new("the scenario has no connection"));
    };
    // This also makes the socket forget its route.
    SockRef::from(conn.client()).set_mark(*mark).context("cannot set SO_MARK")
}

pub(super) fn denied(pair: &Pair, family: Family) -> Result<Scenario> {
    let mark = next_mark();
    let mut scenario = connected(pair, family, Outcome::Denied, mark, send_then_mark)?;
    lose_everything(&mut scenario, pair)?;
    scenario.faults.push(Blackhole::output().mark(mark).install(pair.client())?);
    Ok(scenario)
}

pub(super) fn route_fail(pair: &Pair, family: Family, fault: RouteFault) -> Result<Scenario> {
    let mark = next_mark();
    let mut scenario = connected(pair, family, Outcome::RouteFail(fault), mark, send_then_mark)?;
    lose_everything(&mut scenario, pair)?;
    scenario.faults.push(misroute(pair.client(), family, fault, mark)?);
    Ok(scenario)
}

/// Routes packets with this mark nowhere.
fn misroute(ns: &Netns, family: Family, fault: RouteFault, mark: u32) -> Result<Fault> {
    let ip = if family.is_ipv4_on_the_wire() { "ip -4" } else { "ip -6" };
    let (route, action) = match fault {
        RouteFault::Prohibit => (Some("prohibit"), format!("lookup {mark}")),
        RouteFault::Unreachable => (Some("unreachable"), format!("lookup {mark}")),
        RouteFault::Blackhole => (Some("blackhole"), format!("lookup {mark}")),
        RouteFault::Rule => (None, "unreachable".into()),
    };
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

/// So slow that what is sent now leaves in a minute and a half; the first two kilobytes leave at once.
const TRICKLE: &str = "tbf rate 80bit burst 2000";

/// Of data. Two of these do not fit in the burst, and one fits in a segment of either family.
const SEGMENT: usize = 1400;

fn slow_queue(ns: &Netns, limit: u32) -> Result<Fault> {
    ns.sh(&format!("tc qdisc add dev {LINK} root {TRICKLE} limit {limit}"))?;
    let ns = ns.clone();
    Ok(Fault::new(TRICKLE, move || ns.command("tc", &["qdisc", "del", "dev", LINK, "root"]).map(drop)))
}

/// The first segment leaves and is acknowledged, the next ones wait, and the timer expires for them.
pub(super) fn in_host_queue(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = |scenario: &mut Scenario| send(scenario, &[SEGMENT; 3]);
    let mut scenario = connected(pair, family, Outcome::InHostQueue, 0, start)?;
    scenario.faults.push(slow_queue(pair.client(), 20_000)?);
    Ok(scenario)
}

/// The first segment leaves and is lost, the second waits and fills the queue, and there is no room for the first when
/// it is retransmitted.
pub(super) fn xmit_drop(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = |scenario: &mut Scenario| send(scenario, &[SEGMENT; 2]);
    let mut scenario = connected(pair, family, Outcome::XmitDrop, 0, start)?;
    lose_everything(&mut scenario, pair)?;
    scenario.faults.push(slow_queue(pair.client(), 2000)?);
    Ok(scenario)
}
