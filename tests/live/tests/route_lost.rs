// SPDX-License-Identifier: MIT OR Apache-2.0
//! A socket that loses its route inside the transmit step.

use std::io::Write;

use retrans_lab::observe::{attachment, drain, open, undisturbed, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Conn, Context, Counters, Family, Packets, Pair, Result, late_mark};
use retrans_sdk::event::Transmit;
use retrans_sdk::{Event, RetransKind, RetransResult};

/// A port that other tests do not use.
const PORT: u16 = 61_007;
/// A mark that other programs are unlikely to use.
const MARK: u32 = 0x5e7c_0000;

const EHOSTUNREACH: i32 = 113;
const EINVAL: i32 = 22;
/// The actions of a policy rule, and the errors of a lookup.
const RULES: [(&str, i32); 3] = [("unreachable", 101), ("prohibit", 13), ("blackhole", EINVAL)];

/// The kernel checks the route, and then IP does not find it. IPv4 has one errno for that, and IPv6
/// returns and stores the error of the lookup. The next attempt fails at the check. The kernel
/// counts only the first.
#[test]
#[ignore = "live: needs root, run by make test"]
fn route_lost_in_the_transmit_step_is_route_fail() -> Result<()> {
    for (rule, error) in RULES {
        for family in Family::ALL {
            check(family, rule, error)?;
        }
    }
    Ok(())
}

fn check(family: Family, rule: &str, error: i32) -> Result<()> {
    let ((events, counted), _) = undisturbed(|_| lose_route(family, rule))?;
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let first = if family.is_ipv4_on_the_wire() { (EHOSTUNREACH, 0) } else { (error, error) };
    for (index, event) in events.iter().enumerate() {
        let at = format!("{rule} over {family:?}, event {index} of\n{lines}");
        let (err, soft) = if index == 0 { first } else { (EHOSTUNREACH, error) };
        assert_eq!((event.result, event.kind), (RetransResult::RouteFail, RetransKind::Rto), "{at}");
        assert_eq!((event.err, event.sk_err_soft), (Some(-err), Some(soft)), "{at}");
        // Earlier checks end with these two as well.
        let possible = match (index, err) {
            (0, EHOSTUNREACH | EINVAL) => &[Transmit::Yes, Transmit::Unknown][..],
            (0, _) => &[Transmit::Yes],
            _ => &[Transmit::No],
        };
        assert!(event.transmit.is_some_and(|transmit| possible.contains(&transmit)), "{at}");
    }
    assert_eq!((counted.retrans_segs, counted.retrans_fail), (1, 1), "{rule} over {family:?}: {lines}");
    Ok(())
}

/// Returns the first two attempts of a connection whose retransmission has no route, and the
/// increase of the counters.
fn lose_route(family: Family, rule: &str) -> Result<(Vec<Event>, Counters)> {
    let pair = Pair::new()?;
    let ip = if family.is_ipv4_on_the_wire() { "ip -4" } else { "ip -6" };
    pair.client().sh(&format!("{ip} rule add fwmark {MARK:#x} {rule}"))?;
    let _mark = late_mark::attach(PORT, MARK)?;
    let conn = Conn::open_on(&pair, family, PORT)?;
    let port = conn.client_end().local.port();
    let _lost = Packets::input().sport(port).dport(PORT).drop_in(pair.server())?;
    let mut stream = open()?;
    assert!(attachment(&stream).observes_failures(), "no failures: {:?}", attachment(&stream));
    drain(&mut stream)?;
    let before = Counters::read(pair.client())?;
    conn.client().write_all(&[b'x'; 100]).context("cannot send")?;
    let its = |event: &&Event| (event.sport, event.dport) == (port, PORT);
    let events = until(&mut stream, PATIENCE, |events| events.iter().filter(its).count() >= 2)?;
    let counted = Counters::read(pair.client())? - before;
    Ok((events.into_iter().filter(|event| its(&event)).collect(), counted))
}
