// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of an attempt.

use retrans_macros::reason_table;

/// The coarse answer, for counting and alerting; [`RetransResult`] has the exact one.
#[reason_table(key = "class")]
pub enum ResultClass {
    /// Nothing that the other classes say: look at `err`.
    #[reason(value = "other")]
    Other = 0,
    /// Handed down to the IP layer.
    #[reason(value = "ok")]
    Ok = 1,
    /// An earlier copy of the segment is still on its way out of this host.
    #[reason(value = "busy")]
    Busy = 2,
    /// The kernel's own bookkeeping is inconsistent.
    #[reason(value = "invalid")]
    Invalid = 3,
    /// An allocation failed.
    #[reason(value = "nomem")]
    Nomem = 4,
    /// There is no route to the peer.
    #[reason(value = "route")]
    Route = 5,
    /// The receiver's window does not admit the segment.
    #[reason(value = "window")]
    Window = 6,
    /// Something on this host threw the segment away.
    #[reason(value = "drop")]
    Drop = 7,
}

/// What came of one attempt to retransmit.
///
/// The first ten are those that a kernel patch of July 2025 proposed for the `tcp_retransmit_skb` tracepoint, with its
/// numbers. Those from 128 up are this crate's own, for outcomes that the proposal files under `err_default` or
/// cannot tell apart from `err` alone. A precise value is only given where the state of the socket proves it.
#[reason_table(key = "result", class = ResultClass, unlisted = Other)]
#[non_exhaustive]
pub enum RetransResult {
    /// It failed for a reason without a name of its own: `err` is what there is to know.
    #[reason(value = "err_default", c_name = "TCP_RETRANS_ERR_DEFAULT", class = Other)]
    ErrDefault = 0,
    /// The segment was handed down to the IP layer, which does not yet mean that it left the host.
    #[reason(value = "success", c_name = "TCP_RETRANS_SUCCESS", class = Ok)]
    Success = 1,
    /// An earlier copy still sits in a queue of this host (-EBUSY).
    #[reason(value = "in_host_queue", c_name = "TCP_RETRANS_IN_HOST_QUEUE", class = Busy)]
    InHostQueue = 2,
    /// The segment ends before what the peer has acknowledged (-EINVAL, with a kernel warning).
    #[reason(value = "end_seq_error", c_name = "TCP_RETRANS_END_SEQ_ERROR", class = Invalid)]
    EndSeqError = 3,
    /// No memory to trim the part of the segment that was acknowledged (-ENOMEM).
    #[reason(value = "trim_head_nomem", c_name = "TCP_RETRANS_TRIM_HEAD_NOMEM", class = Nomem)]
    TrimHeadNomem = 4,
    /// No memory to make the segment's buffer private (-ENOMEM): where fexit is attached, or the kernel says so itself.
    #[reason(value = "unclone_nomem", c_name = "TCP_RETRANS_UNCLONE_NOMEM", class = Nomem)]
    UncloneNomem = 5,
    /// No memory to split the segment, or too much queued already to allow it (-ENOMEM): where fexit is attached, or the kernel says so itself.
    #[reason(value = "frag_nomem", c_name = "TCP_RETRANS_FRAG_NOMEM", class = Nomem)]
    FragNomem = 6,
    /// No route to the peer, or the local address is gone (-EHOSTUNREACH); `sk_err_soft` has the cause.
    #[reason(value = "route_fail", c_name = "TCP_RETRANS_ROUTE_FAIL", class = Route)]
    RouteFail = 7,
    /// The receiver's window is closed for this segment, and it is not the first one unacknowledged (-EAGAIN).
    #[reason(value = "rcv_zero_window", c_name = "TCP_RETRANS_RCV_ZERO_WINDOW", class = Window)]
    RcvZeroWindow = 8,
    /// No memory for the copy that a segment with an unusual headroom needs (-ENOBUFS): only where the kernel says so itself.
    #[reason(value = "pskb_copy_nobufs", c_name = "TCP_RETRANS_PSKB_COPY_NOBUFS", class = Nomem)]
    PskbCopyNobufs = 9,
    /// No memory (-ENOMEM), and nothing proves at which site.
    #[reason(value = "nomem", c_name = "RETRANS_OWN_NOMEM", class = Nomem)]
    Nomem = 128,
    /// A copy, a clone or a buffer could not be had on the way down (-ENOBUFS).
    #[reason(value = "nobufs", c_name = "RETRANS_OWN_NOBUFS", class = Nomem)]
    Nobufs = 129,
    /// A firewall's OUTPUT or POSTROUTING rule, or a cgroup program, refused the segment (-EPERM).
    #[reason(value = "denied", c_name = "RETRANS_OWN_DENIED", class = Drop)]
    Denied = 130,
    /// A qdisc, a device or a cgroup program dropped the segment (+1, `NET_XMIT_DROP`).
    #[reason(value = "xmit_drop", c_name = "RETRANS_OWN_XMIT_DROP", class = Drop)]
    XmitDrop = 131,
}

impl RetransResult {
    /// Whether the value is this crate's own, and not one of the proposal's.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Nomem | Self::Nobufs | Self::Denied | Self::XmitDrop)
    }
}

/// How many slots results are counted in; as in `bpf/retrans.h`.
pub(crate) const RESULT_SLOTS: usize = 32;
const SLOT_UNKNOWN: usize = RESULT_SLOTS - 1;

/// `result_slot()` of `bpf/classify.bpf.h`: where a result is counted, and its bit in a clause.
pub(crate) const fn slot(raw: u32) -> usize {
    match raw {
        0..16 => raw as usize,
        128..143 => raw as usize - 128 + 16,
        _ => SLOT_UNKNOWN,
    }
}

/// The result that the kernel side counts in a slot (`result_slot()` in `bpf/classify.bpf.h`); `None` for the one that takes
/// all numbers without a slot of their own.
pub(crate) fn of_slot(slot: usize) -> Option<RetransResult> {
    match slot {
        0..16 => Some(RetransResult::from_raw(slot as u32)),
        16..SLOT_UNKNOWN => Some(RetransResult::from_raw((slot - 16 + 128) as u32)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn every_result_has_a_slot_of_its_own() {
        for entry in RetransResult::ALL {
            assert_ne!(slot(entry.number), SLOT_UNKNOWN, "{}", entry.value);
            assert_eq!(of_slot(slot(entry.number)), Some(entry.variant));
        }
        assert_eq!(of_slot(slot(RetransResult::from_raw(0x1_0001).raw())), None);
    }
}
