// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cross-checks of a stream against the kernel's trace of the same tracepoints, and against the
//! counters of a namespace. The kernel produces both without the stream's BPF programs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::CaState;
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{Event, RetransKind, RetransResult, Stream};

use crate::kernel_enum::{is_consistent, is_consistent_by_errno, result_of_text};
use crate::observe::{attachment, ends, reaches_transmit};
use crate::trace::{Trigger, trigger};
use crate::{Counters, Error, Expected, PrintedFailures, Result, TraceEvent, TraceInstance, Tracepoint};

type Connection = (SocketAddr, SocketAddr);

/// States which of stream and trace report failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// The stream reports them, by its attach method.
    pub streamed: bool,
    /// The stream reports those of SYN-ACKs.
    pub synacks: bool,
    /// The trace reports them. If it does not, it has no `err` either.
    pub printed: bool,
    /// The trace reports them by `err`. Otherwise it reports them by a name, as in the proposal.
    pub by_errno: bool,
    /// The stream's attach method reads that name.
    pub named: bool,
}

impl Failures {
    /// Returns which failures the stream and the trace of the running kernel report.
    ///
    /// # Errors
    /// Returns an error if the format of the trace cannot be read.
    pub fn reported_by(stream: &Stream, trace: &TraceInstance) -> Result<Self> {
        let printed = trace.prints_failures()?;
        let attachment = attachment(stream);
        Ok(Self {
            streamed: attachment.observes_failures(),
            synacks: attachment.observes_synack_failures(),
            printed: printed != PrintedFailures::No,
            by_errno: printed == PrintedFailures::ByErrno,
            named: attachment.method == AttachMethod::TpEnum,
        })
    }

    /// Returns whether the stream reports such an attempt.
    #[must_use]
    pub fn stream_shows(self, expected: &Expected) -> bool {
        expected.err == 0 || if expected.kind == RetransKind::Synack { self.synacks } else { self.streamed }
    }
}

/// The values of one attempt that both stream and trace report, in addition to its connection.
type Attempt = (Tracepoint, Option<String>, Option<String>, Option<i32>);

/// Checks that the trace contains the same attempts as the stream. Each connection must have the
/// same number of attempts, in the same order, with the same tracepoint, family, state and `err` or
/// result. The times must be the same except for one constant offset between the clocks.
///
/// If only one of them reports failures, only successes are compared. The trace does not report
/// failures of SYN-ACKs. Linux 5.10 prints no family.
///
/// # Errors
/// Returns an error with the difference and all lines of both.
pub fn text_matches(events: &[Event], traced: &[TraceEvent], failures: Failures) -> Result<()> {
    let (events, traced) = comparable(events, traced, failures);
    let (events, traced) = (&events[..], &traced[..]);
    let has_family = traced.iter().any(|event| event.family.is_some());
    let printed = |event| {
        let (connection, (tracepoint, family, state, err)) = of_event(event);
        (connection, (tracepoint, family.filter(|_| has_family), state, err.filter(|_| failures.by_errno)))
    };
    let both = || -> String {
        let ours = events.iter().map(|event| format!("{event}\n"));
        ours.chain(traced.iter().map(|event| format!("{}\n", event.line))).collect()
    };
    let (streamed, witnessed) = (account(events.iter().map(printed)), account(traced.iter().map(of_trace)));
    for connection in streamed.keys().chain(witnessed.keys()) {
        let (ours, theirs) = (streamed.get(connection), witnessed.get(connection));
        if ours != theirs {
            let both = both();
            return Err(Error::new(format!("{connection:?}: stream: {ours:?}, trace: {theirs:?}\n{both}")));
        }
    }
    for (event, traced) in paired(events, traced) {
        let is_consistent = if failures.named { is_consistent } else { is_consistent_by_errno };
        if traced.result.as_deref().is_some_and(|text| !is_consistent(text, event.result)) {
            return Err(Error::new(format!("results differ: {event}\n{}", traced.line)));
        }
    }
    let apart = clocks_apart(events, traced);
    // Both times are read in the same softirq. They are microseconds apart unless the machine was
    // stalled in between.
    if apart > Duration::from_millis(100) {
        return Err(Error::new(format!("the clocks drift apart by {apart:?}\n{}", both())));
    }
    Ok(())
}

/// Returns the attempts that both report: all, or only the successes.
fn comparable(events: &[Event], traced: &[TraceEvent], failures: Failures) -> (Vec<Event>, Vec<TraceEvent>) {
    let is_success = |event: &&Event| event.result == RetransResult::Success;
    let printed_success = |event: &&TraceEvent| match &event.result {
        Some(text) => result_of_text(text) == Some(RetransResult::Success),
        None => matches!(event.err, None | Some(0)),
    };
    let is_printed = |event: &&Event| is_success(event) || failures.printed && event.kind != RetransKind::Synack;
    let events = events.iter().filter(is_printed).copied().collect();
    let traced = traced.iter().filter(|event| failures.streamed || printed_success(event)).cloned().collect();
    (events, traced)
}

/// Checks the kind of each attempt against the call stack that the trace contains for it, and
/// returns the number of compared attempts. The attempts must match ([`text_matches`]). `counted`
/// are the counters of their namespace (`Trigger::in_namespace`).
///
/// Attempts that only one side reports are not compared, nor those for which the kernel may have
/// written no stack ([`TraceEvent::may_lack_stack`]) and has written none. Neither are those whose
/// stack is cut off ([`TraceEvent::has_cut_stack`]) before any known function.
///
/// # Errors
/// Returns an error with the first event whose kind contradicts its call stack, and that stack.
/// Also returns an error if a call stack is missing, or contains no known function.
pub fn kinds_match(events: &[Event], traced: &[TraceEvent], counted: &Counters, failures: Failures) -> Result<usize> {
    let (events, traced) = comparable(events, traced, failures);
    let mut compared = 0;
    for (event, traced) in paired(&events, &traced) {
        if traced.callers.is_empty() && traced.may_lack_stack() {
            continue;
        }
        if traced.has_cut_stack() && trigger(&traced.callers).is_none() {
            continue;
        }
        let differs = |what: String| Error::new(format!("{what}: {event}\n{}", traced.callers.join(" <- ")));
        let trigger = trigger(&traced.callers).ok_or_else(|| differs("no known function in the stack".to_owned()))?;
        let trigger = trigger.in_namespace(counted);
        if !trigger.allows(event.kind, event.state, event.ca_state) {
            return Err(differs(format!("kind {} of an attempt by {trigger:?}", event.kind)));
        }
        compared += 1;
    }
    Ok(compared)
}

/// Returns the cause of an attempt according to the call stack that the trace contains for it.
pub(crate) fn trigger_of(
    event: &Event,
    events: &[Event],
    traced: &[TraceEvent],
    failures: Failures,
) -> Option<Trigger> {
    let (events, traced) = comparable(events, traced, failures);
    let pairs = paired(&events, &traced);
    let (_, traced) = pairs.into_iter().find(|(other, _)| (other.ts, other.seq) == (event.ts, event.seq))?;
    trigger(&traced.callers)
}

/// Checks that the counters of a namespace increased by the number that the stream reports.
///
/// RetransSegs, TCPRetransFail and TCPSynRetrans must be equal. If the stream reports only
/// successes, the failures are subtracted from RetransSegs, which includes them. If an event leaves
/// open whether it failed at the transmit step, the kernel's count decides.
///
/// The counters of kinds are compared by the rules of `retrans_sdk::stats::Reconciliation`.
///
/// # Errors
/// Returns an error with the counts of both.
pub fn counters_match(events: &[Event], netns: u32, counted: Counters, failures: Failures) -> Result<()> {
    let here: Vec<_> = events.iter().filter(|event| event.netns == Some(netns)).collect();
    let segs = |which: &dyn Fn(&Event) -> bool| -> u64 {
        here.iter().filter(|event| which(event)).map(|event| u64::from(event.segs)).sum()
    };
    let reached = |event: &Event| reaches_transmit(event) == Some(true);
    let succeeded = |event: &Event| event.result == RetransResult::Success;
    let failed = segs(&|event| reached(event) && !succeeded(event));
    let perhaps = segs(&|event| reaches_transmit(event).is_none());
    let failed =
        if failures.streamed { counted.retrans_fail.clamp(failed, failed + perhaps) } else { counted.retrans_fail };
    let streamed = Counters {
        retrans_segs: segs(&succeeded) + failed,
        retrans_fail: failed,
        // The kernel counts a SYN-ACK only if it was sent.
        syn_retrans: segs(&|event| if event.kind == RetransKind::Synack { succeeded(event) } else { has_syn(event) }),
        // The other counters do not count attempts alone, or do not count all attempts.
        ..counted
    };
    let lines = || -> String { here.iter().map(|event| format!("{event}\n")).collect() };
    if streamed != counted {
        return Err(Error::new(format!("netns {netns}: stream: {streamed:?}, kernel: {counted:?}\n{}", lines())));
    }
    kind_counters_match(&here, counted)
        .map_err(|error| Error::new(format!("netns {netns}: {error}, kernel: {counted:?}\n{}", lines())))
}

/// Checks the counters that show which of the kernel's functions made the attempts. Each attempt of
/// an unknown kind may be in one of the counters.
fn kind_counters_match(events: &[&Event], counted: Counters) -> Result<()> {
    use RetransKind::{Fast, Fastopen, Mtu, Resume, Rto, SlowStart, Syn, Tlp, Unknown};
    let successes = |kinds: &[RetransKind]| -> Vec<&Event> {
        let which = |event: &&&Event| event.result == RetransResult::Success && kinds.contains(&event.kind);
        events.iter().filter(which).copied().collect()
    };
    let segs = |events: Vec<&Event>, in_loss: bool| -> u64 {
        let which = |event: &&Event| event.ca_state.is_none_or(|state| (state == CaState::Loss) == in_loss);
        events.into_iter().filter(which).map(|event| u64::from(event.segs)).sum()
    };
    let fast = segs(successes(&[Fast]), false);
    let slow_start = segs(successes(&[SlowStart, Mtu, Resume]), true);
    let fastopen = segs(successes(&[Fastopen]), true);
    let unknown: u64 = successes(&[Unknown]).iter().map(|event| u64::from(event.segs)).sum();
    // A kernel before 5dfe9d273932 (v6.10) sends Fast Open data again by another function, which
    // does not count it.
    let fits = [0, fastopen].into_iter().any(|fastopen| {
        let rest =
            counted.fast_retrans.checked_sub(fast).zip(counted.slow_start_retrans.checked_sub(slow_start + fastopen));
        rest.is_some_and(|(fast, slow_start)| fast + slow_start <= unknown)
    });
    if !fits {
        return Err(Error::new(format!(
            "TCPFastRetrans is {fast} and TCPSlowStartRetrans is {slow_start} by the stream, with {fastopen} segments of \
             Fast Open and {unknown} of an unknown kind"
        )));
    }
    let probes = successes(&[Tlp]).len() as u64;
    if counted.loss_probes < probes {
        return Err(Error::new(format!("TCPLossProbes is at least {probes} by the stream")));
    }
    let timeouts = events.iter().filter(|event| matches!(event.kind, Rto | Syn)).count() as u64;
    if counted.timeouts < timeouts {
        return Err(Error::new(format!("TCPTimeouts is at least {timeouts} by the stream")));
    }
    Ok(())
}

/// Returns whether the segment is a SYN. The reason for its retransmission may be an ICMP error.
fn has_syn(event: &Event) -> bool {
    const SYN: u16 = 0x02;
    event.kind == RetransKind::Syn || event.tcp_flags.is_some_and(|flags| flags.0 & SYN != 0)
}

fn account(attempts: impl Iterator<Item = (Connection, Attempt)>) -> BTreeMap<Connection, Vec<Attempt>> {
    let mut account: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (connection, attempt) in attempts {
        account.entry(connection).or_default().push(attempt);
    }
    account
}

fn of_trace(event: &TraceEvent) -> (Connection, Attempt) {
    ((event.local(), event.remote()), (event.tracepoint, event.family.clone(), event.state.clone(), event.err))
}

/// Formats an event in the way in which the kernel would have printed it.
fn of_event(event: &Event) -> (Connection, Attempt) {
    let family = if event.mapped { Some("AF_INET6") } else { event.family().entry().and_then(|entry| entry.c_name) };
    let family = family.map(str::to_owned);
    let attempt = if event.kind == RetransKind::Synack {
        (Tracepoint::RetransmitSynack, family, None, None)
    } else {
        let state = event.state.entry().and_then(|entry| entry.c_name).map(str::to_owned);
        (Tracepoint::RetransmitSkb, family, state, event.err)
    };
    (ends(event), attempt)
}

/// Returns the pairs of event and trace line of each attempt, if both have the same number of
/// attempts of each connection.
fn paired<'a>(events: &'a [Event], traced: &'a [TraceEvent]) -> Vec<(&'a Event, &'a TraceEvent)> {
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = (events.iter().collect(), traced.iter().collect());
    // The sort is stable: it sorts by connection, and keeps the order of arrival of each
    // connection.
    ours.sort_by_key(|event| ends(event));
    theirs.sort_by_key(|event| (event.local(), event.remote()));
    ours.into_iter().zip(theirs).collect()
}

/// Returns how much the offset between the clocks of stream and trace varies. The stream's time is
/// the kernel's boot time plus an offset.
fn clocks_apart(events: &[Event], traced: &[TraceEvent]) -> Duration {
    let offset =
        |(ours, theirs): (&Event, &TraceEvent)| i128::from(ours.ts.as_nanos()) - theirs.timestamp.as_nanos() as i128;
    let offsets: Vec<_> = paired(events, traced).into_iter().map(offset).collect();
    let apart = offsets.iter().max().zip(offsets.iter().min()).map_or(0, |(most, least)| most - least);
    Duration::from_nanos(u64::try_from(apart).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = "ts=1000.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 \
        daddr=10.0.0.2 dport=443 state=established segs=1 class=drop netns=7";

    const BOTH: Failures = Failures { streamed: true, synacks: true, printed: true, by_errno: true, named: false };

    fn event() -> Event {
        EVENT.parse().expect("an event")
    }

    fn traced(err: i32, second: &str) -> TraceEvent {
        let line = format!(
            "          <idle>-0       [001] ..s1.    {second}: tcp_retransmit_skb: skbaddr=0000000000000001 \
             skaddr=0000000000000002 family=AF_INET sport=4000 dport=443 saddr=10.0.0.1 daddr=10.0.0.2 \
             saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_ESTABLISHED err={err}"
        );
        TraceEvent::parse(&line).expect("a line").expect("one of ours")
    }

    #[test]
    fn text_matches_only_the_same_attempts() {
        assert!(text_matches(&[], &[], BOTH).is_ok());
        assert!(text_matches(&[event()], &[traced(-1, "10.500000")], BOTH).is_ok());
        assert!(text_matches(&[event()], &[traced(-16, "10.500000")], BOTH).is_err(), "result differs");
        assert!(text_matches(&[event()], &[], BOTH).is_err(), "an attempt that is not in the trace");
        assert!(text_matches(&[], &[traced(-1, "10.500000")], BOTH).is_err(), "an attempt that is not in the stream");
        let twice = [traced(-1, "10.500000"), traced(-1, "11.500000")];
        assert!(text_matches(&[event()], &twice, BOTH).is_err(), "one of two");
        let error = text_matches(&[event(), event()], &twice, BOTH).expect_err("a second apart, and at the same time");
        assert!(error.to_string().starts_with("the clocks drift apart by 1s"), "{error}");
    }

    #[test]
    fn kinds_match_only_their_call_stack() {
        let with = |callers: &str, task| TraceEvent {
            callers: callers.split_whitespace().map(str::to_owned).collect(),
            task: Some(task),
            ..traced(-1, "10.500000")
        };
        let none = Counters::default();
        let kinds = |event: &Event, traced: &[TraceEvent]| kinds_match(&[*event], traced, &none, BOTH);
        let timer = "__tcp_retransmit_skb tcp_retransmit_skb tcp_retransmit_timer tcp_write_timer";
        assert_eq!(kinds(&event(), &[with(timer, 1)]).expect("a timeout"), 1);
        let probe = "__tcp_retransmit_skb tcp_send_loss_probe tcp_write_timer";
        let error = kinds(&event(), &[with(probe, 1)]).expect_err("a probe").to_string();
        assert!(error.starts_with("kind rto of an attempt by LossProbe: ts=1000.5"), "{error}");
        assert!(error.ends_with("\n__tcp_retransmit_skb <- tcp_send_loss_probe <- tcp_write_timer"), "{error}");
        let unknown: Event = EVENT.replace("kind=rto", "kind=unknown").parse().expect("an event");
        assert_eq!(kinds(&unknown, &[with(probe, 1)]).expect("claims nothing"), 1);
        assert!(kinds(&event(), &[with("tcp_write_timer", 1)]).is_err(), "no known function");
        // A hardened kernel writes no stack if the idle task is current.
        assert!(kinds(&event(), &[with("", 1)]).is_err());
        assert_eq!(kinds(&event(), &[with("", 0)]).expect("not compared"), 0);
        let mtu = EVENT.replace("kind=rto", "kind=mtu").replace("segs", "ca_state=loss segs");
        let mtu: Event = mtu.parse().expect("an event");
        let ack = [with("__tcp_retransmit_skb tcp_xmit_retransmit_queue tcp_ack tcp_rcv_established", 1)];
        assert!(kinds(&mtu, &ack).is_err(), "no probe of the MTU has failed");
        let failed = Counters { mtu_probes_failed: 1, ..none };
        assert_eq!(kinds_match(&[mtu], &ack, &failed, BOTH).expect("a probe of the MTU has failed"), 1);
        let successes = Failures { printed: false, ..BOTH };
        assert_eq!(kinds_match(&[event()], &[], &none, successes).expect("only successes are compared"), 0);
    }

    #[test]
    fn only_successes_are_compared_if_one_side_reports_no_failures() {
        let success: Event =
            EVENT.replace("denied err=-1", "success err=0").replace("drop", "ok").parse().expect("an event");
        let successes_in_text = Failures { printed: false, by_errno: false, ..BOTH };
        // Such a kernel prints no `err`, and the oldest kernel prints no family.
        let mut old = traced(0, "10.500000");
        old.err = None;
        assert!(text_matches(&[success], &[old.clone()], BOTH).is_err());
        assert!(text_matches(&[success, event()], &[old.clone()], successes_in_text).is_ok());
        assert!(text_matches(&[event()], &[old.clone()], successes_in_text).is_err());
        old.family = None;
        assert!(text_matches(&[success], &[old], successes_in_text).is_ok());

        let successes_in_stream = Failures { streamed: false, ..BOTH };
        assert!(
            text_matches(&[success], &[traced(0, "10.500000"), traced(-1, "11.000000")], successes_in_stream).is_ok()
        );
        let counted = Counters { retrans_segs: 3, retrans_fail: 2, timeouts: 3, ..Counters::default() };
        assert!(counters_match(&[success], 7, counted, successes_in_stream).is_ok());
        assert!(counters_match(&[success], 7, counted, BOTH).is_err());
        assert!(counters_match(&[success; 2], 7, counted, successes_in_stream).is_err());
    }

    #[test]
    fn attempts_before_the_transmit_step_are_not_counted() {
        let counted = Counters { retrans_segs: 1, retrans_fail: 1, timeouts: 5, ..Counters::default() };
        assert!(counters_match(&[event()], 7, counted, BOTH).is_ok());
        assert!(counters_match(&[event()], 8, counted, BOTH).is_err(), "another namespace's");
        assert!(counters_match(&[event(), event()], 7, counted, BOTH).is_err());
        let busy = EVENT.replace("result=denied err=-1", "result=in_host_queue err=-16").replace("drop", "busy");
        let busy: Event = busy.parse().expect("an event");
        assert!(counters_match(&[event(), busy], 7, counted, BOTH).is_ok(), "it did not reach the transmit step");
        let synack: Event = EVENT.replace("kind=rto", "kind=synack").parse().expect("an event");
        assert!(counters_match(&[event(), synack], 7, counted, BOTH).is_ok(), "a failed SYN-ACK is not counted");
        assert!(text_matches(&[event(), synack], &[traced(-1, "10.500000")], BOTH).is_ok(), "nor is it printed");
    }
    #[test]
    fn kinds_match_the_counters_of_kinds() {
        let success = |kind: &str, ca_state: &str, segs: u64| -> Event {
            let line = EVENT.replace("result=denied err=-1", "result=success err=0").replace("class=drop", "class=ok");
            let line = line.replace("kind=rto", &format!("kind={kind}")).replace("segs=1", &format!("segs={segs}"));
            format!("{line} ca_state={ca_state}").parse().expect("an event")
        };
        let matches = |events: &[Event], counted: Counters| {
            let retrans_segs = events.iter().filter(|event| event.result == RetransResult::Success);
            let retrans_segs = retrans_segs.map(|event| u64::from(event.segs)).sum();
            counters_match(events, 7, Counters { retrans_segs, ..counted }, BOTH).is_ok()
        };
        let none = Counters::default();
        let fast = |segs| Counters { fast_retrans: segs, ..none };
        let slow_start = |segs| Counters { slow_start_retrans: segs, ..none };

        let event = success("fast", "recovery", 3);
        assert!(matches(&[event], fast(3)));
        assert!(!matches(&[event], fast(2)) && !matches(&[event], fast(4)) && !matches(&[event], slow_start(3)));
        assert!(!matches(&[success("fast", "loss", 3)], fast(3)), "the kernel counts it in the other counter");
        for kind in ["slow_start", "mtu", "resume"] {
            let event = success(kind, "loss", 2);
            assert!(matches(&[event], slow_start(2)), "{kind}");
            assert!(!matches(&[event], slow_start(1)) && !matches(&[event], slow_start(3)), "{kind}");
            assert!(!matches(&[event], fast(2)) && !matches(&[event], none), "{kind}");
        }

        // A kernel counts either all or none of the Fast Open data in Loss.
        let both = [success("fastopen", "loss", 1), success("fastopen", "loss", 2)];
        assert!(matches(&both, slow_start(3)) && matches(&both, none));
        assert!(!matches(&both, slow_start(1)) && !matches(&both, slow_start(2)) && !matches(&both, fast(3)));
        let direct = success("fastopen", "open", 1);
        assert!(matches(&[direct], none) && !matches(&[direct], slow_start(1)) && !matches(&[direct], fast(1)));

        // Unknown kinds are in one of the counters, or in no one.
        let unknown = [success("unknown", "loss", 3)];
        assert!(matches(&unknown, none) && matches(&unknown, fast(3)) && matches(&unknown, slow_start(3)));
        assert!(!matches(&unknown, fast(4)));
        assert!(!matches(&unknown, Counters { fast_retrans: 2, slow_start_retrans: 2, ..none }));

        let probe = [success("tlp", "open", 1)];
        assert!(!matches(&probe, none) && !matches(&probe, fast(1)));
        assert!(matches(&probe, Counters { loss_probes: 1, ..none }), "equal");
        assert!(matches(&probe, Counters { loss_probes: 2, ..none }), "a probe of new data");
        for kind in ["rto", "syn"] {
            let timeout = [success(kind, "loss", 1)];
            let syn_retrans = u64::from(kind == "syn");
            assert!(!matches(&timeout, Counters { syn_retrans, ..none }), "{kind}");
            assert!(matches(&timeout, Counters { timeouts: 1, syn_retrans, ..none }), "{kind}");
            assert!(matches(&timeout, Counters { timeouts: 2, syn_retrans, ..none }), "{kind}");
        }
        let probe = [success("zero_window_probe", "loss", 1)];
        assert!(matches(&probe, none));
    }
}
