// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fields that describe a socket: its uid, its mark, the interface that it is bound to, the cookie
//! of its network namespace.

use std::net::SocketAddr;
use std::os::unix::fs::fchown;

use retrans_lab::observe::{concerns, drain, filter, until};
use retrans_lab::pair::LINK;
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Context, Family, Netns, Outcome, Packets, Pair, Result, Scenario, netns_cookie, privilege};
use retrans_sdk::{Event, Filter, RetransKind, Stream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

const MARK: u32 = 0xfeed_0001;
/// A uid that no test runs as.
const UID: u32 = 12_345;

fn index_of_link(ns: &Netns) -> Result<u32> {
    ns.run(|| nix::net::if_::if_nametoindex(LINK)).context("no link")
}

fn open(filter: Filter) -> Result<Stream> {
    Stream::builder().filter(filter).open().context("cannot open a stream")
}

/// The settings of a socket are in its events, and the kernel filter matches them.
#[test]
#[ignore = "live: needs root, run by make test"]
fn uid_mark_interface_and_netns_are_the_sockets() -> Result<()> {
    privilege::check()?;
    let pair = Pair::new()?;
    let index = index_of_link(pair.client())?;
    let everything = format!("netns={}", pair.client().inode());
    for family in Family::ALL {
        let mut plain = Scenario::prepare(&pair, family, Outcome::Rto)?;
        let mut marked = Scenario::prepare(&pair, family, Outcome::Rto)?;
        let socket = marked.conn().expect("a connection").client();
        SockRef::from(socket).set_mark(MARK).context("SO_MARK")?;
        SockRef::from(socket).bind_device(Some(LINK.as_bytes())).context("SO_BINDTODEVICE")?;
        fchown(socket, Some(UID), None).context("cannot change the uid of the socket")?;
        let cookie = netns_cookie(socket)?;

        let mut all = open(filter(&everything)?)?;
        let that = |terms: &str| open(filter(&format!("{everything} {terms}"))?);
        let mut only = that(&format!("mark={MARK} uid={UID} bound_dev_if={index} netns_cookie={cookie}"))?;
        let mut others =
            [that("mark=0 uid=0 bound_dev_if=-")?, that(&format!("mark!={MARK} uid!={UID} netns_cookie={cookie}"))?];
        let mut none = [that(&format!("netns_cookie!={cookie}"))?, that(&format!("bound_dev_if!={index}"))?];
        plain.start()?;
        marked.start()?;

        let (of_marked, of_plain) = (marked.subject(), plain.subject());
        let events = until(&mut all, PATIENCE, |events| {
            [&of_marked, &of_plain].iter().all(|subject| events.iter().any(|event| concerns(subject, event)))
        })?;
        plain.finish()?;
        marked.finish()?;
        for event in &events {
            let expected = if concerns(&of_marked, event) { (MARK, UID, Some(index)) } else { (0, 0, None) };
            let always = "always present";
            let reported = (event.mark.expect(always), event.uid.expect(always), event.bound_dev_if);
            assert_eq!((reported, event.netns_cookie), (expected, Some(cookie)), "{event}");
            assert_eq!(event.to_string().parse::<Event>().expect("a line"), *event);
        }
        let all_of = |events: Vec<Event>, subject| {
            assert!(!events.is_empty() && events.iter().all(|event| concerns(subject, event)), "{events:?}");
        };
        all_of(drain(&mut only)?, &of_marked);
        for other in &mut others {
            all_of(drain(other)?, &of_plain);
        }
        for stream in &mut none {
            assert_eq!(drain(stream)?, []);
        }
    }
    Ok(())
}

/// A SYN-ACK has the values of the later accepted socket, also where they differ from the
/// listener's.
#[test]
#[ignore = "live: needs root, run by make test"]
fn synack_fields_are_the_accepted_sockets() -> Result<()> {
    privilege::check()?;
    for (family, domain) in [(Family::V4, Domain::IPV4), (Family::V6, Domain::IPV6)] {
        // With tcp_fwmark_accept the accepted socket copies the packet's mark, if the listener
        // has none.
        for (accept_mark, of_listener, of_accepted) in [("0", 0, 0), ("1", 0, 5), ("1", MARK, MARK)] {
            let pair = Pair::new()?;
            let server = pair.server();
            server.sysctl("net/ipv4/tcp_fwmark_accept", accept_mark)?;
            server.sh("nft 'add table inet m; add chain inet m p { type filter hook prerouting priority 0; }; \
                add rule inet m p meta mark set 5'")?;
            let make = |ns: &Netns| ns.run(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP)));
            let listener = make(server).context("cannot make a socket")?;
            listener.set_mark(of_listener).context("SO_MARK")?;
            listener.bind_device(Some(LINK.as_bytes())).context("SO_BINDTODEVICE")?;
            let at = |port| SocketAddr::new(pair.server_addr(family), port);
            listener.bind(&at(0).into()).and_then(|()| listener.listen(1)).context("cannot listen")?;
            let port = listener.local_addr().context("no address")?.as_socket().expect("of TCP").port();

            let mut stream = open(filter(&format!("netns={} sport={port}", server.inode()))?)?;
            // The first SYN-ACK is lost, and the second is received.
            let fault = Packets::input().synack().nth(0).drop_in(pair.client())?;
            let client = make(pair.client()).context("cannot make a socket")?;
            client.connect_timeout(&at(port).into(), PATIENCE).context("cannot connect")?;
            let (accepted, _) = listener.accept().context("cannot accept")?;
            fault.lift()?;

            let expected = (accepted.mark().context("SO_MARK")?, netns_cookie(&accepted)?, index_of_link(server)?);
            assert_eq!(expected.0, of_accepted);
            let events = until(&mut stream, PATIENCE, |events| !events.is_empty())?;
            for event in events {
                assert_eq!(event.kind, RetransKind::Synack, "{event}");
                let reported = (event.mark, event.netns_cookie, event.bound_dev_if);
                assert_eq!(reported, (Some(expected.0), Some(expected.1), Some(expected.2)), "{event}");
            }
        }
    }
    Ok(())
}
