// SPDX-License-Identifier: MIT OR Apache-2.0
//! Losses during the handshake.

use socket2::SockAddr;

use super::{Outcome, Scenario, Sockets, Start, Subject};
use crate::tcp::{accept, canonical, connect_later, cookie, endpoint, in_progress, listen, unconnected};
use crate::{Context, Error, Family, Packets, Pair, Result};

/// From linux/socket.h: connects, and sends data with the SYN.
const MSG_FASTOPEN: i32 = 0x2000_0000;

/// The bits of net.ipv4.tcp_fastopen for a client: enabled, without a cookie.
const CLIENT: u32 = 0x1 | 0x4;
/// The bits for a server: enabled, without a cookie, on any listener.
const SERVER: u32 = 0x2 | 0x200 | 0x400;

pub(super) fn syn(pair: &Pair, family: Family) -> Result<Scenario> {
    let (listener, target) = listen(pair, family, 0)?;
    let (client, local) = unconnected(pair, family)?;
    let subject = Subject {
        cookie: Some(cookie(&client)?),
        local: canonical(local),
        remote: canonical(target),
        netns: pair.client().inode(),
    };
    let syns = Packets::input().sport(local.port()).dport(target.port()).syn();
    let faults = vec![syns.drop_in(pair.server())?];
    let sockets = Sockets::Handshake { listener, client: Some(client), target, child: None };
    Ok(Scenario { outcome: Outcome::Syn, subject, sockets, faults, start: Some(Start::new(start_syn)) })
}

fn start_syn(scenario: &mut Scenario) -> Result<()> {
    let Sockets::Handshake { client: Some(client), target, .. } = &scenario.sockets else {
        return Err(Error::new("the scenario has no client"));
    };
    connect_later(client, *target)
}

pub(super) fn synack(pair: &Pair, family: Family, outcome: Outcome) -> Result<Scenario> {
    let mut faults = Vec::new();
    if outcome == Outcome::SynackFastopen {
        // A listener reads the setting when it starts to listen.
        faults.push(pair.server().sysctl_scoped("net/ipv4/tcp_fastopen", &SERVER.to_string())?);
        faults.push(pair.client().sysctl_scoped("net/ipv4/tcp_fastopen", &CLIENT.to_string())?);
    }
    let (listener, target) = listen(pair, family, 0)?;
    let (client, remote) = unconnected(pair, family)?;
    let synacks = Packets::input().sport(target.port()).dport(remote.port()).synack();
    faults.push(synacks.drop_in(pair.client())?);
    if outcome == Outcome::SynackDenied {
        // The first one is lost on the wire.
        let again = Packets::output().sport(target.port()).dport(remote.port()).synack().after(1);
        faults.push(again.drop_in(pair.server())?);
    }
    let subject = Subject {
        cookie: if outcome == Outcome::SynackFastopen { None } else { Some(cookie(&listener)?) },
        local: canonical(target),
        remote: canonical(remote),
        netns: pair.server().inode(),
    };
    let sockets = Sockets::Handshake { listener, client: Some(client), target, child: None };
    let start = if outcome == Outcome::SynackFastopen { start_fastopen } else { start_synack };
    Ok(Scenario { outcome, subject, sockets, faults, start: Some(Start::new(start)) })
}

fn start_synack(scenario: &mut Scenario) -> Result<()> {
    let Sockets::Handshake { client, target, .. } = &mut scenario.sockets else {
        return Err(Error::new("the scenario has no listener"));
    };
    // The client disappears silently after its SYN. Otherwise it would retransmit the SYN in the
    // same second, and the listener would answer that too.
    let client = client.take().ok_or_else(|| Error::new("the scenario has no client"))?;
    connect_later(&client, *target)
}

fn start_fastopen(scenario: &mut Scenario) -> Result<()> {
    let Sockets::Handshake { listener, client, target, child } = &mut scenario.sockets else {
        return Err(Error::new("the scenario has no listener"));
    };
    let client = client.take().ok_or_else(|| Error::new("the scenario has no client"))?;
    client.set_nonblocking(true).context("cannot set a socket non-blocking")?;
    in_progress(client.send_to_with_flags(b"early", &SockAddr::from(*target), MSG_FASTOPEN).map(drop))?;
    drop(client);
    // The data in the SYN creates a connection at once, which can be accepted before the handshake
    // is complete.
    let accepted = accept(listener).context("no Fast Open connection")?;
    scenario.subject.cookie = Some(endpoint(&accepted)?.cookie);
    *child = Some(accepted);
    Ok(())
}
