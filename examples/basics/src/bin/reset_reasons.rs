// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares a tool's own table of a kernel's reasons with the running kernel: why TCP sent a reset (`enum sk_rst_reason`,
//! Linux 6.10 and newer, the tracepoint `tcp_send_reset`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use retrans_sdk::{Error, check, reason_table};

/// Why a reset was sent. The reasons of MPTCP are left out: they print as `k` and their number.
#[reason_table(c_prefix = "SK_RST_REASON_")]
enum Reset {
    /// No reason was given.
    NotSpecified = 0,
    /// No socket listens there.
    NoSocket = 1,
    /// It acknowledges what was never sent, before there was a connection.
    #[reason(c_name = "SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE")]
    InvalidAck = 2,
    /// A segment that must not arrive in this state, by its flags.
    #[reason(c_name = "SK_RST_REASON_TCP_FLAGS")]
    Flags = 6,
    /// An acknowledgement that is too old.
    #[reason(c_name = "SK_RST_REASON_TCP_OLD_ACK")]
    OldAck = 7,
    /// Data arrived for a socket that the application had closed.
    #[reason(c_name = "SK_RST_REASON_TCP_ABORT_ON_DATA")]
    AbortOnData = 8,
    /// A SYN in the middle of a connection.
    InvalidSyn = 10,
    /// Closed by the application before it had read everything.
    #[reason(c_name = "SK_RST_REASON_TCP_ABORT_ON_CLOSE")]
    AbortOnClose = 11,
    /// No memory for one more socket without an owner.
    #[reason(c_name = "SK_RST_REASON_TCP_ABORT_ON_MEMORY")]
    AbortOnMemory = 13,
    /// Keepalive probes were not answered.
    #[reason(c_name = "SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT")]
    KeepaliveTimeout = 15,
}

/// Compares a table of `enum sk_rst_reason` with the running kernel's BTF, or that of a file
#[derive(Parser)]
struct Arguments {
    /// A file of BTF, or an object file with it
    btf: Option<PathBuf>,
}

fn main() -> ExitCode {
    let (name, prefix) = ("sk_rst_reason", "SK_RST_REASON_");
    let report = match Arguments::parse().btf {
        Some(path) => check::table_in_btf::<Reset>(&path, name, prefix),
        None => check::table_in_running_kernel::<Reset>(name, prefix),
    };
    exit_status(report)
}

/// Returns 0 if they match, 1 if not, 2 if the kernel cannot be read.
fn exit_status(report: Result<check::Report, Error>) -> ExitCode {
    match report {
        Ok(report) => {
            println!("{report}");
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("cannot compare: {error}");
            ExitCode::from(2)
        }
    }
}
