// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the mounts of the unified cgroup hierarchy in /proc/self/mountinfo.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A mount of the unified hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The cgroup at the root of the mount.
    pub(crate) root: PathBuf,
    /// The mount point.
    pub(crate) place: PathBuf,
}

/// Returns the mounts of cgroup2 in the order of the file. The last one at a mount point covers the
/// others.
pub(crate) fn cgroup2_mounts(mountinfo: &[u8]) -> Vec<Mount> {
    let of_line = |line: &[u8]| {
        // number, parent, device, root, place, …, `-`, type, …
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let dash = words.iter().position(|word| *word == b"-")?;
        let is_cgroup2 = *words.get(dash + 1)? == b"cgroup2";
        let mount = Mount { root: unescaped(words.get(3)?), place: unescaped(words.get(4)?) };
        is_cgroup2.then_some(mount)
    };
    let mut mounts: Vec<Mount> = mountinfo.split(|byte| *byte == b'\n').filter_map(of_line).collect();
    let mut places = HashSet::new();
    // From the last one, which covers the others.
    let is_visible: Vec<bool> = mounts.iter().rev().map(|mount| places.insert(mount.place.clone())).collect();
    let mut is_visible = is_visible.into_iter().rev();
    mounts.retain(|_| is_visible.next().unwrap_or_default());
    mounts
}

/// Decodes a path of mountinfo, which escapes white space and backslashes as octal numbers.
fn unescaped(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.first_chunk::<3>().and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn mounts_are_selected_by_their_type() {
        let mounts = b"30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
            31 24 0:27 /user.slice /other rw - cgroup2 cgroup2 rw\n\
            32 24 0:27 / /sys/fs/c\\040group rw,relatime shared:4 - cgroup2 cgroup2 rw\n\
            33 24 0:27 / /short - \n\
            34 24 0:27 / /twice rw - cgroup2 cgroup2 rw\n\
            35 34 0:27 /a /twice rw - cgroup2 cgroup2 rw\n";
        let of = |root: &str, place: &str| Mount { root: root.into(), place: place.into() };
        let expected = [of("/user.slice", "/other"), of("/", "/sys/fs/c group"), of("/a", "/twice")];
        assert_eq!(cgroup2_mounts(mounts), expected);
        assert_eq!(unescaped(b"\\134040\\x"), Path::new("\\040\\x"));
        assert_eq!(unescaped(b"\\377"), Path::new(OsStr::from_bytes(b"\xff")));
    }
}
