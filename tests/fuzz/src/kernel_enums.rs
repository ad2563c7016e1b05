// SPDX-License-Identifier: MIT OR Apache-2.0
//! C headers and BTF.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use retrans_sdk::check::{self, EnumSource};
use retrans_sdk::harness::readers::{self, CEnum};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::assert_printable;

/// Asserts that names are printable.
fn assert_names(enums: &[CEnum]) {
    for found in enums {
        let names = found.values.iter().map(|(name, _)| name);
        names.chain(&found.name).chain(&found.unread).for_each(|name| assert_printable(name));
    }
}

/// A C header.
pub(crate) fn c_header(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let enums = readers::c_header(&text);
    assert_names(&enums);
    let count: usize = enums.iter().map(|found| found.values.len()).sum();
    assert!(count <= text.len(), "{count} enumerators in {} bytes", text.len());
}

/// Writes bytes to a file in memory, and returns its path.
fn in_memory(bytes: &[u8]) -> (File, PathBuf) {
    let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory"));
    file.write_all(bytes).expect("a file in memory");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file, path)
}

/// A file of BTF. The first byte decides whether the header is made valid, because libbpf reads
/// nothing after another one.
pub(crate) fn btf(bytes: &[u8]) {
    const HEADER: usize = 24;
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mode & 1 == 0 && bytes.len() > HEADER + 8 {
        let rest = bytes.len() - HEADER;
        // The types come first, and the strings after them.
        let types = (usize::from(bytes[8]) * 4 + usize::from(bytes[9]) * 1024).min(rest - 4) & !3;
        let words = [HEADER, 0, types, types, rest - types].map(|word| word as u32);
        bytes[..4].copy_from_slice(&[0x9f, 0xeb, 1, 0]);
        for (index, word) in words.into_iter().enumerate() {
            bytes[4 + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[HEADER + types] = 0;
        if let Some(last) = bytes.last_mut() {
            *last = 0;
        }
    }
    let (mut file, path) = in_memory(&bytes);
    match readers::btf(&path) {
        Ok((enums, third)) => {
            assert_names(&enums);
            assert_printable(&third);
        }
        Err(error) => assert_printable(&error.to_string()),
    }
    match check::kernel_btf(&path) {
        Ok(report) => assert_printable(&report.to_string()),
        Err(error) => assert_printable(&error.to_string()),
    }
    match check::generate_table(EnumSource::Btf(&path), "e", None) {
        Ok(source) => assert_printable(&source),
        Err(error) => assert_printable(&error.to_string()),
    }
    // The file must not have been changed.
    let length = file.seek(std::io::SeekFrom::End(0)).expect("a file in memory");
    assert_eq!(length, bytes.len() as u64);
    ftruncate(&file, 0).expect("a file in memory");
}

/// An object with BTF, as clang writes it.
pub(crate) fn object(bytes: &[u8]) {
    match readers::object(bytes) {
        Ok(enums) => assert_names(&enums),
        Err(error) => assert_printable(&error.to_string()),
    }
}
