// SPDX-License-Identifier: MIT OR Apache-2.0
//! The progress of an attempt: it reached the transmit step, or it did not.

use retrans_macros::reason_table;

/// The progress of an attempt, as far as it is proven: it reached the transmit step, or it did not.
///
/// At the transmit step the kernel counts the segments of the attempt in RetransSegs and
/// `total_retrans`, regardless of the result of the step. An attempt that ends before the step is
/// counted in neither.
///
/// The kernel counts a SYN-ACK only if it is sent successfully. Therefore a failed SYN-ACK has the
/// value [`No`](Self::No), whatever failed.
///
/// The value is known if the entry of the attempt was observed
/// ([`AttachMethod::Fexit`](crate::attach::AttachMethod::Fexit),
/// [`AttachMethod::Kretprobe`](crate::attach::AttachMethod::Kretprobe), or either as the
/// companion). Otherwise the result, the errno or the timestamps of segment and socket may prove
/// it.
#[reason_table(key = "transmit")]
#[non_exhaustive]
pub enum Transmit {
    /// The outcome is not proven. This is not [`Unlisted`](Self::Unlisted), a number that no
    /// variant declares.
    #[reason(value = "unknown", c_name = "RETRANS_TRANSMIT_UNKNOWN")]
    Unknown = 0,
    /// The attempt ended before the transmit step.
    #[reason(value = "no", c_name = "RETRANS_TRANSMIT_NO")]
    No = 1,
    /// The attempt reached the transmit step: RetransSegs was incremented by its segments, and
    /// TCPRetransFail as well if the step failed with an error other than -EBUSY.
    #[reason(value = "yes", c_name = "RETRANS_TRANSMIT_YES")]
    Yes = 2,
}
