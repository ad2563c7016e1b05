// SPDX-License-Identifier: MIT OR Apache-2.0
//! The result of an attempt, its class, and the slots in which results are counted.

use std::sync::atomic::{AtomicU32, Ordering};

use retrans_macros::reason_table;

/// The class of a result, for counting and alerting. [`RetransResult`] is the exact result.
///
/// # Examples
///
/// ```
/// use retrans_sdk::{ResultClass, RetransResult};
///
/// let is_drop = |result: RetransResult| result.class() == ResultClass::Drop;
/// let all = RetransResult::ALL.iter().filter(|entry| is_drop(entry.variant));
/// assert_eq!(all.map(|entry| entry.value).collect::<Vec<_>>(), ["denied", "xmit_drop"]);
/// ```
#[reason_table(key = "class")]
pub enum ResultClass {
    /// Any failure that is not in another class; `err` contains the errno.
    #[reason(value = "other")]
    Other = 0,
    /// The IP layer accepted the segment.
    #[reason(value = "ok")]
    Ok = 1,
    /// An earlier copy of the segment is still queued on this host.
    #[reason(value = "busy")]
    Busy = 2,
    /// The kernel's state is inconsistent.
    #[reason(value = "invalid")]
    Invalid = 3,
    /// An allocation failed.
    #[reason(value = "nomem")]
    Nomem = 4,
    /// There is no route to the peer.
    #[reason(value = "route")]
    Route = 5,
    /// The receiver's window does not allow the segment.
    #[reason(value = "window")]
    Window = 6,
    /// This host dropped the segment.
    #[reason(value = "drop")]
    Drop = 7,
}

/// The result of one attempt to retransmit.
///
/// A kernel patch proposed in July 2025 for the `tcp_retransmit_skb` tracepoint defines the first
/// ten results and their numbers. This crate defines the results from 128, for outcomes that the
/// patch reports as `err_default` or that `err` alone does not distinguish. A precise result is
/// reported only if the state of the socket proves it.
///
/// A kernel with that patch may report a result that this table does not contain. It is then
/// [`Unlisted`](Self::Unlisted) and prints as `k` and its number.
///
/// # Examples
///
/// ```
/// use retrans_sdk::{ResultClass, RetransResult};
///
/// let result: RetransResult = "route_fail".parse()?;
/// assert_eq!(result, RetransResult::RouteFail);
/// assert_eq!(result.class(), ResultClass::Route);
/// assert_eq!(result.key_val().to_string(), "result=route_fail");
///
/// assert_eq!(RetransResult::from_raw(10).to_string(), "k10");
/// # Ok::<(), retrans_sdk::reason_table::ParseReasonError>(())
/// ```
#[reason_table(key = "result", class = ResultClass, unlisted = Other)]
#[non_exhaustive]
pub enum RetransResult {
    /// The attempt failed for a reason that has no result of its own; `err` contains the errno.
    #[reason(value = "err_default", c_name = "TCP_RETRANS_ERR_DEFAULT", class = Other)]
    ErrDefault = 0,
    /// The IP layer accepted the segment without an error, which does not yet mean that it left the
    /// host.
    #[reason(value = "success", c_name = "TCP_RETRANS_SUCCESS", class = Ok)]
    Success = 1,
    /// An earlier copy of the segment is still in a queue of this host (-EBUSY).
    #[reason(value = "in_host_queue", c_name = "TCP_RETRANS_IN_HOST_QUEUE", class = Busy)]
    InHostQueue = 2,
    /// The peer has already acknowledged the whole segment, and also data after it (-EINVAL; the
    /// kernel logs a warning).
    #[reason(value = "end_seq_error", c_name = "TCP_RETRANS_END_SEQ_ERROR", class = Invalid)]
    EndSeqError = 3,
    /// No memory to trim the acknowledged part of the segment (-ENOMEM).
    #[reason(value = "trim_head_nomem", c_name = "TCP_RETRANS_TRIM_HEAD_NOMEM", class = Nomem)]
    TrimHeadNomem = 4,
    /// No memory to make the segment's buffer private (-ENOMEM). Reported only on request with
    /// fexit, or with the proposed patch.
    #[reason(value = "unclone_nomem", c_name = "TCP_RETRANS_UNCLONE_NOMEM", class = Nomem)]
    UncloneNomem = 5,
    /// No memory to split the segment, or too much data is queued to allow the split (-ENOMEM).
    /// Reported only on request with fexit, or with the proposed patch.
    #[reason(value = "frag_nomem", c_name = "TCP_RETRANS_FRAG_NOMEM", class = Nomem)]
    FragNomem = 6,
    /// No route to the peer, or the local address was removed (-EHOSTUNREACH; if an IPv6 route is
    /// lost in the transmit step, the errno can instead be -ENETUNREACH, -EACCES or -EINVAL);
    /// `sk_err_soft` contains the cause.
    #[reason(value = "route_fail", c_name = "TCP_RETRANS_ROUTE_FAIL", class = Route)]
    RouteFail = 7,
    /// The receiver's window does not cover this segment, and the segment is not the first
    /// unacknowledged one (-EAGAIN).
    #[reason(value = "rcv_zero_window", c_name = "TCP_RETRANS_RCV_ZERO_WINDOW", class = Window)]
    RcvZeroWindow = 8,
    /// No memory for the copy that a segment with an unusual headroom requires (-ENOBUFS). Reported
    /// only with the proposed patch; otherwise the result is `nobufs`.
    #[reason(value = "pskb_copy_nobufs", c_name = "TCP_RETRANS_PSKB_COPY_NOBUFS", class = Nomem)]
    PskbCopyNobufs = 9,
    /// -ENOMEM before the transmit step, from an unknown site: no memory to make the segment's
    /// buffer private, no memory to split it, or too much queued data to allow a split. On a
    /// kernel with the last version (v4) of the proposed patch, and without fexit or a kretprobe,
    /// also no memory to trim the segment. In a replay of kernel text without `result`, each
    /// -ENOMEM.
    #[reason(value = "nomem", c_name = "RETRANS_OWN_NOMEM", class = Nomem)]
    Nomem = 128,
    /// The transmit step returned -ENOBUFS: there was no memory for a copy or a clone of the
    /// segment, or a lower layer had no buffer. A missing buffer need not be a lack of memory, so
    /// the class is `other`.
    #[reason(value = "nobufs", c_name = "RETRANS_OWN_NOBUFS", class = Other)]
    Nobufs = 129,
    /// Netfilter (a rule in OUTPUT or POSTROUTING, or conntrack) or a BPF program of the socket's
    /// cgroup or of the route refused the segment (-EPERM).
    #[reason(value = "denied", c_name = "RETRANS_OWN_DENIED", class = Drop)]
    Denied = 130,
    /// Dropped (+1, `NET_XMIT_DROP`) by a qdisc, a rule at the device's egress, the device, or a
    /// BPF program of the socket's cgroup that also signals congestion.
    #[reason(value = "xmit_drop", c_name = "RETRANS_OWN_XMIT_DROP", class = Drop)]
    XmitDrop = 131,
}

impl RetransResult {
    /// Returns true if this crate defines the result. The others are defined by the kernel patch.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Nomem | Self::Nobufs | Self::Denied | Self::XmitDrop)
    }
}

/// The number of slots in which results are counted (`RETRANS_RESULT_SLOTS` in `bpf/retrans.h`).
pub(crate) const RESULT_SLOTS: usize = 32;
/// The slot of all results that have no slot of their own.
pub(crate) const SLOT_UNKNOWN: usize = RESULT_SLOTS - 1;

/// Returns the slot in which a result of the table is counted, like `result_slot()` in
/// `bpf/classify.bpf.h`.
const fn slot(raw: u32) -> usize {
    match raw {
        0..16 => raw as usize,
        128..143 => raw as usize - 128 + 16,
        _ => SLOT_UNKNOWN,
    }
}

/// The slots in which results are counted. Slots without a result of the table are assigned to
/// results that the table lacks. Results of the kernel get a slot when a stream is opened, results
/// of recorded and mock events when they occur.
pub(crate) struct ResultSlots {
    /// The results that the table lacks, by slot; 0 for none.
    unlisted: [AtomicU32; RESULT_SLOTS],
}

impl ResultSlots {
    pub(crate) const fn new() -> Self {
        Self { unlisted: [const { AtomicU32::new(0) }; RESULT_SLOTS] }
    }

    /// Returns the slot of a result, and assigns one to a result that the table lacks. Once all
    /// slots are assigned, the others share the last one. Requires that there is one writer at a
    /// time.
    pub(crate) fn slot_of(&self, result: RetransResult) -> usize {
        match slot(result.raw()) {
            SLOT_UNKNOWN => self.assign(result.raw()),
            slot => slot,
        }
    }

    #[cold]
    fn assign(&self, raw: u32) -> usize {
        let is_free = |at: usize| RetransResult::ALL.iter().all(|entry| slot(entry.number) != at);
        for (at, unlisted) in self.unlisted.iter().enumerate().take(SLOT_UNKNOWN).filter(|(at, _)| is_free(*at)) {
            match unlisted.load(Ordering::Relaxed) {
                0 => unlisted.store(raw, Ordering::Release),
                assigned if assigned != raw => continue,
                _ => {}
            }
            return at;
        }
        SLOT_UNKNOWN
    }

    /// Returns the result that is counted in a slot; `None` for the slot that several results
    /// share, and for one that is not assigned.
    pub(crate) fn result_of(&self, at: usize) -> Option<RetransResult> {
        match self.unlisted.get(at).map_or(0, |unlisted| unlisted.load(Ordering::Acquire)) {
            0 => RetransResult::ALL.iter().find(|entry| slot(entry.number) == at).map(|entry| entry.variant),
            raw => Some(RetransResult::from_raw(raw)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn every_result_has_its_own_slot() {
        for entry in RetransResult::ALL {
            assert_ne!(slot(entry.number), SLOT_UNKNOWN, "{}", entry.value);
            assert_eq!(ResultSlots::new().result_of(slot(entry.number)), Some(entry.variant));
        }
        assert_eq!(ResultSlots::new().result_of(SLOT_UNKNOWN), None);
    }

    #[test]
    fn unlisted_results_use_free_slots_until_none_is_left() {
        let slots = ResultSlots::new();
        let unlisted = |number: u32| RetransResult::from_raw(0x1_0000 | number);
        let free = SLOT_UNKNOWN - RetransResult::ALL.len();
        let numbers: Vec<u32> = (0..free as u32).map(|n| 10 + 7 * n).collect();
        let taken: Vec<usize> = numbers.iter().map(|number| slots.slot_of(unlisted(*number))).collect();
        for (at, number) in taken.iter().zip(&numbers) {
            assert_ne!(*at, SLOT_UNKNOWN, "k{number}");
            assert_eq!(slots.result_of(*at), Some(unlisted(*number)));
            assert_eq!(slots.slot_of(unlisted(*number)), *at, "the same slot every time");
        }
        assert_eq!(std::collections::BTreeSet::from_iter(taken).len(), free);
        assert_eq!(slots.slot_of(unlisted(9_999)), SLOT_UNKNOWN);
        for entry in RetransResult::ALL {
            assert_eq!(slots.result_of(slots.slot_of(entry.variant)), Some(entry.variant));
        }
    }
}
