// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the layout of `bpf/retrans.h` in this crate with the types of the built object, at
//! compile time.

use std::mem::offset_of;

use super::skel::types::{
    retrans_counters, retrans_end_reason, retrans_field, retrans_filter, retrans_group, retrans_group_key,
    retrans_group_tag, retrans_header, retrans_netns_stats, retrans_owner, retrans_owner_source, retrans_passed,
    retrans_record, retrans_unneeded_proof, retrans_verdict, retrans_verdict_counters, retrans_verdict_kind,
};
use crate::event::drop_reason::DropReason;
use crate::event::kernel_str::KernelStr;
use crate::event::kernel_symbol::KernelSymbol;
use crate::event::owner::OwnerSource;
use crate::event::record::{
    COOKIE, CORE_LEN, DADDR, DEFAULT_LEN, DROP_AT, ERR, OWNER, OWNER_AT, OWNER_LEN, RECORD_LEN, SADDR, WireValue,
    core_layout,
};
use crate::event::result::RESULT_SLOTS;
use crate::event::schema::optional_fields;
use crate::event::tcp_enums::CaState;
use crate::event::tcp_flags::TcpFlags;
use crate::event::verdict::{EndReason, UnneededProof, VERDICT_LEN, VerdictKind, offset};
use crate::filter::{MAX_SUBTREES, MAX_TESTS, operands};
use crate::stats::layout::{
    COUNTER_WORDS, GROUP_WORDS, KIND_SLOTS, NETNS_WORDS, PASSED_WORDS, TRANSMIT_SLOTS, group_tag, group_word, word,
};

/// Returns the size of a field, by a pointer that is never read.
#[allow(dead_code, reason = "Rust 1.85 does not count the uses in unnamed constants")]
const fn size_of_field<R, F>(_: fn(&R) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! same_layout {
    ($( $name:ident: $type:ty = $offset:literal, )*) => {$(
        const _: () = assert!(offset_of!(retrans_record, $name) == $offset, stringify!($name));
        const _: () = assert!(size_of_field(|r: &retrans_record| &r.$name) == size_of::<$type>(), stringify!($name));
    )*};
}
core_layout!(same_layout);

macro_rules! same_optional {
    ($name:ident: $type:ty => []) => {};
    ($name:ident: $type:ty => [$offset:literal, $c_name:ident = $bit:literal]) => {
        same_layout! { $name: <$type as WireValue>::Wire = $offset, }
        const _: () = assert!(retrans_field::$c_name.0 == $bit && $bit < 64, stringify!($name));
    };
}

macro_rules! same_optionals {
    ($( $(#[$doc:meta])* $name:ident: $type:ty => $place:tt, )*) => {
        $( same_optional! { $name: $type => $place } )*
    };
}
optional_fields!(same_optionals);

const _: () = assert!(size_of::<retrans_record>() == RECORD_LEN);
const _: () = assert!(offset_of!(retrans_record, header) == 0);
const _: () = assert!(offset_of!(retrans_header, length) == 0 && offset_of!(retrans_header, version) == 2);
const _: () = assert!(offset_of!(retrans_header, present) == 8);
const _: () = assert!(offset_of!(retrans_record, saddr) == SADDR);
const _: () = assert!(offset_of!(retrans_record, drop_reason) == DEFAULT_LEN);
const _: () = assert!(offset_of!(retrans_record, drop_at) == DROP_AT);
const _: () = assert!(offset_of!(retrans_record, daddr) == DADDR);
// The shortest record ends before the first optional field outside its last word.
const _: () = assert!(CORE_LEN == offset_of!(retrans_record, cookie));

const _: () = assert!(retrans_field::RETRANS_FIELD_COOKIE.0 == COOKIE);
const _: () = assert!(retrans_field::RETRANS_FIELD_ERR.0 == ERR && retrans_field::RETRANS_FIELD_OWNER.0 == OWNER);

macro_rules! same_verdict {
    ($( $name:ident = $offset:ident, )*) => {$(
        const _: () = assert!(offset_of!(retrans_verdict, $name) == offset::$offset, stringify!($name));
    )*};
}
same_verdict! {
    ts = TS,
    cookie = COOKIE,
    netns = NETNS,
    verdict = VERDICT,
    reason = REASON,
    family = FAMILY,
    state = STATE,
    sport = SPORT,
    dport = DPORT,
    saddr = SADDR,
    daddr = DADDR,
    attempts = ATTEMPTS,
    segs = SEGS,
    total_retrans = TOTAL_RETRANS,
    stall_ms = STALL_MS,
    unacked = UNACKED,
    err = ERR,
}
const _: () = assert!(size_of::<retrans_verdict>() == VERDICT_LEN);
const _: () = assert!(retrans_verdict_kind::RETRANS_VERDICT_UNNEEDED.0 == VerdictKind::Unneeded.raw());
const _: () = assert!(retrans_verdict_kind::RETRANS_VERDICT_ENDED.0 == VerdictKind::Ended.raw());
const _: () = assert!(retrans_unneeded_proof::RETRANS_PROOF_DSACK.0 == UnneededProof::Dsack.raw());
const _: () = assert!(retrans_unneeded_proof::RETRANS_PROOF_UNDO.0 == UnneededProof::Undo.raw());
const _: () = assert!(retrans_end_reason::RETRANS_END_UNKNOWN.0 == EndReason::Unknown.raw());
const _: () = assert!(retrans_end_reason::RETRANS_END_ACKED.0 == EndReason::Acked.raw());
const _: () = assert!(retrans_end_reason::RETRANS_END_TIMED_OUT.0 == EndReason::TimedOut.raw());
const _: () = assert!(retrans_end_reason::RETRANS_END_RESET.0 == EndReason::Reset.raw());
const _: () = assert!(retrans_end_reason::RETRANS_END_USER_TIMEOUT.0 == EndReason::UserTimeout.raw());
const _: () = assert!(retrans_end_reason::RETRANS_END_UNREACHABLE.0 == EndReason::Unreachable.raw());
const _: () = assert!(retrans_end_reason::RETRANS_END_LOCAL_CLOSE.0 == EndReason::LocalClose.raw());

const _: () = assert!(size_of::<retrans_owner>() == OWNER_LEN);
const _: () = assert!(offset_of!(retrans_owner, pid) == 0 && offset_of!(retrans_owner, source) == 4);
const _: () = assert!(offset_of!(retrans_owner, comm) == 8);
const _: () = assert!(offset_of!(retrans_header, owner_at) == OWNER_AT);
const _: () = assert!(retrans_owner_source::RETRANS_OWNER_CONNECT.0 == OwnerSource::Connect.raw());
const _: () = assert!(retrans_owner_source::RETRANS_OWNER_ACCEPT.0 == OwnerSource::Accept.raw());
const _: () = assert!(retrans_owner_source::RETRANS_OWNER_HOLDER.0 == OwnerSource::Holder.raw());

const _: () = assert!(size_of::<retrans_counters>() == COUNTER_WORDS * 8);
const _: () = assert!(offset_of!(retrans_counters, seen) == word::SEEN * 8);
const _: () = assert!(offset_of!(retrans_counters, filtered) == word::FILTERED * 8);
const _: () = assert!(offset_of!(retrans_counters, limited) == word::LIMITED * 8);
const _: () = assert!(offset_of!(retrans_counters, lost) == word::LOST * 8);
const _: () = assert!(offset_of!(retrans_counters, submitted) == word::SUBMITTED * 8);
const _: () = assert!(offset_of!(retrans_counters, counts) == word::COUNTS * 8);
const _: () = assert!(size_of_field(|c: &retrans_counters| &c.counts) == RESULT_SLOTS * KIND_SLOTS * 16);
const _: () = assert!(size_of_field(|c: &retrans_counters| &c.counts[0]) == KIND_SLOTS * 16);
const _: () = assert!(offset_of!(retrans_counters, transmits) == word::TRANSMITS * 8);
const _: () = assert!(size_of_field(|c: &retrans_counters| &c.transmits) == TRANSMIT_SLOTS * 16);

const _: () = assert!(size_of::<retrans_passed>() == PASSED_WORDS * 8 && offset_of!(retrans_passed, counts) == 0);

const _: () = assert!(size_of::<retrans_group>() == GROUP_WORDS * 8 && offset_of!(retrans_group, key) == 0);
const _: () = assert!(offset_of!(retrans_group, counts) == group_word::COUNTS * 8);
const _: () = assert!(size_of_field(|g: &retrans_group| &g.counts) == RESULT_SLOTS * 16);
const _: () = assert!(
    offset_of!(retrans_group_key, high) == group_word::HIGH * 8
        && offset_of!(retrans_group_key, low) == group_word::LOW * 8
        && offset_of!(retrans_group_key, tag) == group_word::TAG * 8
);
const _: () = assert!(retrans_group_tag::RETRANS_GROUP_NUMBER.0 as u64 == group_tag::NUMBER);
const _: () = assert!(retrans_group_tag::RETRANS_GROUP_ABSENT.0 as u64 == group_tag::ABSENT);
const _: () = assert!(retrans_group_tag::RETRANS_GROUP_INET.0 as u64 == group_tag::INET);
const _: () = assert!(retrans_group_tag::RETRANS_GROUP_INET6.0 as u64 == group_tag::INET6);

const _: () = assert!(offset_of!(retrans_counters, netns) == word::NETNS * 8);
const _: () = assert!(offset_of!(retrans_counters, tracepoint_only) == word::TRACEPOINT_ONLY * 8);
const _: () = assert!(size_of::<retrans_netns_stats>() == NETNS_WORDS * 8);
const _: () =
    assert!(offset_of!(retrans_netns_stats, retrans_segs) == 0 && offset_of!(retrans_netns_stats, retrans_fail) == 8);
const _: () =
    assert!(offset_of!(retrans_netns_stats, syn_retrans) == 16 && offset_of!(retrans_netns_stats, in_host_queue) == 24);
const _: () = assert!(offset_of!(retrans_netns_stats, unknown) == 32);
const _: () = assert!(
    offset_of!(retrans_netns_stats, fast_retrans) == 48 && offset_of!(retrans_netns_stats, slow_start_retrans) == 56
);
const _: () =
    assert!(offset_of!(retrans_netns_stats, loss_probes) == 64 && offset_of!(retrans_netns_stats, timeouts) == 72);
const _: () = assert!(offset_of!(retrans_netns_stats, unknown_kind) == 80);

const _: () = assert!(offset_of!(retrans_counters, verdicts) == word::VERDICTS_SUBMITTED * 8);
const _: () =
    assert!(offset_of!(retrans_verdict_counters, lost) == (word::VERDICTS_LOST - word::VERDICTS_SUBMITTED) * 8);
const _: () = assert!(
    offset_of!(retrans_verdict_counters, untracked) == (word::VERDICTS_UNTRACKED - word::VERDICTS_SUBMITTED) * 8
);

const _: () = assert!(size_of_field(|f: &retrans_filter| &f.subtrees) == MAX_SUBTREES * 8);
const _: () = assert!(
    size_of_field(|f: &retrans_filter| &f.tests) == MAX_TESTS * size_of_field(|f: &retrans_filter| &f.tests[0])
);

macro_rules! same_operands {
    ($( $c_name:ident = $number:literal $key:literal, )*) => {$(
        const _: () = assert!(retrans_field::$c_name.0 == $number, stringify!($c_name));
    )*};
}
operands!(same_operands);
