// SPDX-License-Identifier: MIT OR Apache-2.0
//! The layout of the counters in `bpf/retrans.h`, in words of eight bytes. `kernel/layout.rs`
//! compares it with the built object at compile time.

use crate::event::result::RESULT_SLOTS;

/// The number of kinds that are counted separately (`RETRANS_KIND_SLOTS`).
pub(crate) const KIND_SLOTS: usize = 16;
/// The number of values of `transmit` that are counted separately (`RETRANS_TRANSMIT_SLOTS`).
pub(crate) const TRANSMIT_SLOTS: usize = 4;
/// The size of `struct retrans_netns_stats` in words.
pub(crate) const NETNS_WORDS: usize = 12;

/// The offsets in `struct retrans_counters`, in words.
pub(crate) mod word {
    pub(crate) const SEEN: usize = 0;
    pub(crate) const FILTERED: usize = 1;
    pub(crate) const LIMITED: usize = 2;
    pub(crate) const LOST: usize = 3;
    pub(crate) const SUBMITTED: usize = 4;
    pub(crate) const COUNTS: usize = 5;
    pub(crate) const TRANSMITS: usize = COUNTS + super::RESULT_SLOTS * super::KIND_SLOTS * 2;
    pub(crate) const NETNS: usize = TRANSMITS + super::TRANSMIT_SLOTS * 2;
    pub(crate) const TRACEPOINT_ONLY: usize = NETNS + super::NETNS_WORDS;
    pub(crate) const VERDICTS_SUBMITTED: usize = TRACEPOINT_ONLY + 1;
    pub(crate) const VERDICTS_LOST: usize = TRACEPOINT_ONLY + 2;
    pub(crate) const VERDICTS_UNTRACKED: usize = TRACEPOINT_ONLY + 3;
}

/// The size of `struct retrans_counters` in words.
pub(crate) const COUNTER_WORDS: usize = word::VERDICTS_UNTRACKED + 1;
/// The size of `struct retrans_passed` in words.
pub(crate) const PASSED_WORDS: usize = RESULT_SLOTS * KIND_SLOTS * 2;

/// The offsets in `struct retrans_group`, in words.
pub(crate) mod group_word {
    pub(crate) const HIGH: usize = 0;
    pub(crate) const LOW: usize = 1;
    pub(crate) const TAG: usize = 2;
    pub(crate) const COUNTS: usize = 3;
}

/// The size of `struct retrans_group` in words.
pub(crate) const GROUP_WORDS: usize = group_word::COUNTS + RESULT_SLOTS * 2;

/// The values of `enum retrans_group_tag`.
pub(crate) mod group_tag {
    pub(crate) const NUMBER: u64 = 1;
    pub(crate) const ABSENT: u64 = 2;
    pub(crate) const INET: u64 = 4;
    pub(crate) const INET6: u64 = 6;
}

/// The sums over the attempts of a network namespace, `struct retrans_netns_stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NetnsStats {
    pub(crate) retrans_segs: u64,
    pub(crate) retrans_fail: u64,
    pub(crate) syn_retrans: u64,
    pub(crate) in_host_queue: u64,
    pub(crate) unknown_attempts: u64,
    pub(crate) unknown_segs: u64,
    pub(crate) fast_retrans: u64,
    pub(crate) slow_start_retrans: u64,
    pub(crate) loss_probes: u64,
    pub(crate) timeouts: u64,
    pub(crate) unknown_kind_attempts: u64,
    pub(crate) unknown_kind_segs: u64,
}
