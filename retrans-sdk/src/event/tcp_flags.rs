// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TCP flags of a segment.

use std::fmt;
use std::str::FromStr;

use crate::text::scanner::Scanner;
use crate::text::writer::LineWriter;

/// The TCP flags of a segment, bit for bit as in the header (RFC 9293, 3.1; AE: RFC 9768). They
/// print as `0x` and three hexadecimal digits.
///
/// # Examples
///
/// ```
/// use retrans_sdk::event::TcpFlags;
///
/// let flags: TcpFlags = "0x018".parse()?;
/// assert!(flags.contains(TcpFlags::PSH) && flags.contains(TcpFlags::ACK));
/// # Ok::<(), retrans_sdk::event::ParseTcpFlagsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// FIN: the sender has no more data.
    pub const FIN: Self = Self(0x001);
    /// SYN: synchronizes sequence numbers.
    pub const SYN: Self = Self(0x002);
    /// PSH: pushes data to the application.
    pub const PSH: Self = Self(0x008);
    /// ACK: the acknowledgement number is valid.
    pub const ACK: Self = Self(0x010);

    #[inline(always)]
    pub(crate) fn write_to(self, out: &mut LineWriter<'_>) {
        out.constant(b"0x");
        out.hex(self.0, 3);
    }

    #[inline(always)]
    pub(crate) fn scan(from: &mut Scanner<'_>) -> Option<Self> {
        from.constant(b"0x")?;
        from.flags().map(Self)
    }

    /// Returns true if all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:03x}", self.0)
    }
}

/// The error of a text that is not `0x` and one to four hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseTcpFlagsError;

impl fmt::Display for ParseTcpFlagsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 0x and one to four hexadecimal digits")
    }
}

impl std::error::Error for ParseTcpFlagsError {}

/// Parses `0x` and one to four hexadecimal digits.
///
/// # Errors
///
/// Returns [`ParseTcpFlagsError`] for any other text.
impl FromStr for TcpFlags {
    type Err = ParseTcpFlagsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").ok_or(ParseTcpFlagsError)?;
        if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseTcpFlagsError);
        }
        u16::from_str_radix(digits, 16).map(Self).map_err(|_| ParseTcpFlagsError)
    }
}
