// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports what a stream is attached to, and what it can observe from there.

use std::fmt;
use std::time::Duration;

use retrans_macros::reason_table;

use crate::kernel::attach_method::AttachMethod;
use crate::kernel::plan::Combination;
use crate::text::reason_table::KeyVal;

/// The attachment of a stream to the kernel: the method in use, what the stream can observe with
/// it, and the reasons that better methods are not in use.
///
/// [`Live::attachment`](crate::stream::Live::attachment) and
/// [`Counters::attachment`](crate::stream::Counters::attachment) return it, and
/// [`Diagnosis::attachment`](crate::attach::Diagnosis::attachment) contains it. Prints
/// `source=METHOD`, followed by `companion=METHOD` if there is one.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
///
/// let counters = Stream::builder().open_counters()?;
/// let attachment = counters.attachment();
/// println!("{attachment} opened in {:?}", attachment.timing.total);
/// for candidate in attachment.unavailable() {
///     println!("not available: {candidate}");
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The attach method in use.
    pub method: AttachMethod,
    /// The method that supplies what [`method`](Self::method) lacks: the failures of SYN-ACKs, the
    /// errno in addition to [`AttachMethod::TpEnum`], more values of
    /// [`Transmit`](crate::event::Transmit) in addition to [`AttachMethod::TpErr`], and, with
    /// [`AttachMethod::Fexit`], the allocation site of -ENOMEM on request.
    pub companion: Option<AttachMethod>,
    /// True if -ENOMEM is resolved into `trim_head_nomem`, `frag_nomem` and `unclone_nomem`: by
    /// [`StreamBuilder::locate_nomem`](crate::StreamBuilder::locate_nomem), or by the kernel's own
    /// enum. Otherwise the result is `trim_head_nomem` where the socket proves it, and else
    /// `nomem`.
    pub locates_nomem: bool,
    /// True if a program is attached to the exit of `tcp_rtx_synack()`.
    pub(crate) synack_failures: bool,
    /// The candidates down to the one in use, best first. The last one is in use, and the others
    /// were not available.
    pub candidates: Vec<Candidate>,
    /// The time that opening took.
    pub timing: Timing,
}

/// The time that opening a stream took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The total time.
    pub total: Duration,
    /// The time spent reading the kernel's BTF. [`Candidate::elapsed`] is the time of each
    /// candidate.
    pub btf: Duration,
}

/// An attach method, with its companion, that was considered. Prints its [name](Self::name) with
/// `attached` or the reason: `tp_err+fexit: attached`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The attach method.
    pub method: AttachMethod,
    /// The companion: see [`Attachment::companion`].
    pub companion: Option<AttachMethod>,
    /// True if it would also have located the allocation site of -ENOMEM
    /// ([`StreamBuilder::locate_nomem`](crate::StreamBuilder::locate_nomem)).
    pub sites: bool,
    /// The outcome: in use, or the reason that it is not.
    pub outcome: CandidateOutcome,
    /// The time until it was attached, or until the kernel refused it; zero if it was not tried.
    pub elapsed: Duration,
}

impl Candidate {
    /// Returns the method, its companion after a `+` if it has one, and `+sites` if it would also
    /// have located the allocation site of -ENOMEM: `tp_err+fexit`.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { method, companion, sites, .. } = *self;
        Combination { method, companion, sites }.to_string()
    }

    /// Returns the reason that it is not in use; `None` if it is in use.
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
    /// The stream is attached with it.
    Attached,
    /// The kernel's BTF does not allow it, for this reason. It was not tried.
    Unsupported(String),
    /// It was tried, and the kernel refused it for this reason.
    Refused(String),
}

/// Prints `name: attached`, or `name: reason`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.reason().unwrap_or("attached"))
    }
}

impl Attachment {
    /// Returns the candidates that are better than the one in use and were not available, best
    /// first.
    pub fn unavailable(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.outcome != CandidateOutcome::Attached)
    }

    /// Returns whether failed attempts are observed, except those of SYN-ACKs
    /// ([`observes_synack_failures`](Self::observes_synack_failures)). This is the claim of the
    /// attach method; [`Stats::tracepoint_only`](crate::Stats::tracepoint_only) may refute it.
    #[must_use]
    pub const fn observes_failures(&self) -> bool {
        self.method.observes_failures()
    }

    /// Returns whether failed attempts to retransmit a SYN-ACK are observed. The tracepoint of
    /// SYN-ACKs fires for successes only. The failures are observed at the exit of the kernel's
    /// function `tcp_rtx_synack()`, if the method or its companion is [`AttachMethod::Fexit`] or
    /// [`AttachMethod::Kretprobe`].
    #[must_use]
    pub const fn observes_synack_failures(&self) -> bool {
        self.synack_failures
    }

    /// Returns whether events contain the return value of the kernel's function. If they do not,
    /// `err_default` is not refined into `denied`, `xmit_drop` and `nobufs`.
    #[must_use]
    pub const fn observes_err(&self) -> bool {
        !matches!(self.method, AttachMethod::TpEnum) || self.companion.is_some()
    }

    /// Returns what the stream cannot observe.
    pub fn unobservable(&self) -> impl Iterator<Item = Unobservable> {
        [
            (!self.observes_failures()).then_some(Unobservable::Failures),
            (!self.observes_err()).then_some(Unobservable::Err),
            // Without failures there is no site to report.
            (self.observes_failures() && !self.locates_nomem).then_some(Unobservable::NomemSites),
            (!self.synack_failures).then_some(Unobservable::SynackFailures),
        ]
        .into_iter()
        .flatten()
    }
}

/// Prints `source=METHOD`, followed by `companion=METHOD` if there is one.
impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.method.key_val())?;
        match self.companion {
            Some(companion) => write!(f, " {}", KeyVal { key: "companion", value: companion }),
            None => Ok(()),
        }
    }
}

/// A part of the attempts that a stream cannot observe with its attach method. The absence of such
/// events is not evidence.
#[reason_table(key = "unobservable")]
#[non_exhaustive]
pub enum Unobservable {
    /// Failed attempts: the tracepoint fires for successes only.
    #[reason(value = "failures")]
    Failures = 0,
    /// The errno: a failure in the transmit step is `err_default`, never `denied`,
    /// `xmit_drop` or `nobufs`.
    #[reason(value = "err")]
    Err = 1,
    /// The allocation site of -ENOMEM, which was not requested or requires fexit: if the state of
    /// the socket does not prove it, the result is `nomem`.
    #[reason(value = "nomem_sites")]
    NomemSites = 2,
    /// Failed SYN-ACKs: their tracepoint fires for successes only, and no program is attached to
    /// the exit of `tcp_rtx_synack()`, which returns the error.
    #[reason(value = "synack_failures")]
    SynackFailures = 3,
}
