// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares a tool's own table of kernel reasons with the running kernel: why TCP sent a reset
//! (`enum sk_rst_reason`, Linux 6.10 and newer, the tracepoint `tcp_send_reset`).
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use retrans_examples::say;
use retrans_sdk::{Error, check, reason_table};

/// The reason for a reset. MPTCP reasons are left out: they print as `k` and their number.
#[reason_table(c_prefix = "SK_RST_REASON_")]
enum Reset {
    /// No reason was given.
    NotSpecified = 0,
    /// No socket listens on this port.
    NoSocket = 1,
    /// The segment acknowledges data that was never sent, before there was a connection.
    #[reason(c_name = "SK_RST_REASON_TCP_INVALID_ACK_SEQUENCE")]
    InvalidAck = 2,
    /// The flags of the segment are not allowed in this state.
    #[reason(c_name = "SK_RST_REASON_TCP_FLAGS")]
    Flags = 6,
    /// The acknowledgement is too old.
    #[reason(c_name = "SK_RST_REASON_TCP_OLD_ACK")]
    OldAck = 7,
    /// Data arrived for a socket that the application had closed.
    #[reason(c_name = "SK_RST_REASON_TCP_ABORT_ON_DATA")]
    AbortOnData = 8,
    /// A SYN arrived in the middle of a connection.
    InvalidSyn = 10,
    /// The application closed the socket before it had read everything.
    #[reason(c_name = "SK_RST_REASON_TCP_ABORT_ON_CLOSE")]
    AbortOnClose = 11,
    /// Not enough memory for another orphaned socket.
    #[reason(c_name = "SK_RST_REASON_TCP_ABORT_ON_MEMORY")]
    AbortOnMemory = 13,
    /// Keepalive probes were not answered.
    #[reason(c_name = "SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT")]
    KeepaliveTimeout = 15,
}

/// Compares a table of `enum sk_rst_reason` with the BTF of the running kernel or of a file
#[derive(Parser)]
struct Arguments {
    /// A BTF file, or an object file that contains BTF
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

/// Returns 0 if they match, 1 if they do not, 2 if the BTF cannot be read or stdout cannot be
/// written.
fn exit_status(report: Result<check::Report, Error>) -> ExitCode {
    match report {
        Ok(report) => match writeln!(io::stdout(), "{report}") {
            // The status is valid even if the reader of stdout, such as `head`, has exited.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(format_args!("cannot print: {error}")),
            _ if report.passed() => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        Err(error) => fail(format_args!("cannot compare: {error}")),
    }
}

fn fail(why: fmt::Arguments<'_>) -> ExitCode {
    say(why);
    ExitCode::from(2)
}
