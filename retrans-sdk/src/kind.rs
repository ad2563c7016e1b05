// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why an attempt was made.

use crate::reason_table;

/// Why an attempt to retransmit was made, where the socket's state proves it.
#[reason_table(key = "kind")]
#[non_exhaustive]
pub enum RetransKind {
    /// Not proven by the socket's state. Prints `unknown`; not to be taken for a number without a variant.
    #[reason(value = "unknown", c_name = "RETRANS_KIND_UNKNOWN")]
    Unproven = 0,
    /// The retransmission timeout expired (RFC 6298).
    #[reason(value = "rto", c_name = "RETRANS_KIND_RTO")]
    Rto = 1,
    /// A tail loss probe (RFC 8985, section 7).
    #[reason(value = "tlp", c_name = "RETRANS_KIND_TLP")]
    Tlp = 2,
    /// Fast recovery: duplicate acknowledgements, SACK or RACK marked the segment lost (RFC 5681, RFC 8985).
    #[reason(value = "fast", c_name = "RETRANS_KIND_FAST")]
    Fast = 3,
    /// The SYN of an active open.
    #[reason(value = "syn", c_name = "RETRANS_KIND_SYN")]
    Syn = 4,
    /// The SYN-ACK of a passive open. Its failures are not observable on any kernel.
    #[reason(value = "synack", c_name = "RETRANS_KIND_SYNACK")]
    Synack = 5,
}
