// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares tables with the kernel's enums: in the built BPF object, in the running kernel, and in
//! C headers.
//!
//! Every function returns a [`Report`], which passes if it contains no [`Finding`]. Functions for
//! the tables of this crate:
//!
//! - [`object`]: the enums in the BTF of the built BPF object;
//! - [`running_kernel`]: the enums in the running kernel's BTF, including the proposal's if it
//!   exists, and the tracepoint's third argument; [`kernel_btf`] reads another kernel's BTF from a
//!   file;
//! - [`header`]: the enums in C headers, of a kernel tree or of `linux-libc-dev`.
//!
//! Functions for a table of the application, with an enum of a given name:
//!
//! - [`table_in_running_kernel`]: in the running kernel's BTF;
//! - [`table_in_btf`], [`table_in_object`]: in the BTF of a file, of an object;
//! - [`table_in_header`]: in a C header.
//!
//! [`generate_table`] generates the source of such a table from the kernel's enum.
//!
//! # Examples
//!
//! ```
//! use retrans_sdk::check;
//!
//! let report = check::object()?;
//! assert!(report.passed(), "{report}");
//! # Ok::<(), retrans_sdk::Error>(())
//! ```

pub(crate) mod c_header;
mod generate;
mod own;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

pub use self::generate::{EnumSource, generate_table};
pub use self::own::{table_in_btf, table_in_header, table_in_object, table_in_running_kernel};
use crate::error::{Error, ErrorKind};
use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::tcp_enums::{CaState, TcpState};
use crate::event::transmit::Transmit;
use crate::kernel::c_enum::CEnum;
use crate::kernel::{self, ThirdArgument};
use crate::text::escape::Escaped;
use crate::text::reason_table::ReasonTable;

/// A difference between a table and an enum of the kernel. Prints as one line of text.
///
/// Names that were read from BTF or a header are escaped, so they are safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The table has an enumerator that the header lacks.
    Missing {
        /// The enumerator.
        c_name: String,
    },
    /// The header has an enumerator that the table lacks.
    Extra {
        /// The enumerator.
        c_name: String,
        /// Its number in the header.
        number: i64,
    },
    /// Both have the enumerator, with different numbers.
    Renumbered {
        /// The enumerator.
        c_name: String,
        /// Its number in the table.
        ours: u32,
        /// Its number in the header.
        theirs: i64,
    },
    /// The value of an enumerator in the header could not be read. Neither it nor those after it
    /// were compared.
    Unread {
        /// The enumerator.
        c_name: String,
    },
    /// The header has no such enum.
    NoEnum {
        /// The enum that was searched for.
        what: String,
    },
    /// No variant of the table has a `c_name` that begins with the prefix. Nothing was compared.
    NothingToCompare {
        /// The table's key.
        key: &'static str,
        /// The prefix.
        prefix: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { c_name } => write!(f, "{c_name} is missing"),
            Self::Extra { c_name, number } => write!(f, "{c_name} = {number} is in no table"),
            Self::Renumbered { c_name, ours, theirs } => write!(f, "{c_name} is {theirs}, in the table {ours}"),
            Self::Unread { c_name } => write!(f, "the value of {c_name} cannot be read"),
            Self::NoEnum { what } => write!(f, "there is no {what}"),
            Self::NothingToCompare { key, prefix } => {
                write!(f, "no variant of `{key}` has a c_name that begins with {prefix:?}")
            }
        }
    }
}

/// The result of a check.
///
/// Prints the findings first, then the notes, then at most ten of the enumerators that only the
/// kernel has.
///
/// # Examples
///
/// ```
/// use retrans_sdk::check;
///
/// let report = check::object()?;
/// for finding in &report.findings {
///     eprintln!("{}: {finding}", report.subject);
/// }
/// assert!(report.passed());
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The source that was compared with the tables: an object, a kernel's BTF, a header.
    pub subject: String,
    /// Notes: each enum that matches, and other facts.
    pub notes: Vec<String>,
    /// The differences; empty if the check passed.
    pub findings: Vec<Finding>,
    /// Enumerators of the kernel that a table of the application lacks, by name and number.
    ///
    /// They are not differences: the table carries such a number, and prints it as `k` and the
    /// number. With the tables of this crate such enumerators are differences, and are among the
    /// findings.
    pub kernel_only: Vec<(String, i64)>,
}

impl Report {
    fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), notes: Vec::new(), findings: Vec::new(), kernel_only: Vec::new() }
    }

    /// Returns whether there are no findings.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.is_empty()
    }

    /// Compares table `T` with the enumerators of one enum that begin with `prefix`.
    fn hold<T: ReasonTable>(&mut self, found: &CEnum, prefix: &str) {
        let Compared { enumerators, mut findings } = compare::<T>(found, prefix);
        findings
            .retain(|finding| !matches!(finding, Finding::Extra { c_name, .. } if IGNORED.contains(&c_name.as_str())));
        if findings.is_empty() {
            self.note_agreement::<T>(found, enumerators);
        }
        self.findings.append(&mut findings);
    }

    fn note_agreement<T: ReasonTable>(&mut self, found: &CEnum, enumerators: usize) {
        let name = found.name.as_deref().unwrap_or("without a name");
        self.notes.push(format!("enum {name}: {enumerators} enumerators match `{}`", T::KEY));
    }

    /// As [`hold`](Self::hold), for the enum that contains one of these enumerators.
    fn hold_enum_with<T: ReasonTable>(&mut self, enums: &[CEnum], enumerators: [&str; 2], prefix: &str) {
        // Two names, so that the enum is found even if one of them is missing.
        match enums.iter().find(|e| e.names().any(|name| enumerators.contains(&name))) {
            Some(found) => self.hold::<T>(found, prefix),
            None => self.findings.push(Finding::NoEnum { what: format!("enum with {}", enumerators[0]) }),
        }
    }

    /// Checks the TCP states, which every kernel has.
    fn hold_states(&mut self, enums: &[CEnum]) {
        self.hold_enum_with::<TcpState>(enums, ["TCP_ESTABLISHED", "TCP_SYN_SENT"], "TCP_");
    }

    fn hold_ca_states(&mut self, enums: &[CEnum]) {
        self.hold_enum_with::<CaState>(enums, ["TCP_CA_Open", "TCP_CA_Disorder"], "TCP_CA_");
    }

    /// Checks the enum of the proposed patch, if it is present.
    fn hold_proposal(&mut self, enums: &[CEnum]) -> bool {
        let found = enums.iter().find(|e| e.name.as_deref().is_some_and(|name| PROPOSAL.contains(&name)));
        if let Some(found) = found {
            self.hold::<RetransResult>(found, "TCP_RETRANS_");
        }
        found.is_some()
    }
}

/// The differences between a table and an enum, and the number of enumerators of the table that
/// were compared.
struct Compared {
    enumerators: usize,
    findings: Vec<Finding>,
}

/// Compares table `T` with the enumerators of one enum that begin with `prefix`, by name.
fn compare<T: ReasonTable>(found: &CEnum, prefix: &str) -> Compared {
    let theirs = found.with_prefix(prefix);
    let ours: BTreeMap<&str, u32> = T::ALL
        .iter()
        .filter_map(|e| Some((e.c_name?, e.number)))
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    let mut findings = Vec::new();
    for (&c_name, &number) in &ours {
        match theirs.get(c_name) {
            None => findings.push(Finding::Missing { c_name: c_name.to_owned() }),
            Some(&theirs) if theirs != i64::from(number) => {
                findings.push(Finding::Renumbered { c_name: c_name.to_owned(), ours: number, theirs });
            }
            Some(_) => {}
        }
    }
    for (&c_name, &number) in &theirs {
        if !ours.contains_key(c_name) {
            findings.push(Finding::Extra { c_name: c_name.to_owned(), number });
        }
    }
    if let Some(c_name) = &found.unread {
        findings.push(Finding::Unread { c_name: c_name.clone() });
    }
    Compared { enumerators: ours.len(), findings }
}

/// The maximum number of enumerators that only the kernel has and that are printed. A kernel has
/// more than a hundred drop reasons.
const MAX_KERNEL_ONLY: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, if self.passed() { "matches" } else { "DIFFERS" })?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))?;
        for (index, (c_name, number)) in self.kernel_only.iter().take(MAX_KERNEL_ONLY).enumerate() {
            let before = if index == 0 { "\n  only in the kernel, not a difference: " } else { ", " };
            write!(f, "{before}{c_name} = {number}")?;
        }
        match self.kernel_only.len().checked_sub(MAX_KERNEL_ONLY) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, ", and {more} more"),
        }
    }
}

/// The names of the proposal's enum in v1 and v2, and in v3 and v4.
const PROPOSAL: [&str; 2] = ["tcp_retransmit_quit_reason", "tcp_retransmit_result"];

/// Enumerators of `TcpState`'s enum that are not states of a connection: the end marker, and a
/// pseudo-state of inet_diag.
const IGNORED: [&str; 2] = ["TCP_MAX_STATES", "TCP_BOUND_INACTIVE"];

/// Compares the tables with the enums of the built BPF object, which this crate embeds.
///
/// # Errors
///
/// [`ErrorKind::NoBtf`] if the object's BTF cannot be read.
pub fn object() -> Result<Report, Error> {
    object_in(kernel::object_bytes())
}

/// Compares the tables with the enums in the BTF of any object, given as bytes, as [`object`] does.
///
/// # Errors
///
/// As [`object`].
pub fn object_in(object: &[u8]) -> Result<Report, Error> {
    let enums = kernel::enums_of_object(object)?;
    let mut report = Report::new("built object");
    if !report.hold_proposal(&enums) {
        report.findings.push(Finding::NoEnum { what: format!("enum {}", PROPOSAL[0]) });
    }
    report.hold_enum_with::<RetransKind>(&enums, ["RETRANS_KIND_UNKNOWN", "RETRANS_KIND_RTO"], "RETRANS_KIND_");
    report.hold_enum_with::<Transmit>(&enums, ["RETRANS_TRANSMIT_UNKNOWN", "RETRANS_TRANSMIT_NO"], "RETRANS_TRANSMIT_");
    report.hold_enum_with::<RetransResult>(&enums, ["RETRANS_OWN_NOMEM", "RETRANS_OWN_NOBUFS"], "RETRANS_OWN_");
    Ok(report)
}

/// Compares the tables with the enums in the running kernel's BTF, and reports the tracepoint's
/// third argument.
///
/// Requires Linux 5.10 with BTF (`/sys/kernel/btf/vmlinux`), which every user may read.
///
/// # Examples
///
/// ```no_run
/// println!("{}", retrans_sdk::check::running_kernel()?);
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
///
/// # Errors
///
/// - [`ErrorKind::NoBtf`] if the kernel provides no BTF
/// - [`ErrorKind::System`] if the BTF is invalid
/// - [`ErrorKind::NoTracepoint`] if the BTF has no `tcp_retransmit_skb` tracepoint
pub fn running_kernel() -> Result<Report, Error> {
    kernel_btf(Path::new(kernel::VMLINUX))
}

/// Compares the tables with a kernel's BTF in a file, as [`running_kernel`] does.
///
/// # Errors
///
/// As [`running_kernel`].
pub fn kernel_btf(path: &Path) -> Result<Report, Error> {
    let btf = kernel::read_btf(path)?;
    let enums = kernel::enums(&btf)?;
    let mut report = Report::new(format!("BTF in {}", Escaped::path(path)));
    report.hold_states(&enums);
    report.hold_ca_states(&enums);
    if !report.hold_proposal(&enums) {
        report.notes.push(format!("enum {} does not exist in this kernel", PROPOSAL[0]));
    }
    let third = match kernel::third_argument(&btf)? {
        ThirdArgument::Absent => "absent: the tracepoint fires for successes only".to_owned(),
        other => other.to_string(),
    };
    report.notes.push(format!("third argument of tcp_retransmit_skb: {third}"));
    Ok(report)
}

/// Compares the tables with C headers: a header file, a kernel tree, or an include folder such as
/// `/usr/include` with `linux-libc-dev`.
///
/// A folder must contain the states of TCP and of congestion avoidance. A file must contain at
/// least one of the enums, and each that it contains is compared.
///
/// # Errors
///
/// [`ErrorKind::System`] if nothing can be read there, if a file is larger than 16 MiB, or if it
/// contains no enum of any table.
pub fn header(path: &Path) -> Result<Report, Error> {
    let mut report = Report::new(format!("headers in {}", Escaped::path(path)));
    if path.is_dir() {
        let folder = FOLDERS
            .iter()
            .find(|folder| path.join(folder.states).is_file())
            .ok_or_else(|| unreadable(path, "neither a kernel tree nor an include folder with linux-libc-dev"))?;
        report.hold_states(&enums_in(&path.join(folder.states))?);
        report.hold_ca_states(&enums_in(&path.join(folder.ca_states))?);
        if let Some(proposal) = folder.proposal {
            let proposal = path.join(proposal);
            if !report.hold_proposal(&enums_in(&proposal)?) {
                report.notes.push(format!("enum {} does not exist in {}", PROPOSAL[0], Escaped::path(&proposal)));
            }
        }
        return Ok(report);
    }
    let enums = enums_in(path)?;
    let has = |prefix: &str| enums.iter().any(|e| e.names().any(|name| name.starts_with(prefix)));
    if has("TCP_ESTABLISHED") || has("TCP_SYN_") {
        report.hold_states(&enums);
    }
    if has("TCP_CA_") {
        report.hold_ca_states(&enums);
    }
    report.hold_proposal(&enums);
    if report.notes.is_empty() && report.findings.is_empty() {
        return Err(unreadable(path, "contains no enum of any table"));
    }
    Ok(report)
}

/// The places of the enums in a folder.
struct Folder {
    states: &'static str,
    ca_states: &'static str,
    proposal: Option<&'static str>,
}

const FOLDERS: [Folder; 2] = [
    Folder {
        states: "include/net/tcp_states.h",
        ca_states: "include/uapi/linux/tcp.h",
        proposal: Some("include/linux/tcp.h"),
    },
    // tcp_states.h is not installed; bpf.h has a copy, which the kernel asserts to be equal at
    // build time.
    Folder { states: "linux/bpf.h", ca_states: "linux/tcp.h", proposal: None },
];

/// Returns the enums of a header. Copies of enumerators in bpf.h have the names of the originals.
fn enums_in(path: &Path) -> Result<Vec<CEnum>, Error> {
    Ok(enums_as_written(path)?
        .into_iter()
        .map(|mut found| {
            for (name, _) in &mut found.values {
                if let Some(copied) = name.strip_prefix("BPF_TCP_") {
                    *name = format!("TCP_{copied}");
                }
            }
            found
        })
        .collect())
}

/// Returns the enums of a header.
fn enums_as_written(path: &Path) -> Result<Vec<CEnum>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_HEADER + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, "cannot be read").caused_by(error))?;
    if bytes.len() as u64 > MAX_HEADER {
        return Err(unreadable(path, "is larger than 16 MiB, so it is not a C header"));
    }
    let text = String::from_utf8(bytes).map_err(|error| unreadable(path, "cannot be read").caused_by(error))?;
    Ok(c_header::enums(&text))
}

/// The maximum size of a header, in bytes. `vmlinux.h`, which contains all types of a kernel, has
/// about 4 MiB.
const MAX_HEADER: u64 = 16 << 20;

fn unreadable(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::System, format!("{}: {why}", Escaped::path(path)))
}
