// SPDX-License-Identifier: MIT OR Apache-2.0
//! Diagnoses what this kernel and this process support.

use std::fs;
use std::path::{Path, PathBuf};

use libbpf_rs::MapType;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Struct;
use rustix::system::uname;
use rustix::thread::{CapabilitySet, capabilities};

use super::btf::{ThirdArgument, VMLINUX, read, third_argument};
use super::config::{Config, DEFAULT_MAX_DELAY, DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES, RingConfig};
use super::libbpf_log::capture_log;
use super::support::Support;
use super::{Companions, open};
use crate::error::{Error, ErrorKind};
use crate::event::field_set::FieldSet;
use crate::filter::Filter;
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::attachment::Attachment;
use crate::sys::cgroups::{CgroupMode, Cgroups};
use crate::sys::clock::EpochOffset;

/// A diagnosis of what this kernel and this process support, and what a stream opened now with
/// [`locate_nomem`](crate::StreamBuilder::locate_nomem) would observe.
///
/// [`run`](Self::run) determines it.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::attach::{Diagnosis, Coverage};
///
/// let diagnosis = Diagnosis::run();
/// match (diagnosis.coverage(), &diagnosis.attachment) {
///     (Coverage::Full, _) => println!("everything is observable"),
///     (_, Ok(attachment)) => {
///         for what in attachment.unobservable() {
///             println!("not observable: {what}");
///         }
///     }
///     (_, Err(reason)) => println!("a stream cannot be opened: {reason}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The kernel release, as in `uname -r`. Informational: nothing depends on it.
    pub kernel: String,
    /// Support for BTF: `/sys/kernel/btf/vmlinux`, or the file of
    /// [`run_with_btf`](Self::run_with_btf).
    pub btf: Support,
    /// The third argument of the `tcp_retransmit_skb` tracepoint in C, or `absent`. `None` without
    /// BTF or without the tracepoint.
    pub third_argument: Option<String>,
    /// Support for attaching programs to function exits (fexit).
    pub fexit: Support,
    /// Support for attaching kretprobes.
    pub kretprobe: Support,
    /// Support for the BPF ring buffer (Linux 5.8).
    pub ring_buffer: Support,
    /// The relevant capabilities, and whether this process holds them.
    pub capabilities: Vec<Capability>,
    /// The kernel lockdown mode: `none`, `integrity` or `confidentiality`. `None` if
    /// `/sys/kernel/security/lockdown` cannot be read, because the kernel does not support
    /// lockdown, or securityfs is not mounted here.
    pub lockdown: Option<String>,
    /// The versions of cgroups that the host uses.
    pub cgroup_mode: CgroupMode,
    /// Support for [`Filter::current_cgroup`] in this process.
    pub current_cgroup: Support,
    /// The attachment of a stream, or the reason that it cannot be opened.
    pub attachment: Result<Attachment, String>,
}

/// A capability of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// The name, as in capabilities(7).
    pub name: &'static str,
    /// True if it is in the effective set.
    pub held: bool,
}

/// The extent of what a stream would observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// Everything that is observable on any released kernel.
    Full,
    /// Something is unobservable that another kernel would show.
    Degraded,
    /// A stream cannot be opened.
    Unable,
}

impl Diagnosis {
    /// Runs the diagnosis.
    ///
    /// It opens a stream for a moment, with default settings and
    /// [`locate_nomem`](crate::StreamBuilder::locate_nomem), and once each with the attach methods
    /// `fexit` and `kretprobe`. It requires no capability: what a missing capability prevents is
    /// reported as not available.
    #[must_use]
    pub fn run() -> Self {
        Self::run_as(None)
    }

    /// Runs the diagnosis with the kernel's BTF in a file, as
    /// [`StreamBuilder::btf_path`](crate::StreamBuilder::btf_path) sets it.
    #[must_use]
    pub fn run_with_btf(path: impl Into<PathBuf>) -> Self {
        Self::run_as(Some(path.into()))
    }

    fn run_as(file: Option<PathBuf>) -> Self {
        let btf = read(file.as_deref().unwrap_or(Path::new(VMLINUX)));
        let third = btf.as_ref().ok().and_then(|btf| third_argument(btf).ok());
        let try_from =
            |forced| open(&config(forced, file.clone()), RING).map(|(_, attachment)| attachment).map_err(described);
        let current_cgroup = match &btf {
            Ok(btf) if !knows_cgroups(btf) => Err("no socket's cgroup is known before Linux 5.15".to_owned()),
            _ => Filter::current_cgroup().map_err(|error| error.to_string()),
        };
        Self {
            kernel: uname().release().to_string_lossy().into_owned(),
            btf: Support::of(btf.map_err(described)),
            third_argument: third.as_ref().map(ThirdArgument::to_string),
            fexit: Support::of(try_from(Some(AttachMethod::Fexit))),
            kretprobe: Support::of(try_from(Some(AttachMethod::Kretprobe))),
            ring_buffer: ring_buffer(),
            capabilities: held(),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown").ok().and_then(|modes| chosen(&modes)),
            cgroup_mode: Cgroups::read().map_or(CgroupMode::Unknown, |cgroups| cgroups.mode()),
            current_cgroup: Support::of(current_cgroup),
            attachment: try_from(None),
        }
    }

    /// Returns the extent of what a stream would observe.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let Ok(attachment) = &self.attachment else { return Coverage::Unable };
        if attachment.unobservable().count() == 0 { Coverage::Full } else { Coverage::Degraded }
    }
}

const RING: RingConfig = RingConfig {
    size: DEFAULT_RING_SIZE,
    fields: FieldSet::DEFAULT,
    max_delay: DEFAULT_MAX_DELAY,
    wakeup_bytes: DEFAULT_WAKEUP_BYTES,
};

fn config(forced: Option<AttachMethod>, btf: Option<PathBuf>) -> Config {
    Config {
        summed_netns: None,
        grouping: None,
        filter: Filter::default().for_kernel(0),
        limit: None,
        ring: Some(RING),
        epoch: EpochOffset::read(),
        forced,
        companions: Companions::Any,
        locate_nomem: true,
        without_entries: false,
        owners: false,
        drops: false,
        verdicts: false,
        btf,
    }
}

/// Returns the text of an error without its log. The remedy of missing BTF is kept.
fn described(error: Error) -> String {
    if error.kind() == ErrorKind::NoBtf { error.to_string() } else { error.in_short() }
}

/// Returns whether the kernel knows the cgroup of a socket (8520e224f547, Linux 5.15).
fn knows_cgroups(btf: &Btf<'_>) -> bool {
    let data = btf.type_by_name::<Struct<'_>>("sock_cgroup_data");
    data.is_some_and(|data| data.iter().any(|member| member.name.is_some_and(|name| name == "cgroup")))
}

fn ring_buffer() -> Support {
    let (supported, _) = capture_log(|| MapType::RingBuf.is_supported());
    Support::of(match supported {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err("the BPF ring buffer is not available: it requires Linux 5.8, and this process must be allowed to create one"
                .into())
        }
        Err(error) => Err(error.to_string()),
    })
}

fn held() -> Vec<Capability> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ]
    .map(|(capability, name)| Capability { name, held: held.contains(capability) })
    .to_vec()
}

/// Returns the mode in brackets.
fn chosen(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attachment::{Timing, Unobservable};

    fn diagnosis(attachment: Result<Attachment, String>) -> Diagnosis {
        Diagnosis {
            kernel: "1.0".into(),
            btf: Support::Available,
            third_argument: None,
            fexit: Support::Available,
            kretprobe: Support::Available,
            ring_buffer: Support::Available,
            capabilities: Vec::new(),
            lockdown: None,
            cgroup_mode: CgroupMode::V2,
            current_cgroup: Support::Available,
            attachment,
        }
    }

    fn attachment(method: AttachMethod, companion: Option<AttachMethod>, locates_nomem: bool) -> Attachment {
        let synack_failures = method == AttachMethod::Fexit || companion.is_some();
        let (candidates, timing) = (Vec::new(), Timing::default());
        Attachment { method, companion, locates_nomem, synack_failures, candidates, timing }
    }

    #[test]
    fn the_coverage_is_full_only_if_everything_is_observable() {
        let attached =
            |method, companion, locates_nomem| diagnosis(Ok(attachment(method, companion, locates_nomem))).coverage();
        let fexit = Some(AttachMethod::Fexit);
        assert_eq!(attached(AttachMethod::TpErr, fexit, true), Coverage::Full);
        assert_eq!(attached(AttachMethod::Fexit, None, true), Coverage::Full);
        assert_eq!(attached(AttachMethod::TpEnum, fexit, true), Coverage::Full);
        assert_eq!(attached(AttachMethod::TpErr, None, false), Coverage::Degraded);
        assert_eq!(attached(AttachMethod::TpEnum, None, false), Coverage::Degraded);
        assert_eq!(attached(AttachMethod::Kretprobe, None, false), Coverage::Degraded);
        assert_eq!(attached(AttachMethod::TpSuccess, None, false), Coverage::Degraded);
        let without_function = Attachment { synack_failures: false, ..attachment(AttachMethod::Fexit, None, true) };
        assert_eq!(diagnosis(Ok(without_function)).coverage(), Coverage::Degraded);
        assert_eq!(diagnosis(Err("no".into())).coverage(), Coverage::Unable);
    }

    #[test]
    fn unobservable_results_are_listed() {
        let of = |method, companion, locates_nomem| -> Vec<_> {
            attachment(method, companion, locates_nomem).unobservable().collect()
        };
        use Unobservable::{Err, Failures, NomemSites, SynackFailures};
        assert_eq!(of(AttachMethod::TpSuccess, None, false), [Failures, SynackFailures]);
        assert_eq!(of(AttachMethod::TpEnum, None, false), [Err, NomemSites, SynackFailures]);
        assert_eq!(of(AttachMethod::TpErr, None, false), [NomemSites, SynackFailures]);
        assert_eq!(of(AttachMethod::TpErr, Some(AttachMethod::Fexit), false), [NomemSites]);
        assert_eq!(of(AttachMethod::Fexit, None, true), []);
    }

    #[test]
    fn the_lockdown_is_the_one_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(chosen("[none] integrity"), Some("none".into()));
        assert_eq!(chosen(""), None);
    }
}
