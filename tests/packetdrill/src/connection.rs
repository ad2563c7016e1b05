// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection of a script: translates the script's numbers to those of the kernel.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use etherparse::TcpHeader;
use retrans_lab::{Context, Error, Family, Result};

use crate::net::{PORT, Sent, cookie};
use crate::parse::hex;
use crate::script::{Flags, Segment, TcpOption};

/// A connection between the kernel and the peer of the script.
pub(crate) struct Connection {
    /// The port of the peer. It distinguishes the connections of all scripts that are played at the
    /// same time.
    pub(crate) port: u16,
    /// The port of the kernel's end, which chooses it if it connects.
    local: Option<u16>,
    /// The initial sequence number of the kernel.
    isn: Option<u32>,
    /// The same number in the script.
    script_isn: Option<u32>,
    /// The initial sequence number of the peer, which is the same in the script.
    remote_isn: u32,
    /// True if the peer has sent a segment that is not a SYN.
    is_answered: bool,
    /// The last acknowledgment number of the kernel.
    acked: Option<u32>,
    /// Values of the timestamp option: the script's, and the kernel's.
    stamps: Vec<(u32, u32)>,
    /// The last value of the timestamp option that the kernel has sent.
    stamp: Option<u32>,
}

impl Connection {
    /// Returns a new connection, with a port that no other has for a long time.
    pub(crate) fn new(is_active: bool) -> Self {
        // The traces of two programs are distinguished by these ports, so the first one is random.
        static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(RandomState::new().hash_one(0) as u32));
        const PORTS: std::ops::Range<u16> = 10_000..60_000;
        let port = PORTS.start + (NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u32) as u16;
        Self {
            port,
            local: (!is_active).then_some(PORT),
            isn: None,
            script_isn: None,
            remote_isn: 0,
            is_answered: false,
            acked: None,
            stamps: Vec::new(),
            stamp: None,
        }
    }

    /// Returns whether an inbound SYN belongs to this connection. Otherwise it opens another one.
    pub(crate) fn may_receive_syn(&self) -> bool {
        !self.is_answered
    }

    /// Updates the connection by a segment of the kernel.
    pub(crate) fn update(&mut self, sent: &Sent) {
        self.local.get_or_insert(sent.ports.0);
        if sent.flags.has(Flags::SYN) {
            self.isn = Some(sent.seq);
        }
        if sent.flags.has(Flags::ACK) {
            self.acked = Some(sent.ack);
        }
        self.stamp = sent.stamp.or(self.stamp);
    }

    /// Records the script's numbers of a segment that the kernel is expected to send.
    pub(crate) fn expect(&mut self, want: &Segment) {
        if want.flags.has(Flags::SYN) {
            self.script_isn.get_or_insert(want.seq);
        }
    }

    /// Returns a segment of the kernel in the numbers of the script.
    pub(crate) fn to_script(&self, sent: &Sent) -> Segment {
        let isn = self.isn.unwrap_or_default();
        let (seq, ack) = match sent.flags.has(Flags::SYN) {
            true => (sent.seq.wrapping_sub(isn).wrapping_add(self.script_isn.unwrap_or_default()), sent.ack),
            false => (sent.seq.wrapping_sub(isn), sent.ack.wrapping_sub(self.remote_isn)),
        };
        let ack = if sent.flags.has(Flags::ACK) { ack } else { 0 };
        Segment { flags: sent.flags, seq, len: sent.len, ack, ..Segment::default() }
    }

    /// Records that the kernel has sent an expected segment.
    pub(crate) fn matched(&mut self, want: &Segment, sent: &Sent) {
        let stamp = want.options.iter().find_map(|option| match option {
            TcpOption::Timestamp(value, _) => Some(*value),
            _ => None,
        });
        self.stamps.extend(stamp.zip(sent.stamp));
    }

    /// Returns the header of a segment that the peer sends.
    ///
    /// # Errors
    /// Returns an error if the kernel has not sent a SYN yet, so that its port is not known, or if
    /// the options are too long.
    pub(crate) fn header_of(&mut self, segment: &Segment, family: Family) -> Result<TcpHeader> {
        let Segment { flags, .. } = *segment;
        let is_syn = flags.has(Flags::SYN);
        if is_syn {
            self.remote_isn = segment.seq;
        }
        self.is_answered |= !is_syn || flags.has(Flags::ACK);
        let isn = self.isn.unwrap_or_default();
        let (seq, base) = match is_syn {
            true => (segment.seq, isn.wrapping_sub(self.script_isn.unwrap_or_default())),
            false => (segment.seq.wrapping_add(self.remote_isn), isn),
        };
        let has_ack = flags.has(Flags::ACK) || segment.ack != 0;
        let mut header = self.header(flags, seq)?;
        header.acknowledgment_number = if has_ack { segment.ack.wrapping_add(base) } else { 0 };
        header.window_size = segment.window;
        header.urgent_pointer = segment.urgent;
        let mut options = Vec::new();
        for option in &segment.options {
            self.add(option, family, has_ack, &mut options)?;
        }
        options.resize(options.len().next_multiple_of(4), 0);
        header.set_options_raw(&options).context("cannot set TCP options")?;
        Ok(header)
    }

    /// Returns the beginning of the header of a segment that the kernel has sent, for an ICMP
    /// error.
    ///
    /// # Errors
    /// Returns an error if the kernel has not sent a SYN yet.
    pub(crate) fn quoted(&self, seq: u32) -> Result<TcpHeader> {
        let mut header = self.header(Flags::ACK, seq.wrapping_add(self.isn.unwrap_or_default()))?;
        std::mem::swap(&mut header.source_port, &mut header.destination_port);
        Ok(header)
    }

    /// Returns the header of a reset that the kernel accepts, or `None` before its first
    /// acknowledgment.
    pub(crate) fn reset(&self) -> Option<TcpHeader> {
        self.header(Flags::RST, self.acked?).ok()
    }

    fn header(&self, flags: Flags, seq: u32) -> Result<TcpHeader> {
        let local = self.local.ok_or_else(|| Error::new("the kernel has not sent a SYN"))?;
        let mut header = TcpHeader::new(self.port, local, seq, 0);
        header.fin = flags.has(Flags::FIN);
        header.syn = flags.has(Flags::SYN);
        header.rst = flags.has(Flags::RST);
        header.psh = flags.has(Flags::PSH);
        header.ack = flags.has(Flags::ACK);
        header.urg = flags.has(Flags::URG);
        header.ece = flags.has(Flags::ECE);
        header.cwr = flags.has(Flags::CWR);
        header.ns = flags.has(Flags::AE);
        Ok(header)
    }

    /// Returns the kernel's value of the timestamp option that the script's peer echoes.
    fn echo(&self, echo: u32) -> u32 {
        let exact = self.stamps.iter().rev().find(|(script, _)| *script == echo);
        // The ticks of both are assumed to be equal.
        let near = || self.stamps.last().map(|(script, live)| live.wrapping_add(echo.wrapping_sub(*script)));
        exact.map(|(_, live)| *live).or_else(near).or(self.stamp).unwrap_or(echo)
    }

    fn add(&self, option: &TcpOption, family: Family, has_ack: bool, bytes: &mut Vec<u8>) -> Result<()> {
        let isn = self.isn.unwrap_or_default();
        let mut sized = |kind: u8, value: &[u8]| {
            // A longer option does not fit into a header, which the caller reports.
            bytes.extend([kind, (value.len() + 2).min(255) as u8]);
            bytes.extend(value);
        };
        match option {
            TcpOption::End => bytes.push(0),
            TcpOption::Nop => bytes.push(1),
            TcpOption::Mss(size) => sized(2, &size.to_be_bytes()),
            TcpOption::Scale(scale) => sized(3, &[*scale]),
            TcpOption::SackPermitted => sized(4, &[]),
            TcpOption::Sack(blocks) => {
                let edges = blocks.iter().flat_map(|(begin, end)| [begin, end]);
                sized(5, &edges.flat_map(|edge| edge.wrapping_add(isn).to_be_bytes()).collect::<Vec<_>>());
            }
            TcpOption::Timestamp(value, echo) => {
                // The first SYN echoes nothing, whatever the number is.
                let echo = if has_ack { self.echo(*echo) } else { *echo };
                sized(8, &[value.to_be_bytes(), echo.to_be_bytes()].concat());
            }
            TcpOption::Fastopen(name) => sized(34, &hex(cookie(family, name))?),
            // The number of the experiment (RFC 7413, section 4.1.1 and its predecessors).
            TcpOption::FastopenExperimental(name) => {
                sized(254, &[&[0xf9, 0x89], hex(cookie(family, name))?.as_slice()].concat());
            }
            TcpOption::Md5(digest) => sized(19, digest),
            TcpOption::AccurateEcn(kind, counters) => {
                sized(
                    *kind,
                    &counters.iter().flat_map(|counter| counter.to_be_bytes()[1..].to_vec()).collect::<Vec<_>>(),
                );
            }
            TcpOption::Any => return Err(Error::new("<...> in an inbound segment")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The kernel's initial sequence number. Numbers wrap around soon after it.
    const ISN: u32 = u32::MAX - 99;

    fn sent(flags: Flags, seq: u32, ack: u32, len: u32, stamp: u32) -> Sent {
        Sent { at: Instant::now(), ports: (PORT, 1), flags, seq, ack, len, stamp: Some(stamp) }
    }

    fn segment(flags: Flags, seq: u32, ack: u32, options: &[TcpOption]) -> Segment {
        Segment { flags, seq, ack, options: options.to_vec(), ..Segment::default() }
    }

    const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

    /// Returns a connection after the handshake. The script's numbers of both SYNs are not 0.
    fn established() -> Connection {
        let mut connection = Connection::new(false);
        let syn =
            connection.header_of(&segment(Flags::SYN, 999, 0, &[TcpOption::Timestamp(5, 7)]), Family::V4).unwrap();
        assert_eq!((syn.sequence_number, syn.acknowledgment_number), (999, 0));
        assert_eq!(syn.options.as_slice()[..10], [8, 10, 0, 0, 0, 5, 0, 0, 0, 7], "the echo is unchanged");
        let syn_ack = sent(SYN_ACK, ISN, 1000, 0, 70_000);
        connection.update(&syn_ack);
        let want = segment(SYN_ACK, 1234, 1000, &[TcpOption::Timestamp(100, 5)]);
        connection.expect(&want);
        assert_eq!(connection.to_script(&syn_ack), Segment { options: Vec::new(), ..want.clone() });
        connection.matched(&want, &syn_ack);
        connection
    }

    #[test]
    fn numbers_of_the_kernel_are_translated_to_those_of_the_script() {
        let connection = established();
        let data = connection.to_script(&sent(Flags::ACK, ISN.wrapping_add(101), 1010, 50, 0));
        assert_eq!(data, Segment { len: 50, ..segment(Flags::ACK, 101, 11, &[]) });
        let reset = connection.to_script(&sent(Flags::RST, ISN.wrapping_add(1), 77, 0, 0));
        assert_eq!(reset, segment(Flags::RST, 1, 0, &[]), "without ACK there is no acknowledgment number");
    }

    #[test]
    fn numbers_of_the_script_are_translated_to_those_of_the_kernel() {
        let mut connection = established();
        let sack = TcpOption::Sack(vec![(101, 201)]);
        let ack = connection.header_of(&segment(Flags::ACK, 1, 51, &[sack]), Family::V4).unwrap();
        assert_eq!((ack.source_port, ack.destination_port), (connection.port, PORT));
        assert_eq!((ack.sequence_number, ack.acknowledgment_number), (1000, ISN + 51));
        assert_eq!(ack.options.as_slice(), [5, 10, 0, 0, 0, 1, 0, 0, 0, 101, 0, 0]);
        // Exact, and by the distance to a known one.
        for (echo, live) in [(100_u32, 70_000_u32), (130, 70_030)] {
            let stamp = segment(Flags::ACK, 1, 1, &[TcpOption::Timestamp(9, echo)]);
            let header = connection.header_of(&stamp, Family::V4).unwrap();
            assert_eq!(header.options.as_slice()[6..10], live.to_be_bytes());
        }
        assert_eq!(connection.quoted(201).unwrap().sequence_number, 101, "it wraps around");
        assert_eq!(connection.reset().unwrap().sequence_number, 1000, "what the kernel expects next");
    }

    #[test]
    fn a_connection_that_the_kernel_opens_has_its_port() {
        let mut connection = Connection::new(true);
        let answer = segment(SYN_ACK, 0, 1, &[]);
        let error = connection.header_of(&answer, Family::V6).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has not sent a SYN");
        assert!(connection.reset().is_none());
        connection.update(&Sent { ports: (4000, connection.port), ..sent(Flags::SYN, ISN, 0, 0, 1) });
        connection.expect(&segment(Flags::SYN, 0, 0, &[]));
        let answer = connection.header_of(&answer, Family::V6).unwrap();
        assert_eq!((answer.destination_port, answer.acknowledgment_number), (4000, ISN + 1));
        assert!(!connection.may_receive_syn());
    }
}
