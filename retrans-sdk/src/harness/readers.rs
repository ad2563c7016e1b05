// SPDX-License-Identifier: MIT OR Apache-2.0
//! The readers of bytes from outside the program that have no public function of their own. The
//! fuzz targets (`tests/fuzz`) call them.

use std::path::PathBuf;

#[cfg(feature = "check")]
use std::path::Path;

use crate::error::Error;
use crate::event::Event;
use crate::event::record;
use crate::event::verdict::Verdict;
use crate::format::kv::{self, ParseLineError};
use crate::stats::netns::Mib;
use crate::sys::cgroup_paths::keep_widest;
use crate::sys::cgroups::{CgroupMode, Cgroups};
use crate::sys::mountinfo::cgroup2_mounts;

/// Decodes a record of the ring buffer.
///
/// # Errors
///
/// The text of the error, if the record is invalid.
pub fn record(bytes: &[u8]) -> Result<Event, String> {
    let mut event = Event::blank();
    record_into(&mut event, bytes).map(|()| event)
}

/// Decodes a record in place of another event, as a stream does.
///
/// # Errors
///
/// The text of the error, if the record is invalid.
pub fn record_into(event: &mut Event, bytes: &[u8]) -> Result<(), String> {
    record::decode_into(event, bytes, 0).map_err(|error| error.to_string())
}

/// Parses a key=value line with the parser of the canonical form. `None` if the line does not have
/// this form.
#[must_use]
pub fn canonical_line(text: &str) -> Option<Result<Event, ParseLineError>> {
    kv::parse_canonical(text).map(kv::validated)
}

/// Parses a key=value line with the general parser, which ignores unknown keys here.
///
/// # Errors
///
/// The error of the general parser.
pub fn general_line(text: &str) -> Result<Event, ParseLineError> {
    kv::parse_any_order(text, |_, _, _| Ok(()))
}

/// Returns the names of all enums of a C header with the names and values of their enumerators, and
/// with the first enumerator whose value cannot be read.
#[cfg(feature = "check")]
#[must_use]
pub fn c_header(text: &str) -> Vec<CEnum> {
    crate::check::c_header::enums(text).into_iter().map(CEnum::from).collect()
}

/// Reads the BTF in a file: all enums, and the type of the tracepoint's third argument.
///
/// # Errors
///
/// The error of the first of both that cannot be read.
#[cfg(feature = "check")]
pub fn btf(path: &Path) -> Result<(Vec<CEnum>, String), Error> {
    let btf = crate::kernel::read_btf(path)?;
    let enums = crate::kernel::enums(&btf)?.into_iter().map(CEnum::from).collect();
    Ok((enums, crate::kernel::third_argument(&btf)?.to_string()))
}

/// Reads the BTF of an object.
///
/// # Errors
///
/// The error of an object without valid BTF.
#[cfg(feature = "check")]
pub fn object(bytes: &[u8]) -> Result<Vec<CEnum>, Error> {
    Ok(crate::kernel::enums_of_object(bytes)?.into_iter().map(CEnum::from).collect())
}

/// An enum of a header or of BTF.
#[cfg(feature = "check")]
#[derive(Debug)]
pub struct CEnum {
    /// The name, if it has one.
    pub name: Option<String>,
    /// The enumerators.
    pub values: Vec<(String, i64)>,
    /// The first enumerator whose value cannot be read.
    pub unread: Option<String>,
}

#[cfg(feature = "check")]
impl From<crate::kernel::c_enum::CEnum> for CEnum {
    fn from(found: crate::kernel::c_enum::CEnum) -> Self {
        Self { name: found.name, values: found.values, unread: found.unread }
    }
}

/// Returns the root and the mount point of each mount of cgroup2 that is scanned, from the text of
/// /proc/self/mountinfo.
#[must_use]
pub fn mountinfo(text: &[u8]) -> Vec<(PathBuf, PathBuf)> {
    let mut mounts = cgroup2_mounts(text);
    keep_widest(&mut mounts);
    mounts.into_iter().map(|mount| (mount.root, mount.place)).collect()
}

/// Reads the text of /proc/self/cgroup: the mode of the host, and the process's own cgroup, or the
/// reason that it does not identify the process's sockets.
pub fn cgroups(text: &[u8]) -> (CgroupMode, Result<PathBuf, String>) {
    let cgroups = Cgroups::parse(text);
    (cgroups.mode(), cgroups.own().map(PathBuf::from))
}

/// Reads the texts of /proc/net/snmp and /proc/net/netstat, and returns RetransSegs.
///
/// # Errors
///
/// The error of the first counter that is missing.
pub fn netns_counters(snmp: &str, netstat: &str) -> Result<u64, Error> {
    Mib::parse(snmp, netstat).map(|counters| counters.retrans_segs)
}

/// Decodes a record of the ring buffer that is a verdict. Returns `None` if it is not one.
#[must_use]
pub fn verdict_record(record: &[u8]) -> Option<Verdict> {
    Verdict::decode(record, 0)
}
