// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event of a SYN-ACK contains the cookie of the socket that `accept` returns later, not the
//! listener's cookie.

use retrans_lab::observe::{drain, ends, open, undisturbed};
use retrans_lab::{Conn, Family, Packets, Pair, Result, has_symbol};
use retrans_sdk::RetransKind;

fn check(family: Family) -> Result<()> {
    let run = || {
        let mut stream = open()?;
        let pair = Pair::new()?;
        // The first SYN-ACK is lost, and the second is received.
        let fault = Packets::input().synack().nth(0).drop_in(pair.client())?;
        let accepted = Conn::open(&pair, family)?.server_end();
        fault.lift()?;
        Ok((accepted, drain(&mut stream)?))
    };
    let ((accepted, events), _) = undisturbed(|_| run())?;
    let synacks: Vec<_> = events.iter().filter(|event| ends(event) == (accepted.local, accepted.remote)).collect();
    assert!(!synacks.is_empty(), "none of {events:?} is of {accepted:?}");
    // Before Linux 5.12 BPF programs cannot create a cookie, and nothing else has.
    let cookie = has_symbol("bpf_get_socket_ptr_cookie")?.then_some(accepted.cookie);
    for event in synacks {
        assert_eq!((event.kind, event.cookie), (RetransKind::Synack, cookie), "{event}");
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn v4() -> Result<()> {
    check(Family::V4)
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn v6() -> Result<()> {
    check(Family::V6)
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn mapped() -> Result<()> {
    check(Family::Mapped)
}
