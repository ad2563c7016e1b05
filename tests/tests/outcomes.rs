// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every outcome that traffic alone can bring about, over every family: what the stream says of it, field by field.

use std::io::Read;
use std::time::{Duration, SystemTime};

use retrans_sdk::{CaState, Event, ResultClass, RetransKind, RetransResult, TcpState};
use retrans_tests::observe::{concerns, drain, open, printed_family, reaches_transmit, undisturbed, until};
use retrans_tests::wait::PATIENCE;
use retrans_tests::{Context, Family, Outcome, Pair, Result, RouteFault, Scenario, Subject};

macro_rules! outcomes {
    ($($name:ident: $outcome:expr,)*) => {
        $(mod $name {
            use super::*;

            #[test]
            #[ignore = "live: needs root, run by make test"]
            fn v4() -> Result<()> {
                check($outcome, Family::V4)
            }

            #[test]
            #[ignore = "live: needs root, run by make test"]
            fn v6() -> Result<()> {
                check($outcome, Family::V6)
            }

            #[test]
            #[ignore = "live: needs root, run by make test"]
            fn mapped() -> Result<()> {
                check($outcome, Family::Mapped)
            }
        })*

        #[test]
        fn none_is_left_out() {
            assert_eq!([$($outcome),*], Outcome::ALL);
            assert_eq!([$(stringify!($name)),*].map(str::to_owned), Outcome::ALL.map(|outcome| outcome.to_string()));
        }
    };
}

outcomes! {
    rto: Outcome::Rto,
    tlp: Outcome::Tlp,
    fast: Outcome::Fast,
    syn: Outcome::Syn,
    synack: Outcome::Synack,
    synack_fastopen: Outcome::SynackFastopen,
    in_host_queue: Outcome::InHostQueue,
    route_fail_prohibit: Outcome::RouteFail(RouteFault::Prohibit),
    route_fail_unreachable: Outcome::RouteFail(RouteFault::Unreachable),
    route_fail_blackhole: Outcome::RouteFail(RouteFault::Blackhole),
    route_fail_rule: Outcome::RouteFail(RouteFault::Rule),
    denied: Outcome::Denied,
    xmit_drop: Outcome::XmitDrop,
}

fn check(outcome: Outcome, family: Family) -> Result<()> {
    let (Seen { subject, events, began, ended }, _) = undisturbed(|_| run(outcome, family))?;
    if outcome == Outcome::Fast {
        assert_eq!(events.len(), 1, "one segment was lost: {}", lines(&events));
    }
    for (index, event) in events.iter().enumerate() {
        let at = format!("event {index} of\n{}", lines(&events));

        let (result, class, err) = result_of(outcome);
        assert_eq!((event.result, event.class(), event.err), (result, class, Some(err)), "{at}");
        assert_eq!(event.kind, kind_of(outcome, index), "{at}");
        assert_eq!(event.state, state_of(outcome), "{at}");

        assert_eq!((event.family(), event.mapped), printed_family(family), "{at}");
        assert_eq!((event.saddr, event.sport), (subject.local.ip(), subject.local.port()), "{at}");
        assert_eq!((event.daddr, event.dport), (subject.remote.ip(), subject.remote.port()), "{at}");
        assert_eq!(event.netns, Some(subject.netns), "{at}");
        let cookie = event.cookie.expect("a cookie");
        match outcome {
            // The connection's, which is not a socket yet.
            Outcome::Synack => assert!(Some(cookie) != subject.cookie && cookie != 0, "{at}"),
            _ => assert_eq!(Some(cookie), subject.cookie, "{at}"),
        }

        let time = event.ts.as_system_time();
        // The epoch is taken once, at open, and the wall clock may be adjusted since.
        let slack = Duration::from_millis(100);
        assert!(began - slack <= time && time <= ended + slack, "{at}");
        assert!(index == 0 || events[index - 1].ts <= event.ts, "{at}");

        if event.kind == RetransKind::Synack {
            assert_eq!(event.segs, 1, "{at}");
            assert_eq!((event.seq, event.len, event.snd_una, event.sk_err_soft), (None, None, None, None));
        } else {
            check_segment(outcome, event, &at);
            check_socket(outcome, &events[..=index], &at);
        }
    }
    Ok(())
}

/// What the stream had of one run.
struct Seen {
    subject: Subject,
    events: Vec<Event>,
    began: SystemTime,
    ended: SystemTime,
}

fn run(outcome: Outcome, family: Family) -> Result<Seen> {
    let mut stream = open()?;
    let pair = Pair::new()?;
    let mut scenario = Scenario::prepare(&pair, family, outcome)?;
    let began = SystemTime::now();
    scenario.start()?;
    let subject = scenario.subject();

    let mut events = until(&mut stream, PATIENCE, |seen| {
        seen.iter().filter(|event| concerns(&subject, event)).count() >= attempts(outcome)
    })?;
    if outcome == Outcome::Fast {
        let conn = scenario.conn().expect("a connection");
        // Once everything has arrived there is nothing left to retransmit.
        conn.server().read_exact(&mut [0; 20_000]).context("cannot read what was sent")?;
    }
    scenario.finish()?;
    events.append(&mut drain(&mut stream)?);
    let ended = SystemTime::now();

    // By the cookie too, so that an event with wrong addresses is not overlooked.
    events.retain(|event| concerns(&subject, event) || (event.cookie.is_some() && event.cookie == subject.cookie));
    Ok(Seen { subject, events, began, ended })
}

/// How many attempts to wait for: where the next is not far, one more, to see that it is of the same sort.
fn attempts(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Fast | Outcome::Syn | Outcome::Synack | Outcome::SynackFastopen => 1,
        _ => 2,
    }
}

fn lines(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn result_of(outcome: Outcome) -> (RetransResult, ResultClass, i32) {
    match outcome {
        Outcome::InHostQueue => (RetransResult::InHostQueue, ResultClass::Busy, -16),
        Outcome::RouteFail(_) => (RetransResult::RouteFail, ResultClass::Route, -113),
        Outcome::Denied => (RetransResult::Denied, ResultClass::Drop, -1),
        Outcome::XmitDrop => (RetransResult::XmitDrop, ResultClass::Drop, 1),
        _ => (RetransResult::Success, ResultClass::Ok, 0),
    }
}

fn kind_of(outcome: Outcome, index: usize) -> RetransKind {
    match outcome {
        // One probe only; what comes after is the timer's.
        Outcome::Tlp if index == 0 => RetransKind::Tlp,
        Outcome::Fast => RetransKind::Fast,
        Outcome::Syn => RetransKind::Syn,
        Outcome::Synack | Outcome::SynackFastopen => RetransKind::Synack,
        _ => RetransKind::Rto,
    }
}

fn state_of(outcome: Outcome) -> TcpState {
    match outcome {
        Outcome::Syn => TcpState::SynSent,
        Outcome::Synack => TcpState::NewSynRecv,
        Outcome::SynackFastopen => TcpState::SynRecv,
        _ => TcpState::Established,
    }
}

/// The fields that come from the segment.
fn check_segment(outcome: Outcome, event: &Event, at: &str) {
    const SYN: u16 = 0x02;
    const ACK: u16 = 0x10;
    let flags = event.tcp_flags.expect("flags").0;
    let (seq, end_seq, len) = (event.seq.expect("seq"), event.end_seq.expect("end_seq"), event.len.expect("len"));
    let (snd_una, snd_nxt, mss) =
        (event.snd_una.expect("snd_una"), event.snd_nxt.expect("snd_nxt"), event.mss.expect("mss"));

    if outcome == Outcome::Syn {
        assert_eq!((flags & (SYN | ACK), len), (SYN, 0), "{at}");
    } else {
        assert_eq!(flags & (SYN | ACK), ACK, "{at}");
        assert!(len > 0, "{at}");
    }
    // A SYN takes a sequence number.
    assert_eq!(end_seq.wrapping_sub(seq), len + u32::from(flags & SYN != 0), "{at}");
    assert_eq!(event.segs, len.div_ceil(mss).max(1), "{at}");
    let outstanding = snd_nxt.wrapping_sub(snd_una);
    assert!(outstanding < 1 << 30, "{at}");
    match event.kind {
        // The last that was sent.
        RetransKind::Tlp => assert_eq!(end_seq, snd_nxt, "{at}"),
        // The first that is missing.
        _ => assert_eq!(seq, snd_una, "{at}"),
    }
    assert!(end_seq.wrapping_sub(snd_una) <= outstanding, "{at}");
}

/// The fields that come from the socket, of the last of these events.
fn check_socket(outcome: Outcome, events: &[Event], at: &str) {
    let event = events.last().expect("an event");
    assert_eq!(event.ca_name.map(|name| name.to_string()).as_deref(), Some("reno"), "{at}");
    let soft = if let Outcome::RouteFail(fault) = outcome { fault.soft_error() } else { 0 };
    assert_eq!(event.sk_err_soft, Some(soft), "{at}");

    let timers = events.iter().filter(|event| event.kind != RetransKind::Tlp).count() as u8;
    match event.kind {
        RetransKind::Tlp => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Open), Some(0)), "{at}");
            assert_eq!(event.pending, Some(5), "{at}");
        }
        RetransKind::Fast => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Recovery), Some(0)), "{at}");
            assert!(matches!(event.pending, Some(1 | 6)), "{at}");
        }
        _ => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Loss), Some(timers)), "{at}");
            assert_eq!(event.pending, Some(0), "{at}");
            // Backed off afterwards, and after an attempt that local congestion stopped not at all.
            let backoff = if outcome == Outcome::XmitDrop { 0 } else { timers - 1 };
            assert_eq!(event.backoff, Some(backoff), "{at}");
        }
    }
    // Everything that came as far as the transmit step.
    let retransmitted: u32 = events.iter().filter(|event| reaches_transmit(event.result)).map(|event| event.segs).sum();
    assert_eq!(event.total_retrans, Some(retransmitted), "{at}");

    let initial = if outcome == Outcome::Syn { 1_000_000 } else { 200_000 };
    let (first, backoff) = (events[0].rto_us.expect("rto_us"), event.backoff.expect("backoff"));
    assert!(first >= initial, "{at}");
    assert_eq!(event.rto_us, Some(first << backoff), "{at}");
    // Before the handshake is done, nothing is known of the peer.
    if outcome != Outcome::Syn {
        assert!(event.snd_wnd > Some(0) && event.srtt_us > Some(0), "{at}");
    }
    assert!(event.snd_cwnd > Some(0) && event.wmem_queued > Some(0), "{at}");
}
