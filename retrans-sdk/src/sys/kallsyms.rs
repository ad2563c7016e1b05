// SPDX-License-Identifier: MIT OR Apache-2.0
//! The symbols of the running kernel (/proc/kallsyms).
//!
//! # Design
//!
//! A kernel has more than 100,000 symbols, and only some ten addresses are resolved, so nothing is
//! read in advance. The file stays open and is read from its beginning for each new address: the
//! kernel checks the permissions when it is opened, so the addresses remain readable after the
//! process has dropped its privileges, and modules that are loaded later are found.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};

/// The symbols of the running kernel.
#[derive(Debug)]
pub(crate) struct Kallsyms {
    file: File,
}

/// A line of /proc/kallsyms: address, type, name.
fn parsed(line: &str) -> Option<(u64, &str, &str)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    Some((address, words.next()?, words.next()?))
}

/// Returns the function that contains an address, and the offset in it. Of several names for one
/// address it returns the first, as the kernel does.
fn containing(lines: impl BufRead, address: u64) -> io::Result<Option<(String, u64)>> {
    let mut best: Option<(u64, String, bool)> = None;
    for line in lines.lines() {
        let line = line?;
        let Some((start, kind, name)) = parsed(&line) else { continue };
        if start <= address && start != 0 && best.as_ref().is_none_or(|(of, ..)| *of < start) {
            best = Some((start, name.to_owned(), matches!(kind, "t" | "T" | "w" | "W")));
        }
    }
    // An address after data is in no function.
    Ok(best.filter(|(.., is_code)| *is_code).map(|(start, name, _)| (name, address - start)))
}

impl Kallsyms {
    /// Opens the symbols. Returns `None` if this process may not see addresses: the kernel then
    /// prints 0 for each.
    pub(crate) fn open() -> io::Result<Option<Self>> {
        let file = File::open("/proc/kallsyms")?;
        // The symbols of per-CPU data begin at 0. There may be some hundred.
        for line in BufReader::with_capacity(1 << 16, &file).lines() {
            if parsed(&line?).is_some_and(|(address, ..)| address != 0) {
                return Ok(Some(Self { file }));
            }
        }
        Ok(None)
    }

    /// Returns the function that contains an address, and the offset in it.
    pub(crate) fn function_at(&mut self, address: u64) -> io::Result<Option<(String, u64)>> {
        self.file.seek(SeekFrom::Start(0))?;
        containing(BufReader::with_capacity(1 << 16, &self.file), address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _stext\nffffffff81000000 T alias\n\
        ffffffff81000100 t next\nffffffff82000000 d data\nffffffffc0000000 t of_module\t[nf_tables]\n\
        ffffffff81000080 T unsorted\n";

    #[test]
    fn the_nearest_function_below_contains_the_address() {
        let at = |address| containing(TEXT.as_bytes(), address).expect("a text");
        assert_eq!(at(0xffff_ffff_8100_0010), Some(("_stext".to_owned(), 0x10)));
        assert_eq!(at(0xffff_ffff_8100_0090), Some(("unsorted".to_owned(), 0x10)));
        assert_eq!(at(0xffff_ffff_8100_0100), Some(("next".to_owned(), 0)));
        assert_eq!(at(0xffff_ffff_c000_0004), Some(("of_module".to_owned(), 4)));
        // In data, and below everything.
        assert_eq!(at(0xffff_ffff_8200_0004), None);
        assert_eq!(at(0x1000), None);
    }

    #[test]
    fn hidden_addresses_are_not_symbols() {
        let hidden = "0000000000000000 T _stext\n0000000000000000 T next\n";
        assert_eq!(containing(hidden.as_bytes(), 0xffff_ffff_8100_0010).expect("a text"), None);
    }
}
