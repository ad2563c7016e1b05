// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds tables against the kernel's headers: those that the programs were built from, those of the running kernel, and those in
//! a file or a tree.
//!
//! Every function gives a [`Report`], which passed if it has no [`Finding`]. The tables of this crate:
//!
//! - [`object`]: the enums of the built BPF object, in its BTF;
//! - [`running_kernel`]: the enums in the running kernel's BTF, the proposal's where it exists, and the tracepoint's shape;
//! - [`header`]: the enums in C headers, of a kernel tree or of `linux-libc-dev`.
//!
//! And any table of your own, against an enum of a certain name:
//!
//! - [`table_in_running_kernel`]: in the running kernel's BTF;
//! - [`table_in_btf`], [`table_in_object`]: in that of a file, of an object;
//! - [`table_in_header`]: in a C header.

mod c_header;
mod own;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::iter;
use std::path::Path;

pub use self::own::{table_in_btf, table_in_header, table_in_object, table_in_running_kernel};
use crate::error::{Error, ErrorKind};
use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::tcp_enums::{CaState, TcpState};
use crate::event::transmit::Transmit;
use crate::kernel::c_enum::CEnum;
use crate::kernel::{self, ThirdArgument};
use crate::text::reason_table::ReasonTable;

/// A way in which a table and a header differ.
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
    /// The header has an enumerator whose value could not be read, so that neither it nor those behind it were compared.
    Unread {
        /// The enumerator.
        c_name: String,
    },
    /// The header has no such enum at all.
    NoEnum {
        /// What it was looked for as.
        what: String,
    },
    /// No variant of the table has a `c_name` that begins with the prefix, so that nothing was compared.
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
            Self::Unread { c_name } => write!(f, "{c_name} has a value that cannot be read here"),
            Self::NoEnum { what } => write!(f, "there is no {what}"),
            Self::NothingToCompare { key, prefix } => {
                write!(f, "no variant of `{key}` has a c_name that begins with {prefix:?}")
            }
        }
    }
}

/// What a check looked at and found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What was looked at.
    pub subject: String,
    /// What was held against a table and agrees, and what is worth knowing.
    pub notes: Vec<String>,
    /// The differences; none if the check passed.
    pub findings: Vec<Finding>,
    /// What the header has beyond a table of your own, by name and number. It is no difference: the table carries such a number,
    /// and prints it as `k` and the number. Of the tables of this crate it is one, and stands among the findings.
    pub beyond: Vec<(String, i64)>,
}

impl Report {
    fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), notes: Vec::new(), findings: Vec::new(), beyond: Vec::new() }
    }

    /// Whether there are no findings.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.is_empty()
    }

    /// Holds table `T` against those enumerators of one enum that begin with `prefix`.
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
        self.notes.push(format!("enum {name}: {enumerators} enumerators agree with `{}`", T::KEY));
    }

    /// As [`hold`](Self::hold), for the enum that has a certain enumerator.
    fn hold_enum_with<T: ReasonTable>(&mut self, enums: &[CEnum], enumerators: [&str; 2], prefix: &str) {
        // Two, so that the enum is found too if one of them is what is missing.
        match enums.iter().find(|e| enumerators.iter().any(|name| e.values.iter().any(|(n, _)| n == name))) {
            Some(found) => self.hold::<T>(found, prefix),
            None => self.findings.push(Finding::NoEnum { what: format!("enum with {}", enumerators[0]) }),
        }
    }

    /// The states that every kernel has; `bpf` for the copy of them in uapi/linux/bpf.h.
    fn hold_states(&mut self, enums: &[CEnum]) {
        self.hold_enum_with::<TcpState>(enums, ["TCP_ESTABLISHED", "TCP_SYN_SENT"], "TCP_");
    }

    fn hold_ca_states(&mut self, enums: &[CEnum]) {
        self.hold_enum_with::<CaState>(enums, ["TCP_CA_Open", "TCP_CA_Disorder"], "TCP_CA_");
    }

    /// The proposal's enum, if it is there.
    fn hold_proposal(&mut self, enums: &[CEnum]) -> bool {
        let found = enums.iter().find(|e| e.name.as_deref().is_some_and(|name| PROPOSAL.contains(&name)));
        if let Some(found) = found {
            self.hold::<RetransResult>(found, "TCP_RETRANS_");
        }
        found.is_some()
    }
}

/// How a table and an enum differ, and how many enumerators of the table were looked for.
struct Compared {
    enumerators: usize,
    findings: Vec<Finding>,
}

/// Table `T` beside those enumerators of one enum that begin with `prefix`, by name.
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, if self.passed() { "agrees" } else { "DIFFERS" })?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))?;
        for (before, (c_name, number)) in
            ["\n  beyond the table: "].into_iter().chain(iter::repeat(", ")).zip(&self.beyond)
        {
            write!(f, "{before}{c_name} = {number}")?;
        }
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

/// The proposal's enum, as v1 and v2, and as v3 and v4 called it.
const PROPOSAL: [&str; 2] = ["tcp_retransmit_quit_reason", "tcp_retransmit_result"];

/// Enumerators of `TcpState`'s enum that are no state of a connection: the end marker, and a pseudo-state of inet_diag.
const IGNORED: [&str; 2] = ["TCP_MAX_STATES", "TCP_BOUND_INACTIVE"];

/// Holds the enums of the built BPF object, which this crate embeds, against the tables.
///
/// # Errors
///
/// If the object's BTF cannot be read.
pub fn object() -> Result<Report, Error> {
    object_in(kernel::object_bytes())
}

/// As [`object`], for the bytes of any object.
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

/// Holds the enums in the running kernel's BTF against the tables, and says what the tracepoint's third argument is.
///
/// # Errors
///
/// [`ErrorKind::NoBtf`], [`ErrorKind::NoTracepoint`].
pub fn running_kernel() -> Result<Report, Error> {
    kernel_btf(Path::new(kernel::VMLINUX))
}

/// As [`running_kernel`], for a kernel's BTF in a file.
///
/// # Errors
///
/// As [`running_kernel`].
pub fn kernel_btf(path: &Path) -> Result<Report, Error> {
    let btf = kernel::read_btf(path)?;
    let enums = kernel::enums(&btf);
    let mut report = Report::new(format!("BTF in {}", path.display()));
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

/// Holds C headers against the tables: a header file, a kernel tree, or an include folder such as `/usr/include` with
/// `linux-libc-dev`.
///
/// Of a folder, the states of TCP and of congestion avoidance must be there. Of a file, whatever it has is held against
/// its table, and it must have something.
///
/// # Errors
///
/// If nothing can be read there.
pub fn header(path: &Path) -> Result<Report, Error> {
    let mut report = Report::new(format!("headers in {}", path.display()));
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
                report.notes.push(format!("enum {} does not exist in {}", PROPOSAL[0], proposal.display()));
            }
        }
        return Ok(report);
    }
    let enums = enums_in(path)?;
    let has = |prefix: &str| enums.iter().any(|e| e.values.iter().any(|(name, _)| name.starts_with(prefix)));
    if has("TCP_ESTABLISHED") || has("TCP_SYN_") {
        report.hold_states(&enums);
    }
    if has("TCP_CA_") {
        report.hold_ca_states(&enums);
    }
    report.hold_proposal(&enums);
    if report.notes.is_empty() && report.findings.is_empty() {
        return Err(unreadable(path, "no enum in it that a table stands for"));
    }
    Ok(report)
}

/// Where a folder keeps the enums.
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
    // tcp_states.h is not installed; bpf.h has a copy, which the kernel asserts to be equal at build time.
    Folder { states: "linux/bpf.h", ca_states: "linux/tcp.h", proposal: None },
];

/// The enums of a header; those of bpf.h under the names that they copy.
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

/// The enums of a header.
fn enums_as_written(path: &Path) -> Result<Vec<CEnum>, Error> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, "cannot be read").caused_by(error))?;
    Ok(c_header::enums(&text))
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::System, format!("{}: {why}", path.display()))
}
