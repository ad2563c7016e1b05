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
/// A task name with line ends can imitate a line of tracefs with a function of at most 11
/// characters, but not a kernel address, which has 16 digits.
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
    let function = symbol.split(['+', '.']).next()?;
    let may_be_imitated = printer == Printer::Tracefs && matches!(function, "tcp_v4_err" | "tcp_v6_err");
    (!may_be_imitated).then_some(function)
}

/// Returns true for a line of a user-space call chain of tracefs, which contains a path.
pub(super) fn is_user_frame(line: &str) -> bool {
    let text = line.trim();
    let offset = || text.rsplit_once("[+0x")?.1.strip_suffix(']');
    text.starts_with("=> ")
        && !text.contains(" state=")
        && offset().is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Returns true for a line of a call chain of perf with any address. It may contain any path.
///
/// The line of an attempt whose columns are not known may end with the first frame of its chain, so
/// a line with the fields of an attempt is no frame.
pub(super) fn is_frame_of_perf(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let is_address = |word: &str| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let before_path = line.rsplit_once(" (").map_or(line, |(before, _)| before);
    line.starts_with(char::is_whitespace)
        && !(before_path.contains("tcp_retransmit_s") && before_path.contains("sport="))
        && words.next().is_some_and(is_address)
        && words.next().is_some_and(|symbol| !symbol.ends_with(':'))
        && line.trim_end().ends_with(')')
}

/// Returns true if a function contains the tracepoint, or is called by it. The chain begins with
/// such a function, unless perf was configured to print callers first.
pub(super) fn is_attempt(function: &str) -> bool {
    function.starts_with("trace_event_raw_event_tcp")
        || function.starts_with("__traceiter_tcp_retransmit")
        || matches!(function, "__tcp_retransmit_skb" | "tcp_retransmit_skb")
}

/// Returns the kind that a function proves: `Unknown` if it makes attempts of several kinds.
/// Returns `None` for an unknown function. Its caller then decides.
pub(super) fn decides(function: &str, state: TcpState) -> Option<RetransKind> {
    Some(match function {
        "tcp_retransmit_timer" if state == TcpState::SynSent => RetransKind::Syn,
        "tcp_retransmit_timer" => RetransKind::Rto,
        "tcp_send_loss_probe" => RetransKind::Tlp,
        // The compiler turns the last call of the first one into a jump, which removes it from the
        // chain. So its callers for an ICMP error count, too.
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
