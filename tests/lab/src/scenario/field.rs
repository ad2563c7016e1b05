// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts as they are: Linux's own settings, tail loss probes included, and an ordinary router.

use std::net::{TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::peer::{ends, send};
use super::wire::{lose_everything, send as send_over};
use super::{Outcome, Scenario, Sockets, Start, Subject};
use crate::pair::LINK;
use crate::tcp::{connect_later, cookie};
use crate::tun::{Path, Peer, Segment};
use crate::wait::{PATIENCE, wait_for};
use crate::{Conn, Context, Counters, Error, Family, Fault, Netns, Packets, Pair, Result, Router};

/// The timer expires 270 ms after the data was sent, and a tail loss probe comes after 140 ms.
const QUICK: Path = Path { delay: Duration::from_millis(70), route: "" };

/// The timer expires 600 ms after the data was sent, and a tail loss probe comes after 400 ms.
const SLOW: Path = Path { delay: Duration::from_millis(200), route: "" };

/// The timer does not expire.
const UNTIMED: &str = "rto_min 30s";

/// The MTU of a tunnel, larger than the minimum of IPv6.
const TUNNEL: u16 = 1300;

/// A segment that a link with the MTU of [`TUNNEL`] cannot carry.
const TOO_LARGE: usize = 1400;

/// Sets tail loss probes to Linux's default, which the pair switches off.
pub(super) fn with_probes(pair: &Pair) -> Result<Fault> {
    pair.client().sysctl_scoped("net/ipv4/tcp_early_retrans", "3")
}

/// Returns a scenario with a client connected to a user-space peer.
fn with_peer(pair: &Pair, family: Family, outcome: Outcome, path: Path, start: Start) -> Result<Scenario> {
    let probes = with_probes(pair)?;
    let (client, peer) = Peer::open(pair, family, path)?;
    let mut scenario = Scenario::of_peer(pair, outcome, client, peer, start)?;
    scenario.faults.push(probes);
    Ok(scenario)
}

/// Returns a scenario with a client connected to the server of the pair.
fn with_server(pair: &Pair, family: Family, outcome: Outcome, start: Start) -> Result<Scenario> {
    let probes = with_probes(pair)?;
    let mut scenario = Scenario::of_connection(pair, outcome, Conn::open(pair, family)?, start);
    scenario.faults.push(probes);
    Ok(scenario)
}

/// Waits until the peer receives one more segment.
fn one_more(peer: &Peer) -> Result<Segment> {
    peer.receive(PATIENCE)?.ok_or_else(|| Error::new("no further segment was received"))
}

/// Waits for a timeout by the kernel's counter.
fn one_timeout(ns: &Netns) -> Result<()> {
    wait_for("a timeout", PATIENCE, || Ok((Counters::read(ns)?.timeouts > 0).then_some(())))
}

/// Does the same as `mtu_cut`, but a tail loss probe is scheduled when the ICMP error arrives.
pub(super) fn mtu_cut(pair: &Pair, family: Family) -> Result<Scenario> {
    let path = Path { route: UNTIMED, ..SLOW };
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        super::peer::cut(client, peer).map(drop)
    });
    with_peer(pair, family, Outcome::MtuCutDefault, path, start)
}

/// Ten segments are outstanding, and a router reports that they are too large. The congestion
/// window has room for five of them, each in two pieces. No timer expires: the acknowledgements of
/// these make room for the others.
pub(super) fn slow_start_of_mtu_cut(pair: &Pair, family: Family) -> Result<Scenario> {
    const SEGMENT: usize = 1400;
    const COUNT: usize = 10;
    let path = Path { route: "rto_min 30s initcwnd 10", ..SLOW };
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        let sent = send(client, &[SEGMENT; COUNT])?;
        let segments = peer.receive_until(sent)?;
        peer.too_big(&segments[0], 1280)?;
        for count in 1..=COUNT as u32 {
            peer.acknowledge(count * SEGMENT as u32).send()?;
        }
        Ok(())
    });
    with_peer(pair, family, Outcome::SlowStartOfMtuCut, path, start)
}

/// The router's link to the server has a smaller MTU, which the socket learns from its first
/// segment. Later the router loses everything until the timer has expired once. The second
/// retransmission of the timer arrives, and its acknowledgement makes room for the other segments.
pub(super) fn slow_start_after_cut(pair: &Pair, family: Family) -> Result<Scenario> {
    let router = Router::between(pair, TUNNEL)?;
    let (lose, deliver) = (router.black_hole(pair, family)?, router.delivery(pair, family)?);
    let ns = pair.client().clone();
    let start = Start::new(move |scenario| {
        send_over(scenario, &[TOO_LARGE])?;
        arrives(scenario, TOO_LARGE)?;
        lose.send()?;
        // Too large for two of them to be combined in one retransmission.
        send_over(scenario, &[1000; 3])?;
        one_timeout(&ns)?;
        deliver.send()
    });
    let mut scenario = with_server(pair, family, Outcome::SlowStartAfterCut, start)?;
    scenario.faults.insert(0, router.into_fault());
    Ok(scenario)
}

/// Waits until this number of bytes has arrived.
fn arrives(scenario: &Scenario, bytes: usize) -> Result<()> {
    use std::io::Read;
    let conn = scenario.conn().ok_or_else(|| Error::new("the scenario has no connection"))?;
    conn.server().read_exact(&mut vec![0; bytes]).context("the data does not arrive")
}

/// A queue that drops each packet of more than 1200 bytes. Every kernel with qdiscs has this one.
const NARROW: &str = "bfifo limit 1200";

/// The socket saw one ICMP error. Three segments are outstanding, and this host drops the fourth.
/// So the socket is in state CWR, with data outstanding, when the timer expires. Then the peer
/// acknowledges the first segment, which makes room for the others.
pub(super) fn slow_start_from_cwr(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        let small = send(client, &[100])?;
        let segments = peer.receive_until(small)?;
        peer.too_big(&segments[0], 1280)?;
        peer.acknowledge(small).send()?;
        let sent = small + send(client, &[1000; 3])?;
        send(client, &[1200])?;
        peer.receive_until(sent)?;
        // The probe is the fourth segment, which is dropped again.
        one_more(peer)?;
        peer.acknowledge(small + 1000).send()?;
        peer.acknowledge(sent).send()
    });
    let scenario = with_peer(pair, family, Outcome::SlowStartFromCwr, QUICK, start)?;
    let (_, peer) = ends(&scenario)?;
    // The removal of the device also removes the queue.
    pair.client().sh(&format!("tc qdisc add dev {} root {NARROW}", peer.device()))?;
    Ok(scenario)
}

/// The rate and the burst: 2 bytes per millisecond, after a first full-sized packet.
const DRAIN: &str = "tbf rate 16kbit burst 1600";

/// The size of a datagram that is queued before the segment.
const FILLER: usize = 1150;

/// One segment leaves at once, and the next is queued after other packets. The peer acknowledges
/// the first and closes its window. The timer expires about 260 ms later, and the queue drains
/// after half a second. The timer would expire again after 800 ms.
pub(super) fn zero_window_then_drain(pair: &Pair, family: Family) -> Result<Scenario> {
    let ns = pair.client().clone();
    let start = Start::new(move |scenario| {
        let remote = scenario.subject.remote.ip();
        let (client, peer) = ends(scenario)?;
        let first = send(client, &[100])?;
        peer.receive_until(first)?;
        let local = if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let others = ns.run(|| UdpSocket::bind(local)).context("cannot make a socket")?;
        for _ in 0..2 {
            others.send_to(&[0; FILLER], (remote, 9)).context("cannot send")?;
        }
        send(client, &[100])?;
        peer.acknowledge(first).window(0).send()
    });
    let scenario = with_peer(pair, family, Outcome::ZeroWindowThenDrain, QUICK, start)?;
    let (_, peer) = ends(&scenario)?;
    pair.client().sh(&format!("tc qdisc add dev {} root {DRAIN} limit 100000", peer.device()))?;
    Ok(scenario)
}

/// Three segments are sent, and other packets after them. The segments leave after 0, 440 and 1050
/// ms, and are lost. The first retransmission is queued last, after 200 ms, and stays queued. It is
/// there when the timer expires again after 600 ms, and when the third segment leaves. The timer
/// expires a third time after 1400 ms.
pub(super) fn resume_still_queued(pair: &Pair, family: Family) -> Result<Scenario> {
    /// The packets that leave first: at this rate, they last for half a minute.
    const FILLERS: usize = 60;
    let (ns, server) = (pair.client().clone(), pair.server_addr(family));
    let start = Start::new(move |scenario| {
        send_over(scenario, &[1170; 3])?;
        let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let others = ns.run(|| UdpSocket::bind(local)).context("cannot make a socket")?;
        for _ in 0..FILLERS {
            others.send_to(&[0; FILLER], (server, 9)).context("cannot send")?;
        }
        Ok(())
    });
    let mut scenario = with_server(pair, family, Outcome::ResumeStillQueued, start)?;
    let conn = scenario.conn().ok_or_else(|| Error::new("the scenario has no connection"))?;
    let default = pair.client().sysctl_get("net/ipv4/tcp_congestion_control")?;
    SockRef::from(conn.client())
        .set_tcp_congestion(default.as_bytes())
        .with_context(|| format!("cannot set the congestion control {default}"))?;
    lose_everything(&mut scenario, pair)?;
    queued(scenario, pair, DRAIN)
}

/// Adds this qdisc to the client's link.
fn queued(mut scenario: Scenario, pair: &Pair, qdisc: &str) -> Result<Scenario> {
    pair.client().sh(&format!("tc qdisc add dev {LINK} root {qdisc} limit 100000"))?;
    let ns = pair.client().clone();
    scenario.faults.push(Fault::new(qdisc, move || ns.command("tc", &["qdisc", "del", "dev", LINK, "root"]).map(drop)));
    Ok(scenario)
}

/// A tail loss probe and the timer's first retransmission are lost. Then a router reports that it
/// has no route to the peer, later than the first timeout without backoff. So the kernel reverts
/// the backoff, and retransmits at once (RFC 6069).
pub(super) fn rto_by_icmp(pair: &Pair, family: Family) -> Result<Scenario> {
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        peer.receive_until(send(client, &[100; 2])?)?;
        one_more(peer)?;
        let refused = one_more(peer)?;
        // The timer expires after 600 ms without backoff, and after 1200 ms with it.
        thread::sleep(Duration::from_millis(900));
        peer.unreachable(&refused)
    });
    with_peer(pair, family, Outcome::RtoByIcmp, SLOW, start)
}

/// The SYN is lost twice. Then a router reports that it has no route to the peer, later than the
/// first timeout without backoff. So the kernel reverts the backoff, retransmits at once, and then
/// ends the connection.
///
/// IPv6 does not revert the backoff of a SYN. There the timer expires a second time.
pub(super) fn syn_by_icmp(pair: &Pair, family: Family) -> Result<Scenario> {
    let (client, target, peer) = Peer::unconnected(pair, family, QUICK)?;
    let start = Start::new(move |scenario| {
        let (client, peer) = ends(scenario)?;
        connect_later(&SockRef::from(client), target)?;
        one_more(peer)?;
        let refused = one_more(peer)?;
        if family.is_ipv4_on_the_wire() {
            // The timer expires after a second without backoff, and after two with it.
            thread::sleep(Duration::from_millis(1500));
            peer.unreachable(&refused)?;
        }
        Ok(())
    });
    let mut scenario = unconnected(pair, Outcome::SynByIcmp, client.into(), peer, start)?;
    scenario.faults.push(with_probes(pair)?);
    // Since Linux 6.5 the first four timeouts of a SYN have no backoff, which could be reverted.
    let linear = "net/ipv4/tcp_syn_linear_timeouts";
    if pair.client().sysctl_get(linear).is_ok() {
        scenario.faults.push(pair.client().sysctl_scoped(linear, "0")?);
    }
    Ok(scenario)
}

/// Returns a scenario with a client that is not connected yet.
fn unconnected(pair: &Pair, outcome: Outcome, client: TcpStream, peer: Peer, start: Start) -> Result<Scenario> {
    let subject = Subject {
        cookie: Some(cookie(&SockRef::from(&client))?),
        local: peer.client(),
        remote: peer.address(),
        netns: pair.client().inode(),
    };
    let sockets = Sockets::Tun { client: Some(client), peer };
    Ok(Scenario { outcome, subject, sockets, faults: Vec::new(), start: Some(start) })
}

/// The client probes for a larger MTU (tcp_mtu_probing=2), and the probe is lost silently. The peer
/// acknowledges what follows it, so the kernel retransmits the probe's data in smaller segments,
/// and with it all other segments that are larger than the MSS is by then.
pub(super) fn mtu_probe_failed(pair: &Pair, family: Family) -> Result<Scenario> {
    /// The size of a probe. The kernel begins with an MSS of 1024 plus the TCP options. A packet of
    /// several segments is larger.
    const PROBE: Range<u32> = 1100..2000;
    let probing = pair.client().sysctl_scoped("net/ipv4/tcp_mtu_probing", "2")?;
    // A probe requires room for 11 segments.
    let path = Path { route: "rto_min 30s initcwnd 40", ..SLOW };
    let start = Start::new(|scenario| {
        let (client, peer) = ends(scenario)?;
        let sent = send(client, &[20_000])?;
        let segments = peer.receive_until(sent)?;
        let index = segments.iter().position(|segment| PROBE.contains(&segment.len));
        let index = index.ok_or_else(|| Error::new("no probe for a larger MTU"))?;
        // The number of bytes before the segment with this index.
        let before = |index: usize| segments[..index].iter().map(|segment| segment.len).sum::<u32>();
        if index > 0 {
            peer.acknowledge(before(index)).send()?;
        }
        // RACK needs three segments to declare a loss.
        for end in [2, 3, 4].map(|more| before(index + more)) {
            peer.acknowledge(before(index)).sack(before(index + 1)..end).send()?;
        }
        one_more(peer)?;
        peer.acknowledge(sent).send()
    });
    let mut scenario = with_peer(pair, family, Outcome::MtuProbeFailed, path, start)?;
    scenario.faults.push(probing);
    Ok(scenario)
}

/// A firewall of this host marks the retransmissions, and the policy rule for the mark has no
/// route. So IP fails to route them again, but the socket keeps its own route.
pub(super) fn reroute_fail(pair: &Pair, family: Family) -> Result<Scenario> {
    /// A mark that other programs are unlikely to use.
    const MARK: u32 = 0x5e7b_0000;
    const DATA: usize = 100;
    let start = Start::new(|scenario| send_over(scenario, &[DATA]));
    let mut scenario = with_server(pair, family, Outcome::RerouteFail, start)?;
    lose_everything(&mut scenario, pair)?;
    let ip = if family.is_ipv4_on_the_wire() { "ip -4" } else { "ip -6" };
    let rule = format!("fwmark {MARK:#x} unreachable");
    pair.client().sh(&format!("{ip} rule add {rule}"))?;
    let (ns, lift) = (pair.client().clone(), format!("{ip} rule del {rule}"));
    scenario.faults.push(Fault::new(rule, move || ns.sh(&lift).map(drop)));
    let Subject { local, remote, .. } = scenario.subject;
    let again = Packets::output().sport(local.port()).dport(remote.port()).at_least(DATA as u32).after(1);
    scenario.faults.push(again.mark_in(pair.client(), MARK)?);
    Ok(scenario)
}

/// The pacing rate, in bytes per second.
const PACE: u32 = 1400;

/// A segment is queued in this host when the timer expires. Then two more are sent, of which the
/// second waits for the pacing timer. That timer expires about 800 ms later, between the second
/// expiry of the retransmission timer, after 400 ms, and the third, after 1200 ms.
pub(super) fn resume_by_pacing(pair: &Pair, family: Family) -> Result<Scenario> {
    /// The number of segments that the kernel does not pace.
    const UNPACED: usize = 10;
    let ns = pair.client().clone();
    let start = Start::new(move |scenario| {
        send_over(scenario, &[100; UNPACED])?;
        arrives(scenario, 100 * UNPACED)?;
        send_over(scenario, &[1000])?;
        one_timeout(&ns)?;
        send_over(scenario, &[1400, 100])
    });
    let scenario = with_server(pair, family, Outcome::ResumeByPacing, start)?;
    let conn = scenario.conn().ok_or_else(|| Error::new("the scenario has no connection"))?;
    pace(conn.client(), PACE)?;
    // The burst passes the unpaced segments, and no other for a minute.
    queued(scenario, pair, super::local::TRICKLE)
}

/// Sets SO_MAX_PACING_RATE, for which no crate has a safe function. Without a pacing qdisc, TCP
/// paces by a timer of the socket.
#[allow(unsafe_code)]
fn pace(socket: &TcpStream, rate: u32) -> Result<()> {
    use nix::libc;
    let (value, size) = ((&raw const rate).cast(), size_of_val(&rate) as libc::socklen_t);
    // SAFETY: the kernel reads `size` bytes of `rate`, which outlives the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, value, size) };
    nix::errno::Errno::result(set).map(drop).context("cannot set SO_MAX_PACING_RATE")
}
