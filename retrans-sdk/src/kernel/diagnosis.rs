// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this kernel and this process allow.

use std::fs;
use std::path::Path;

use libbpf_rs::MapType;
use rustix::system::uname;
use rustix::thread::{CapabilitySet, capabilities};

use super::btf::{ThirdArgument, VMLINUX, read, third_argument};
use super::config::{DEFAULT_MAX_DELAY, DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES, Ring, Wanted};
use super::libbpf_log::quietly;
use super::support::Availability;
use super::{Companions, open};
use crate::event::field_set::Fields;
use crate::filter::Filter;
use crate::kernel::attach_method::AttachSource;
use crate::kernel::attachment::Attachment;
use crate::kernel::unobservable::Unobservable;

/// What this kernel and this process allow, and what a stream opened now would see. For whoever wants to know why a stream
/// sees what it sees.
#[derive(Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The kernel's release, as `uname -r` says. For people: nothing is decided by it.
    pub kernel: String,
    /// Whether the kernel shows its types.
    pub btf: Availability,
    /// The third argument of the `tcp_retransmit_skb` tracepoint, as one would say it in C, or `absent`. `None` without BTF or tracepoint.
    pub third_argument: Option<String>,
    /// Whether programs can be attached to the exits of functions.
    pub fexit: Availability,
    /// Whether kprobes can be attached to them.
    pub kretprobe: Availability,
    /// Whether the kernel has the ring buffer by which events come.
    pub ring_buffer: Availability,
    /// What it takes, and whether this process has it.
    pub capabilities: Vec<Capability>,
    /// The kernel's lockdown: `none`, `integrity`, `confidentiality`; `None` where the kernel does not tell.
    pub lockdown: Option<String>,
    /// What a stream is attached to, or why it cannot be opened.
    pub attachment: Result<Attachment, String>,
}

/// A capability of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capability {
    /// As in capabilities(7).
    pub name: &'static str,
    /// Whether it is in effect.
    pub held: bool,
}

/// What a stream would be worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It sees all that can be seen on any kernel: the failures of SYN-ACKs can be on none.
    Full,
    /// There is something that it cannot see, and on another kernel could.
    Degraded,
    /// It cannot be opened.
    Unable,
}

impl Diagnosis {
    /// Looks, and tries: opens a stream for a moment, and once more from each source of the others that depend on more than BTF.
    #[must_use]
    pub fn of_this_host() -> Self {
        let btf = read(Path::new(VMLINUX));
        let third = btf.as_ref().ok().and_then(|btf| third_argument(btf).ok());
        let try_from =
            |forced| open(&wanted(forced), RING).map(|(_, attachment)| attachment).map_err(|error| error.in_short());
        Self {
            kernel: uname().release().to_string_lossy().into_owned(),
            btf: Availability::of(btf.map_err(|error| error.in_short())),
            third_argument: third.as_ref().map(ThirdArgument::to_string),
            fexit: Availability::of(try_from(Some(AttachSource::Fexit))),
            kretprobe: Availability::of(try_from(Some(AttachSource::Kretprobe))),
            ring_buffer: ring_buffer(),
            capabilities: held(),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown").ok().and_then(|modes| chosen(&modes)),
            attachment: try_from(None),
        }
    }

    /// What a stream would be worth.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let Ok(attachment) = &self.attachment else { return Verdict::Unable };
        // What no kernel shows is not this one's shortcoming.
        let lacking = attachment.unobservable().filter(|what| *what != Unobservable::SynackFailures).count();
        if lacking == 0 { Verdict::Full } else { Verdict::Degraded }
    }
}

const RING: Ring = Ring {
    size: DEFAULT_RING_SIZE,
    fields: Fields::all(),
    max_delay: DEFAULT_MAX_DELAY,
    wakeup_bytes: DEFAULT_WAKEUP_BYTES,
};

fn wanted(forced: Option<AttachSource>) -> Wanted {
    Wanted {
        summed_netns: None,
        filter: Filter::default().for_kernel(0),
        limit: None,
        ring: Some(RING),
        epoch: 0,
        forced,
        companions: Companions::Any,
        owners: false,
    }
}

fn ring_buffer() -> Availability {
    let (supported, _) = quietly(|| MapType::RingBuf.is_supported());
    Availability::of(match supported {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err("the kernel has no ring buffer for BPF (before Linux 5.8), or does not let this process make one"
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

/// The one in brackets.
fn chosen(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::attachment::{PassedOver, Timing};

    fn diagnosis(attachment: Result<Attachment, String>) -> Diagnosis {
        Diagnosis {
            kernel: "1.0".into(),
            btf: Availability::Yes,
            third_argument: None,
            fexit: Availability::Yes,
            kretprobe: Availability::Yes,
            ring_buffer: Availability::Yes,
            capabilities: Vec::new(),
            lockdown: None,
            attachment,
        }
    }

    #[test]
    fn the_verdict_is_about_what_could_be_seen_elsewhere() {
        let attached = |source, companion, tells_nomem_sites| {
            let passed_over: Vec<PassedOver> = Vec::new();
            let timing = Timing::default();
            diagnosis(Ok(Attachment { source, companion, tells_nomem_sites, passed_over, timing })).verdict()
        };
        let fexit = Some(AttachSource::Fexit);
        assert_eq!(attached(AttachSource::TpErr, fexit, true), Verdict::Full);
        assert_eq!(attached(AttachSource::Fexit, None, true), Verdict::Full);
        assert_eq!(attached(AttachSource::TpEnum, fexit, true), Verdict::Full);
        assert_eq!(attached(AttachSource::TpErr, None, false), Verdict::Degraded);
        assert_eq!(attached(AttachSource::TpEnum, None, false), Verdict::Degraded);
        assert_eq!(attached(AttachSource::Kretprobe, None, false), Verdict::Degraded);
        assert_eq!(attached(AttachSource::TpSuccess, None, false), Verdict::Degraded);
        assert_eq!(diagnosis(Err("no".into())).verdict(), Verdict::Unable);
    }

    #[test]
    fn what_is_unobservable_is_listed() {
        let of = |source, companion, tells_nomem_sites| -> Vec<_> {
            let (passed_over, timing) = (Vec::new(), Timing::default());
            let attachment = Attachment { source, companion, tells_nomem_sites, passed_over, timing };
            attachment.unobservable().collect()
        };
        use Unobservable::{Err, Failures, NomemSites, SynackFailures};
        assert_eq!(of(AttachSource::TpSuccess, None, false), [Failures, SynackFailures]);
        assert_eq!(of(AttachSource::TpEnum, None, false), [Err, NomemSites, SynackFailures]);
        assert_eq!(of(AttachSource::TpErr, None, false), [NomemSites, SynackFailures]);
        assert_eq!(of(AttachSource::Fexit, None, true), [SynackFailures]);
    }

    #[test]
    fn the_lockdown_is_the_one_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(chosen("[none] integrity"), Some("none".into()));
        assert_eq!(chosen(""), None);
    }
}
