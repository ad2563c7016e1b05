// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of /proc, and what a terminal sends.

use std::path::Path;

use retrans_sdk::harness::readers;

use crate::assert_printable;
use crate::keys::Decoder;

/// /proc/self/mountinfo.
pub(crate) fn mountinfo(bytes: &[u8]) {
    let mounts = readers::mountinfo(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(mounts.len() <= lines, "{} mounts in {lines} lines", mounts.len());
    // No two mounts have the same mount point, because the last one covers the others.
    let mut places: Vec<&Path> = mounts.iter().map(|(_, place)| place.as_path()).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), mounts.len(), "{mounts:?}");
}

/// /proc/self/cgroup.
pub(crate) fn cgroups(bytes: &[u8]) {
    let (mode, own) = readers::cgroups(bytes);
    assert_printable(&mode.to_string());
    if let Err(why) = own {
        assert_printable(&why);
    }
}

/// /proc/net/snmp and /proc/net/netstat, separated by a NUL byte.
pub(crate) fn netns_counters(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (snmp, netstat) = text.split_once('\0').unwrap_or((&text, &text));
    if let Err(error) = readers::netns_counters(snmp, netstat) {
        assert_printable(&error.to_string());
    }
}

/// The keys that a terminal sends, in reads whose lengths the bytes themselves select.
pub(crate) fn keys(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    let mut count = 0;
    while let Some(first) = rest.first() {
        let (read, after) = rest.split_at(rest.len().min(usize::from(*first) % 9 + 1));
        count += decoder.decode(read).len();
        rest = after;
    }
    // A byte is at most one key. An incomplete character at the end of a read is one, too.
    assert!(count <= 2 * bytes.len(), "{count} keys in {} bytes", bytes.len());
    Decoder::default().decode(bytes);
}
