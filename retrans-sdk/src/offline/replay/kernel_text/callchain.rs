// SPDX-License-Identifier: MIT OR Apache-2.0
//! The call chain that may follow the line of an attempt, and the kind that it proves.
//!
//! # Design
//!
//! A compiler inlines static functions, and replaces a call at the end of a function by a jump.
//! Both remove a function from the chain, so only functions that are present prove something. The
//! nearest known caller decides, because timers and ICMP errors are also processed during
//! acknowledgements and system calls. Fast recovery and slow start have the same callers, so those
//! callers prove no kind.

use crate::event::kind::RetransKind;
use crate::event::tcp_enums::TcpState;

/// The program that prints a call chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Printer {
    /// ` => function`, after a line with `<stack trace>`. trace-cmd prints the same.
    Tracefs,
    /// An address and the function. Other lines, such as those of source lines, come in between.
    Perf,
}

/// Returns the function in a line of a call chain, without the offset and the suffix that a
/// compiler appends to a copy of a function: `.part.0`.
///
/// Only kernel addresses count. They have 16 digits, more than fit into a task name, so that a task
/// name with line ends cannot imitate such a line.
pub(super) fn function(line: &str, printer: Printer) -> Option<&str> {
    let text = line.trim_start();
    if text.len() == line.len() {
        return None;
    }
    let (first, rest) = text.split_once(char::is_whitespace)?;
    let is_frame = match printer {
        Printer::Tracefs => first == "=>",
        Printer::Perf => first.len() == 16 && first.bytes().all(|byte| byte.is_ascii_hexdigit()),
    };
    let symbol = rest.split_whitespace().next().filter(|_| is_frame)?;
    symbol.split(['+', '.']).next()
}

/// Returns true if a function contains the tracepoint, or is called by it. The chain begins with
/// such a function, unless perf was configured to print callers first.
pub(super) fn is_attempt(function: &str) -> bool {
    function.starts_with("trace_event_raw_event_tcp")
        || function.starts_with("__traceiter_tcp_retransmit")
        || matches!(function, "__tcp_retransmit_skb" | "tcp_retransmit_skb")
}

/// Returns the kind that a function proves, `Unknown` if it has several kinds of attempts, and
/// `None` if it is not known, so that its caller decides.
pub(super) fn decides(function: &str, state: TcpState) -> Option<RetransKind> {
    Some(match function {
        "tcp_retransmit_timer" if state == TcpState::SynSent => RetransKind::Syn,
        "tcp_retransmit_timer" => RetransKind::Rto,
        "tcp_send_loss_probe" => RetransKind::Tlp,
        // It ends with the call of the attempts. Its callers for an ICMP error remain.
        "tcp_simple_retransmit" | "tcp_v4_mtu_reduced" | "tcp_v6_mtu_reduced" | "tcp_v4_err" | "tcp_v6_err" => {
            RetransKind::Mtu
        }
        "tcp_rcv_fastopen_synack" | "tcp_rcv_synsent_state_process" | "tcp_rcv_state_process" => RetransKind::Fastopen,
        "tcp_rack_reo_timeout"
        | "tcp_ack"
        | "tcp_xmit_recovery"
        | "tcp_rcv_established"
        | "tcp_tsq_write"
        | "tcp_tsq_handler"
        | "tcp_tasklet_func"
        | "tcp_tsq_workfn"
        | "tcp_pace_kick"
        | "tcp_release_cb" => RetransKind::Unknown,
        _ => return None,
    })
}
