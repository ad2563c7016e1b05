// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client of TCP Fast Open, whose server ignores the data in the SYN.

use std::net::SocketAddr;

use socket2::{SockAddr, Socket};

use super::field::with_probes;
use super::{Outcome, Scenario, Sockets, Start, Subject};
use crate::tcp::{canonical, cookie, in_progress, listen, unconnected};
use crate::{Context, Error, Family, Fault, Packets, Pair, Result, Router};

/// From linux/socket.h: connects, and sends data with the SYN.
const MSG_FASTOPEN: i32 = 0x2000_0000;

/// The bits of net.ipv4.tcp_fastopen: enabled for a client, without a cookie.
const CLIENT: u32 = 0x1 | 0x4;

/// The server is not enabled for Fast Open, which is Linux's default. Its SYN-ACK acknowledges only
/// the SYN, so the data is sent again.
pub(super) fn fastopen(pair: &Pair, family: Family) -> Result<Scenario> {
    early(pair, family, Outcome::Fastopen, &[b'x'; 100])
}

/// Does the same after the first SYN was lost.
pub(super) fn after_syn_timeout(pair: &Pair, family: Family) -> Result<Scenario> {
    let mut scenario = early(pair, family, Outcome::FastopenAfterSynTimeout, &[b'x'; 100])?;
    let Subject { local, remote, .. } = scenario.subject;
    let first = Packets::input().sport(local.port()).dport(remote.port()).syn().nth(0).drop_in(pair.server())?;
    scenario.faults.push(first);
    Ok(scenario)
}

/// The SYN with its data is too large for the router's link to the server. So the SYN is sent again
/// without the data. The kernel then tries to send the data too, for which there is no window yet.
/// The SYN-ACK leaves out the data, as in `fastopen`.
pub(super) fn mtu_in_syn_sent(pair: &Pair, family: Family) -> Result<Scenario> {
    let router = Router::between(pair, 1300)?;
    let mut scenario = early(pair, family, Outcome::MtuInSynSent, &[b'x'; 1400])?;
    scenario.faults.insert(0, router.into_fault());
    Ok(scenario)
}

/// Returns a scenario whose client sends this data with the SYN.
fn early(pair: &Pair, family: Family, outcome: Outcome, data: &'static [u8]) -> Result<Scenario> {
    let faults: Vec<Fault> =
        vec![with_probes(pair)?, pair.client().sysctl_scoped("net/ipv4/tcp_fastopen", &CLIENT.to_string())?];
    let (listener, target) = listen(pair, family, 0)?;
    let (client, local) = unconnected(pair, family)?;
    let subject = Subject {
        cookie: Some(cookie(&client)?),
        local: canonical(local),
        remote: canonical(target),
        netns: pair.client().inode(),
    };
    let start = Start::new(move |scenario| match &scenario.sockets {
        Sockets::Handshake { client: Some(client), target, .. } => send_early(client, *target, data),
        _ => Err(Error::new("the scenario has no client")),
    });
    let sockets = Sockets::Handshake { listener, client: Some(client), target, child: None };
    Ok(Scenario { outcome, subject, sockets, faults, start: Some(start) })
}

fn send_early(client: &Socket, target: SocketAddr, data: &[u8]) -> Result<()> {
    client.set_nonblocking(true).context("cannot set a socket non-blocking")?;
    in_progress(client.send_to_with_flags(data, &SockAddr::from(target), MSG_FASTOPEN).map(drop))
}
