// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verdicts: the reasons for which connections end, and unneeded attempts, compared with the
//! kernel's own counters. Extended fields of an attempt.

mod proofs;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use retrans_lab::observe::{drain, filter, until};
use retrans_lab::snmp::tcp_ext;
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Context, Error, Family, Fault, Netns, Outcome, Packets, Pair, Result, Scenario, privilege};
use retrans_sdk::attach::{AttachMethod, VerdictHooks};
use retrans_sdk::event::{EndReason, TcpState, Transmit, UnneededProof, Verdict, VerdictKind};
use retrans_sdk::{ErrorKind, Event, FieldSet, RetransResult, Stream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// The bytes that each connection writes and the peer does not receive at first.
const BYTES: u32 = 100;

type Verdicts = Arc<Mutex<Vec<Verdict>>>;

fn taken(verdicts: &Verdicts) -> Vec<Verdict> {
    std::mem::take(&mut *verdicts.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Opens a stream of the attempts of some namespaces, with their verdicts.
fn open(namespaces: &[&Netns], method: Option<AttachMethod>) -> Result<(Stream, Verdicts)> {
    let verdicts = Verdicts::default();
    let inodes: Vec<_> = namespaces.iter().map(|ns| ns.inode().to_string()).collect();
    let add = Arc::clone(&verdicts);
    let builder = Stream::builder()
        .filter(filter(&format!("netns={}", inodes.join(",")))?)
        .on_verdict(move |verdict| add.lock().unwrap_or_else(PoisonError::into_inner).push(*verdict));
    let builder = method.into_iter().fold(builder, |builder, method| builder.attach_method(method));
    Ok((builder.open().context("cannot open a stream")?, verdicts))
}

/// Returns the hooks, or `None` if this kernel has no verdicts, which the stream reports.
fn hooks(stream: &Stream) -> Option<VerdictHooks> {
    let hooks = stream.live().expect("live").verdict_hooks().expect("requested").clone();
    println!("{hooks}");
    assert_eq!(stream.verdict_stats().is_some(), hooks.ended.is_available());
    hooks.ended.is_available().then_some(hooks)
}

/// Reads until `enough` returns true for all verdicts, and returns events and verdicts.
fn until_verdicts(
    stream: &mut Stream,
    verdicts: &Verdicts,
    enough: impl Fn(&[Verdict]) -> bool,
) -> Result<(Vec<Event>, Vec<Verdict>)> {
    let deadline = Instant::now() + PATIENCE;
    let (mut events, mut all) = (Vec::new(), Vec::new());
    loop {
        events.extend(stream.recv_batch_timeout(Duration::from_millis(50)).context("cannot read the stream")?);
        events.extend(drain(stream)?);
        all.extend(taken(verdicts));
        if enough(&all) {
            return Ok((events, all));
        }
        if Instant::now() > deadline {
            let lines: Vec<_> = all.iter().map(Verdict::to_string).collect();
            return Err(Error::new(format!("missing verdicts; received:\n{}", lines.join("\n"))));
        }
    }
}

/// A connection whose ends are closed as a process closes them, unlike the lab's `Conn`.
struct Link {
    client: Socket,
    server: Socket,
    cookie: u64,
}

fn socket(ns: &Netns, family: Family) -> Result<Socket> {
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = ns.run(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP))).context("cannot make a socket")?;
    socket.set_tcp_nodelay(true).context("TCP_NODELAY")?;
    SockRef::from(&socket).set_tcp_congestion(b"reno").context("TCP_CONGESTION")?;
    Ok(socket)
}

fn listener(pair: &Pair, family: Family) -> Result<(Socket, SocketAddr)> {
    let listener = socket(pair.server(), family)?;
    let address = SocketAddr::new(pair.server_addr(family), 0);
    listener.bind(&address.into()).and_then(|()| listener.listen(16)).context("cannot listen")?;
    let bound = listener.local_addr().context("no address")?.as_socket().expect("of TCP");
    Ok((listener, bound))
}

fn link(pair: &Pair, family: Family) -> Result<Link> {
    let (listener, address) = listener(pair, family)?;
    let client = socket(pair.client(), family)?;
    client.connect_timeout(&address.into(), PATIENCE).context("cannot connect")?;
    let (server, _) = listener.accept().context("cannot accept")?;
    let cookie = client.cookie().context("SO_COOKIE")?;
    Ok(Link { client, server, cookie })
}

/// A way to end connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// The data arrives at last, and both ends close.
    Acked,
    /// Nothing arrives any more.
    TimedOut,
    /// Nothing arrives, not even the SYN.
    SynTimedOut,
    /// The peer resets the connection.
    Reset,
    /// `TCP_USER_TIMEOUT` elapses.
    UserTimeout,
    /// The route is replaced by an unreachable one.
    Unreachable,
    /// The process closes the socket without lingering.
    LocalClose,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::Acked,
        Self::TimedOut,
        Self::SynTimedOut,
        Self::Reset,
        Self::UserTimeout,
        Self::Unreachable,
        Self::LocalClose,
    ];

    fn reason(self) -> EndReason {
        match self {
            Self::Acked => EndReason::Acked,
            Self::TimedOut | Self::SynTimedOut => EndReason::TimedOut,
            Self::Reset => EndReason::Reset,
            Self::UserTimeout => EndReason::UserTimeout,
            Self::Unreachable => EndReason::Unreachable,
            Self::LocalClose => EndReason::LocalClose,
        }
    }

    /// Returns the number of connections: 50 in all.
    fn connections(self) -> usize {
        if self == Self::Acked { 8 } else { 7 }
    }
}

/// The connections of one way, in namespaces of their own.
struct Group {
    way: Way,
    pair: Pair,
    loss: Option<Fault>,
    links: Vec<Link>,
    /// Sockets in the state SYN_SENT.
    pending: Vec<Socket>,
    cookies: Vec<u64>,
}

/// Prepares the connections, and loses what they send from now on.
fn prepare(way: Way) -> Result<Group> {
    let pair = Pair::new()?;
    // Only these connections may time out, and soon.
    let limits: &[(&str, &str)] = match way {
        Way::TimedOut => &[("tcp_retries2", "1")],
        Way::Unreachable => &[("tcp_retries2", "4")],
        Way::SynTimedOut => &[("tcp_syn_retries", "1"), ("tcp_syn_linear_timeouts", "0")],
        _ => &[],
    };
    for (name, value) in limits {
        let name = format!("net/ipv4/{name}");
        // Kernels before 6.5 have no linear timeouts.
        if pair.client().sysctl_get(&name).is_ok() {
            pair.client().sysctl(&name, value)?;
        }
    }
    let families = Family::ALL.iter().cycle().take(way.connections());
    let mut group = Group { way, loss: None, links: Vec::new(), pending: Vec::new(), cookies: Vec::new(), pair };
    if way != Way::SynTimedOut {
        group.links = families.map(|family| link(&group.pair, *family)).collect::<Result<_>>()?;
        group.cookies = group.links.iter().map(|link| link.cookie).collect();
    }
    if way == Way::UserTimeout {
        for link in &group.links {
            link.client.set_tcp_user_timeout(Some(Duration::from_millis(500))).context("TCP_USER_TIMEOUT")?;
        }
    }
    group.loss = Some(Packets::input().drop_in(group.pair.server())?);
    Ok(group)
}

/// Sends what is lost.
fn start(group: &mut Group) -> Result<()> {
    for link in &group.links {
        (&link.client).write_all(&[b'x'; BYTES as usize]).context("cannot send")?;
    }
    if group.way == Way::SynTimedOut {
        for family in Family::ALL.iter().cycle().take(group.way.connections()) {
            let client = socket(group.pair.client(), *family)?;
            group.cookies.push(client.cookie().context("SO_COOKIE")?);
            client.set_nonblocking(true).context("cannot set a socket non-blocking")?;
            let target = SocketAddr::new(group.pair.server_addr(*family), 9);
            // In progress.
            let _ = client.connect(&target.into());
            group.pending.push(client);
        }
    }
    Ok(())
}

/// Ends the connections after each had an attempt.
fn end(group: &mut Group) -> Result<()> {
    match group.way {
        Way::Acked => {
            group.loss.take().expect("a fault").lift()?;
            for link in group.links.drain(..) {
                let (client, mut server) = (TcpStream::from(link.client), TcpStream::from(link.server));
                let mut received = [0; BYTES as usize];
                server.read_exact(&mut received).context("the data does not arrive")?;
                client.shutdown(Shutdown::Write).context("cannot shut down")?;
                assert_eq!(server.read(&mut received).context("no FIN")?, 0);
            }
        }
        Way::Reset => {
            for link in &group.links {
                link.server.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
            }
            // Closes the server's end only.
            let clients = group.links.drain(..).map(|link| link.client).collect::<Vec<_>>();
            group.pending = clients;
        }
        Way::Unreachable => {
            let ip = |family: &str, address: String| {
                group.pair.client().command("ip", &[family, "route", "replace", "unreachable", &address]).map(drop)
            };
            ip("-4", group.pair.server_addr(Family::V4).to_string())?;
            ip("-6", group.pair.server_addr(Family::V6).to_string())?;
        }
        Way::LocalClose => {
            for link in group.links.drain(..) {
                link.client.set_linger(Some(Duration::ZERO)).context("SO_LINGER")?;
            }
        }
        Way::TimedOut | Way::SynTimedOut | Way::UserTimeout => {}
    }
    Ok(())
}

/// Fifty connections are ended in seven ways, and each has the right reason.
fn seven_ways(method: Option<AttachMethod>) -> Result<()> {
    let mut groups = Way::ALL.iter().map(|way| prepare(*way)).collect::<Result<Vec<_>>>()?;
    let namespaces: Vec<_> = groups.iter().map(|group| group.pair.client().clone()).collect();
    let (mut stream, verdicts) = open(&namespaces.iter().collect::<Vec<_>>(), method)?;
    let Some(_) = hooks(&stream) else { return Ok(()) };
    let aborts: Vec<_> = namespaces.iter().map(|ns| tcp_ext(ns, &["TCPAbortOnTimeout"])).collect::<Result<_>>()?;
    groups.iter_mut().try_for_each(start)?;

    let expected: BTreeMap<u64, Way> =
        groups.iter().flat_map(|group| group.cookies.iter().map(|cookie| (*cookie, group.way))).collect();
    assert_eq!(expected.len(), 50);
    let has_attempt =
        |events: &[Event]| expected.keys().all(|cookie| events.iter().any(|event| event.cookie == Some(*cookie)));
    let mut events = until(&mut stream, PATIENCE, has_attempt)?;
    groups.iter_mut().try_for_each(end)?;
    let is_complete = |verdicts: &[Verdict]| {
        let ended = verdicts.iter().filter(|verdict| verdict.verdict == VerdictKind::Ended);
        expected.keys().all(|cookie| ended.clone().any(|verdict| verdict.cookie == *cookie))
    };
    let (more, all) = until_verdicts(&mut stream, &verdicts, is_complete)?;
    events.extend(more);

    let ended: Vec<_> = all.iter().filter(|verdict| verdict.verdict == VerdictKind::Ended).collect();
    // One for each, and no other.
    assert_eq!(ended.len(), 50);
    for verdict in &ended {
        let way = expected[&verdict.cookie];
        assert_eq!(verdict.why, Some(way.reason()), "{way:?}: {verdict}");
        let own: Vec<_> = events.iter().filter(|event| event.cookie == Some(verdict.cookie)).collect();
        assert_eq!(verdict.attempts, Some(own.len() as u32), "{way:?}: {verdict}");
        assert_eq!(verdict.segs, Some(own.iter().map(|event| event.segs).sum()), "{way:?}: {verdict}");
        assert_eq!(verdict.total_retrans, own.last().and_then(|event| event.total_retrans), "{way:?}: {verdict}");
        assert!(own.iter().all(|event| event.ts <= verdict.ts && event.netns == Some(verdict.netns)), "{verdict}");
        assert!(own.iter().all(|event| (event.saddr, event.sport) == (verdict.saddr, verdict.sport)), "{verdict}");
        assert!(own.iter().all(|event| (event.daddr, event.dport) == (verdict.daddr, verdict.dport)), "{verdict}");
        let unacked = if matches!(way, Way::Acked | Way::SynTimedOut) { 0 } else { BYTES };
        assert_eq!(verdict.unacked, Some(unacked), "{way:?}: {verdict}");
        // From the first attempt of each to the end.
        let stall = verdict.ts.as_nanos() - own[0].ts.as_nanos();
        let is_near = |ms: u32| stall.abs_diff(u64::from(ms) * 1_000_000) < 5_000_000;
        assert_eq!(verdict.stall_ms.map(is_near), (way != Way::Acked).then_some(true), "{way:?}: {verdict} {stall}");
        assert_eq!(verdict.sk_err.is_some(), !matches!(way, Way::Acked | Way::LocalClose), "{way:?}: {verdict}");
        assert_eq!(verdict.state == TcpState::SynSent, way == Way::SynTimedOut, "{verdict}");
        assert_eq!(verdict.to_string().parse::<Verdict>().as_ref(), Ok(*verdict));
    }
    // The kernel counts each time-out, whatever caused it.
    for ((group, ns), before) in groups.iter().zip(&namespaces).zip(aborts) {
        let timeouts = tcp_ext(ns, &["TCPAbortOnTimeout"])? - before;
        let is_timeout = |verdict: &&&Verdict| {
            expected[&verdict.cookie] == group.way
                && matches!(verdict.why, Some(EndReason::TimedOut | EndReason::UserTimeout | EndReason::Unreachable))
        };
        assert_eq!(timeouts, ended.iter().filter(is_timeout).count() as u64, "{:?}", group.way);
    }
    let stats = stream.verdict_stats().expect("requested");
    assert_eq!((stats.submitted, stats.lost, stats.untracked), (stats.delivered, 0, 0), "{stats}");
    assert_eq!(stats.delivered, all.len() as u64);
    // Verdicts are not attempts.
    assert_eq!(stream.stats().submitted, events.len() as u64);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn fifty_connections_end_in_seven_ways() -> Result<()> {
    privilege::check()?;
    seven_ways(None)
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn kretprobes_report_the_same_ends() -> Result<()> {
    privilege::check()?;
    match Stream::builder().attach_method(AttachMethod::Kretprobe).open() {
        Ok(stream) => drop(stream),
        Err(error) if error.kind() == ErrorKind::MethodUnavailable => {
            println!("this kernel has no kprobes: {error}");
            return Ok(());
        }
        Err(error) => return Err(error).context("cannot open a stream"),
    }
    seven_ways(Some(AttachMethod::Kretprobe))
}

/// The first acknowledgement is lost, so the timeout is spurious: the peer reports the segment as
/// received twice, and the kernel undoes the recovery.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_spurious_timeout_was_unneeded() -> Result<()> {
    const UNDOS: [&str; 4] = ["TCPFullUndo", "TCPPartialUndo", "TCPDSACKUndo", "TCPLossUndo"];
    privilege::check()?;
    for family in Family::ALL {
        let pair = Pair::new()?;
        let client = pair.client();
        let (mut stream, verdicts) = open(&[client], None)?;
        let Some(hooks) = hooks(&stream) else { return Ok(()) };
        let read = || Ok::<_, Error>((tcp_ext(client, &UNDOS)?, tcp_ext(client, &["TCPDSACKRecv"])?));
        let before = read()?;
        let link = link(&pair, family)?;
        let port = link.client.local_addr().context("no address")?.as_socket().expect("of TCP").port();
        let lost = Packets::input().dport(port).nth(0).drop_in(client)?;
        (&link.client).write_all(&[b'x'; BYTES as usize]).context("cannot send")?;
        let mut events = until(&mut stream, PATIENCE, |events| !events.is_empty())?;
        lost.lift()?;
        let cookie = link.cookie;
        let Link { client: socket, server, .. } = link;
        let mut server = TcpStream::from(server);
        server.read_exact(&mut [0; BYTES as usize]).context("the data does not arrive")?;
        socket.shutdown(Shutdown::Write).context("cannot shut down")?;
        assert_eq!(server.read(&mut [0; 1]).context("no FIN")?, 0);
        drop((socket, server));
        let is_ended = |all: &[Verdict]| all.iter().any(|verdict| verdict.why.is_some());
        let (more, all) = until_verdicts(&mut stream, &verdicts, is_ended)?;
        events.extend(more);
        assert!(all.iter().all(|verdict| verdict.cookie == cookie), "{all:?}");
        assert_eq!(all.last().and_then(|verdict| verdict.why), Some(EndReason::Acked));

        let of = |proof| all.iter().filter(move |verdict| verdict.proof == Some(proof));
        let after = read()?;
        let (undos, dsacks) = (after.0 - before.0, after.1 - before.1);
        assert!(dsacks > 0, "the peer sends a DSACK");
        // One segment in each.
        assert_eq!(of(UnneededProof::Dsack).filter_map(|verdict| verdict.segs).map(u64::from).sum::<u64>(), dsacks);
        if hooks.undo.is_available() {
            assert!(undos > 0, "the kernel undoes the recovery");
            assert!(of(UnneededProof::Undo).count() as u64 <= undos);
            assert!(events.len() > 1 || of(UnneededProof::Undo).count() == 1, "{all:?}");
            for verdict in of(UnneededProof::Undo) {
                let attempts = events.iter().filter(|event| event.ts <= verdict.ts).count();
                assert_eq!(verdict.attempts, Some(attempts as u32), "{verdict}");
                assert!(verdict.why.is_none() && verdict.sk_err.is_none(), "{verdict}");
            }
        }
    }
    Ok(())
}

/// Without a request, no program of verdicts is loaded, and no verdict is counted.
#[test]
#[ignore = "live: needs root, run by make test"]
fn verdicts_are_opt_in() -> Result<()> {
    privilege::check()?;
    let stream = Stream::open().context("cannot open a stream")?;
    assert!(stream.verdict_stats().is_none());
    assert!(stream.live().is_some_and(|live| live.verdict_hooks().is_none()));
    Ok(())
}

/// The extended fields of an attempt are those of its socket.
#[test]
#[ignore = "live: needs root, run by make test"]
fn extended_fields_are_the_sockets() -> Result<()> {
    const KEEPALIVE: Duration = Duration::from_secs(100);
    privilege::check()?;
    for method in [None, Some(AttachMethod::Kretprobe)] {
        for family in Family::ALL {
            let pair = Pair::new()?;
            let builder =
                Stream::builder().filter(filter(&format!("netns={}", pair.client().inode()))?).fields(FieldSet::all());
            let builder = method.into_iter().fold(builder, |builder, method| builder.attach_method(method));
            let mut stream = match builder.open() {
                Err(error) if method.is_some() && error.kind() == ErrorKind::MethodUnavailable => {
                    println!("this kernel has no kprobes: {error}");
                    return Ok(());
                }
                opened => opened.context("cannot open a stream")?,
            };
            let mut scenario = Scenario::prepare(&pair, family, Outcome::Rto)?;
            let socket = SockRef::from(scenario.conn().expect("a connection").client());
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE)).context("SO_KEEPALIVE")?;
            let tos = if family == Family::V6 {
                socket.set_tclass_v6(0x28).context("IPV6_TCLASS")?;
                0x28
            } else {
                socket.set_tos_v4(0x20).context("IP_TOS")?;
                0x20
            };
            let sent = Instant::now();
            scenario.start()?;
            let events = until(&mut stream, PATIENCE, |events| events.len() >= 2)?;
            let elapsed = sent.elapsed();
            scenario.finish()?;
            let by_entry = stream.live().is_some_and(|live| {
                live.attachment().companion.is_some()
                    || matches!(live.attach_method(), AttachMethod::Fexit | AttachMethod::Kretprobe)
            });
            for (index, event) in events.iter().enumerate() {
                let nth = index as u32 + 1;
                assert_eq!(event.result, RetransResult::Success, "{event}");
                assert_eq!(
                    (event.packets_out, event.lost_out, event.sacked_out),
                    (Some(1), Some(1), Some(0)),
                    "{event}"
                );
                assert_eq!((event.dsack_dups, event.delivered.map(|n| n < 3)), (Some(0), Some(true)), "{event}");
                assert_eq!(
                    event.bytes_retrans,
                    Some(u64::from(nth) * u64::from(event.len.expect("a length"))),
                    "{event}"
                );
                assert_eq!((event.pmtu, event.tos, event.orphan), (Some(1500), Some(tos), Some(0)), "{event}");
                assert_eq!(event.is_mptcp, Some(0), "{event}");
                assert!(
                    event.pacing_rate.is_some() && event.priority.is_some() && event.reordering >= Some(3),
                    "{event}"
                );
                assert!(event.min_rtt_us.is_some_and(|rtt| rtt < 10_000_000), "{event}");
                assert!(event.total_rto.is_none_or(|count| count == nth), "{event}");
                assert!(event.undo_retrans.is_some(), "{event}");
                assert_eq!(event.transmit, Some(Transmit::Yes), "{event}");
                // The segment was sent before the first attempt, and by each attempt.
                assert_eq!(event.age_us.is_some(), by_entry, "{event}");
                if let Some(age) = event.age_us {
                    let age = Duration::from_micros(age.into());
                    assert!(age >= Duration::from_millis(190) && age <= elapsed, "{event}");
                    if let Some(before) = index.checked_sub(1) {
                        let gap = event.ts.as_nanos() - events[before].ts.as_nanos();
                        assert!(gap.abs_diff(age.as_nanos() as u64) < 5_000_000, "{event} {gap}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// A live stream rejects a term with an extended field, and says what to do.
#[test]
fn extended_terms_require_a_predicate() {
    let filter = "age_us=1..9".parse().expect("a filter");
    let error = Stream::builder().filter(filter).open().expect_err("not evaluated in the kernel");
    assert_eq!(error.kind(), ErrorKind::Filter);
    assert!(
        error.to_string().contains("reads this field only for attempts that pass the filter: use a predicate"),
        "{error}"
    );
}
