// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the BTF of a kernel or of a built object.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use libbpf_rs::ReferencesType as _;
use libbpf_rs::btf::types::{Enum, Func, FuncProto, Int, Ptr, Typedef};
use libbpf_rs::btf::{Btf, BtfKind, BtfType, TypeId};

use super::libbpf_error::LibbpfError;
use super::libbpf_log::{capture_log, without_log};
use crate::error::{Error, ErrorKind};
use crate::text::escape::Escaped;

/// The tracepoint that streams attach to.
pub(super) const TRACEPOINT: &str = "tcp_retransmit_skb";

/// The path of the running kernel's BTF.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The third argument of the `tcp_retransmit_skb` tracepoint. Its meaning differs between kernels,
/// and 0 means success with one type and failure with another, so its type decides (never the
/// kernel's version).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ThirdArgument {
    /// Up to Linux 6.16: the tracepoint fires for successes only.
    Absent,
    /// Since ad892e912b84 (Linux 6.17): `int err`.
    Err,
    /// An enum: a version of the patch proposed in July 2025.
    Enum {
        /// Its name.
        name: String,
        /// Its enumerators, with their numbers.
        members: Vec<(String, i64)>,
    },
    /// Something else.
    Other(String),
}

/// Prints the type in C.
impl fmt::Display for ThirdArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Err => f.write_str("int err"),
            Self::Enum { name, .. } => write!(f, "enum {name}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Reads the BTF in a file: `/sys/kernel/btf/vmlinux`, or an object.
pub(crate) fn read(path: &Path) -> Result<Btf<'static>, Error> {
    // libbpf's error does not distinguish a file that it cannot open from a file without BTF.
    open(path)?;
    // The running kernel's BTF is mapped, not copied, where the kernel allows it (Linux 6.16).
    let (btf, log) = if path == Path::new(VMLINUX) {
        capture_log(|| Btf::from_vmlinux().map_err(LibbpfError::new))
    } else {
        (without_log(|| Btf::from_path(path).map_err(LibbpfError::new)), String::new())
    };
    btf.map_err(|error| {
        let message = format!("no BTF in {}{}", Escaped::path(path), indent(&log));
        error.cause(Error::new(ErrorKind::NoBtf, message))
    })
}

/// Opens a file of BTF.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    // A FIFO would block, and a container may mask the file with an empty one or with /dev/null.
    let opened = fs::metadata(path).and_then(|found| {
        if !found.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let file = File::open(path)?;
        let is_empty = (&file).read(&mut [0])? == 0;
        if is_empty { Err(io::Error::other("the file is empty")) } else { Ok(file) }
    });
    opened.map_err(|error| {
        let detail = if path == Path::new(VMLINUX) { cause_of(error.kind()) } else { "" };
        let message = format!("cannot open {}", Escaped::path(path));
        Error::new(ErrorKind::NoBtf, message).caused_by(error).with_detail(detail)
    })
}

/// Returns the possible causes if the running kernel's BTF cannot be opened.
fn cause_of(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::NotFound => {
            "; /sys is not mounted or is masked here, as in some containers, or the kernel was built without \
             CONFIG_DEBUG_INFO_BTF=y (distribution kernels since 5.10 have it); StreamBuilder::btf_path, or --btf FILE of \
             the command retrans, reads the BTF of the kernel from another file"
        }
        io::ErrorKind::PermissionDenied => {
            "; every user may read the file, so a directory above it, a security module or a sandbox forbids it"
        }
        _ => {
            "; a container runtime may have masked it; StreamBuilder::btf_path, or --btf FILE of the command retrans, \
             reads the BTF of the kernel from another file"
        }
    }
}

/// Formats libbpf's log for the end of a message.
pub(super) fn indent(log: &str) -> String {
    log.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("\n    {line}")).collect()
}

/// Returns the tracepoint's third argument, from its prototype in BTF.
pub(crate) fn third_argument(btf: &Btf<'_>) -> Result<ThirdArgument, Error> {
    let typedef = btf.type_by_name::<Typedef<'_>>(&typedef_of(TRACEPOINT));
    third_argument_of(btf, prototype(TRACEPOINT, typedef)?)
}

/// Returns the third argument of a prototype.
pub(super) fn third_argument_of(btf: &Btf<'_>, prototype: FuncProto<'_>) -> Result<ThirdArgument, Error> {
    // The first parameter is the tracepoint's own data pointer.
    let Some(third) = prototype.iter().nth(3) else {
        return Ok(ThirdArgument::Absent);
    };
    let Some(third) = btf.type_by_id::<BtfType<'_>>(third.ty) else {
        return Ok(ThirdArgument::Other("a type that BTF lacks".to_owned()));
    };
    let third = without_typedefs(btf, third)?;
    let mut names = Names::default();
    let name = third.name().map_or_else(|| Ok(String::new()), |name| names.read(name))?;
    Ok(if Int::try_from(third).is_ok() {
        ThirdArgument::Err
    } else if let Ok(found) = Enum::try_from(third) {
        ThirdArgument::Enum { name, members: members(&found, &mut names)? }
    } else {
        ThirdArgument::Other(format!("{:?} {name}", third.kind()))
    })
}

/// Returns the type that a chain of modifiers and typedefs leads to.
///
/// In a file the chain may be a cycle, in which libbpf-rs would not end.
pub(super) fn without_typedefs<'btf>(btf: &Btf<'_>, of: BtfType<'btf>) -> Result<BtfType<'btf>, Error> {
    let mut found = of;
    for _ in 0..btf.len() {
        if !found.is_mod() && found.kind() != BtfKind::Typedef {
            return Ok(found);
        }
        let Some(next) = found.next_type() else { break };
        found = next;
    }
    Err(invalid(format!("the chain of typedefs and modifiers at type {} has no end", of.type_id())))
}

/// Returns the error of BTF that no compiler produces.
fn invalid(why: String) -> Error {
    Error::new(ErrorKind::System, format!("invalid BTF: {why}"))
}

/// Reads names, in bounded memory. In a file any number of types may share one long string.
#[derive(Default)]
pub(super) struct Names {
    /// The total length of the names that were read.
    length: usize,
}

impl Names {
    /// The maximum length of a name, in bytes. The kernel allows 512, and C++ has longer ones.
    const LONGEST: usize = 4096;
    /// The maximum length of all names, in bytes. In a kernel the names of all enumerators have
    /// about 1 MiB.
    const MOST: usize = 16 << 20;

    /// Returns an error if a name is too long. It is checked before any other use of the name, so a
    /// long one is read only once.
    pub(super) fn check(name: Option<&OsStr>) -> Result<(), Error> {
        match name {
            Some(name) if name.len() > Self::LONGEST => {
                Err(invalid(format!("a name has {} bytes; the maximum is {}", name.len(), Self::LONGEST)))
            }
            _ => Ok(()),
        }
    }

    /// Returns a name, escaped. A name in C contains nothing that is escaped.
    pub(super) fn read(&mut self, name: &OsStr) -> Result<String, Error> {
        Self::check(Some(name))?;
        let name = Escaped::path(name).to_string();
        self.length += name.len();
        if self.length > Self::MOST {
            return Err(invalid(format!("the names of its enums have more than {} bytes", Self::MOST)));
        }
        Ok(name)
    }
}

/// Returns the name of the typedef that contains a tracepoint's prototype.
pub(super) fn typedef_of(tracepoint: &str) -> String {
    format!("btf_trace_{tracepoint}")
}

/// Returns the prototype of a tracepoint, whose first parameter is its data pointer.
pub(super) fn prototype<'btf>(tracepoint: &str, typedef: Option<Typedef<'btf>>) -> Result<FuncProto<'btf>, Error> {
    let pointer = typedef.and_then(|typedef| Ptr::try_from(typedef.referenced_type()).ok());
    pointer.and_then(|pointer| FuncProto::try_from(pointer.referenced_type()).ok()).ok_or_else(|| {
        let message = format!(
            "the kernel's BTF has no tracepoint tcp:{tracepoint}: it requires Linux 4.16 with CONFIG_TRACEPOINTS and CONFIG_NET"
        );
        Error::new(ErrorKind::NoTracepoint, message)
    })
}

/// Returns the number of parameters of a function.
pub(super) fn parameters(function: &Func<'_>) -> Option<usize> {
    Some(FuncProto::try_from(function.referenced_type()).ok()?.len())
}

/// Returns all named types that match, in one pass: libbpf searches from the first type for each
/// name.
pub(super) fn find<'btf>(btf: &'btf Btf<'_>, wanted: impl Fn(BtfKind, &[u8]) -> bool) -> Vec<BtfType<'btf>> {
    // Type 0 is void.
    let all = (1..btf.len() as u32).filter_map(|id| btf.type_by_id::<BtfType<'_>>(TypeId::from(id)));
    all.filter(|found| found.name().is_some_and(|name| wanted(found.kind(), name.as_encoded_bytes()))).collect()
}

/// Returns the named enumerators of an enum.
pub(super) fn members(of: &Enum<'_>, names: &mut Names) -> Result<Vec<(String, i64)>, Error> {
    let named = of.iter().filter_map(|member| Some((member.name?, member.value)));
    named.map(|(name, value)| Ok((names.read(name)?, value))).collect()
}
