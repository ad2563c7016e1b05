// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far an attempt came.

use retrans_macros::reason_table;

/// Whether an attempt reached the transmit step, where the kernel counts its segments in RetransSegs and `total_retrans`, whatever comes of
/// the step; what ends an attempt before touches neither.
///
/// It is known where the attempt's entry was seen ([`AttachMethod::Fexit`](crate::attach::AttachMethod::Fexit),
/// [`AttachMethod::Kretprobe`](crate::attach::AttachMethod::Kretprobe), or either as the companion), and else where the result, the error number or the
/// time stamps of segment and socket prove it.
#[reason_table(key = "transmit")]
#[non_exhaustive]
pub enum Transmit {
    /// Nothing proves either. Not the same as [`Unlisted`](Self::Unlisted), a number that no variant declares.
    #[reason(value = "unknown", c_name = "RETRANS_TRANSMIT_UNKNOWN")]
    Unknown = 0,
    /// It ended before.
    #[reason(value = "no", c_name = "RETRANS_TRANSMIT_NO")]
    No = 1,
    /// It did: RetransSegs rose by its segments, and TCPRetransFail too if it failed.
    #[reason(value = "yes", c_name = "RETRANS_TRANSMIT_YES")]
    Yes = 2,
}
