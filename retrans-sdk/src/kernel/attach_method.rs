// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a stream's events come from.

use retrans_macros::reason_table;

/// Where a stream's events come from; found out from the running kernel's BTF and by trying, never from its version.
///
/// SYN-ACKs come from the `tcp_retransmit_synack` tracepoint whatever the source, and that fires for successes only, on
/// every kernel: their failures cannot be observed.
#[reason_table(key = "source")]
#[non_exhaustive]
pub enum AttachMethod {
    /// `int err` in the `tcp_retransmit_skb` tracepoint: every attempt, with its error (Linux 6.17, and backports).
    #[reason(value = "tp_err")]
    TpErr = 0,
    /// The tracepoint without that argument, which fires for successes only: failures cannot be observed.
    #[reason(value = "tp_success")]
    TpSuccess = 1,
    /// The exits of `tcp_retransmit_skb()` and `__tcp_retransmit_skb()`, by fexit: every attempt, with its error.
    #[reason(value = "fexit")]
    Fexit = 2,
    /// The same with kprobes, where fexit is not to be had.
    #[reason(value = "kretprobe")]
    Kretprobe = 3,
    /// An enum in the tracepoint: every attempt, with its result by name, in a kernel that carries one of the versions of the
    /// patch of July 2025. It has no error number of its own.
    #[reason(value = "tp_enum")]
    TpEnum = 4,
}

impl AttachMethod {
    /// Whether attempts that failed are seen at all. Where they are not, their absence says nothing.
    #[must_use]
    pub const fn observes_failures(self) -> bool {
        matches!(self, Self::TpEnum | Self::TpErr | Self::Fexit | Self::Kretprobe)
    }
}
