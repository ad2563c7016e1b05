// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cases that look like a proof and are not: undone recoveries whose attempts were needed, errors
//! that did not end the connection, and limits that the socket does not tell apart.

use retrans_lab::tcp::connect_later;
use retrans_lab::tun::{Path, Peer, Segment};
use retrans_sdk::event::EndReason::{self, Acked, Reset, TimedOut, Unknown, Unreachable};

use super::*;

/// The timer expires after 200 ms.
const QUICK: Path = Path { delay: Duration::ZERO, route: "" };

/// A segment that the kernel does not merge with the next one when it retransmits.
const LARGE: u32 = 1000;

fn next(peer: &Peer) -> Result<Segment> {
    peer.receive(PATIENCE)?.ok_or_else(|| Error::new("no further segment was received"))
}

fn send(mut client: &TcpStream, bytes: u32) -> Result<()> {
    client.write_all(&vec![b'x'; bytes as usize]).context("cannot send")
}

fn until_ended(stream: &mut Stream, verdicts: &Verdicts) -> Result<(Vec<Event>, Vec<Verdict>)> {
    until_verdicts(stream, verdicts, |all| all.iter().any(|verdict| verdict.verdict == VerdictKind::Ended))
}

/// Returns the reason of the only end.
fn end_of(all: &[Verdict]) -> EndReason {
    let ended: Vec<_> = all.iter().filter_map(|verdict| verdict.why).collect();
    assert_eq!(ended.len(), 1, "{all:?}");
    ended[0]
}

fn undos(all: &[Verdict]) -> Vec<Verdict> {
    all.iter().filter(|verdict| verdict.proof == Some(UnneededProof::Undo)).copied().collect()
}

/// Runs `act` with a client and its peer in each family, and passes what was reported until the
/// connection ended. `act` ends it.
fn each_family(
    limits: &[(&str, &str)],
    act: impl Fn(&Pair, TcpStream, &Peer, &mut dyn FnMut() -> Result<()>) -> Result<()>,
    check: impl Fn(Family, &Pair, &VerdictHooks, &[Event], &[Verdict]),
) -> Result<()> {
    privilege::check()?;
    for family in Family::ALL {
        let pair = Pair::new()?;
        for (name, value) in limits {
            pair.client().sysctl(&format!("net/ipv4/{name}"), value)?;
        }
        let (mut stream, verdicts) = open(&[pair.client()], None)?;
        let Some(hooks) = hooks(&stream) else { return Ok(()) };
        let (client, peer) = Peer::open(&pair, family, QUICK)?;
        let mut events = Vec::new();
        // Waits for one more attempt.
        let mut attempt = || {
            let more = until(&mut stream, PATIENCE, |events| !events.is_empty())?;
            events.extend(more);
            Ok(())
        };
        act(&pair, client, &peer, &mut attempt)?;
        let (more, all) = until_ended(&mut stream, &verdicts)?;
        events.extend(more);
        assert!(!events.is_empty());
        check(family, &pair, &hooks, &events, &all);
    }
    Ok(())
}

/// The first of three segments is lost. The timeout retransmits it, and only then does the peer
/// report the other two. The kernel undoes the recovery (F-RTO), although the attempt was needed.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_needed_attempt_of_an_undone_recovery_is_not_unneeded() -> Result<()> {
    each_family(
        &[],
        |_, client, peer, attempt| {
            for _ in 0..3 {
                send(&client, LARGE)?;
            }
            peer.receive_until(3 * LARGE)?;
            attempt()?;
            peer.acknowledge(0).sack(LARGE..2 * LARGE).send()?;
            peer.acknowledge(3 * LARGE).send()?;
            client.shutdown(Shutdown::Write).context("cannot shut down")?;
            peer.acknowledge(3 * LARGE + 1).send()
        },
        |_, pair, _, _, all| {
            let spurious = tcp_ext(pair.client(), &["TCPSpuriousRTOs"]).expect("a counter");
            assert_eq!(spurious, 1, "the kernel undoes the recovery");
            assert_eq!((end_of(all), all.len()), (Acked, 1), "{all:?}");
        },
    )
}

/// The peer receives the data, and its acknowledgement is lost. All copies are lost, too, so the
/// timestamp that the peer echoes later is of the original. A single attempt is proven unneeded.
/// After two, the timestamp proves only that the first one was, so neither is reported.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_timestamp_proves_that_a_single_attempt_was_unneeded() -> Result<()> {
    const UNDOS: [&str; 3] = ["TCPFullUndo", "TCPPartialUndo", "TCPLossUndo"];
    /// A busy machine may make another attempt before the answer.
    const TRIES: u32 = 5;
    privilege::check()?;
    for (family, attempts) in Family::ALL.into_iter().flat_map(|family| [(family, 1), (family, 2)]) {
        let mut is_shown = false;
        for _ in 0..TRIES {
            let pair = Pair::new()?;
            let (mut stream, verdicts) = open(&[pair.client()], None)?;
            let Some(hooks) = hooks(&stream) else { return Ok(()) };
            let link = link(&pair, family)?;
            let port = link.client.local_addr().context("no address")?.as_socket().expect("of TCP").port();
            let answers = Packets::input().dport(port).drop_in(pair.client())?;
            let copies = Packets::input().sport(port).at_least(BYTES).after(1).drop_in(pair.server())?;
            (&link.client).write_all(&[b'x'; BYTES as usize]).context("cannot send")?;
            let mut events = until(&mut stream, PATIENCE, |events| events.len() >= attempts)?;
            answers.lift()?;
            let mut server = TcpStream::from(link.server);
            server.write_all(b"y").context("cannot send")?;
            let mut client = TcpStream::from(link.client);
            client.read_exact(&mut [0; 1]).context("no answer")?;
            copies.lift()?;
            server.read_exact(&mut [0; BYTES as usize]).context("the data does not arrive")?;
            client.shutdown(Shutdown::Write).context("cannot shut down")?;
            assert_eq!(server.read(&mut [0; 1]).context("no FIN")?, 0);
            drop((client, server));
            let (more, all) = until_ended(&mut stream, &verdicts)?;
            events.extend(more);
            assert_eq!(end_of(&all), Acked);
            assert!(tcp_ext(pair.client(), &UNDOS)? > 0, "the kernel undoes the recovery");
            if events.len() != attempts {
                continue;
            }
            let undos = undos(&all);
            let expected = usize::from(attempts == 1 && hooks.undo.is_available());
            assert_eq!(undos.len(), expected, "{attempts} attempts: {all:?}");
            assert!(undos.iter().all(|verdict| (verdict.attempts, verdict.segs) == (Some(1), Some(1))), "{all:?}");
            is_shown = true;
            break;
        }
        assert!(is_shown, "{family:?}: never exactly {attempts} attempts");
    }
    Ok(())
}

/// The peer reports more segments as received twice than were retransmitted, so the network made
/// copies, and none of the reports is a proof.
#[test]
#[ignore = "live: needs root, run by make test"]
fn copies_made_by_the_network_are_not_attempts() -> Result<()> {
    each_family(
        &[],
        |_, client, peer, attempt| {
            send(&client, LARGE)?;
            attempt()?;
            peer.acknowledge(LARGE).send()?;
            for _ in 0..5 {
                peer.acknowledge(LARGE).sack(0..LARGE).send()?;
            }
            client.shutdown(Shutdown::Write).context("cannot shut down")?;
            peer.acknowledge(LARGE + 1).send()
        },
        |_, pair, _, events, all| {
            let received = tcp_ext(pair.client(), &["TCPDSACKRecv"]).expect("a counter");
            assert_eq!(received, 5, "the kernel counts the reports");
            let unneeded = || all.iter().filter(|verdict| verdict.verdict == VerdictKind::Unneeded);
            let segs: u32 = unneeded().filter_map(|verdict| verdict.segs).sum();
            assert!(u64::from(segs) <= events.iter().map(|event| u64::from(event.segs)).sum(), "{all:?}");
            assert!(unneeded().all(|verdict| verdict.segs <= verdict.total_retrans), "{all:?}");
            assert_eq!(end_of(all), Acked);
        },
    )
}

/// The process allows an hour. The window is closed, and the kernel gives up after its number of
/// probes, so the end is not proven to be the user timeout.
#[test]
#[ignore = "live: needs root, run by make test"]
fn window_probes_do_not_end_by_the_user_timeout() -> Result<()> {
    const HOUR: Duration = Duration::from_secs(3600);
    each_family(
        &[("tcp_retries2", "1")],
        |_, client, peer, attempt| {
            SockRef::from(&client).set_tcp_user_timeout(Some(HOUR)).context("TCP_USER_TIMEOUT")?;
            send(&client, LARGE)?;
            attempt()?;
            peer.acknowledge(LARGE).window(0).send()?;
            send(&client, LARGE)?;
            // The probes are not answered.
            until_closed(&client)
        },
        |_, _, _, _, all| {
            assert_eq!(end_of(all), Unknown, "{all:?}");
            assert_eq!(all.last().and_then(|verdict| verdict.sk_err), Some(110), "{all:?}");
        },
    )
}

fn until_closed(mut client: &TcpStream) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE)).context("SO_RCVTIMEO")?;
    let error = client.read(&mut [0; 1]).expect_err("the kernel gives up");
    assert_eq!(error.raw_os_error(), Some(110), "{error}");
    Ok(())
}

/// With IP_RECVERR an ICMP error sets the error of the socket, and the connection goes on. It is
/// closed in order later, or by the process.
#[test]
#[ignore = "live: needs root, run by make test"]
fn an_icmp_error_that_was_survived_is_not_the_end() -> Result<()> {
    for is_acked in [true, false] {
        each_family(
            &[],
            |_, client, peer, attempt| {
                receive_errors(&client)?;
                send(&client, LARGE)?;
                let lost = next(peer)?;
                attempt()?;
                peer.unreachable(&lost)?;
                peer.acknowledge(LARGE).send()?;
                if is_acked {
                    client.shutdown(Shutdown::Write).context("cannot shut down")?;
                    return peer.acknowledge(LARGE + 1).send();
                }
                SockRef::from(&client).set_linger(Some(Duration::ZERO)).context("SO_LINGER")
            },
            |family, _, _, _, all| {
                let expected = if is_acked { Acked } else { Unknown };
                assert_eq!(end_of(all), expected, "{family:?}: {all:?}");
                // Otherwise this test shows nothing.
                assert!(all.last().is_some_and(|verdict| verdict.sk_err.is_some()), "{family:?}: {all:?}");
            },
        )?;
    }
    Ok(())
}

fn receive_errors(client: &TcpStream) -> Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};

    if client.local_addr().context("no address")?.is_ipv6() {
        setsockopt(client, sockopt::Ipv6RecvErr, &true).context("IPV6_RECVERR")?;
    }
    setsockopt(client, sockopt::Ipv4RecvErr, &true).context("IP_RECVERR")
}

/// A SYN is answered by a reset, by an ICMP error, or not at all.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_refused_syn_is_reset_or_unreachable() -> Result<()> {
    type Answer = fn(&Peer, &Segment) -> Result<()>;
    const ANSWERS: [(Answer, EndReason); 4] = [
        (Peer::refuse, Reset),
        (Peer::port_unreachable, Unreachable),
        (Peer::unreachable, Unreachable),
        (|_, _| Ok(()), TimedOut),
    ];
    privilege::check()?;
    for family in Family::ALL {
        for (answer, expected) in ANSWERS {
            let pair = Pair::new()?;
            pair.client().sysctl("net/ipv4/tcp_syn_retries", "1")?;
            // Since Linux 6.5 the first four retries of a SYN are not counted.
            let linear = "net/ipv4/tcp_syn_linear_timeouts";
            if pair.client().sysctl_get(linear).is_ok() {
                pair.client().sysctl(linear, "0")?;
            }
            let (mut stream, verdicts) = open(&[pair.client()], None)?;
            let Some(_) = hooks(&stream) else { return Ok(()) };
            let (client, target, peer) = Peer::unconnected(&pair, family, QUICK)?;
            connect_later(&client, target)?;
            next(&peer)?;
            let again = next(&peer)?;
            assert!(again.syn);
            answer(&peer, &again)?;
            let (events, all) = until_ended(&mut stream, &verdicts)?;
            assert_eq!(events.len(), 1);
            assert_eq!(end_of(&all), expected, "{family:?}: {all:?}");
            assert_eq!(all[0].state, TcpState::SynSent, "{all:?}");
        }
    }
    Ok(())
}
