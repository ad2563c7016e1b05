// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kind of an attempt.

use retrans_macros::reason_table;

/// The kind of an attempt: the reason for which the kernel retransmits.
///
/// A kind other than [`Unknown`](Self::Unknown) is reported only if the state of the socket proves
/// it. Two causes that leave the same state are reported as unknown.
///
/// # Examples
///
/// ```
/// use retrans_sdk::RetransKind;
///
/// assert_eq!(RetransKind::Tlp.to_string(), "tlp");
/// assert_eq!("fast".parse(), Ok(RetransKind::Fast));
/// for entry in RetransKind::ALL {
///     println!("{}: {}", entry.value, entry.description);
/// }
/// ```
#[reason_table(key = "kind")]
#[non_exhaustive]
pub enum RetransKind {
    /// The socket's state does not prove a kind. This is not [`Unlisted`](Self::Unlisted), a number
    /// that no variant declares.
    #[reason(value = "unknown", c_name = "RETRANS_KIND_UNKNOWN")]
    Unknown = 0,
    /// The retransmission timeout expired (RFC 6298).
    #[reason(value = "rto", c_name = "RETRANS_KIND_RTO")]
    Rto = 1,
    /// A tail loss probe (RFC 8985, section 7).
    #[reason(value = "tlp", c_name = "RETRANS_KIND_TLP")]
    Tlp = 2,
    /// Fast recovery: duplicate acknowledgements, SACK or RACK marked the segment lost (RFC 5681,
    /// RFC 8985).
    #[reason(value = "fast", c_name = "RETRANS_KIND_FAST")]
    Fast = 3,
    /// The SYN of an active open.
    #[reason(value = "syn", c_name = "RETRANS_KIND_SYN")]
    Syn = 4,
    /// The SYN-ACK of a passive open. Its failures are observed only with fexit or a kretprobe.
    #[reason(value = "synack", c_name = "RETRANS_KIND_SYNACK")]
    Synack = 5,
    /// The retransmission timeout expired while the receiver's window is closed. The first
    /// unacknowledged segment probes the window (RFC 9293, 3.8.6.1). If the application has closed
    /// the socket, the kind is [`Rto`](Self::Rto). Without unacknowledged data the kernel sends
    /// another kind of probe, which is not a retransmission.
    #[reason(value = "zero_window_probe", c_name = "RETRANS_KIND_ZERO_WINDOW_PROBE")]
    ZeroWindowProbe = 6,
    /// Segments that were marked lost earlier, at a timeout or because they are too large for the
    /// path ([`Mtu`](Self::Mtu)), are sent again as the congestion window allows, after a segment
    /// of the peer was received. The kernel counts them in TCPSlowStartRetrans.
    #[reason(value = "slow_start", c_name = "RETRANS_KIND_SLOW_START")]
    SlowStart = 7,
    /// The kernel has just found that segments are too large for the path, and sends them again at
    /// once in smaller pieces: an ICMP error reduced the path MTU, or a probe for a larger MTU was
    /// lost (RFC 1191, RFC 8201, RFC 4821). Those that the congestion window does not allow yet
    /// are sent later, as [`SlowStart`](Self::SlowStart) or [`Resume`](Self::Resume).
    #[reason(value = "mtu", c_name = "RETRANS_KIND_MTU")]
    Mtu = 8,
    /// The kernel goes on with the segments that are marked lost, because a queue of this host
    /// released a segment of the socket, or because the socket's pacing timer expired. The last
    /// attempt of another kind was one of the retransmission timer ([`Rto`](Self::Rto),
    /// [`ZeroWindowProbe`](Self::ZeroWindowProbe)) or [`Mtu`](Self::Mtu), and nothing has been
    /// received from the peer since. If a copy of the segment that this attempt sends again is
    /// still queued, the result is `in_host_queue`.
    #[reason(value = "resume", c_name = "RETRANS_KIND_RESUME")]
    Resume = 9,
    /// The SYN contained data (TCP Fast Open, RFC 7413), and the SYN-ACK did not acknowledge it:
    /// the data is sent again.
    #[reason(value = "fastopen", c_name = "RETRANS_KIND_FASTOPEN")]
    Fastopen = 10,
}
