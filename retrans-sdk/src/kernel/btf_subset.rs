// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selects the part of the kernel's BTF that relocations require. libbpf searches the whole BTF, a
//! hundred thousand types, once for each type that a program uses. The subset contains a few
//! hundred types, with the same offsets.
//!
//! # Design
//!
//! libbpf searched for 0.9 ms for each of 15 types. `build.rs` lists the structures that the
//! objects name. The subset contains these and what they contain by value; pointers lead to no
//! type. The relocated instructions are the same. Without memfd or /proc libbpf reads the whole
//! BTF.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libbpf_rs::HasSize as _;
use libbpf_rs::btf::types::{Array, Composite, Enum, Enum64, Float, Int, IntEncoding, MemberAttr};
use libbpf_rs::btf::{Btf, BtfKind, BtfType};
use rustix::fs::{MemfdFlags, memfd_create};

use super::btf::without_typedefs;

/// A memfd with some of the kernel's types, and the types that they contain.
#[derive(Debug)]
pub(super) struct Subset {
    path: PathBuf,
    _file: File,
}

impl Subset {
    /// Writes a subset. Returns `None` if it cannot be created, and libbpf then uses the whole BTF.
    pub(super) fn of<'btf>(btf: &'btf Btf<'_>, types: impl IntoIterator<Item = BtfType<'btf>>) -> Option<Self> {
        let bytes = bytes_of(btf, types)?;
        let mut file = File::from(memfd_create("retrans-btf", MemfdFlags::CLOEXEC).ok()?);
        file.write_all(&bytes).ok()?;
        let path = PathBuf::from(format!("/proc/thread-self/fd/{}", file.as_raw_fd()));
        // This path cannot be opened without /proc, or in a process that has changed its user.
        fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64).then_some(Self { path, _file: file })
    }

    /// Returns the path, valid for this thread.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The kernel's types that the objects use, as `build.rs` found them: structures and unions,
/// without the suffixes of flavours.
#[cfg(not(retrans_docs_only))]
const NEEDED_TYPES: &[&str] = include!(concat!(env!("OUT_DIR"), "/types.rs"));
#[cfg(retrans_docs_only)]
const NEEDED_TYPES: &[&str] = &[];

/// Returns whether the objects use a type of the kernel.
pub(super) fn is_needed(name: &[u8]) -> bool {
    NEEDED_TYPES.iter().any(|wanted| is_named(name, wanted))
}

/// Returns whether a type has this name, or is a flavour of it: `net___lazy` of `net`.
fn is_named(name: &[u8], wanted: &str) -> bool {
    name.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"___"))
}

/// Encodes types, and those that they contain, as BTF.
fn bytes_of<'btf>(btf: &'btf Btf<'_>, types: impl IntoIterator<Item = BtfType<'btf>>) -> Option<Vec<u8>> {
    const MAGIC: u16 = 0xeb9f;
    const HEADER: u32 = 24;
    // The empty string comes first.
    let mut writer = Writer { strings: vec![0], ..Writer::default() };
    for of in types {
        writer.write(btf, of, 0)?;
    }
    let Writer { types, strings, .. } = writer;
    let mut bytes = MAGIC.to_ne_bytes().to_vec();
    // Version and flags, then the offsets of both sections after the header, and their lengths.
    bytes.extend([1, 0]);
    let (types_len, strings_len) = (types.len() as u32 * 4, strings.len() as u32);
    for word in [HEADER, 0, types_len, types_len, strings_len].into_iter().chain(types) {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(strings);
    Some(bytes)
}

/// The maximum depth of types in types.
const MAX_DEPTH: usize = 64;

/// The maximum length of all names, a hundred times the length for a kernel.
const MAX_STRINGS: usize = 16 << 20;

#[derive(Default)]
struct Writer {
    types: Vec<u32>,
    strings: Vec<u8>,
    /// The number of types.
    count: u32,
    /// The new type ids, by the id in the kernel.
    written: HashMap<u32, u32>,
    /// The only pointer type: pointers are not followed.
    pointer: Option<u32>,
}

impl Writer {
    /// Writes a type after all types that it contains. Modifiers and typedefs are omitted, since
    /// they do not change the layout.
    fn write(&mut self, btf: &Btf<'_>, of: BtfType<'_>, depth: usize) -> Option<u32> {
        // A kernel's types are less than ten levels deep. A damaged type may contain itself.
        if depth > MAX_DEPTH || self.strings.len() > MAX_STRINGS {
            return None;
        }
        let of = without_typedefs(btf, of).ok()?;
        let old = u32::from(of.type_id());
        if let Some(new) = self.written.get(&old) {
            return Some(*new);
        }
        let kind = of.kind() as u32;
        let new = if let Ok(of) = Composite::try_from(of) {
            let mut members = Vec::new();
            for member in of.iter() {
                let offset = match member.attr {
                    MemberAttr::Normal { offset } => offset,
                    MemberAttr::BitField { size, offset } => u32::from(size) << 24 | offset,
                };
                let name = self.string(member.name);
                members.extend([name, self.write(btf, btf.type_by_id(member.ty)?, depth + 1)?, offset]);
            }
            // Marked as having bit fields, whose offsets have 24 bits. Without bit fields the
            // encoding is equal.
            let len = u32::try_from(of.len()).ok()?;
            self.add(of.name(), 1 << 31 | kind << 24 | len, of.size() as u32, &members)
        } else if let Ok(of) = Array::try_from(of) {
            let element = self.write(btf, of.contained_type(), depth + 1)?;
            self.add(None, kind << 24, 0, &[element, 0, u32::try_from(of.capacity()).ok()?])
        } else if let Ok(of) = Int::try_from(of) {
            let encoding = match of.encoding {
                IntEncoding::None => 0,
                IntEncoding::Signed => 1,
                IntEncoding::Char => 2,
                IntEncoding::Bool => 4,
            };
            self.add(None, kind << 24, of.size() as u32, &[encoding << 24 | u32::from(of.bits)])
        } else if let Ok(of) = Enum::try_from(of) {
            self.add(of.name(), kind << 24, of.size() as u32, &[])
        } else if let Ok(of) = Enum64::try_from(of) {
            self.add(of.name(), kind << 24, of.size() as u32, &[])
        } else if let Ok(of) = Float::try_from(of) {
            self.add(None, kind << 24, of.size() as u32, &[])
        } else if of.kind() == BtfKind::Ptr {
            match self.pointer {
                Some(pointer) => pointer,
                None => {
                    let pointer = self.add(None, kind << 24, 0, &[]);
                    *self.pointer.insert(pointer)
                }
            }
        } else {
            // Structures contain no other types.
            return None;
        };
        self.written.insert(old, new);
        Some(new)
    }

    fn add(&mut self, name: Option<&OsStr>, info: u32, size: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        self.types.extend([name, info, size]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    fn string(&mut self, name: Option<&OsStr>) -> u32 {
        // A damaged file may use one long name for many members.
        let Some(name) = name.filter(|_| self.strings.len() <= MAX_STRINGS) else { return 0 };
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::{find, read};
    use crate::testing::Made;

    /// Lists every field that lies in a type, with its offset and its type.
    fn fields(btf: &Btf<'_>, of: BtfType<'_>, base: u32, path: &str, all: &mut Vec<String>) {
        let of = of.skip_mods_and_typedefs();
        let kind = of.kind();
        if let Ok(of) = Composite::try_from(of) {
            all.push(format!("{path} at {base}: {kind:?} {:?} of {}", of.name(), of.size()));
            for member in of.iter() {
                let (offset, bits) = match member.attr {
                    MemberAttr::Normal { offset } => (offset, 0),
                    MemberAttr::BitField { size, offset } => (offset, size),
                };
                let path = format!("{path}.{}:{bits}", member.name.unwrap_or_default().display());
                fields(btf, btf.type_by_id(member.ty).expect("a member's type"), base + offset, &path, all);
            }
        } else if let Ok(of) = Array::try_from(of) {
            all.push(format!("{path} at {base}: {} of", of.capacity()));
            fields(btf, of.contained_type(), base, path, all);
        } else if let Ok(of) = Int::try_from(of) {
            all.push(format!("{path} at {base}: {:?} {} of {}", of.encoding, of.bits, of.size()));
        } else {
            all.push(format!("{path} at {base}: {kind:?}"));
        }
    }

    fn fields_of(btf: &Btf<'_>, wanted: &str) -> Vec<String> {
        let mut all = Vec::new();
        for of in find(btf, |kind, name| is_composite(kind) && is_named(name, wanted)) {
            fields(btf, of, 0, &of.name().unwrap_or_default().to_string_lossy(), &mut all);
        }
        all.sort();
        all
    }

    fn is_composite(kind: BtfKind) -> bool {
        matches!(kind, BtfKind::Struct | BtfKind::Union)
    }

    fn subset(btf: &Btf<'_>, wanted: &str) -> Btf<'static> {
        let found = find(btf, |kind, name| is_composite(kind) && is_named(name, wanted));
        let subset = Subset::of(btf, found).expect("a subset");
        read(subset.path()).expect("BTF")
    }

    #[test]
    fn fields_keep_their_offsets() {
        let made = Made::object(
            "typedef unsigned short u16;
            enum color { RED, GREEN };
            struct other { int unwanted; };
            struct inner { volatile u16 two[3]; const struct other *away; };
            typedef struct { long counter; } atomic64_t;
            struct outer {
                char c; signed char s; _Bool b;
                enum color color;
                union { struct inner inner; struct { int x; unsigned y; }; };
                unsigned one : 1, nine : 9; int : 3; u16 six : 6;
                atomic64_t atomic;
                struct inner many[2][2];
                void (*call)(struct other *);
                struct outer *next;
            };
            struct outer___flavour { double d; };
            struct outer one; struct other two; struct outer___flavour three;",
        );
        let whole = read(made.as_path()).expect("BTF");
        let part = subset(&whole, "outer");
        let expected = fields_of(&whole, "outer");
        assert!(expected.iter().any(|field| field.contains(".nine:9 at ")), "{expected:#?}");
        assert!(expected.iter().any(|field| field.starts_with("outer___flavour")), "{expected:#?}");
        assert_eq!(fields_of(&part, "outer"), expected);
        assert_eq!(fields_of(&part, "other"), [""; 0]);
    }

    /// A file that the caller selected may be damaged.
    #[cfg(feature = "check")]
    #[test]
    fn a_type_that_contains_itself_is_not_followed_without_end() {
        let header = [24u32, 0, 24, 24, 5];
        // `struct s { struct s x; }`.
        let types = [1u32, 4 << 24 | 1, 8, 3, 1, 0];
        let mut bytes = 0xeb9fu16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        bytes.extend(header.iter().chain(&types).flat_map(|word| word.to_ne_bytes()));
        bytes.extend(b"\0s\0x\0");
        let made = Made::file(&bytes);
        let btf = read(made.as_path()).expect("BTF");
        let found = find(&btf, |kind, name| is_composite(kind) && name == b"s");
        assert_eq!(found.len(), 1);
        assert!(Subset::of(&btf, found).is_none());
    }

    #[test]
    fn flavour_suffixes_are_removed_from_the_types() {
        let types = [
            "sock",
            "tcp_sock",
            "sk_buff",
            "tcp_skb_cb",
            "net",
            "cgroup",
            "tcp_request_sock",
            "pt_regs",
            "task_struct",
        ];
        assert!(types.iter().all(|name| NEEDED_TYPES.contains(name)), "{NEEDED_TYPES:?}");
        assert!(!NEEDED_TYPES.iter().any(|name| name.contains("___")), "{NEEDED_TYPES:?}");
        assert!(is_named(b"net___lazy", "net") && !is_named(b"net_device", "net") && !is_named(b"ne", "net"));
    }
}
