// SPDX-License-Identifier: MIT OR Apache-2.0
//! Losses on the wire: the retransmission itself succeeds.

use std::io::Write;

use super::{Outcome, Scenario, Start, Subject, WindowFault};
use crate::pair::{LINK, Probes};
use crate::{Conn, Context, Error, Family, Fault, Packets, Pair, Result};

/// Returns a scenario with a connection, with the pair's setting of tail loss probes. An outcome
/// that requires them switches them on.
pub(super) fn connected(pair: &Pair, family: Family, outcome: Outcome, start: Start) -> Result<Scenario> {
    let setting = probes_on(pair, outcome)?;
    let conn = Conn::open(pair, family)?;
    let mut scenario = Scenario::of_connection(pair, outcome, conn, start);
    scenario.faults.extend(setting);
    Ok(scenario)
}

/// Switches tail loss probes on if the outcome requires them and the pair has none.
pub(super) fn probes_on(pair: &Pair, outcome: Outcome) -> Result<Option<Fault>> {
    let is_missing = outcome.needs_probes() && pair.probes() == Probes::Off;
    is_missing.then(|| pair.client().sysctl_scoped(Probes::SYSCTL, "3")).transpose()
}

/// Selects the packets from the scenario's client to its server. The selection uses both ports,
/// because an IPv4 and an IPv6 listener may have the same one.
fn sent_by(scenario: &Scenario) -> Packets {
    let Subject { local, remote, .. } = scenario.subject;
    Packets::input().sport(local.port()).dport(remote.port())
}

/// Drops everything that the client sends.
pub(super) fn lose_everything(scenario: &mut Scenario, pair: &Pair) -> Result<()> {
    let lost = sent_by(scenario).drop_in(pair.server())?;
    scenario.faults.push(lost);
    Ok(())
}

/// Returns a start step that sends segments of these sizes.
pub(super) fn sends(segments: &'static [usize]) -> Start {
    Start::new(|scenario| send(scenario, segments))
}

pub(super) fn send(scenario: &Scenario, segments: &[usize]) -> Result<()> {
    let Some(conn) = scenario.conn() else {
        return Err(Error::new("the scenario has no connection"));
    };
    segments.iter().try_for_each(|len| conn.client().write_all(&vec![b'x'; *len])).context("cannot send")
}

pub(super) fn loss(pair: &Pair, family: Family, outcome: Outcome) -> Result<Scenario> {
    let mut scenario = if outcome == Outcome::Tlp {
        // With two outstanding segments the probe does not wait for a delayed acknowledgement.
        connected(pair, family, outcome, sends(&[100, 100]))?
    } else {
        connected(pair, family, outcome, sends(&[100]))?
    };
    lose_everything(&mut scenario, pair)?;
    Ok(scenario)
}

/// Disables GSO on the client. A connection reads the limit when it is created.
pub(crate) fn without_gso(pair: &Pair) -> Result<Fault> {
    pair.client().command("ip", &["link", "set", "dev", LINK, "gso_max_segs", "1"])?;
    let ns = pair.client().clone();
    Ok(Fault::new("gso_max_segs 1", move || {
        ns.command("ip", &["link", "set", "dev", LINK, "gso_max_segs", "65535"]).map(drop)
    }))
}

/// The minimum size of a full-sized segment.
const FULL: u32 = 1400;

/// At least 14 segments, so that enough acknowledgements follow the lost one.
pub(crate) const FAST_BYTES: usize = 20_000;

pub(super) fn one_loss(pair: &Pair, family: Family) -> Result<Scenario> {
    let without_gso = without_gso(pair)?;
    let mut scenario = connected(pair, family, Outcome::Fast, sends(&[FAST_BYTES]))?;
    scenario.faults.insert(0, without_gso);
    let second = sent_by(&scenario).at_least(FULL).nth(1).drop_in(pair.server())?;
    scenario.faults.push(second);
    Ok(scenario)
}

/// The first of three segments arrives. Its acknowledgement, which the socket processes after it
/// has sent all three, closes the window. So the tail loss probe is for the third segment.
pub(super) fn mangled_window(pair: &Pair, family: Family) -> Result<Scenario> {
    let without_gso = without_gso(pair)?;
    let outcome = Outcome::RcvZeroWindow(WindowFault::Mangled);
    let mut scenario = connected(pair, family, outcome, sends(&[4000]))?;
    scenario.faults.insert(0, without_gso);
    let Subject { local, remote, .. } = scenario.subject;
    let answers = Packets::input().sport(remote.port()).dport(local.port());
    scenario.faults.push(answers.close_window_in(pair.client())?);
    let rest = sent_by(&scenario).after(1).drop_in(pair.server())?;
    scenario.faults.push(rest);
    Ok(scenario)
}
