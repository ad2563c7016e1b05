// SPDX-License-Identifier: MIT OR Apache-2.0
//! A place in the code of the kernel, by its function.
//!
//! # Design
//!
//! An event is `Copy` and is copied in every batch, so it must stay small. A name of up to 64 bytes
//! would enlarge every event by a fifth, also where drops are not requested. So a symbol contains
//! the index of its name in one table of the process, and the offset. The names are those of kernel
//! functions that drop packets, of which a kernel has some hundred. The table has room for 1,024,
//! so that a hostile recording cannot fill the memory.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::text::scanner::Scanner;
use crate::text::writer::LineWriter;

/// The maximum number of different functions in a process.
const MAX_NAMES: usize = 1024;

/// The names by index. A name is never removed.
static NAMES: [OnceLock<Box<str>>; MAX_NAMES] = [const { OnceLock::new() }; MAX_NAMES];
/// The indices by name.
static BY_NAME: Mutex<BTreeMap<&'static str, u16>> = Mutex::new(BTreeMap::new());

/// An instruction of the kernel: a function and the offset in it. Prints as `nft_do_chain+0x3e8`.
///
/// # Examples
///
/// ```
/// use retrans_sdk::event::KernelSymbol;
///
/// let symbol: KernelSymbol = "nft_do_chain+0x3e8".parse()?;
/// assert_eq!((symbol.function(), symbol.offset()), ("nft_do_chain", 0x3e8));
/// # Ok::<(), retrans_sdk::event::ParseKernelSymbolError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelSymbol {
    /// The index of the name, plus one.
    name: NonZeroU16,
    offset: u32,
}

impl KernelSymbol {
    /// The maximum length of a function's name in bytes.
    pub const MAX_NAME: usize = 64;

    /// Creates a symbol. Returns `None` if the name is not one of a function in the kernel, is
    /// longer than [`MAX_NAME`](Self::MAX_NAME), or if the process already has 1,024 others.
    #[must_use]
    pub fn new(function: &str, offset: u32) -> Option<Self> {
        Some(Self { name: intern(function)?, offset })
    }

    /// Returns the name of the function.
    #[must_use]
    pub fn function(self) -> &'static str {
        NAMES.get(usize::from(self.name.get()) - 1).and_then(OnceLock::get).map_or("", |name| name)
    }

    /// Returns the offset in the function, in bytes.
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.offset
    }

    #[inline]
    pub(crate) fn write_to(self, out: &mut LineWriter<'_>) {
        out.bytes(self.function().as_bytes());
        out.bytes(b"+0x");
        let mut digits = [0; 8];
        let mut first = digits.len();
        let mut rest = self.offset;
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[(rest & 15) as usize];
            rest >>= 4;
            if rest == 0 {
                break;
            }
        }
        out.bytes(&digits[first..]);
    }

    pub(crate) fn scan(from: &mut Scanner<'_>) -> Option<Self> {
        std::str::from_utf8(from.value()).ok()?.parse().ok()
    }
}

/// Returns true for names as they are in /proc/kallsyms.
fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$');
    !name.is_empty() && name.len() <= KernelSymbol::MAX_NAME && name.bytes().all(is_of_name)
}

/// Returns the index of a name plus one.
fn intern(name: &str) -> Option<NonZeroU16> {
    if !is_name(name) {
        return None;
    }
    let mut by_name = BY_NAME.lock().unwrap_or_else(PoisonError::into_inner);
    let index = match by_name.get(name) {
        Some(index) => *index,
        None => {
            let index = by_name.len();
            let stored: &'static str = NAMES.get(index)?.get_or_init(|| name.into());
            let index = index as u16;
            by_name.insert(stored, index);
            index
        }
    };
    NonZeroU16::new(index + 1)
}

impl fmt::Display for KernelSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.function(), self.offset)
    }
}

impl fmt::Debug for KernelSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error of a text that is not a function and an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseKernelSymbolError;

impl fmt::Display for ParseKernelSymbolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a function of the kernel and an offset, such as nft_do_chain+0x3e8, or one of more than {MAX_NAMES} functions"
        )
    }
}

impl std::error::Error for ParseKernelSymbolError {}

/// Parses the printed form.
///
/// # Errors
///
/// Returns [`ParseKernelSymbolError`] for any other text, and for a function in excess of the 1,024
/// that a process can have.
impl FromStr for KernelSymbol {
    type Err = ParseKernelSymbolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (function, digits) = text.split_once("+0x").ok_or(ParseKernelSymbolError)?;
        let is_canonical = !digits.is_empty()
            && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && (digits == "0" || !digits.starts_with('0'));
        let offset = u32::from_str_radix(digits, 16).ok().filter(|_| is_canonical);
        offset.and_then(|offset| Self::new(function, offset)).ok_or(ParseKernelSymbolError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::writer::WRITE_PADDING;

    #[test]
    fn a_symbol_survives_its_printed_form() {
        for text in ["nft_do_chain+0x3e8", "f+0x0", "a.constprop.0+0xffffffff", "x$y+0x10"] {
            let symbol: KernelSymbol = text.parse().expect(text);
            assert_eq!(symbol.to_string(), text);
            let mut buffer = [0; 128 + WRITE_PADDING];
            let mut out = LineWriter::new(&mut buffer);
            symbol.write_to(&mut out);
            assert_eq!(out.written(), text.as_bytes());
            assert_eq!(text.parse(), Ok(symbol), "the same name has the same index");
        }
        assert_ne!("f+0x0".parse::<KernelSymbol>(), "g+0x0".parse());
        assert_eq!(size_of::<Option<KernelSymbol>>(), 8);
    }

    #[test]
    fn other_texts_are_rejected() {
        let long = format!("{}+0x1", "a".repeat(65));
        for text in
            ["", "f", "f+0x", "+0x1", "f+0x01", "f+0xF", "f+0x100000000", "f+0x+1", "a b+0x1", "f,g+0x1", long.as_str()]
        {
            assert_eq!(text.parse::<KernelSymbol>(), Err(ParseKernelSymbolError), "{text}");
        }
    }
}
