// SPDX-License-Identifier: MIT OR Apache-2.0
//! Short byte strings from the kernel, which are usually text.

use std::fmt;
use std::str::FromStr;

use crate::text::scanner::Scanner;
use crate::text::writer::LineWriter;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

/// The bytes that are encoded in a value of the key=value line; bytes outside ASCII are always
/// encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'=').add(b'%').add(b',').add(b'"');

/// Returns true if no byte needs encoding. It has no early exit, so sixteen bytes are as fast as
/// one.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() & !matches!(byte, b'=' | b'%' | b',' | b'"');
    bytes.iter().fold(true, |all, byte| all & plain(byte))
}

/// Masks for C strings of each length, which clear the bytes after the end. Indexed by five bits.
const KEPT: [u128; 32] = {
    let mut kept = [u128::MAX; 32];
    let mut len = 0;
    while len < KernelStr::CAPACITY {
        kept[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    kept
};

/// A string of up to 16 bytes (`TCP_CA_NAME_MAX`) of any value, stored inline.
///
/// It prints percent-encoded: every byte outside printable ASCII is encoded, and so are space, `=`,
/// `%`, `,` and `"`. The string `-` prints as `%2D`, because `-` denotes an absent value.
///
/// # Examples
///
/// ```
/// use retrans_sdk::event::KernelStr;
///
/// let comm: KernelStr = "my%20app".parse()?;
/// assert_eq!(comm.as_bytes(), b"my app");
/// assert_eq!(comm.to_string(), "my%20app");
/// # Ok::<(), retrans_sdk::event::ParseKernelStrError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelStr {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl KernelStr {
    /// The maximum length in bytes.
    pub const CAPACITY: usize = 16;

    /// Creates a string; `None` if there are more than [`CAPACITY`](Self::CAPACITY) bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut text = Self { bytes: [0; Self::CAPACITY], len: u8::try_from(bytes.len()).ok()? };
        text.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(text)
    }

    /// Creates a string from a C string: the bytes up to the first NUL, or all of them.
    pub(crate) fn from_c(bytes: [u8; Self::CAPACITY]) -> Self {
        const LOW: u128 = u128::from_ne_bytes([0x01; KernelStr::CAPACITY]);
        const HIGH: u128 = u128::from_ne_bytes([0x80; KernelStr::CAPACITY]);
        // The first byte is the lowest. A borrow propagates upwards, so the lowest byte whose bit
        // is set is the first 0.
        let number = u128::from_le_bytes(bytes);
        let zeros = number.wrapping_sub(LOW) & !number & HIGH;
        let (low, high) = (zeros as u64, (zeros >> 64) as u64);
        let bits = if low != 0 { low.trailing_zeros() } else { 64 + high.trailing_zeros() };
        let len = (bits / 8) as usize & 31;
        Self { bytes: (number & KEPT[len]).to_le_bytes(), len: len as u8 }
    }

    #[inline(always)]
    pub(crate) fn write_to(self, out: &mut LineWriter<'_>) {
        match self.as_bytes() {
            b"-" => out.bytes(b"%2D"),
            // The common case.
            plain if is_plain(plain) => out.bytes(plain),
            bytes => percent_encode(bytes, ENCODED).for_each(|part| out.bytes(part.as_bytes())),
        }
    }

    #[inline(always)]
    pub(crate) fn scan(from: &mut Scanner<'_>) -> Option<Self> {
        let text = from.value();
        (is_plain(text) && text != b"-").then(|| Self::new(text))?
    }

    /// Returns the bytes as they are in the kernel.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for KernelStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PercentEncoded(self.as_bytes()).fmt(f)
    }
}

/// A byte string of any length that prints percent-encoded, as [`KernelStr`] does. It is a valid
/// value of `key=value`.
///
/// # Examples
///
/// ```
/// use retrans_sdk::event::PercentEncoded;
/// use retrans_sdk::reason_table::KeyVal;
///
/// assert_eq!(KeyVal { key: "comm", value: PercentEncoded(b"my app") }.to_string(), "comm=my%20app");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentEncoded<'a>(pub &'a [u8]);

impl fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b"-" => f.write_str("%2D"),
            bytes => percent_encode(bytes, ENCODED).fmt(f),
        }
    }
}

impl fmt::Debug for KernelStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// The error of a text that is not percent-encoded or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseKernelStrError;

impl fmt::Display for ParseKernelStrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a percent-encoded text of at most {} bytes", KernelStr::CAPACITY)
    }
}

impl std::error::Error for ParseKernelStrError {}

/// Parses percent-encoded text.
///
/// # Errors
///
/// Returns [`ParseKernelStrError`] for `-`, for a byte that must be encoded, and for more than
/// [`KernelStr::CAPACITY`] bytes.
impl FromStr for KernelStr {
    type Err = ParseKernelStrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" {
            return Err(ParseKernelStrError);
        }
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let fine = match byte {
                b'%' => (0..2).all(|_| rest.next().is_some_and(|b| b.is_ascii_hexdigit())),
                b' ' | b'=' | b',' | b'"' => false,
                _ => byte.is_ascii_graphic(),
            };
            if !fine {
                return Err(ParseKernelStrError);
            }
        }
        let mut bytes = [0; Self::CAPACITY];
        let mut len = 0;
        for byte in percent_decode(text.as_bytes()) {
            *bytes.get_mut(len).ok_or(ParseKernelStrError)? = byte;
            len += 1;
        }
        Self::new(&bytes[..len]).ok_or(ParseKernelStrError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_c_string_ends_at_the_first_nul(bytes in prop::array::uniform16(prop_oneof![Just(0u8), Just(1), Just(0x80), any::<u8>()])) {
            let until_nul: Vec<u8> = bytes.into_iter().take_while(|byte| *byte != 0).collect();
            let text = KernelStr::from_c(bytes);
            prop_assert_eq!(text.as_bytes(), &until_nul[..]);
            // Bytes after the NUL are not part of it.
            prop_assert_eq!(Some(text), KernelStr::new(&until_nul));
        }
    }
}
