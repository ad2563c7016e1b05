// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verdicts: reports on the attempts of a connection, made when their outcome is known.
//!
//! # Design
//!
//! A verdict is a record of its own, and not a field of an event, because it is known only later. A
//! function receives it ([`StreamBuilder::on_verdict`](crate::StreamBuilder::on_verdict)), so that
//! the methods that return events keep their types, and the decoding of events costs the same.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use retrans_macros::reason_table;

use crate::event::tcp_enums::{Family, TcpState};
use crate::event::timestamp::Timestamp;
use crate::text::escape::Escaped;

/// The subject of a [`Verdict`].
#[reason_table(key = "verdict")]
#[non_exhaustive]
pub enum VerdictKind {
    /// Attempts of the connection were unneeded: the peer had received the data already. See
    /// [`UnneededProof`] for what each proof shows.
    #[reason(c_name = "RETRANS_VERDICT_UNNEEDED")]
    Unneeded = 1,
    /// The connection has ended.
    #[reason(c_name = "RETRANS_VERDICT_ENDED")]
    Ended = 2,
}

/// The proof that attempts were unneeded.
#[reason_table(key = "proof")]
#[non_exhaustive]
pub enum UnneededProof {
    /// The peer reported that it received segments twice (DSACK, RFC 2883). Copies that the network
    /// made are included. Nothing is reported once the peer has reported more segments than the
    /// connection retransmitted.
    #[reason(c_name = "RETRANS_PROOF_DSACK")]
    Dsack = 1,
    /// The kernel undid the reduction of the congestion window, and each attempt of the recovery
    /// was unneeded: the peer received every retransmitted segment twice, or the only attempt was
    /// acknowledged with a timestamp from before it (RFC 3522). An undo by F-RTO (RFC 5682) alone
    /// is not reported, because the first attempt may have been needed.
    #[reason(c_name = "RETRANS_PROOF_UNDO")]
    Undo = 2,
}

/// The reason for which a connection ended.
#[reason_table(key = "why")]
#[non_exhaustive]
pub enum EndReason {
    /// The reason is not proven.
    #[reason(value = "unknown", c_name = "RETRANS_END_UNKNOWN")]
    Unknown = 0,
    /// The peer acknowledged all data and the FIN, however the connection ended after that.
    #[reason(c_name = "RETRANS_END_ACKED")]
    Acked = 1,
    /// The kernel gave up after its retries (ETIMEDOUT, counted as TCPAbortOnTimeout).
    #[reason(c_name = "RETRANS_END_TIMED_OUT")]
    TimedOut = 2,
    /// The peer reset or refused the connection by a segment; or the peer sent data after the
    /// process had closed the socket, and this host reset the connection (TCPAbortOnData).
    #[reason(c_name = "RETRANS_END_RESET")]
    Reset = 3,
    /// The time that the process set with `TCP_USER_TIMEOUT` elapsed. While the peer's window is
    /// closed the kernel also gives up by the number of its probes, which is `unknown` then.
    #[reason(c_name = "RETRANS_END_USER_TIMEOUT")]
    UserTimeout = 4,
    /// The peer was unreachable: an ICMP error ended the handshake, or the kernel gave up, and the
    /// last cause that it recorded was a missing route or an ICMP error.
    #[reason(c_name = "RETRANS_END_UNREACHABLE")]
    Unreachable = 5,
    /// This host ended the connection before everything was acknowledged in order: by `close` with
    /// unread data or without lingering, by an administrator (`ss --kill`), or for lack of memory.
    #[reason(c_name = "RETRANS_END_LOCAL_CLOSE")]
    LocalClose = 6,
}

/// A report on the attempts of a connection, made when their outcome is known:
/// [`StreamBuilder::on_verdict`](crate::StreamBuilder::on_verdict).
///
/// It prints as a key=value line that begins with `what=verdict`, and parses back. Readers of a
/// recording skip such lines, except
/// [`RecordedLines::next_item`](crate::offline::RecordedLines::next_item).
///
/// # Examples
///
/// ```
/// use retrans_sdk::event::{EndReason, Verdict};
///
/// let line = "what=verdict ts=1.500000000 verdict=ended why=timed_out cookie=17 netns=4026531840 \
///     family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established attempts=5 \
///     segs=5 total_retrans=5 stall_ms=3011 unacked=100 sk_err=110";
/// let verdict: Verdict = line.parse()?;
/// assert_eq!(verdict.why, Some(EndReason::TimedOut));
/// assert_eq!(verdict.to_string(), line);
/// # Ok::<(), retrans_sdk::event::ParseVerdictError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Verdict {
    /// The wall-clock time, in nanoseconds since the Unix epoch.
    pub ts: Timestamp,
    /// The kind of the verdict.
    pub verdict: VerdictKind,
    /// The proof; `None` unless the attempts were unneeded.
    pub proof: Option<UnneededProof>,
    /// The reason of the end; `None` unless the connection has ended.
    pub why: Option<EndReason>,
    /// The socket's cookie, as in the events of its attempts.
    pub cookie: u64,
    /// The inode number of the socket's network namespace.
    pub netns: u32,
    /// The local address. For an IPv4-mapped connection it is the IPv4 address.
    pub saddr: IpAddr,
    /// The local port.
    pub sport: u16,
    /// The peer's address. For an IPv4-mapped connection it is the IPv4 address.
    pub daddr: IpAddr,
    /// The peer's port.
    pub dport: u16,
    /// The state of the connection when the verdict was made. For
    /// [`Ended`](VerdictKind::Ended) it is the state before the change to CLOSE.
    pub state: TcpState,
    /// The number of attempts: of the connection if it has ended, else of the recovery that was
    /// undone. Counts attempts that passed the filter. `None` for the proof
    /// [`Dsack`](UnneededProof::Dsack), which counts segments.
    pub attempts: Option<u32>,
    /// The number of segments of these attempts. For the proof [`Dsack`](UnneededProof::Dsack), the
    /// number of segments that the peer received twice.
    pub segs: Option<u32>,
    /// The number of segments that the connection retransmitted in total (`tp->total_retrans`). For
    /// an accepted socket this includes the SYN-ACKs that were sent again.
    pub total_retrans: Option<u32>,
    /// The duration of the last stall in milliseconds: from the first attempt that passed the
    /// filter after the peer last acknowledged data, to the end. `None` if the peer acknowledged
    /// data after the last such attempt, because the time at which the stall ended is not known.
    pub stall_ms: Option<u32>,
    /// The number of bytes that the process wrote and the peer did not acknowledge, sent or not.
    pub unacked: Option<u32>,
    /// The socket's error (`sk->sk_err`), a positive errno. `None` without an error.
    pub sk_err: Option<u32>,
}

/// The header version of a verdict, `RETRANS_VERDICT_VERSION`.
const VERSION: u16 = 0x8001;
/// The size of `struct retrans_verdict`.
pub(crate) const VERDICT_LEN: usize = 104;

/// The offsets in `struct retrans_verdict`, which `kernel/layout.rs` compares.
pub(crate) mod offset {
    pub(crate) const TS: usize = 16;
    pub(crate) const COOKIE: usize = 24;
    pub(crate) const NETNS: usize = 32;
    pub(crate) const VERDICT: usize = 36;
    pub(crate) const REASON: usize = 37;
    pub(crate) const FAMILY: usize = 38;
    pub(crate) const STATE: usize = 39;
    pub(crate) const SPORT: usize = 40;
    pub(crate) const DPORT: usize = 42;
    pub(crate) const SADDR: usize = 44;
    pub(crate) const DADDR: usize = 60;
    pub(crate) const ATTEMPTS: usize = 76;
    pub(crate) const SEGS: usize = 80;
    pub(crate) const TOTAL_RETRANS: usize = 84;
    pub(crate) const STALL_MS: usize = 88;
    pub(crate) const UNACKED: usize = 92;
    pub(crate) const ERR: usize = 96;
}

impl Verdict {
    /// Decodes a record; `None` if it is not a verdict. `epoch_offset` converts `CLOCK_BOOTTIME` to
    /// the Unix epoch, in nanoseconds.
    pub(crate) fn decode(bytes: &[u8], epoch_offset: i64) -> Option<Self> {
        let bytes: &[u8; VERDICT_LEN] = bytes.try_into().ok()?;
        let u16_at = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let u32_at = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let byte = |at: usize| bytes.get(at).copied().map(u32::from);
        if usize::from(u16_at(0)?) != VERDICT_LEN || u16_at(2)? != VERSION {
            return None;
        }
        let present = u64_at(8)?;
        let optional = |bit: u32, at: usize| u32_at(at).filter(|_| present & 1 << bit != 0);
        let verdict = VerdictKind::from_raw(byte(offset::VERDICT)?);
        let reason = byte(offset::REASON)?;
        let (saddr, daddr) = addresses(
            byte(offset::FAMILY)?,
            *bytes.get(offset::SADDR..)?.first_chunk()?,
            *bytes.get(offset::DADDR..)?.first_chunk()?,
        )?;
        Some(Self {
            ts: Timestamp::from_nanos(u64_at(offset::TS)?.wrapping_add_signed(epoch_offset)),
            verdict,
            proof: (verdict == VerdictKind::Unneeded).then(|| UnneededProof::from_raw(reason)),
            why: (verdict == VerdictKind::Ended).then(|| EndReason::from_raw(reason)),
            cookie: u64_at(offset::COOKIE)?,
            netns: u32_at(offset::NETNS)?,
            saddr,
            sport: u16_at(offset::SPORT)?,
            daddr,
            dport: u16_at(offset::DPORT)?,
            state: TcpState::from_raw(byte(offset::STATE)?),
            attempts: optional(0, offset::ATTEMPTS),
            segs: optional(1, offset::SEGS),
            total_retrans: optional(2, offset::TOTAL_RETRANS),
            stall_ms: optional(3, offset::STALL_MS),
            unacked: optional(4, offset::UNACKED),
            sk_err: optional(5, offset::ERR),
        })
    }

    /// Returns the family of the addresses. It is `inet` for an IPv4-mapped connection.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self.saddr {
            IpAddr::V4(_) => Family::Inet,
            IpAddr::V6(_) => Family::Inet6,
        }
    }

    /// Returns the optional numbers with their keys, in the order of the line.
    fn numbers(&self) -> [(&'static str, Option<u32>); 6] {
        [
            ("attempts", self.attempts),
            ("segs", self.segs),
            ("total_retrans", self.total_retrans),
            ("stall_ms", self.stall_ms),
            ("unacked", self.unacked),
            ("sk_err", self.sk_err),
        ]
    }
}

/// Returns the addresses of a record; IPv4-mapped ones as IPv4.
fn addresses(family: u32, saddr: [u8; 16], daddr: [u8; 16]) -> Option<(IpAddr, IpAddr)> {
    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 10;
    match family {
        AF_INET => {
            let v4 = |bytes: [u8; 16]| Some(IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)));
            Some((v4(saddr)?, v4(daddr)?))
        }
        AF_INET6 => {
            let (saddr, daddr) = (Ipv6Addr::from(saddr), Ipv6Addr::from(daddr));
            Some(match (saddr.to_ipv4_mapped(), daddr.to_ipv4_mapped()) {
                (saddr, Some(daddr)) => (saddr.unwrap_or(Ipv4Addr::UNSPECIFIED).into(), daddr.into()),
                _ => (saddr.into(), daddr.into()),
            })
        }
        _ => None,
    }
}

/// Prints the key=value line.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ts, verdict, cookie, netns, saddr, sport, daddr, dport, state, .. } = self;
        write!(f, "{PREFIX}ts={ts} verdict={verdict}")?;
        if let Some(proof) = self.proof {
            write!(f, " proof={proof}")?;
        }
        if let Some(why) = self.why {
            write!(f, " why={why}")?;
        }
        write!(f, " cookie={cookie} netns={netns} family={} saddr={saddr} sport={sport}", self.family())?;
        write!(f, " daddr={daddr} dport={dport} state={state}")?;
        for (key, value) in self.numbers() {
            if let Some(value) = value {
                write!(f, " {key}={value}")?;
            }
        }
        Ok(())
    }
}

/// The beginning of the key=value line of a verdict, which no line of an event has.
pub(crate) const PREFIX: &str = "what=verdict ";

/// Returns true if a line of a recording is a verdict, as text or as JSON.
pub(crate) fn is_line(text: &str) -> bool {
    text.starts_with(PREFIX) || text.starts_with("{\"what\":\"verdict\",")
}

/// Parses the key=value line, with keys in any order after `what=verdict`. Ignores unknown keys.
///
/// # Errors
///
/// Returns [`ParseVerdictError`] for a text that is not such a line, a missing or duplicate key,
/// and an invalid value.
impl FromStr for Verdict {
    type Err = ParseVerdictError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem: String| ParseVerdictError { problem };
        let pairs =
            text.strip_prefix(PREFIX).ok_or_else(|| fail(format!("the line does not begin with `{PREFIX}`")))?;
        let mut found: Vec<(&str, &str)> = Vec::new();
        for pair in pairs.split(' ') {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| fail(format!("`{}` is not key=value", Escaped::value(pair))))?;
            if found.iter().any(|(known, _)| *known == key) {
                return Err(fail(format!("duplicate key `{}`", Escaped::value(key))));
            }
            found.push((key, value));
        }
        let pairs = Pairs(found);
        let verdict = pairs.required::<VerdictKind>("verdict")?;
        let parsed = Self {
            ts: pairs.required("ts")?,
            verdict,
            proof: pairs.optional("proof")?,
            why: pairs.optional("why")?,
            cookie: pairs.required("cookie")?,
            netns: pairs.required("netns")?,
            saddr: pairs.required("saddr")?,
            sport: pairs.required("sport")?,
            daddr: pairs.required("daddr")?,
            dport: pairs.required("dport")?,
            state: pairs.required("state")?,
            attempts: pairs.optional("attempts")?,
            segs: pairs.optional("segs")?,
            total_retrans: pairs.optional("total_retrans")?,
            stall_ms: pairs.optional("stall_ms")?,
            unacked: pairs.optional("unacked")?,
            sk_err: pairs.optional("sk_err")?,
        };
        let family = pairs.required::<Family>("family")?;
        if family != parsed.family() || parsed.saddr.is_ipv4() != parsed.daddr.is_ipv4() {
            return Err(fail("`family`, `saddr` and `daddr` contradict one another".to_owned()));
        }
        Ok(parsed)
    }
}

/// The keys of a line with their values.
struct Pairs<'text>(Vec<(&'text str, &'text str)>);

impl Pairs<'_> {
    fn optional<T: FromStr>(&self, key: &str) -> Result<Option<T>, ParseVerdictError> {
        let Some((_, value)) = self.0.iter().find(|(of, _)| *of == key) else { return Ok(None) };
        value
            .parse()
            .map(Some)
            .map_err(|_| ParseVerdictError { problem: format!("`{key}={}` is not valid", Escaped::value(value)) })
    }

    fn required<T: FromStr>(&self, key: &str) -> Result<T, ParseVerdictError> {
        self.optional(key)?.ok_or_else(|| ParseVerdictError { problem: format!("missing key `{key}`") })
    }
}

/// The error of a text that is not the key=value line of a [`Verdict`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseVerdictError {
    problem: String,
}

impl fmt::Display for ParseVerdictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ParseVerdictError {}

/// Serializes the keys of the line, in its order. `what` is `verdict`, and `ts` and `cookie` are
/// strings, as in an event.
#[cfg(feature = "serde")]
impl serde::Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("what", "verdict")?;
        map.serialize_entry("ts", &self.ts.to_string())?;
        map.serialize_entry("verdict", &self.verdict.to_string())?;
        if let Some(proof) = self.proof {
            map.serialize_entry("proof", &proof.to_string())?;
        }
        if let Some(why) = self.why {
            map.serialize_entry("why", &why.to_string())?;
        }
        map.serialize_entry("cookie", &self.cookie.to_string())?;
        map.serialize_entry("netns", &self.netns)?;
        map.serialize_entry("family", &self.family().to_string())?;
        map.serialize_entry("saddr", &self.saddr.to_string())?;
        map.serialize_entry("sport", &self.sport)?;
        map.serialize_entry("daddr", &self.daddr.to_string())?;
        map.serialize_entry("dport", &self.dport)?;
        map.serialize_entry("state", &self.state.to_string())?;
        for (key, value) in self.numbers() {
            if let Some(value) = value {
                map.serialize_entry(key, &value)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_verdict() -> impl Strategy<Value = [u8; VERDICT_LEN]> {
        (prop::collection::vec(any::<u8>(), VERDICT_LEN), 0u8..4, 0u8..8, any::<bool>(), any::<bool>()).prop_map(
            |(bytes, verdict, reason, inet6, mapped)| {
                let mut bytes: [u8; VERDICT_LEN] = bytes.try_into().expect("as long as asked");
                bytes[0..2].copy_from_slice(&(VERDICT_LEN as u16).to_ne_bytes());
                bytes[2..4].copy_from_slice(&VERSION.to_ne_bytes());
                (bytes[offset::VERDICT], bytes[offset::REASON]) = (verdict, reason);
                bytes[offset::FAMILY] = if inet6 { 10 } else { 2 };
                for at in [offset::SADDR, offset::DADDR] {
                    // A random address is not IPv4-mapped.
                    bytes[at] |= 1;
                    if mapped {
                        bytes[at..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
                    }
                }
                bytes
            },
        )
    }

    proptest! {
        #[test]
        fn a_verdict_survives_the_line(record in any_verdict(), epoch_offset in any::<i64>()) {
            let verdict = Verdict::decode(&record, epoch_offset).expect("a good header");
            let text = verdict.to_string();
            prop_assert!(text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{text}");
            prop_assert_eq!(text.parse::<Verdict>().expect(&text), verdict);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".*") {
            // Only the absence of a panic is tested.
            let _ = Verdict::decode(&bytes, 0);
            let _ = format!("{PREFIX}{text}").parse::<Verdict>();
        }
    }

    #[test]
    fn a_record_of_an_attempt_is_not_a_verdict() {
        let mut record = [0; VERDICT_LEN];
        record[0..2].copy_from_slice(&(VERDICT_LEN as u16).to_ne_bytes());
        record[2..4].copy_from_slice(&crate::event::record::VERSION.to_ne_bytes());
        record[offset::FAMILY] = 2;
        assert_eq!(Verdict::decode(&record, 0), None);
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        assert!(Verdict::decode(&record, 0).is_some());
        assert_eq!(Verdict::decode(&record[..96], 0), None);
        record[offset::FAMILY] = 1;
        assert_eq!(Verdict::decode(&record, 0), None);
    }

    #[test]
    fn values_without_a_presence_bit_are_absent() {
        let mut record = [0xff; VERDICT_LEN];
        record[0..2].copy_from_slice(&(VERDICT_LEN as u16).to_ne_bytes());
        record[2..4].copy_from_slice(&VERSION.to_ne_bytes());
        record[8..16].fill(0);
        record[offset::FAMILY] = 2;
        (record[offset::VERDICT], record[offset::REASON]) = (2, 1);
        let verdict = Verdict::decode(&record, 0).expect("a good header");
        assert!(verdict.numbers().iter().all(|(_, value)| value.is_none()));
        for (bit, (key, _)) in verdict.numbers().into_iter().enumerate() {
            record[8..16].copy_from_slice(&(1u64 << bit).to_ne_bytes());
            let text = Verdict::decode(&record, 0).expect("a good header").to_string();
            assert!(text.ends_with(&format!(" {key}=4294967295")), "{text}");
        }
    }

    #[test]
    fn invalid_lines_are_rejected() {
        let good = "what=verdict ts=1.500000000 verdict=unneeded proof=dsack cookie=17 netns=1 family=inet \
            saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established segs=2 later=x";
        let verdict: Verdict = good.parse().expect("a line");
        assert_eq!((verdict.proof, verdict.why, verdict.segs), (Some(UnneededProof::Dsack), None, Some(2)));
        for (from, to) in [
            ("what=verdict", "what=event"),
            ("verdict=unneeded", "verdict=maybe"),
            (" netns=1", ""),
            ("cookie=17", "cookie=17 cookie=17"),
            ("family=inet", "family=inet6"),
            ("daddr=10.0.0.2", "daddr=fd00::1"),
            ("segs=2", "segs=-2"),
            (" later=x", " later"),
        ] {
            let bad = good.replace(from, to);
            assert!(bad.parse::<Verdict>().is_err(), "{bad}");
        }
    }
}
