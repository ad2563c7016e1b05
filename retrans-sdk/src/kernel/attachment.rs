// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a stream is attached to, and what can be seen from there.

use std::fmt;
use std::time::Duration;

use crate::kernel::attach_method::AttachSource;
use crate::kernel::unobservable::Unobservable;
use crate::text::reason_table::KeyVal;

/// What a stream is attached to, what it can see from there, and why it is not attached to something better.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// Where the events come from.
    pub source: AttachSource,
    /// What supplies beside it that which it lacks: the error number beside [`AttachSource::TpEnum`], and, if it is
    /// [`AttachSource::Fexit`], the site at which memory ran out.
    pub companion: Option<AttachSource>,
    /// Whether -ENOMEM is told apart into `trim_head_nomem`, `frag_nomem` and `unclone_nomem`. Without, it is the first where the
    /// socket proves it, and else `nomem`.
    pub tells_nomem_sites: bool,
    /// What would have been better, best first, and why it is not to be had.
    pub passed_over: Vec<PassedOver>,
    /// How long it took to get there.
    pub timing: Timing,
}

/// How long it took from the opening to attached, and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// All of it.
    pub total: Duration,
    /// Of that, reading what BTF tells of the kernel.
    pub btf: Duration,
    /// Of that, each way that BTF admits and that was tried, best first. The last one was taken.
    pub tried: Vec<Tried>,
}

/// A way to attach that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// As in [`PassedOver::way`].
    pub way: String,
    /// How long it took to load and to attach, or to be refused.
    pub load: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of trying a way to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The stream is attached in this way.
    Attached,
    /// The kernel refused it: [`Attachment::passed_over`] says why.
    Refused,
}

/// `attached` or `refused`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attached => "attached",
            Self::Refused => "refused",
        })
    }
}

impl Attachment {
    /// Whether attempts that failed are seen at all, those of SYN-ACKs left aside: these are seen nowhere.
    #[must_use]
    pub const fn observes_failures(&self) -> bool {
        self.source.observes_failures()
    }

    /// Whether events have the number that the kernel's function returned. Without, `err_default` is not refined: `denied`,
    /// `xmit_drop` and `nobufs` cannot be told apart.
    #[must_use]
    pub const fn observes_err(&self) -> bool {
        !matches!(self.source, AttachSource::TpEnum) || self.companion.is_some()
    }

    /// What cannot be seen from here; [`Unobservable::SynackFailures`] is among it always.
    pub fn unobservable(&self) -> impl Iterator<Item = Unobservable> {
        [
            (!self.observes_failures()).then_some(Unobservable::Failures),
            (!self.observes_err()).then_some(Unobservable::Err),
            // Failures that are not seen need no site.
            (self.observes_failures() && !self.tells_nomem_sites).then_some(Unobservable::NomemSites),
            Some(Unobservable::SynackFailures),
        ]
        .into_iter()
        .flatten()
    }
}

/// As `source=…`, with `companion=…` if there is one.
impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.key_val())?;
        match self.companion {
            Some(companion) => write!(f, " {}", KeyVal { key: "companion", value: companion }),
            None => Ok(()),
        }
    }
}

/// A way to attach that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// The source, with a `+` and the companion if that is part of it: `tp_err+fexit`.
    pub way: String,
    /// Why not, in a few words.
    pub why: String,
}

/// As `way: why`.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.way, self.why)
    }
}
