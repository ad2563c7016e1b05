// SPDX-License-Identifier: MIT OR Apache-2.0
//! One line of trace_pipe.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::{Context, Error, Result};

/// The tracepoints that are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tracepoint {
    /// `tcp:tcp_retransmit_skb`: everything but SYN-ACKs.
    RetransmitSkb,
    /// `tcp:tcp_retransmit_synack`.
    RetransmitSynack,
}

impl Tracepoint {
    /// Both.
    pub const ALL: [Self; 2] = [Self::RetransmitSkb, Self::RetransmitSynack];
}

/// The kernel's name for it.
impl fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetransmitSkb => "tcp_retransmit_skb",
            Self::RetransmitSynack => "tcp_retransmit_synack",
        })
    }
}

/// A retransmission as the kernel printed it. What this kernel's tracepoint does not have is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// Which tracepoint.
    pub tracepoint: Tracepoint,
    /// CLOCK_BOOTTIME, in microseconds' precision.
    pub timestamp: Duration,
    /// The thread that was running. A retransmission is a timer's doing, so this is mostly a bystander.
    pub task: Option<u32>,
    /// Whether that thread is one of process 1, or may have been, for it has ended since. Known of what an instance reads;
    /// a line alone does not tell.
    pub of_process_1: bool,
    /// The socket, as a number made up by the kernel to stand for its address.
    pub skaddr: Option<u64>,
    /// Local port.
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// `AF_INET` or `AF_INET6`; of a mapped socket the latter.
    pub family: Option<String>,
    /// Local IPv4 address. Of an IPv6 socket without meaning: what was in the field.
    pub saddr: Ipv4Addr,
    /// Remote IPv4 address; the same holds.
    pub daddr: Ipv4Addr,
    /// Local IPv6 address; of an IPv4 socket the mapped one.
    pub saddrv6: Ipv6Addr,
    /// Remote IPv6 address; of an IPv4 socket the mapped one.
    pub daddrv6: Ipv6Addr,
    /// The socket's state, such as `TCP_ESTABLISHED`.
    pub state: Option<String>,
    /// What the attempt came to.
    pub err: Option<i32>,
    /// What the proposed kernels print in place of `err`: a name, or a sentence.
    pub result: Option<String>,
    /// The whole line.
    pub line: String,
}

impl TraceEvent {
    /// Takes a line of trace_pipe apart. `None` if it is none of ours, such as the notice that events were lost.
    ///
    /// # Errors
    /// When it is one of ours and yet not what is expected.
    pub fn parse(line: &str) -> Result<Option<Self>> {
        Self::parse_known(line).with_context(|| format!("not understood: {line:?}"))
    }

    /// The local address and port; an IPv4-mapped address as the IPv4 address.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.saddrv6).to_canonical(), self.sport)
    }

    /// The remote address and port; an IPv4-mapped address as the IPv4 address.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.daddrv6).to_canonical(), self.dport)
    }

    fn parse_known(line: &str) -> Result<Option<Self>> {
        // The task's name comes first and may hold anything, but the text never holds a marker: the last one is it.
        let marked = |t: Tracepoint| line.rsplit_once(&format!(": {t}: ")).map(|(head, text)| (t, head, text));
        let last = Tracepoint::ALL.into_iter().filter_map(marked).max_by_key(|(_, head, _)| head.len());
        let Some((tracepoint, head, text)) = last else {
            return Ok(None);
        };
        let timestamp = head.rsplit(' ').next().and_then(seconds).ok_or_else(|| Error::new("no time stamp"))?;
        // The first draft of a result had sentences for values; it stands last, and takes the rest of the line.
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
                // Before it has randomness enough to make one up.
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
            line: line.to_owned(),
        }))
    }
}

fn required<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(value: Option<&str>, key: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(format!("no {key}")))?.parse().context(key)
}

/// `name-123   [001] ..s1.`
fn task(head: &str) -> Option<u32> {
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
    fn reads_a_line_of_6_18() {
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
    fn reads_a_synack_and_a_hostile_task_name() {
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
    fn reads_the_oldest_and_the_proposed_formats() {
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
    fn tells_others_lines_from_broken_ones() {
        assert_eq!(TraceEvent::parse("CPU:1 [LOST 12 EVENTS]").unwrap(), None);
        assert_eq!(TraceEvent::parse("").unwrap(), None);
        assert!(TraceEvent::parse("x-1 [000] .... 5.000000: tcp_retransmit_skb: sport=1").is_err());
        assert!(TraceEvent::parse("x-1 [000] .... soon: tcp_retransmit_skb: sport=1 dport=2").is_err());
    }
}
