// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses a line of trace_pipe.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::{Context, Error, Result};

/// The traced tracepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tracepoint {
    /// `tcp:tcp_retransmit_skb`: everything but SYN-ACKs.
    RetransmitSkb,
    /// `tcp:tcp_retransmit_synack`.
    RetransmitSynack,
}

impl Tracepoint {
    /// Both tracepoints.
    pub const ALL: [Self; 2] = [Self::RetransmitSkb, Self::RetransmitSynack];
}

/// Prints the kernel's name.
impl fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetransmitSkb => "tcp_retransmit_skb",
            Self::RetransmitSynack => "tcp_retransmit_synack",
        })
    }
}

/// A retransmission as the kernel printed it. A field that this kernel's tracepoint does not have
/// is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// The tracepoint.
    pub tracepoint: Tracepoint,
    /// CLOCK_BOOTTIME, with a precision of microseconds.
    pub timestamp: Duration,
    /// The current thread. A timer retransmits, so it is usually an unrelated one.
    pub task: Option<u32>,
    /// True if that thread belongs to process 1, or may have belonged to it and has ended since.
    /// Only [`TraceInstance`](super::TraceInstance) sets it.
    pub of_process_1: bool,
    /// The hashed address of the socket.
    pub skaddr: Option<u64>,
    /// Local port.
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// `AF_INET` or `AF_INET6`; the latter for a mapped socket.
    pub family: Option<String>,
    /// Local IPv4 address. Meaningless for an IPv6 socket.
    pub saddr: Ipv4Addr,
    /// Remote IPv4 address. Meaningless for an IPv6 socket.
    pub daddr: Ipv4Addr,
    /// Local IPv6 address; the mapped one for an IPv4 socket.
    pub saddrv6: Ipv6Addr,
    /// Remote IPv6 address; the mapped one for an IPv4 socket.
    pub daddrv6: Ipv6Addr,
    /// The socket's state, such as `TCP_ESTABLISHED`.
    pub state: Option<String>,
    /// The result of the attempt.
    pub err: Option<i32>,
    /// The result, which the proposed kernels print instead of `err`: a name or a sentence.
    pub result: Option<String>,
    /// The functions that called the tracepoint, the innermost first. Only a
    /// [`TraceInstance`](super::TraceInstance) with call stacks sets it, and not always
    /// ([`may_lack_stack`](Self::may_lack_stack)).
    pub callers: Vec<String>,
    /// The whole line.
    pub line: String,
}

impl TraceEvent {
    /// Parses a line of trace_pipe. Returns `None` for a line of no traced tracepoint, such as the
    /// notice that events were lost.
    ///
    /// # Errors
    /// Returns an error if a line of a traced tracepoint is malformed.
    pub fn parse(line: &str) -> Result<Option<Self>> {
        Self::parse_known(line).with_context(|| format!("cannot parse trace line {line:?}"))
    }

    /// Returns the local address and port, with an IPv4-mapped address as IPv4.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.saddrv6).to_canonical(), self.sport)
    }

    /// Returns the remote address and port, with an IPv4-mapped address as IPv4.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.daddrv6).to_canonical(), self.dport)
    }

    /// Returns whether the current task was one of those for which a hardened kernel writes no call
    /// stack: a thread of process 1, or an idle task.
    pub fn may_lack_stack(&self) -> bool {
        self.of_process_1 || self.task == Some(0)
    }

    /// Returns whether a kretprobe replaced a return address in the call stack. Old kernels do not
    /// find the callers behind it (seen on Linux 5.10).
    pub fn has_cut_stack(&self) -> bool {
        self.callers.iter().any(|name| name.contains("kretprobe"))
    }

    fn parse_known(line: &str) -> Result<Option<Self>> {
        // The task's name comes first and may contain anything. The text never contains a marker,
        // so the last marker is the real one.
        let marked = |t: Tracepoint| line.rsplit_once(&format!(": {t}: ")).map(|(head, text)| (t, head, text));
        let last = Tracepoint::ALL.into_iter().filter_map(marked).max_by_key(|(_, head, _)| head.len());
        let Some((tracepoint, head, text)) = last else {
            return Ok(None);
        };
        let timestamp = head.rsplit(' ').next().and_then(seconds).ok_or_else(|| Error::new("no timestamp"))?;
        // The first draft of the proposal printed sentences. The sentence comes last and extends to
        // the end of the line.
        let (text, sentence) = match text.split_once(" quit_reason=") {
            Some((text, sentence)) => (text, Some(sentence)),
            None => (text, None),
        };
        let value = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let owned = |key: &str| value(key).map(str::to_owned);
        Ok(Some(Self {
            tracepoint,
            timestamp,
            task: task(head),
            of_process_1: false,
            skaddr: match value("skaddr") {
                // The kernel prints this before it has enough randomness to hash the address.
                Some("(____ptrval____)") | None => None,
                Some(hex) => Some(u64::from_str_radix(hex.trim_start_matches("0x"), 16).context("skaddr")?),
            },
            sport: required(value("sport"), "sport")?,
            dport: required(value("dport"), "dport")?,
            family: owned("family"),
            saddr: required(value("saddr"), "saddr")?,
            daddr: required(value("daddr"), "daddr")?,
            saddrv6: required(value("saddrv6"), "saddrv6")?,
            daddrv6: required(value("daddrv6"), "daddrv6")?,
            state: owned("state"),
            err: value("err").map(|v| v.parse().context("err")).transpose()?,
            result: sentence.map(str::to_owned).or_else(|| owned("result")),
            callers: Vec::new(),
            line: line.to_owned(),
        }))
    }
}

fn required<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(value: Option<&str>, key: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(format!("no {key}")))?.parse().context(key)
}

/// `name-123   [001] ..s1.`
pub(super) fn task(head: &str) -> Option<u32> {
    head.rsplit_once(" [")?.0.trim_end().rsplit_once('-')?.1.parse().ok()
}

/// `123.456789`
fn seconds(text: &str) -> Option<Duration> {
    let (seconds, micros) = text.split_once('.')?;
    if micros.len() != 6 {
        return None;
    }
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(line: &str) -> TraceEvent {
        TraceEvent::parse(line).unwrap().unwrap()
    }

    #[test]
    fn parses_a_line_of_6_18() {
        let event = event(
            "          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: skbaddr=000000001b2a3c4d \
             skaddr=00000000deadbeef family=AF_INET sport=40000 dport=443 saddr=10.1.2.1 daddr=10.1.2.2 \
             saddrv6=::ffff:10.1.2.1 daddrv6=::ffff:10.1.2.2 state=TCP_ESTABLISHED err=-16",
        );
        assert_eq!(event.tracepoint, Tracepoint::RetransmitSkb);
        assert_eq!(event.timestamp, Duration::from_micros(1_234_567_890));
        assert_eq!(event.task, Some(0));
        assert_eq!(event.skaddr, Some(0xdead_beef));
        assert_eq!((event.sport, event.dport), (40000, 443));
        assert_eq!(event.family.as_deref(), Some("AF_INET"));
        assert_eq!(event.local(), "10.1.2.1:40000".parse().unwrap());
        assert_eq!(event.remote(), "10.1.2.2:443".parse().unwrap());
        assert_eq!(event.state.as_deref(), Some("TCP_ESTABLISHED"));
        assert_eq!((&event.err, &event.result), (&Some(-16), &None));
        let early = TraceEvent::parse(&event.line.replace("00000000deadbeef", "(____ptrval____)")).unwrap().unwrap();
        assert_eq!((early.skaddr, early.err), (None, Some(-16)));
    }

    #[test]
    fn parses_a_synack_and_a_hostile_task_name() {
        let event = event(
            "a: tcp_retransmit_skb: b-7   [000] ..s..    0.000001: tcp_retransmit_synack: family=AF_INET6 sport=443 \
             dport=1 saddr=0.0.0.0 daddr=0.0.0.0 saddrv6=fd00:0:0:7::2 daddrv6=fd00:0:0:7::1",
        );
        assert_eq!(event.tracepoint, Tracepoint::RetransmitSynack);
        assert_eq!(event.task, Some(7));
        assert_eq!(event.local(), "[fd00:0:0:7::2]:443".parse().unwrap());
        assert_eq!(event.remote(), "[fd00:0:0:7::1]:1".parse().unwrap());
        assert_eq!((event.skaddr, event.state, event.err), (None, None, None));
    }

    #[test]
    fn parses_the_oldest_and_the_proposed_formats() {
        let old = "x-1 [000] .... 5.000000: tcp_retransmit_skb: sport=1 dport=2 saddr=10.0.0.1 daddr=10.0.0.2 \
            saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_SYN_SENT";
        let proposed = format!("{old} quit_reason=skb is still in the host queue err=3");
        let later = format!("{old} result=packet_in_driver");
        assert_eq!((event(old).family, event(old).err, event(old).result), (None, None, None));
        assert_eq!(event(&proposed).result.as_deref(), Some("skb is still in the host queue err=3"));
        assert_eq!(event(&proposed).err, None);
        assert_eq!(event(&later).result.as_deref(), Some("packet_in_driver"));
    }

    #[test]
    fn distinguishes_other_lines_from_malformed_ones() {
        assert_eq!(TraceEvent::parse("CPU:1 [LOST 12 EVENTS]").unwrap(), None);
        assert_eq!(TraceEvent::parse("").unwrap(), None);
        assert!(TraceEvent::parse("x-1 [000] .... 5.000000: tcp_retransmit_skb: sport=1").is_err());
        assert!(TraceEvent::parse("x-1 [000] .... soon: tcp_retransmit_skb: sport=1 dport=2").is_err());
    }
}
