// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses the text of the kernel's own tracepoints as tracefs, `perf script` and `trace-cmd report`
//! print it: every layout since Linux 5.10, and the layouts of the proposed patch.
//!
//! # Design
//!
//! A line with `err` contains none of the socket's fields by which the BPF programs distinguish
//! results with the same `err`. Therefore a specific result is reported only if `err` alone proves
//! it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use crate::event::Event;
use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::tcp_enums::TcpState;
use crate::event::timestamp::Timestamp;
use crate::event::transmit::Transmit;
use crate::text::reason_table::UNLISTED_BASE;

/// The contents of a line.
#[derive(Debug, PartialEq)]
pub(super) enum TraceLine {
    Attempt {
        event: Box<Event>,
        /// True if lines of this form also report failures.
        shows_failures: bool,
    },
    /// Lost events, with their number if the line reports it.
    Lost(Option<u64>),
    /// A line that is not about an attempt.
    Nothing,
}

const SKB: &str = "tcp_retransmit_skb";
const SYNACK: &str = "tcp_retransmit_synack";

/// Returns true if this is a line of a trace: a line of these tracepoints, a line of another event,
/// or a comment.
pub(super) fn is_recognised(line: &str) -> bool {
    marked(line).is_some()
        || line.starts_with('#')
        || lost(line).is_some()
        // Printed by trace-cmd before the events.
        || line.strip_prefix("cpus=").is_some_and(|cpus| cpus.parse::<u32>().is_ok())
        || line.strip_prefix("version = ").is_some_and(|version| version.parse::<u32>().is_ok())
        || line.starts_with("CPU ") && line.ends_with(" is empty")
        || has_head(line)
}

/// Returns true if a line begins with a head: `name-123   [001] ..s1. 123.456789: event: …`.
fn has_head(line: &str) -> bool {
    let Some((_, after)) = line.split_once(" [") else { return false };
    let Some((cpu, after)) = after.split_once("] ") else { return false };
    cpu.parse::<u32>().is_ok()
        && after.split_whitespace().take(2).any(|word| word.strip_suffix(':').and_then(seconds).is_some())
}

/// Returns the text before the last marker, the tracepoint, and the text after the marker.
///
/// The marker is the name of one of these tracepoints with a colon. The same text may occur in a
/// task name, which comes first in a line, or in the text of another event, such as the path of a
/// program. It does not occur in the text of these tracepoints, so the last marker is the relevant
/// one. If a complete head precedes this marker, the marker belongs to the text of another event: a
/// head is longer than a task name (15 bytes) can be.
fn marked(line: &str) -> Option<(&str, &'static str, &str)> {
    let find = |name: &'static str| {
        let before = line.rmatch_indices(name).find_map(|(at, _)| {
            let (head, after) = (&line[..at], line[at + name.len()..].strip_prefix(':')?);
            // The marker may include the name of the system, and perf pads before it.
            let head = head.strip_suffix("tcp:").unwrap_or(head);
            Some((head.trim_end().strip_suffix(':')?, after))
        });
        before.map(|(head, after)| (head, name, after))
    };
    let found = [SKB, SYNACK].into_iter().filter_map(find).max_by_key(|(head, ..)| head.len());
    found.filter(|(head, ..)| !holds_head(head))
}

/// Returns true if a text contains a head: `[1] … 123.456789: event:`.
fn holds_head(text: &str) -> bool {
    let words: Vec<_> = text.split_whitespace().collect();
    let is_cpu =
        |word: &str| word.strip_prefix('[').and_then(|word| word.strip_suffix(']')?.parse::<u32>().ok()).is_some();
    let is_event = |at: usize| {
        let is_time = words.get(at).and_then(|word| seconds(word.strip_suffix(':')?)).is_some();
        is_time && words.get(at + 1).is_some_and(|word| word.ends_with(':'))
    };
    words.iter().enumerate().any(|(at, word)| is_cpu(word) && (is_event(at + 1) || is_event(at + 2)))
}

pub(super) fn parse(line: &str, clock_offset: Duration) -> Result<TraceLine, String> {
    let Some((head, name, text)) = marked(line) else {
        return Ok(lost(line).map_or(TraceLine::Nothing, TraceLine::Lost));
    };
    let ts = head.split_whitespace().next_back().and_then(seconds).ok_or("no timestamp in seconds")?;
    let ts = ts.checked_add(clock_offset).and_then(|ts| u64::try_from(ts.as_nanos()).ok());
    let ts = Timestamp::from_nanos(ts.ok_or("timestamp later than the year 2554")?);
    // The first drafts print sentences as results. The result is last and extends to the end of the
    // line.
    let (text, sentence) = match text.split_once(" quit_reason=") {
        Some((text, sentence)) => (text, Some(sentence.trim_end())),
        None => (text, None),
    };
    let values = Values(text);
    let (saddr, daddr, mapped) = addresses(&values)?;
    let mut event = Event { ts, saddr, daddr, mapped, ..Event::blank() };
    (event.sport, event.dport) = (values.parsed("sport")?, values.parsed("dport")?);
    if name == SYNACK {
        // The tracepoint fires only for successes, and only for sockets in this state. A SYN-ACK is
        // one segment.
        (event.kind, event.state, event.segs) = (RetransKind::Synack, TcpState::NewSynRecv, 1);
        (event.result, event.err) = (RetransResult::Success, Some(0));
        event.transmit = Some(Transmit::Yes);
        return Ok(TraceLine::Attempt { event: Box::new(event), shows_failures: false });
    }
    event.state = state(values.required("state")?)?;
    let (err, named) = (values.get("err"), sentence.or_else(|| values.get("result")));
    let shows_failures = err.is_some() || named.is_some();
    (event.result, event.err) = match (err, named) {
        (_, Some(named)) => (meaning(named).ok_or_else(|| format!("unknown result `{named}`"))?, None),
        (Some(err), None) => {
            let err = err.parse().map_err(|_| format!("`err={err}` is not an integer"))?;
            (proven_by(err), Some(err))
        }
        (None, None) => (RetransResult::Success, Some(0)),
    };
    event.transmit = Some(if event.result == RetransResult::Success { Transmit::Yes } else { Transmit::Unknown });
    Ok(TraceLine::Attempt { event: Box::new(event), shows_failures })
}

/// `key=val` separated by white space.
struct Values<'a>(&'a str);

impl<'a> Values<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn required(&self, key: &str) -> Result<&'a str, String> {
        self.get(key).ok_or_else(|| format!("missing `{key}`"))
    }

    fn parsed<T: FromStr>(&self, key: &str) -> Result<T, String> {
        let value = self.required(key)?;
        value.parse().map_err(|_| format!("invalid value `{key}={value}`"))
    }
}

/// Parses the local and remote address, and whether they are IPv4 on an IPv6 socket.
fn addresses(values: &Values<'_>) -> Result<(IpAddr, IpAddr, bool), String> {
    let of_v6 = || Ok::<[Ipv6Addr; 2], String>([values.parsed("saddrv6")?, values.parsed("daddrv6")?]);
    let of_v4 = || Ok::<[Ipv4Addr; 2], String>([values.parsed("saddr")?, values.parsed("daddr")?]);
    let mapped = |[saddr, daddr]: [Ipv6Addr; 2]| Some((saddr.to_ipv4_mapped()?, daddr.to_ipv4_mapped()?));
    match values.get("family") {
        Some("AF_INET" | "0x2") => of_v4().map(|[saddr, daddr]| (saddr.into(), daddr.into(), false)),
        Some("AF_INET6" | "0xa") => of_v6().map(|v6| match mapped(v6) {
            Some((saddr, daddr)) => (saddr.into(), daddr.into(), true),
            None => (v6[0].into(), v6[1].into(), false),
        }),
        Some(other) => Err(format!("unknown `family={other}`")),
        // Before Linux 5.15 the text contains IPv6 addresses for an IPv4 socket as well. Such a
        // socket cannot be distinguished from an IPv6 socket with IPv4-mapped addresses.
        None => of_v6().map(|v6| match mapped(v6) {
            Some((saddr, daddr)) => (saddr.into(), daddr.into(), false),
            None => (v6[0].into(), v6[1].into(), false),
        }),
    }
}

fn state(name: &str) -> Result<TcpState, String> {
    let entry = TcpState::ALL.iter().find(|entry| entry.c_name == Some(name));
    // perf prints the number if it does not know the names.
    let state = entry.map(|entry| entry.variant).or_else(|| hexadecimal(name).map(TcpState::from_raw));
    state.ok_or_else(|| format!("unknown state `{name}`"))
}

/// Parses `0x1f`.
fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Returns the result that the error number alone proves. Other results would require the state of
/// the socket (`bpf/classify.bpf.h`).
fn proven_by(err: i32) -> RetransResult {
    match err {
        0 => RetransResult::Success,
        -16 => RetransResult::InHostQueue,
        -1 => RetransResult::Denied,
        1 => RetransResult::XmitDrop,
        -12 => RetransResult::Nomem,
        -105 => RetransResult::Nobufs,
        _ => RetransResult::ErrDefault,
    }
}

/// Returns the result of a name or sentence in the versions of the proposal (netdev, July 2025).
///
/// The patch in `tests/kernels/patches` uses this crate's own names.
fn meaning(text: &str) -> Option<RetransResult> {
    use RetransResult::*;
    Some(match text {
        "retrans_err_default" | "retransmit terminate unexpectedly" => ErrDefault,
        "retrans_succ" | "retransmit successfully" => Success,
        "packet_in_driver" | "packet still queued in driver" => InHostQueue,
        "invalid end sequence" => EndSeqError,
        "trim head no memory" => TrimHeadNomem,
        "skb_unclone_nomem" | "skb unclone keeptruesize no memory" => UncloneNomem,
        "fragment no memory" => FragNomem,
        "retrans_nomem" => Nomem,
        "routing failure" => RouteFail,
        // The typo is in the proposal.
        "closed recevier window" => RcvZeroWindow,
        "no buffer for skb copy" => PskbCopyNobufs,
        other => return named(other),
    })
}

/// Returns the result with this name in this crate, or an unlisted result for a number.
///
/// The versions of the proposal number their results differently, and a line does not show which
/// version printed it. Therefore the meaning of a number is not known.
fn named(text: &str) -> Option<RetransResult> {
    let by_number = || {
        let number = hexadecimal(text)?;
        (number < UNLISTED_BASE).then(|| RetransResult::from_raw(UNLISTED_BASE | number))
    };
    RetransResult::ALL.iter().find(|entry| entry.value == text).map(|entry| entry.variant).or_else(by_number)
}

/// Returns the number of lost events that tracefs, trace-cmd or perf reports; the inner value is
/// `None` if the number is not known.
fn lost(line: &str) -> Option<Option<u64>> {
    let line = line.trim();
    if let Some((_, after)) = line.split_once("PERF_RECORD_LOST lost ") {
        return after.split_whitespace().next()?.parse().ok().map(Some);
    }
    let (_, inner) = line.strip_prefix("CPU:")?.strip_suffix(']')?.split_once('[')?;
    let count = match inner {
        "LOST EVENTS" | "EVENTS DROPPED" => return Some(None),
        _ => inner.strip_prefix("LOST ").and_then(|after| after.strip_suffix(" EVENTS")),
    };
    count.or_else(|| inner.strip_suffix(" EVENTS DROPPED"))?.parse().ok().map(Some)
}

/// Parses `123.456789`, or with nine decimals.
fn seconds(text: &str) -> Option<Duration> {
    let (seconds, decimals) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(decimals.len(), 6 | 9) || !digits(decimals) || !digits(seconds) {
        return None;
    }
    let scale = 10u64.pow(9 - decimals.len() as u32);
    Duration::from_secs(seconds.parse().ok()?).checked_add(Duration::from_nanos(decimals.parse::<u64>().ok()? * scale))
}
