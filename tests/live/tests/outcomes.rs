// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every outcome that traffic alone provokes, over every family, with and without tail loss probes:
//! verifies the stream's events field by field.

use std::time::Duration;

use retrans_lab::observe::{open, reaches_transmit};
use retrans_lab::{
    Discard, Family, Hold, KernelSupport, Outcome, Probes, Refusal, Result, RouteFault, ScenarioRun, TraceInstance,
    Trial, WindowFault,
};
use retrans_sdk::event::CaState;
use retrans_sdk::{Event, ResultClass, RetransKind};

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
        fn every_common_outcome_is_listed() {
            // The others require an old kernel, or a patched one: the kernel matrix runs them.
            let all: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| outcome.is_common()).collect();
            assert_eq!([$($outcome),*], all[..]);
            let names: Vec<_> = all.iter().map(Outcome::to_string).collect();
            assert_eq!([$(stringify!($name)),*].map(str::to_owned), names[..]);
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
    partial_ack: Outcome::PartialAck,
    zero_window: Outcome::ZeroWindow,
    mtu_cut: Outcome::MtuCut,
    in_host_queue_qdisc: Outcome::InHostQueue(Hold::Qdisc),
    in_host_queue_neighbour: Outcome::InHostQueue(Hold::Neighbour),
    route_fail_prohibit: Outcome::RouteFail(RouteFault::Prohibit),
    route_fail_unreachable: Outcome::RouteFail(RouteFault::Unreachable),
    route_fail_blackhole: Outcome::RouteFail(RouteFault::Blackhole),
    route_fail_rule: Outcome::RouteFail(RouteFault::Rule),
    route_fail_route_deleted: Outcome::RouteFail(RouteFault::RouteDeleted),
    route_fail_address_deleted: Outcome::RouteFail(RouteFault::AddressDeleted),
    rcv_zero_window_peer: Outcome::RcvZeroWindow(WindowFault::Peer),
    rcv_zero_window_mangled: Outcome::RcvZeroWindow(WindowFault::Mangled),
    frag_nomem: Outcome::FragNomem,
    denied_drop: Outcome::Denied(Refusal::Drop),
    denied_reject: Outcome::Denied(Refusal::Reject),
    xmit_drop_qdisc: Outcome::XmitDrop(Discard::Qdisc),
    xmit_drop_egress: Outcome::XmitDrop(Discard::Egress),
    slow_start: Outcome::SlowStart,
    resume: Outcome::Resume,
    duplicate_ack_in_loss: Outcome::DuplicateAckInLoss,
    mtu_cut_in_loss: Outcome::MtuCutInLoss,
    orphan_zero_window: Outcome::OrphanZeroWindow,
}

fn check(outcome: Outcome, family: Family) -> Result<()> {
    let trials: Vec<_> = outcome.settings().iter().map(|&probes| Trial { outcome, family, probes }).collect();
    ScenarioRun::undisturbed(&trials)?.into_iter().try_for_each(check_run)
}

fn check_run(run: ScenarioRun) -> Result<()> {
    // Result, kind, err, state and soft error of each attempt; its socket; the kernel's trace and
    // call stacks; the counters.
    run.verify()?;
    let ScenarioRun { outcome, probes, subject, events, counted, began, ended, .. } = run;
    let counted = &counted[0].1;
    let failed = |result| events.iter().filter(|event| event.result.class() == result).count() as u64;
    // The kernel counts the attempts that these two checks end.
    assert_eq!(counted.wqueue_too_big, failed(ResultClass::Nomem), "{}", lines(&events));
    match probes {
        Probes::Off => assert_eq!(counted.spurious_rtx_host_queues, failed(ResultClass::Busy), "{}", lines(&events)),
        // It also counts each tail loss probe that it postpones. That is not an attempt.
        Probes::Default => {
            assert!(counted.spurious_rtx_host_queues >= failed(ResultClass::Busy), "{}", lines(&events));
        }
    }
    if outcome == Outcome::Fast {
        assert_eq!(events.len(), 1, "one segment was lost: {}", lines(&events));
    }
    for (index, event) in events.iter().enumerate() {
        let at = format!("event {index} of\n{}", lines(&events));
        let after_probe = index.checked_sub(usize::from(outcome.begins_with_probe(probes)));
        assert_eq!(event.class(), class_of(outcome, after_probe), "{at}");
        let cookie = event.cookie.expect("a cookie");
        match outcome {
            // The cookie of the connection, which is not a socket yet.
            Outcome::Synack => assert!(Some(cookie) != subject.cookie && cookie != 0, "{at}"),
            _ => assert_eq!(Some(cookie), subject.cookie, "{at}"),
        }

        let time = event.ts.as_system_time();
        // Between the reading of the clocks and the attempt the wall clock may have been stepped.
        let slack = Duration::from_millis(100);
        assert!(began - slack <= time && time <= ended + slack, "{at}");
        assert!(index == 0 || events[index - 1].ts <= event.ts, "{at}");

        if event.kind == RetransKind::Synack {
            assert_eq!(event.segs, 1, "{at}");
            assert_eq!((event.seq, event.len, event.snd_una, event.sk_err_soft), (None, None, None, None));
        } else {
            check_segment(outcome, after_probe, event, &at);
            check_socket(outcome, &events[..=index], &at);
        }
    }
    Ok(())
}

/// Returns the class of the attempt with this index, or of a tail loss probe before the first one.
fn class_of(outcome: Outcome, index: Option<usize>) -> ResultClass {
    let index = match (outcome, index) {
        // The probe finds the queue empty.
        (Outcome::XmitDrop(Discard::Qdisc), None) => return ResultClass::Ok,
        (_, index) => index.unwrap_or(0),
    };
    match outcome {
        Outcome::InHostQueue(_) | Outcome::DuplicateAckInLoss => ResultClass::Busy,
        Outcome::Resume if index == 0 => ResultClass::Busy,
        Outcome::RouteFail(_) => ResultClass::Route,
        Outcome::RcvZeroWindow(_) if index == 0 => ResultClass::Window,
        Outcome::FragNomem if index > 0 => ResultClass::Nomem,
        Outcome::Denied(_) | Outcome::XmitDrop(_) => ResultClass::Drop,
        _ => ResultClass::Ok,
    }
}

fn lines(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// Verifies the fields of the segment.
fn check_segment(outcome: Outcome, index: Option<usize>, event: &Event, at: &str) {
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
    // A SYN consumes a sequence number.
    assert_eq!(end_seq.wrapping_sub(seq), len + u32::from(flags & SYN != 0), "{at}");
    let is_route_deleted = matches!(outcome, Outcome::RouteFail(RouteFault::RouteDeleted | RouteFault::AddressDeleted));
    if is_route_deleted && mss < len {
        // A tail loss probe has read the smallest MTU from the lost route. The segment is not
        // divided again before it fails.
        assert_eq!((event.segs, event.result.class()), (1, ResultClass::Route), "{at}");
    } else {
        assert_eq!(event.segs, len.div_ceil(mss).max(1), "{at}");
    }
    let outstanding = snd_nxt.wrapping_sub(snd_una);
    assert!(outstanding < 1 << 30, "{at}");
    match event.kind {
        // The last segment sent.
        RetransKind::Tlp => assert_eq!(end_seq, snd_nxt, "{at}"),
        // The first missing segment; or a later one that cannot be sent, or is sent because it was
        // too large as well.
        _ => {
            let index = index.expect("not a probe");
            let first = match outcome {
                Outcome::FragNomem | Outcome::MtuCut => index == 0,
                Outcome::SlowStart => index < 2,
                Outcome::MtuCutInLoss => index < 3,
                _ => true,
            };
            assert_eq!(seq == snd_una, first, "{at}");
        }
    }
    assert!(end_seq.wrapping_sub(snd_una) <= outstanding, "{at}");
}

/// Verifies the fields of the socket in the last of these events.
fn check_socket(outcome: Outcome, events: &[Event], at: &str) {
    let event = events.last().expect("an event");
    assert_eq!(event.ca_name.map(|name| name.to_string()).as_deref(), Some("reno"), "{at}");
    let timers = events.iter().filter(|other| other.kind == event.kind).count() as u8;
    match event.kind {
        RetransKind::Tlp => {
            // A drop in this host reduces the congestion window.
            let ca_state = match outcome {
                Outcome::XmitDrop(Discard::Egress) => CaState::Cwr,
                _ => CaState::Open,
            };
            assert_eq!((event.ca_state, event.retransmits), (Some(ca_state), Some(0)), "{at}");
            assert_eq!(event.pending, Some(5), "{at}");
        }
        RetransKind::Fast => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Recovery), Some(0)), "{at}");
            assert!(matches!(event.pending, Some(1 | 5 | 6)), "{at}");
        }
        // The first segment outside the closed window is sent repeatedly, and does not count as a
        // timeout.
        RetransKind::ZeroWindowProbe => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Loss), Some(0)), "{at}");
            assert_eq!((event.pending, event.snd_wnd), (Some(0), Some(0)), "{at}");
        }
        // Nothing was acknowledged between the timeout and the error of the router.
        RetransKind::Mtu if outcome == Outcome::MtuCutInLoss => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Loss), Some(1)), "{at}");
            assert_eq!(event.pending, Some(1), "{at}");
        }
        RetransKind::Mtu => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Loss), Some(0)), "{at}");
            // With tail loss probes, their timer is still pending.
            assert!(matches!(event.pending, Some(1 | 5)), "{at}");
            assert_eq!(event.segs, 2, "{at}");
        }
        RetransKind::SlowStart if outcome != Outcome::DuplicateAckInLoss => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Loss), Some(0)), "{at}");
            assert_eq!(event.pending, Some(1), "{at}");
        }
        // The state is Loss after a duplicate acknowledgement as well as after a drained queue.
        RetransKind::Resume | RetransKind::SlowStart => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Loss), Some(1)), "{at}");
            assert_eq!(event.pending, Some(1), "{at}");
        }
        _ => {
            assert_eq!((event.ca_state, event.retransmits), (Some(CaState::Loss), Some(timers)), "{at}");
            assert_eq!(event.pending, Some(0), "{at}");
            // The RTO backs off after the attempt, and not at all after one that local congestion
            // stopped.
            let backoff = if matches!(outcome, Outcome::XmitDrop(_)) { 0 } else { timers - 1 };
            assert_eq!(event.backoff, Some(backoff), "{at}");
        }
    }
    // Every attempt that reached the transmit step.
    let retransmitted: u32 =
        events.iter().filter(|event| reaches_transmit(event) == Some(true)).map(|event| event.segs).sum();
    assert_eq!(event.total_retrans, Some(retransmitted), "{at}");

    let initial = if outcome == Outcome::Syn { 1_000_000 } else { 200_000 };
    let (first, backoff) = (events[0].rto_us.expect("rto_us"), event.backoff.expect("backoff"));
    assert!(first >= initial, "{at}");
    let closed = matches!(outcome, Outcome::ZeroWindow | Outcome::RcvZeroWindow(_) | Outcome::OrphanZeroWindow);
    // Between two attempts of a recovery an acknowledgement arrived, with a new RTT sample.
    if event.kind != RetransKind::Fast {
        assert_eq!(event.rto_us, Some(first << backoff), "{at}");
    }
    // Before the handshake is complete, nothing is known about the peer.
    if outcome != Outcome::Syn {
        assert!(event.srtt_us > Some(0), "{at}");
        assert_eq!(event.snd_wnd == Some(0), closed, "{at}");
    }
    assert!(event.snd_cwnd > Some(0) && event.wmem_queued > Some(0), "{at}");
}

/// The maximum share of attempts whose kind may be unknown: one in this number.
const UNKNOWN_LIMIT: usize = 100;

/// Runs everything at once, and counts the kinds that the state of the socket does not prove.
#[test]
#[ignore = "live: needs root, run by make test"]
fn few_kinds_are_unknown() -> Result<()> {
    let support = KernelSupport::probe();
    let possible = |outcome: &Outcome| support.missing_for(*outcome).is_none();
    // All families at once are more than a busy machine can do in time.
    let trials = Trial::all().filter(|(outcome, _)| possible(outcome));
    let trials: Vec<_> = trials.map(|(outcome, probes)| Trial { outcome, family: Family::V4, probes }).collect();
    let runs = ScenarioRun::run_all(&mut open()?, &mut TraceInstance::new()?, &trials, |_| {})?;
    let (mut attempts, mut unknown, mut compared, mut disturbed) = (0, 0, 0, 0);
    for run in &runs {
        match run.compared_stacks() {
            Ok(stacks) => compared += stacks,
            // It proves nothing.
            Err(_) if run.was_disturbed() => {
                disturbed += 1;
                continue;
            }
            Err(error) => return Err(error),
        }
        attempts += run.events.len();
        unknown += run.unknown_kinds();
        if run.unknown_kinds() > 0 {
            println!("{}: {} of {} unknown", run.trial(), run.unknown_kinds(), run.events.len());
        }
    }
    println!("{attempts} attempts of {} scenarios, {unknown} unknown, {compared} compared with a stack", runs.len());
    assert!(disturbed * 2 < runs.len(), "{disturbed} of {} scenarios were disturbed", runs.len());
    let empty: Vec<_> = runs.iter().filter(|run| run.events.is_empty()).map(|run| run.trial().to_string()).collect();
    assert!(empty.len() * 20 < runs.len(), "scenarios without attempts: {empty:?}");
    assert!(compared * 4 >= attempts, "few call stacks: {compared} of {attempts}");
    assert!(unknown * UNKNOWN_LIMIT < attempts, "{unknown} of {attempts} attempts have an unknown kind");
    Ok(())
}
