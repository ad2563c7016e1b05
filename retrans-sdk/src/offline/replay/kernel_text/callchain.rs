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

/// Returns the function in a line of a call chain.
///
/// tracefs and trace-cmd print ` => function`, and perf prints an address and the function, or the
/// function alone after a tab.
pub(super) fn function(line: &str) -> Option<&str> {
    let text = line.trim_start();
    if text.len() == line.len() {
        return None;
    }
    let mut words = text.split_whitespace();
    let first = words.next()?;
    let symbol = if first == "=>" || is_address(first) {
        words.next()?
    } else if line.starts_with('\t') {
        first
    } else {
        return None;
    };
    // Offsets and the suffixes that a compiler appends to copies of a function: `.part.0`.
    let name = symbol.split(['+', '.']).next().unwrap_or(symbol);
    Some(name)
}

fn is_address(word: &str) -> bool {
    word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns what a function of the call chain decides: `None` if it decides nothing, so that its
/// caller is asked.
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
