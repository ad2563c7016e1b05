// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel's BTF, or that of a built object, tells.

use std::fmt;
use std::path::Path;

use libbpf_rs::ReferencesType as _;
use libbpf_rs::btf::types::{Enum, Func, FuncProto, Int, Ptr, Typedef};
use libbpf_rs::btf::{Btf, BtfKind, BtfType, TypeId};

use super::libbpf_error::LibbpfError;
use super::libbpf_log::capture_log;
use crate::error::{Error, ErrorKind};

/// The one that is attached to.
pub(super) const TRACEPOINT: &str = "tcp_retransmit_skb";

/// Where the running kernel shows its BTF.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The third argument of the `tcp_retransmit_skb` tracepoint. It means different things on different kernels, and the
/// value 0 of one is the opposite of the other's, so its type decides (never the kernel's version).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ThirdArgument {
    /// Up to Linux 6.16: the tracepoint fires for successes only.
    Absent,
    /// Since ad892e912b84 (Linux 6.17): `int err`.
    Err,
    /// An enum: the proposal of July 2025, in one of its versions.
    Enum {
        /// Its name.
        name: String,
        /// Its enumerators, by name, with their numbers.
        members: Vec<(String, i64)>,
    },
    /// Something else.
    Other(String),
}

/// As one would say it in C.
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

/// The BTF in a file: `/sys/kernel/btf/vmlinux`, or an object.
pub(crate) fn read(path: &Path) -> Result<Btf<'static>, Error> {
    // The running kernel's is mapped where the kernel allows it (Linux 6.16), and not copied.
    let running = path == Path::new(VMLINUX) && path.exists();
    let (btf, log) = capture_log(|| {
        let btf = if running { Btf::from_vmlinux() } else { Btf::from_path(path) };
        btf.map_err(LibbpfError::new)
    });
    btf.map_err(|error| {
        let path = path.display();
        let message = format!(
            "no BTF in {path}: it takes a kernel built with CONFIG_DEBUG_INFO_BTF=y (distribution kernels are, from 5.10)\
             {}",
            indent(&log)
        );
        error.cause(Error::new(ErrorKind::NoBtf, message))
    })
}

/// libbpf's words, to stand behind a message.
pub(super) fn indent(log: &str) -> String {
    log.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("\n    {line}")).collect()
}

/// The tracepoint's third argument, from the prototype that BTF keeps of it.
pub(crate) fn third_argument(btf: &Btf<'_>) -> Result<ThirdArgument, Error> {
    let typedef = btf.type_by_name::<Typedef<'_>>(&typedef_of(TRACEPOINT));
    third_argument_of(btf, prototype(TRACEPOINT, typedef)?)
}

/// The same from the prototype.
pub(super) fn third_argument_of(btf: &Btf<'_>, prototype: FuncProto<'_>) -> Result<ThirdArgument, Error> {
    // The first parameter is the tracepoint's own data pointer.
    let Some(third) = prototype.iter().nth(3) else {
        return Ok(ThirdArgument::Absent);
    };
    let Some(third) = btf.type_by_id::<BtfType<'_>>(third.ty).map(|t| t.skip_mods_and_typedefs()) else {
        return Ok(ThirdArgument::Other("a type that BTF lacks".to_owned()));
    };
    let name = third.name().map(|name| name.to_string_lossy().into_owned());
    Ok(if Int::try_from(third).is_ok() {
        ThirdArgument::Err
    } else if let Ok(found) = Enum::try_from(third) {
        ThirdArgument::Enum { name: name.unwrap_or_default(), members: members(&found) }
    } else {
        ThirdArgument::Other(format!("{:?} {}", third.kind(), name.unwrap_or_default()))
    })
}

/// By what name BTF has a tracepoint's prototype.
pub(super) fn typedef_of(tracepoint: &str) -> String {
    format!("btf_trace_{tracepoint}")
}

/// The prototype of a tracepoint, data pointer first.
pub(super) fn prototype<'btf>(tracepoint: &str, typedef: Option<Typedef<'btf>>) -> Result<FuncProto<'btf>, Error> {
    let pointer = typedef.and_then(|typedef| Ptr::try_from(typedef.referenced_type()).ok());
    pointer.and_then(|pointer| FuncProto::try_from(pointer.referenced_type()).ok()).ok_or_else(|| {
        let message = format!(
            "the kernel's BTF has no tracepoint tcp:{tracepoint}: it takes Linux 4.16 or newer with CONFIG_TRACEPOINTS and CONFIG_NET"
        );
        Error::new(ErrorKind::NoTracepoint, message)
    })
}

/// How many parameters a function has.
pub(super) fn parameters(function: &Func<'_>) -> Option<usize> {
    Some(FuncProto::try_from(function.referenced_type()).ok()?.len())
}

/// All types with a name that are wanted, by kind and name. In one walk: libbpf begins at the first type for each name.
pub(super) fn find<'btf>(btf: &'btf Btf<'_>, wanted: impl Fn(BtfKind, &[u8]) -> bool) -> Vec<BtfType<'btf>> {
    // Type 0 is void.
    let all = (1..btf.len() as u32).filter_map(|id| btf.type_by_id::<BtfType<'_>>(TypeId::from(id)));
    all.filter(|found| found.name().is_some_and(|name| wanted(found.kind(), name.as_encoded_bytes()))).collect()
}

/// The enumerators of an enum that have a name.
pub(super) fn members(of: &Enum<'_>) -> Vec<(String, i64)> {
    of.iter().filter_map(|member| Some((member.name?.to_string_lossy().into_owned(), member.value))).collect()
}
