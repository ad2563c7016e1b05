// SPDX-License-Identifier: MIT OR Apache-2.0
//! Losses on the wire: the retransmission itself succeeds.

use std::io::Write;

use super::{Outcome, Scenario, Sockets, Start, Subject};
use crate::pair::LINK;
use crate::{Blackhole, Conn, Context, Error, Family, Fault, Pair, Result};

/// A connection with tail loss probes on or off, and a scenario around it.
pub(super) fn connected(pair: &Pair, family: Family, outcome: Outcome, mark: u32, start: Start) -> Result<Scenario> {
    let probes = if outcome == Outcome::Tlp { "3" } else { "0" };
    let setting = pair.client().sysctl_scoped("net/ipv4/tcp_early_retrans", probes)?;
    let conn = Conn::open(pair, family)?;
    let mut scenario = Scenario::of_connection(pair, family, outcome, conn, mark, start);
    scenario.faults.push(setting);
    Ok(scenario)
}

/// Everything the client sends is lost.
pub(super) fn lose_everything(scenario: &mut Scenario, pair: &Pair) -> Result<()> {
    let Subject { local, remote, .. } = scenario.subject;
    // By both ports: an IPv4 and an IPv6 listener may have been given the same.
    scenario.faults.push(Blackhole::input().sport(local.port()).dport(remote.port()).install(pair.server())?);
    Ok(())
}

pub(super) fn send(scenario: &Scenario, segments: &[usize]) -> Result<()> {
    let Sockets::Connection { conn, .. } = &scenario.sockets else {
        return Err(Error::new("the scenario has no connection"));
    };
    segments.iter().try_for_each(|len| conn.client().write_all(&vec![b'x'; *len])).context("cannot send")
}

pub(super) fn loss(pair: &Pair, family: Family, outcome: Outcome) -> Result<Scenario> {
    let start: Start = match outcome {
        // With two segments out the probe does not wait for a delayed acknowledgement.
        Outcome::Tlp => |scenario| send(scenario, &[100, 100]),
        _ => |scenario| send(scenario, &[100]),
    };
    let mut scenario = connected(pair, family, outcome, 0, start)?;
    lose_everything(&mut scenario, pair)?;
    Ok(scenario)
}

pub(super) fn one_loss(pair: &Pair, family: Family) -> Result<Scenario> {
    // A connection asks how many segments it may hand down in one piece when it is made.
    pair.client().command("ip", &["link", "set", "dev", LINK, "gso_max_segs", "1"])?;
    let ns = pair.client().clone();
    let fault = Fault::new("gso_max_segs 1", move || {
        ns.command("ip", &["link", "set", "dev", LINK, "gso_max_segs", "65535"]).map(drop)
    });
    // 14 segments or more, so that there are acknowledgements enough after the one that is lost.
    let mut scenario = connected(pair, family, Outcome::Fast, 0, |scenario| send(scenario, &[20_000]))?;
    scenario.faults.insert(0, fault);
    let Subject { local, remote, .. } = scenario.subject;
    let second = Blackhole::input().sport(local.port()).dport(remote.port()).at_least(1400).nth(1);
    scenario.faults.push(second.install(pair.server())?);
    Ok(scenario)
}
