// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attach methods.

use retrans_macros::reason_table;

/// An attach method: the hooks that a stream's events come from.
///
/// The kernel's BTF and a trial decide which methods are available, never the kernel's version. A
/// stream uses the best one, in the order [`TpEnum`](Self::TpEnum), [`TpErr`](Self::TpErr),
/// [`Fexit`](Self::Fexit), [`Kretprobe`](Self::Kretprobe), [`TpSuccess`](Self::TpSuccess).
///
/// Every method observes SYN-ACKs by the `tcp_retransmit_synack` tracepoint, which fires for
/// successes only. Failures of SYN-ACKs are observed at the exit of the kernel's function
/// `tcp_rtx_synack()`, if the method or its companion is [`Fexit`](Self::Fexit) or
/// [`Kretprobe`](Self::Kretprobe). Otherwise they are unobservable.
///
/// # Examples
///
/// ```
/// use retrans_sdk::attach::AttachMethod;
///
/// let method: AttachMethod = "tp_success".parse()?;
/// assert_eq!(method, AttachMethod::TpSuccess);
/// assert!(!method.observes_failures());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[reason_table(key = "source")]
#[non_exhaustive]
pub enum AttachMethod {
    /// `int err` in the `tcp_retransmit_skb` tracepoint: every attempt, with its error (Linux 6.17,
    /// and backports).
    #[reason(value = "tp_err")]
    TpErr = 0,
    /// The tracepoint without that argument, which fires for successes only: failures are
    /// unobservable.
    #[reason(value = "tp_success")]
    TpSuccess = 1,
    /// fexit on `tcp_retransmit_skb()` and `__tcp_retransmit_skb()`: every attempt, with its error.
    #[reason(value = "fexit")]
    Fexit = 2,
    /// kretprobes on the same functions, where fexit is not available: every attempt, with its
    /// error.
    #[reason(value = "kretprobe")]
    Kretprobe = 3,
    /// An enum in the tracepoint: every attempt, with its result by name but without an error
    /// number, on kernels with a version of the patch proposed in July 2025.
    #[reason(value = "tp_enum")]
    TpEnum = 4,
}

impl AttachMethod {
    /// Returns whether failed attempts are observed. If they are not, the absence of failures is
    /// not evidence.
    #[must_use]
    pub const fn observes_failures(self) -> bool {
        matches!(self, Self::TpEnum | Self::TpErr | Self::Fexit | Self::Kretprobe)
    }
}
