// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses the text of the two tracepoints: every layout since Linux 5.10, and the layouts of the
//! proposed patch.
//!
//! # Design
//!
//! A line with `err` contains none of the socket's fields by which the BPF programs distinguish
//! results with the same `err`. Therefore a specific result is reported only if `err` alone proves
//! it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::head;
use crate::event::Event;
use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::tcp_enums::TcpState;
use crate::event::transmit::Transmit;
use crate::text::escape::Escaped;
use crate::text::reason_table::UNLISTED_BASE;

/// The prefix of each field that the text of these tracepoints may begin with.
const FIRST_FIELDS: [&str; 3] = ["skbaddr=", "family=", "sport="];

/// The prefix of the result that may follow the fields.
const RESULTS: [&str; 3] = ["err=", "result=", "quit_reason="];

/// The attempt in the text of a tracepoint.
#[derive(Debug, PartialEq)]
pub(super) struct Attempt {
    pub(super) event: Box<Event>,
    /// True if lines of this form also report failures.
    pub(super) shows_failures: bool,
}

/// One of the two tracepoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracepoint {
    Skb,
    Synack,
}

impl Tracepoint {
    const ALL: [(&'static str, Self); 2] = [("tcp_retransmit_skb", Self::Skb), ("tcp_retransmit_synack", Self::Synack)];

    /// Returns the tracepoint with the name of an event: `tcp_retransmit_skb`, or with perf
    /// `tcp:tcp_retransmit_skb`, to which the terms and modifiers of the command line are appended:
    /// `tcp:tcp_retransmit_skb/call-graph=no/:k`.
    ///
    /// An event of another system is another event, such as a kprobe event of the same name.
    pub(super) fn of_event(name: &str) -> Option<Self> {
        let name = name.split('/').next().unwrap_or(name);
        let name = match name.split_once(':') {
            Some(("tcp", name)) => name.split(':').next().unwrap_or(name),
            Some(_) => return None,
            None => name,
        };
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, tracepoint)| *tracepoint)
    }

    /// Returns the name of a tracepoint in a text, and the text after the name, if fields follow.
    ///
    /// A colon, the parenthesis of `perf trace` or a colour follow the name of an event. After any
    /// other character, three fields are required, because the command of a shell prompt may
    /// contain the name and a field.
    pub(super) fn mentioned(text: &str) -> Option<(&'static str, &str)> {
        let last = |key: &str| {
            let is_field = |(at, _): &(usize, &str)| {
                // babeltrace prints spaces around the `=`.
                let after = text.get(at + key.len()..).map(str::trim_start);
                after.is_some_and(|after| {
                    after.strip_prefix('=').is_some_and(|value| is_value(value.trim_start()))
                        || after.strip_prefix(':').is_some_and(|value| is_printed_value(value.trim_start()))
                })
            };
            text.rmatch_indices(key).find(is_field).map(|(at, _)| at)
        };
        let (sport, dport, daddr) = (last("sport")?, last("dport"), last("daddr"));
        Self::ALL.iter().find_map(|(name, _)| {
            let found = text.match_indices(name).find(|(at, _)| {
                let end = at + name.len();
                match text.get(end..).and_then(|after| after.chars().next()) {
                    Some(':' | '(' | '\u{1b}') => end <= sport,
                    Some(next) if next.is_ascii_alphanumeric() || matches!(next, '_' | '+' | '.') => false,
                    _ => {
                        end <= sport
                            && dport.is_some_and(|dport| end <= dport)
                            && daddr.is_some_and(|daddr| end <= daddr)
                    }
                }
            });
            Some((*name, text.get(found?.0 + name.len()..)?))
        })
    }
}

/// Returns the value at the beginning of a text, without what may enclose it.
fn bare_value(text: &str) -> &str {
    let value = text.split(char::is_whitespace).next().unwrap_or_default().trim_end_matches([',', ';', '}']);
    let enclosed = [('<', '>'), ('[', ']'), ('(', ')')]
        .into_iter()
        .find_map(|(open, close)| value.strip_prefix(open)?.strip_suffix(close));
    enclosed.unwrap_or_else(|| value.trim_end_matches(')'))
}

/// Returns true if a text begins with a value of a field, which may have been made anonymous:
/// `443`, `NNNN` or `<port>`. A pattern, a format, a comparison or an expression contains other
/// characters.
fn is_value(text: &str) -> bool {
    let value = bare_value(text);
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:".contains(&byte))
}

/// Returns true if a text begins with a value that follows a colon, as in the text of `perf trace`.
/// In a sentence, other words follow it.
fn is_printed_value(text: &str) -> bool {
    let is_replaced = |value: &str| value.bytes().all(|byte| byte.is_ascii_uppercase());
    is_value(text)
        && (text.starts_with(|c: char| c.is_ascii_digit() || "<[".contains(c)) || is_replaced(bare_value(text)))
}

/// Returns the reason that a tracepoint's text cannot be parsed. Returns `None` for the text of
/// another event. `is_perf` is true if the name contains its system.
pub(super) fn missing(text: &str, is_perf: bool) -> Option<&'static str> {
    // The text of a kprobe event of the same name begins with an address in parentheses, and that
    // of a message of a kernel function (trace_printk) with anything.
    let has = |key: &str| text.contains(&format!("{key}=")) || text.contains(&format!("{key}:"));
    let has_fields = ["sport", "dport", "saddr", "daddr"].into_iter().any(has);
    if text.is_empty() || is_perf && !has_fields {
        return Some(
            "the fields of the event are missing: print them with `perf script -F +trace`; in a copied text, join the \
             lines of the event",
        );
    }
    let is_of_other = text.starts_with('(') || !has_fields;
    (!is_of_other).then_some(if has("sport") {
        "unknown text before the fields of the event"
    } else {
        "the field `sport` of the event is missing"
    })
}

/// Returns true if a text begins as the text of these tracepoints, and contains their fields.
///
/// The text of tcp_send_reset was the same up to Linux 6.9, so the name of the event is required.
pub(super) fn may_be_an_attempt(text: &str) -> bool {
    is_attempt(text) && !text.contains(" oldstate=") && text.contains(" daddrv6=")
}

/// Returns true if a text begins with one of the fields.
pub(super) fn is_attempt(text: &str) -> bool {
    text.starts_with("[FAILED TO PARSE]") || FIRST_FIELDS.iter().any(|field| text.starts_with(field))
}

/// Parses the text of a tracepoint. The timestamp is not part of it.
pub(super) fn parse(tracepoint: Tracepoint, text: &str) -> Result<Attempt, String> {
    if text.starts_with("[FAILED TO PARSE]") {
        return Err("trace-cmd could not parse the format of the event (`[FAILED TO PARSE]`): \
             print the recording with a newer trace-cmd, or use the text of tracefs"
            .to_owned());
    }
    // The path of a cgroup may follow the fields.
    let unformatted = |text: &str| text.contains("=ARRAY[") || text.contains("={0x");
    if unformatted(text.split(" /").next().unwrap_or(text)) {
        return Err("the fields are not formatted: print the recording with `trace-cmd report` without -R, \
             or tracefs without the option `fields`"
            .to_owned());
    }
    let (text, result) = split(tracepoint, text);
    if text.contains("=3D") {
        return Err("the mail is in quoted-printable: decode it".to_owned());
    }
    // Each field contains a `=`. The columns of another line do not.
    if let Some(word) = text.split_whitespace().find(|word| !word.contains('=')) {
        return Err(format!(
            "unknown text `{}` between the fields of the event: the end of a line is missing",
            Escaped::value(word)
        ));
    }
    let (first, rest) = result.split_once(char::is_whitespace).unwrap_or((result, ""));
    let is_result = RESULTS.iter().any(|key| first.starts_with(key));
    // Without its result, the attempt would be a success.
    if RESULTS.iter().any(|key| first == *key || !first.is_empty() && key.starts_with(first)) {
        return Err("the result is incomplete: the end of the line is missing".to_owned());
    }
    let after = if is_result { rest } else { result };
    // perf appends the path of a cgroup, which a user of the host may choose.
    let after = if after.starts_with('/') { "" } else { after.split(" /").next().unwrap_or(after) };
    if head::parse(after).is_some_and(|next| next.event.is_some()) {
        return Err("two events in one line: the end of a line is missing".to_owned());
    }
    if after.split_whitespace().any(|word| word.contains("err=") || word.contains("result=")) {
        return Err("unknown text before the result".to_owned());
    }
    let values = Values(text);
    let (saddr, daddr, mapped) = addresses(&values)?;
    let mut event = Event { saddr, daddr, mapped, ..Event::blank() };
    (event.sport, event.dport) = (values.parsed("sport")?, values.parsed("dport")?);
    if tracepoint == Tracepoint::Synack {
        // The tracepoint fires only for successes, and only for sockets in this state. A SYN-ACK is
        // one segment.
        (event.kind, event.state, event.segs) = (RetransKind::Synack, TcpState::NewSynRecv, 1);
        (event.result, event.err) = (RetransResult::Success, Some(0));
        event.transmit = Some(Transmit::Yes);
        return Ok(Attempt { event: Box::new(event), shows_failures: false });
    }
    event.state = state(values.required("state")?)?;
    let word = |key: &str| result.strip_prefix(key)?.split_whitespace().next();
    // The first drafts print sentences as results, which extend to the end of the line.
    let sentence = result.strip_prefix("quit_reason=").map(str::trim_end);
    let (err, named) = (word("err="), sentence.or_else(|| word("result=")));
    let shows_failures = err.is_some() || named.is_some();
    (event.result, event.err) = match (err, named) {
        (_, Some(named)) => {
            (meaning(named).ok_or_else(|| format!("unknown result `{}`", Escaped::value(named)))?, None)
        }
        (Some(err), None) => {
            let err = err.parse().map_err(|_| format!("`err={}` is not an integer", Escaped::value(err)))?;
            (of_errno(err), Some(err))
        }
        (None, None) => (RetransResult::Success, Some(0)),
    };
    event.transmit = Some(if event.result == RetransResult::Success { Transmit::Yes } else { Transmit::Unknown });
    Ok(Attempt { event: Box::new(event), shows_failures })
}

/// Splits the text into its fields, and the result that may follow the last field. perf appends
/// other columns, such as the path of a cgroup, whose name a user of the host may choose.
fn split(tracepoint: Tracepoint, text: &str) -> (&str, &str) {
    let last = match tracepoint {
        Tracepoint::Skb => "state=",
        Tracepoint::Synack => "daddrv6=",
    };
    let is_word = |(at, _): &(usize, &str)| text.get(..*at).is_some_and(|before| before.ends_with(char::is_whitespace));
    let Some((at, _)) = text.match_indices(last).find(is_word) else { return (text, "") };
    let end = text.get(at..).and_then(|value| value.find(char::is_whitespace)).map_or(text.len(), |len| at + len);
    let (fields, rest) = text.split_at(end);
    (fields, rest.trim_start())
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
        value.parse().map_err(|_| format!("invalid value `{key}={}`", Escaped::value(value)))
    }
}

/// Parses the local and remote address, and whether they are IPv4 on an IPv6 socket.
fn addresses(values: &Values<'_>) -> Result<(IpAddr, IpAddr, bool), String> {
    let of_v6 = || Ok::<[Ipv6Addr; 2], String>([values.parsed("saddrv6")?, values.parsed("daddrv6")?]);
    let of_v4 = || Ok::<[Ipv4Addr; 2], String>([values.parsed("saddr")?, values.parsed("daddr")?]);
    // No socket has an IPv4-mapped address on one side only.
    let mapped = |[saddr, daddr]: [Ipv6Addr; 2]| match (saddr.to_ipv4_mapped(), daddr.to_ipv4_mapped()) {
        (Some(saddr), Some(daddr)) => Ok(Some((saddr, daddr))),
        (None, None) => Ok(None),
        _ => {
            let [saddr, daddr] = ["saddrv6", "daddrv6"].map(|key| values.get(key).unwrap_or_default());
            Err(format!("only one of `saddrv6={saddr}` and `daddrv6={daddr}` is an IPv4-mapped address"))
        }
    };
    match values.get("family") {
        Some("AF_INET" | "0x2") => {
            if let Ok(v6) = of_v6() {
                mapped(v6)?;
            }
            of_v4().map(|[saddr, daddr]| (saddr.into(), daddr.into(), false))
        }
        Some("AF_INET6" | "0xa") => of_v6().and_then(|v6| match mapped(v6)? {
            Some((saddr, daddr)) => Ok((saddr.into(), daddr.into(), true)),
            None => Ok((v6[0].into(), v6[1].into(), false)),
        }),
        Some(other) => Err(format!("unknown `family={}`", Escaped::value(other))),
        // Before Linux 5.15 the text contains IPv6 addresses for an IPv4 socket as well. Such a
        // socket cannot be distinguished from an IPv6 socket with IPv4-mapped addresses.
        None => of_v6().and_then(|v6| match mapped(v6)? {
            Some((saddr, daddr)) => Ok((saddr.into(), daddr.into(), false)),
            None => Ok((v6[0].into(), v6[1].into(), false)),
        }),
    }
}

fn state(name: &str) -> Result<TcpState, String> {
    let entry = TcpState::ALL.iter().find(|entry| entry.c_name == Some(name));
    // perf prints the number if it does not know the names.
    let state = entry.map(|entry| entry.variant).or_else(|| hexadecimal(name).map(TcpState::from_raw));
    state.ok_or_else(|| format!("unknown state `{}`", Escaped::value(name)))
}

/// Parses `0x1f`.
fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Returns the result of an errno without the state of the socket, which other results would
/// require (`bpf/classify.bpf.h`). The results of -EBUSY and -ENOMEM assume that the attempt ended
/// before the transmit step, which the text does not show.
fn of_errno(err: i32) -> RetransResult {
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
