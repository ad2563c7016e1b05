// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a stream is attached to, and what can be seen from there.

use std::fmt;
use std::time::Duration;

use retrans_macros::reason_table;

use crate::kernel::attach_method::AttachMethod;
use crate::text::reason_table::KeyVal;

/// What a stream is attached to, what it can see from there, and why it is not attached to something better.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The attach method in use.
    pub method: AttachMethod,
    /// The method that supplies in addition what the first one lacks: the error number in addition to
    /// [`AttachMethod::TpEnum`], and, if it is [`AttachMethod::Fexit`], the site at which memory ran out.
    pub companion: Option<AttachMethod>,
    /// Whether -ENOMEM is resolved into `trim_head_nomem`, `frag_nomem` and `unclone_nomem`. Otherwise it is the first where
    /// the socket proves it, and else `nomem`.
    pub locates_nomem: bool,
    /// The candidates up to the one in use, best first: the last one is attached, the others were not available.
    pub candidates: Vec<Candidate>,
    /// The time that opening took.
    pub timing: Timing,
}

/// The time from the opening to attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// All of it.
    pub total: Duration,
    /// The part spent on reading the kernel's BTF. [`Candidate::elapsed`] has the rest.
    pub btf: Duration,
}

/// An attach method, with what goes along, that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The method, with a `+` and its companion if it has one: `tp_err+fexit`.
    pub method: String,
    /// Whether it is in use, and the reason if it is not.
    pub outcome: CandidateOutcome,
    /// The time that loading and attaching took, or that passed until the kernel refused; zero where it was not tried.
    pub elapsed: Duration,
}

impl Candidate {
    /// Returns the reason that it is not in use; `None` if it is attached.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.outcome {
            CandidateOutcome::Attached => None,
            CandidateOutcome::Unsupported(reason) | CandidateOutcome::Refused(reason) => Some(reason),
        }
    }
}

/// The outcome of considering a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CandidateOutcome {
    /// The stream is attached by it.
    Attached,
    /// The kernel's BTF shows that the kernel does not support it, for this reason; it was not tried.
    Unsupported(String),
    /// The kernel refused it when it was tried, for this reason.
    Refused(String),
}

/// As `method: attached`, or `method: reason`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.method, self.reason().unwrap_or("attached"))
    }
}

impl Attachment {
    /// Returns the candidates that are better than the one in use and were not available, best first.
    pub fn unavailable(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.outcome != CandidateOutcome::Attached)
    }

    /// Whether attempts that failed are seen at all, those of SYN-ACKs left aside: these are seen nowhere.
    #[must_use]
    pub const fn observes_failures(&self) -> bool {
        self.method.observes_failures()
    }

    /// Whether events have the number that the kernel's function returned. Without, `err_default` is not refined: `denied`,
    /// `xmit_drop` and `nobufs` cannot be told apart.
    #[must_use]
    pub const fn observes_err(&self) -> bool {
        !matches!(self.method, AttachMethod::TpEnum) || self.companion.is_some()
    }

    /// What cannot be seen from here; [`Unobservable::SynackFailures`] is among it always.
    pub fn unobservable(&self) -> impl Iterator<Item = Unobservable> {
        [
            (!self.observes_failures()).then_some(Unobservable::Failures),
            (!self.observes_err()).then_some(Unobservable::Err),
            // Failures that are not seen need no site.
            (self.observes_failures() && !self.locates_nomem).then_some(Unobservable::NomemSites),
            Some(Unobservable::SynackFailures),
        ]
        .into_iter()
        .flatten()
    }
}

/// As `source=…`, with `companion=…` if there is one.
impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.method.key_val())?;
        match self.companion {
            Some(companion) => write!(f, " {}", KeyVal { key: "companion", value: companion }),
            None => Ok(()),
        }
    }
}

/// What a stream cannot see from where it is attached. That there are no such events says nothing.
#[reason_table(key = "unobservable")]
#[non_exhaustive]
pub enum Unobservable {
    /// Attempts that failed: the tracepoint fires for successes only.
    #[reason(value = "failures")]
    Failures = 0,
    /// The error number: what the transmit step came to is `err_default`, and neither `denied` nor `xmit_drop` nor `nobufs`.
    #[reason(value = "err")]
    Err = 1,
    /// Where memory ran out: a -ENOMEM that the state of the socket does not explain is `nomem`.
    #[reason(value = "nomem_sites")]
    NomemSites = 2,
    /// SYN-ACKs that could not be sent: their tracepoint fires for successes only, on every kernel.
    #[reason(value = "synack_failures")]
    SynackFailures = 3,
}
