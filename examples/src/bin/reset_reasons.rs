// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tool's own table of a kernel's reasons, held against the kernel that it runs on: why TCP sent a reset (`enum
//! sk_rst_reason`, Linux 6.10 and newer, the tracepoint `tcp_send_reset`).

use std::env;
use std::path::Path;
use std::process::ExitCode;

use retrans_sdk::{Error, check, reason_table};

/// Why a reset was sent. Those of MPTCP are left out: they print as `k` and their number.
#[reason_table(key = "reset")]
enum Reset {
    /// No reason was given.
    #[reason(value = "not_specified", c_name = "SK_RST_REASON_NOT_SPECIFIED")]
    NotSpecified = 0,
    /// Nobody listens there.
    #[reason(value = "no_socket", c_name = "SK_RST_REASON_NO_SOCKET")]
    NoSocket = 1,
    /// It acknowledges what was never sent, before there was a connection.
    #[reason(value = "invalid_ack", c_name = "SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE")]
    InvalidAck = 2,
    /// A segment that must not be there in this state, by its flags.
    #[reason(value = "flags", c_name = "SK_RST_REASON_TCP_FLAGS")]
    Flags = 6,
    /// An acknowledgement that is too old.
    #[reason(value = "old_ack", c_name = "SK_RST_REASON_TCP_OLD_ACK")]
    OldAck = 7,
    /// Data came for a socket that the application had closed.
    #[reason(value = "abort_on_data", c_name = "SK_RST_REASON_TCP_ABORT_ON_DATA")]
    AbortOnData = 8,
    /// A SYN in the middle of a connection.
    #[reason(value = "invalid_syn", c_name = "SK_RST_REASON_INVALID_SYN")]
    InvalidSyn = 10,
    /// Closed by the application before it had read everything.
    #[reason(value = "abort_on_close", c_name = "SK_RST_REASON_TCP_ABORT_ON_CLOSE")]
    AbortOnClose = 11,
    /// No memory for one more socket without an owner.
    #[reason(value = "abort_on_memory", c_name = "SK_RST_REASON_TCP_ABORT_ON_MEMORY")]
    AbortOnMemory = 13,
    /// Keepalive probes were not answered.
    #[reason(value = "keepalive_timeout", c_name = "SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT")]
    KeepaliveTimeout = 15,
}

fn main() -> ExitCode {
    let (name, prefix) = ("sk_rst_reason", "SK_RST_REASON_");
    // The running kernel's BTF, or that of another kernel in a file.
    let report = match env::args_os().nth(1) {
        Some(path) => check::table_in_btf::<Reset>(Path::new(&path), name, prefix),
        None => check::table_in_running_kernel::<Reset>(name, prefix),
    };
    exit_status(report)
}

/// 0 if they agree, 1 if not, 2 if it cannot be told.
fn exit_status(report: Result<check::Report, Error>) -> ExitCode {
    match report {
        Ok(report) => {
            println!("{report}");
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("cannot tell: {error}");
            ExitCode::from(2)
        }
    }
}
