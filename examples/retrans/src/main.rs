// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `retrans`: shows the result of every TCP retransmission attempt of this host.

// They panic if the output is closed or full.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod explain;
mod generate;
mod histogram;
mod keys;
mod output;
mod reconcile;
mod replay;
mod report;
mod signals;
mod status;
mod table;
mod terminal;
mod top;
mod utc;
mod watch;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ColorChoice, Parser, Subcommand};
use retrans_sdk::format::Escaped;

use crate::output::Output;
use crate::status::say;

/// The exit status of a subcommand that found a difference, or failed after it had started.
const FAILED: u8 = 1;
/// The exit status of a usage error, and of a subcommand that cannot start.
const CANNOT_START: u8 = 2;

/// Shows the result of every TCP retransmission attempt of this host
///
/// Attaches BPF programs to the kernel's TCP stack, or reads a recording. Most subcommands print a
/// table on a terminal, and otherwise key=value lines.
#[derive(Debug, Parser)]
#[command(
    name = "retrans",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Exit status: 0 success; 1 a difference was found, or the subcommand failed after it had started; 2 usage error, or the subcommand \
cannot start.

Examples:
  sudo retrans watch 'result!=success'
  sudo retrans doctor"
)]
struct Cli {
    /// When to use colors; auto uses them on a terminal unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Watch(watch::Arguments),
    Top(top::Arguments),
    Replay(replay::Arguments),
    Explain(explain::Arguments),
    Histogram(histogram::Arguments),
    Report(report::Arguments),
    Doctor(doctor::Arguments),
    Reconcile(reconcile::Arguments),
    Check(check::Arguments),
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    Completions(generate::Completions),
    Man(generate::Man),
}

fn main() -> ExitCode {
    let Cli { color, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error),
    };
    let output = Output::new(color);
    match command {
        Command::Watch(arguments) => watch::main(arguments, output),
        Command::Top(arguments) => top::main(arguments, output),
        Command::Replay(arguments) => replay::main(arguments, output),
        Command::Explain(arguments) => explain::main(&arguments, output),
        Command::Histogram(arguments) => histogram::main(arguments),
        Command::Report(arguments) => report::main(arguments),
        Command::Doctor(arguments) => doctor::main(&arguments, output),
        Command::Reconcile(arguments) => reconcile::main(&arguments, output),
        Command::Check(arguments) => check::main(&arguments, output),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::main(arguments),
        Command::Completions(arguments) => generate::completions(&arguments),
        Command::Man(arguments) => generate::man(&arguments),
    }
}

/// Prints a usage error, or the help or version that was requested, and returns the exit status.
fn explain_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return error
            .print()
            .and_then(|()| io::stdout().flush())
            .map_or_else(|error| fail_to_write(&error), |()| ExitCode::SUCCESS);
    }
    // clap prints arguments as they are. Without styles, nothing but the arguments can be escaped.
    let is_escaped = |argument: std::ffi::OsString| {
        let bytes = argument.as_encoded_bytes();
        Escaped::text(bytes).to_string().as_bytes() != bytes
    };
    // An error is ignored, because it cannot be reported anywhere.
    let _ = if env::args_os().any(is_escaped) {
        write!(io::stderr(), "{}", Escaped::text(&error.render().to_string()))
    } else {
        error.print()
    };
    ExitCode::from(CANNOT_START)
}

/// Reports why a subcommand ended, and returns its exit status.
fn fail(status: u8, why: &(impl Display + ?Sized)) -> ExitCode {
    say(format_args!("retrans: {why}"));
    ExitCode::from(status)
}

/// Reports an error of stdout, and returns the exit status. A closed pipe is not a failure.
fn fail_to_write(error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    fail(FAILED, &format!("cannot write to stdout: {error}"))
}

/// Writes a text to stdout. Reports an error, and then returns the exit status. A closed pipe is
/// not an error: the status of the caller still reports a difference if the reader of stdout, such
/// as `head`, has exited.
fn print(text: &[u8]) -> Result<(), ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(fail_to_write(&error)),
        _ => Ok(()),
    }
}
