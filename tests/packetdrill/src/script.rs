// SPDX-License-Identifier: MIT OR Apache-2.0
//! A parsed script.

use std::fmt;
use std::time::Duration;

use retrans_lab::Family;

use crate::call::Call;

/// A script.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The name of its file, without the extension.
    pub name: String,
    /// The address families over which it can be played.
    pub families: Vec<Family>,
    /// The size of the segments of which larger packets of the peer consist (`--mss`).
    pub mss: Option<u16>,
    /// The shell commands that prepare the namespace.
    pub init: Option<String>,
    /// Everything else, in order.
    pub steps: Vec<Step>,
}

/// A step of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The line in which it begins.
    pub line: usize,
    /// The time.
    pub time: Time,
    /// The action.
    pub action: Action,
}

/// The time of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The earliest time.
    pub from: Moment,
    /// The latest time, or the end of a system call that blocks.
    pub to: Option<Duration>,
    /// True for a system call that blocks.
    pub blocks: bool,
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Any time.
    Any,
    /// This time after the step before.
    After(Duration),
    /// This time after the start of the script.
    At(Duration),
}

/// The action of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A system call.
    Call(Call),
    /// The peer sends a segment.
    Inject(Segment),
    /// A router sends an ICMP error.
    Icmp(Icmp),
    /// The kernel is expected to send a segment.
    Expect(Segment),
    /// A shell command.
    Command(String),
    /// Python code that checks values of the socket. It is counted and not run.
    Assertion,
}

/// The flags of a TCP header, with the number of the header's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// No more data.
    pub const FIN: Self = Self(1);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(1 << 1);
    /// Reset.
    pub const RST: Self = Self(1 << 2);
    /// Push.
    pub const PSH: Self = Self(1 << 3);
    /// The acknowledgment number is valid.
    pub const ACK: Self = Self(1 << 4);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(1 << 5);
    /// ECN echo.
    pub const ECE: Self = Self(1 << 6);
    /// Congestion window reduced.
    pub const CWR: Self = Self(1 << 7);
    /// Accurate ECN, once the nonce sum.
    pub const AE: Self = Self(1 << 8);

    /// The letter of each flag in a script.
    const LETTERS: [(char, Self); 9] = [
        ('S', Self::SYN),
        ('F', Self::FIN),
        ('R', Self::RST),
        ('E', Self::ECE),
        ('W', Self::CWR),
        ('A', Self::AE),
        ('P', Self::PSH),
        ('U', Self::URG),
        ('.', Self::ACK),
    ];

    /// Parses the flags of a script. A digit is the value of the three flags of accurate ECN.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "-" {
            return Some(Self::default());
        }
        let mut flags = Self::default();
        for letter in text.chars() {
            let ace = |digit: u32| {
                let bits = [(4, Self::AE), (2, Self::CWR), (1, Self::ECE)];
                bits.iter().filter(|(bit, _)| digit & bit != 0).fold(0, |all, (_, flag)| all | flag.0)
            };
            flags.0 |= match letter.to_digit(8) {
                Some(digit) => ace(digit),
                None => Self::LETTERS.iter().find(|(known, _)| *known == letter)?.1.0,
            };
        }
        (!text.is_empty()).then_some(flags)
    }

    /// Returns whether this flag is set.
    #[must_use]
    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Self::LETTERS.iter().filter(|(_, flag)| self.has(*flag)).map(|(letter, _)| letter);
        let letters: String = set.collect();
        f.write_str(if letters.is_empty() { "-" } else { &letters })
    }
}

/// A TCP segment. In a SYN the sequence numbers are those of the script. In other segments they are
/// relative to the number of the SYN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The ECN bits of the IP header.
    pub ecn: u8,
    /// The flags.
    pub flags: Flags,
    /// The sequence number.
    pub seq: u32,
    /// The number of data bytes.
    pub len: u32,
    /// The acknowledgment number, or 0.
    pub ack: u32,
    /// The window in the header, which is not scaled.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// The options.
    pub options: Vec<TcpOption>,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags, seq, len, ack, .. } = self;
        write!(f, "{flags} {seq}:{}({len}) ack {ack}", seq.wrapping_add(*len))
    }
}

/// An option of a TCP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// The end of the options.
    End,
    /// Padding.
    Nop,
    /// The maximum segment size.
    Mss(u16),
    /// The window scale.
    Scale(u8),
    /// SACK is permitted.
    SackPermitted,
    /// SACK blocks, relative to the SYN.
    Sack(Vec<(u32, u32)>),
    /// A timestamp and an echo.
    Timestamp(u32, u32),
    /// A Fast Open cookie in hexadecimal, the name of one, or nothing.
    Fastopen(String),
    /// The same as an experimental option (RFC 6994).
    FastopenExperimental(String),
    /// An MD5 signature.
    Md5(Vec<u8>),
    /// The byte counters of accurate ECN, with the kind of the option.
    AccurateEcn(u8, Vec<u32>),
    /// Any options, in an expected segment.
    Any,
}

/// An ICMP error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Its type and code for IPv4, if IPv4 has such an error.
    pub v4: Option<(u8, u8)>,
    /// Its type and code for IPv6, if IPv6 has such an error.
    pub v6: Option<(u8, u8)>,
    /// The MTU, or 0.
    pub mtu: u16,
    /// The sequence number of the quoted segment, relative to the SYN.
    pub seq: u32,
    /// The number of data bytes of the quoted segment.
    pub len: u32,
}
