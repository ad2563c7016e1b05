// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reason for a retransmission according to its call stack.
//!
//! # Design
//! A compiler inlines static functions, and replaces a call at the end of a function by a jump.
//! Both leave a function out of the stack. So the decision rests on functions that are global or
//! have several callers, and that do not end with the call in question. The static ones are listed
//! too, because they prove the same where they appear. Read in Linux 5.10, 6.1, 6.12 and 7.3:
//!
//! - `tcp_retransmit_timer`, `tcp_send_loss_probe` and `tcp_rack_reo_timeout` are global, and do
//!   more after the attempt.
//! - `tcp_simple_retransmit` ends with the attempts, and `tcp_v4_mtu_reduced` and
//!   `tcp_v6_mtu_reduced` end with the call of it. Their callers remain: `tcp_v4_err` and
//!   `tcp_v6_err`. If a process held the socket, the caller is `tcp_release_cb`, which also drains
//!   the socket's queue. There the stack leaves it open.
//! - `tcp_xmit_recovery` ends with the attempts. Its caller `tcp_ack` does not end with the call.
//! - If a probe of the MTU is lost, `tcp_fastretrans_alert` ends with `tcp_simple_retransmit`, so
//!   the stack is the same as of other attempts by `tcp_ack`. The counter TCPMTUPFail decides
//!   whether that may be the cause.
//! - `tcp_rcv_fastopen_synack` does more after the attempts. It and its caller are static, and
//!   their caller `tcp_rcv_state_process` is global. That function also calls `tcp_ack`, which is
//!   nearer in the stack.

use retrans_sdk::RetransKind;
use retrans_sdk::event::{CaState, TcpState};

use crate::Counters;

/// The cause of a retransmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The retransmission timer.
    Timer,
    /// The timer of the tail loss probe.
    LossProbe,
    /// The reordering timer of RACK.
    ReorderTimer,
    /// A reduced MTU, reported by a router or found out by a failed probe of the MTU.
    Mtu,
    /// A SYN-ACK that did not acknowledge the data of a Fast Open SYN.
    Fastopen,
    /// A segment left a queue of this host, or the pacing timer expired.
    HostQueue,
    /// The end of a system call: a queue was drained or the MTU was reduced during the call.
    Release,
    /// An acknowledgement.
    Ack,
    /// The same, where a probe of the MTU has failed.
    AckOrMtuProbe,
    /// The retransmission of a SYN-ACK.
    Synack,
}

/// Returns the cause that the nearest known caller proves, or `None` if no caller is known.
pub fn trigger(callers: &[String]) -> Option<Trigger> {
    callers.iter().find_map(|name| {
        Some(match name.as_str() {
            "tcp_retransmit_timer" => Trigger::Timer,
            "tcp_send_loss_probe" => Trigger::LossProbe,
            "tcp_rack_reo_timeout" => Trigger::ReorderTimer,
            "tcp_simple_retransmit" | "tcp_v4_mtu_reduced" | "tcp_v6_mtu_reduced" | "tcp_v4_err" | "tcp_v6_err" => {
                Trigger::Mtu
            }
            "tcp_tsq_write" | "tcp_tsq_handler" | "tcp_tasklet_func" | "tcp_tsq_workfn" | "tcp_pace_kick" => {
                Trigger::HostQueue
            }
            "tcp_release_cb" => Trigger::Release,
            "tcp_ack" | "tcp_xmit_recovery" | "tcp_rcv_established" => Trigger::Ack,
            "tcp_rcv_fastopen_synack" | "tcp_rcv_synsent_state_process" | "tcp_rcv_state_process" => Trigger::Fastopen,
            "tcp_rtx_synack" | "inet_rtx_syn_ack" => Trigger::Synack,
            _ => return None,
        })
    })
}

impl Trigger {
    /// Returns the cause as far as the stack proves it in a namespace with these counters.
    #[must_use]
    pub fn in_namespace(self, counted: &Counters) -> Self {
        match self {
            Self::Ack if counted.mtu_probes_failed > 0 => Self::AckOrMtuProbe,
            other => other,
        }
    }

    /// Returns whether an attempt with this cause may have this kind, in this state of the socket
    /// and of its congestion control. The kind `unknown` claims nothing.
    pub fn allows(self, kind: RetransKind, state: TcpState, ca_state: Option<CaState>) -> bool {
        // By name, because the SDK's table may lack one.
        let kind = kind.to_string();
        let is_loss = ca_state == Some(CaState::Loss);
        let kinds: &[&str] = match self {
            Self::Timer if state == TcpState::SynSent => &["syn"],
            Self::Timer => &["rto", "zero_window_probe"],
            Self::LossProbe => &["tlp"],
            Self::Mtu => &["mtu"],
            Self::Fastopen => &["fastopen"],
            Self::HostQueue if is_loss => &["resume", "slow_start"],
            Self::AckOrMtuProbe if is_loss => &["slow_start", "mtu"],
            Self::Release if is_loss => &["resume", "slow_start", "mtu"],
            Self::ReorderTimer | Self::Ack if is_loss => &["slow_start"],
            Self::ReorderTimer | Self::Ack | Self::AckOrMtuProbe | Self::HostQueue | Self::Release => &["fast"],
            Self::Synack => &["synack"],
        };
        kind == "unknown" || kinds.contains(&kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack of 6.18.
    const TIMER: &str = "trace_event_raw_event_tcp_retransmit_skb __traceiter_tcp_retransmit_skb \
        __tcp_retransmit_skb tcp_retransmit_skb tcp_retransmit_timer tcp_write_timer call_timer_fn __run_timers";
    const PROBE: &str = "__traceiter_tcp_retransmit_skb __tcp_retransmit_skb tcp_send_loss_probe tcp_write_timer \
        call_timer_fn __run_timers run_timer_softirq";
    const ACK: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue tcp_ack \
        tcp_rcv_established tcp_v4_do_rcv __release_sock release_sock tcp_sendmsg __sys_sendto";
    const MTU: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue tcp_v4_err icmp_unreach \
        icmp_rcv ip_protocol_deliver_rcu ip_local_deliver_finish";
    const QUEUE: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue tcp_tsq_write \
        tcp_tsq_handler tcp_tsq_workfn process_one_work bh_worker tasklet_action";
    const SYNACK: &str = "trace_event_raw_event_tcp_retransmit_synack __traceiter_tcp_retransmit_synack \
        tcp_rtx_synack tcp_retransmit_timer tcp_write_timer call_timer_fn";
    /// A stack by the source of 5.10, where the attempt is made without the retransmit queue.
    const FASTOPEN_5_10: &str = "__tcp_retransmit_skb tcp_rcv_state_process tcp_v4_do_rcv tcp_v4_rcv";
    /// A stack by the source of 6.12, with and without inlined functions.
    const FASTOPEN: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue \
        tcp_non_congestion_loss_retransmit tcp_rcv_synsent_state_process tcp_rcv_state_process tcp_v6_do_rcv";
    const FASTOPEN_INLINED: &str =
        "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue tcp_rcv_state_process tcp_v6_do_rcv";
    /// A stack by the sources: an ICMP error that arrived during a system call.
    const RELEASE: &str =
        "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue tcp_release_cb release_sock tcp_sendmsg";
    /// A stack by the sources: a timer that expired during a system call.
    const RELEASE_TIMER: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_retransmit_timer \
        tcp_write_timer_handler tcp_release_cb release_sock tcp_sendmsg";
    /// A stack by the sources: RFC 6069, and a failed probe of the MTU.
    const REVERTED: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_retransmit_timer tcp_ld_RTO_revert \
        tcp_v4_err icmp_unreach";
    const FAILED_MTU_PROBE: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue \
        tcp_simple_retransmit tcp_fastretrans_alert tcp_ack tcp_rcv_established";
    const REORDERING: &str = "__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue \
        tcp_rack_reo_timeout tcp_write_timer_handler tcp_write_timer";

    fn of(stack: &str) -> Option<Trigger> {
        trigger(&stack.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_nearest_known_caller_decides() {
        let all = [
            (TIMER, Trigger::Timer),
            (PROBE, Trigger::LossProbe),
            (ACK, Trigger::Ack),
            (MTU, Trigger::Mtu),
            (QUEUE, Trigger::HostQueue),
            (SYNACK, Trigger::Synack),
            (FASTOPEN_5_10, Trigger::Fastopen),
            (FASTOPEN, Trigger::Fastopen),
            (FASTOPEN_INLINED, Trigger::Fastopen),
            (RELEASE, Trigger::Release),
            (RELEASE_TIMER, Trigger::Timer),
            (REVERTED, Trigger::Timer),
            (FAILED_MTU_PROBE, Trigger::Mtu),
            (REORDERING, Trigger::ReorderTimer),
        ];
        for (stack, expected) in all {
            assert_eq!(of(stack), Some(expected), "{stack}");
        }
        assert_eq!(of("__tcp_retransmit_skb tcp_retransmit_skb tcp_xmit_retransmit_queue"), None);
        assert_eq!(of(""), None);
    }

    /// Returns the kinds of the SDK's table that a cause allows.
    fn allowed(trigger: Trigger, state: TcpState, ca_state: CaState) -> Vec<String> {
        let kinds = RetransKind::ALL.iter().map(|entry| entry.variant);
        let allowed = kinds.filter(|kind| trigger.allows(*kind, state, Some(ca_state)));
        allowed.map(|kind| kind.to_string()).filter(|kind| kind != "fastopen").collect()
    }

    #[test]
    fn each_cause_allows_only_its_kinds() {
        use CaState::{Loss, Open, Recovery};
        use TcpState::{Established, SynSent};
        let all: [(Trigger, TcpState, CaState, &[&str]); 14] = [
            (Trigger::Timer, Established, Loss, &["rto", "zero_window_probe"]),
            (Trigger::Timer, SynSent, Loss, &["syn"]),
            (Trigger::LossProbe, Established, Open, &["tlp"]),
            (Trigger::ReorderTimer, Established, Recovery, &["fast"]),
            (Trigger::Mtu, SynSent, Loss, &["mtu"]),
            (Trigger::Fastopen, Established, Open, &[]),
            (Trigger::HostQueue, Established, Recovery, &["fast"]),
            (Trigger::HostQueue, Established, Loss, &["slow_start", "resume"]),
            (Trigger::Release, Established, Loss, &["slow_start", "mtu", "resume"]),
            (Trigger::Ack, Established, Recovery, &["fast"]),
            (Trigger::Ack, Established, Loss, &["slow_start"]),
            (Trigger::AckOrMtuProbe, Established, Loss, &["slow_start", "mtu"]),
            (Trigger::AckOrMtuProbe, Established, Recovery, &["fast"]),
            (Trigger::Synack, TcpState::NewSynRecv, Open, &["synack"]),
        ];
        for (trigger, state, ca_state, kinds) in all {
            assert_eq!(allowed(trigger, state, ca_state), [&["unknown"], kinds].concat(), "{trigger:?}");
        }
    }
}
