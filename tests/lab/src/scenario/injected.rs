// SPDX-License-Identifier: MIT OR Apache-2.0
//! Outcomes that no traffic provokes. The socket is marked before its timer expires, and its
//! attempts fail inside the kernel.

use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::peer::{connected, ends, send};
use super::{Outcome, Scenario, Start};
use crate::injection::{Injected, inject};
use crate::tun::Path;
use crate::{Context, Family, Fault, Pair, Result};

/// The timer expires 600 ms after the data was sent.
const SLOW: Path = Path { delay: Duration::from_millis(200), route: "" };

/// A thousand bytes are outstanding, and never acknowledged.
pub(super) fn on_timeout(pair: &Pair, family: Family, outcome: Outcome, what: Injected) -> Result<Scenario> {
    let start = Start::new(move |scenario| {
        let (client, peer) = ends(scenario)?;
        inject(client, what)?;
        peer.receive_until(send(client, &[1000])?)?;
        Ok(())
    });
    connected(pair, family, outcome, SLOW, start)
}

/// A thousand bytes are outstanding. The peer acknowledges the first 400, which must be trimmed
/// from a segment that another socket has a copy of.
pub(super) fn trim_head_nomem(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        inject(client, Injected::NoMemory)?;
        peer.receive_until(send(client, &[1000])?)?;
        peer.acknowledge(400).send()
    });
    let mut scenario = connected(pair, family, Outcome::TrimHeadNomem, SLOW, start)?;
    scenario.faults.push(copies_are_kept(pair)?);
    Ok(scenario)
}

/// A thousand bytes are outstanding, and another socket has a copy of them.
///
/// The data before them was split, so the stream has seen attempts that split a segment. Only then
/// is it certain that the stream would have seen this attempt split one.
pub(super) fn unclone_nomem(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        let cut = super::peer::cut(client, peer)?;
        inject(client, Injected::NoMemory)?;
        peer.receive_until(cut + send(client, &[1000])?)?;
        Ok(())
    });
    let mut scenario = connected(pair, family, Outcome::UncloneNomem, SLOW, start)?;
    scenario.faults.push(copies_are_kept(pair)?);
    Ok(scenario)
}

/// Keeps a copy of everything that the client sends in a socket that is never read. A copy shares
/// the data with the original, so the original must not be modified.
fn copies_are_kept(pair: &Pair) -> Result<Fault> {
    /// `ETH_P_ALL`.
    const ALL: u16 = 3;
    let protocol = Protocol::from(i32::from(ALL.to_be()));
    let socket = pair.client().run(|| Socket::new(Domain::PACKET, Type::RAW, Some(protocol)));
    let socket = socket.context("cannot open a packet socket")?;
    Ok(Fault::new("an unread packet socket", move || {
        drop(socket);
        Ok(())
    }))
}
