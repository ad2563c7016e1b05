// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans demo`: causes every outcome in temporary network namespaces, or replays a recording.

mod live;
mod scenarios;
mod table;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use retrans_lab::privilege;
use retrans_lab::run::Progress;
use retrans_sdk::format::Escaped;
use retrans_sdk::offline::RecordedLines;
use retrans_sdk::offline::Recording;
use retrans_sdk::{ErrorKind, FieldSet, Stream};

use self::scenarios::{DemoScenario, SCENARIOS};
use self::table::{Row, Shown, Table};
use crate::{CANNOT_START, FAILED, fail};

/// Provokes outcomes in temporary network namespaces, and prints what the kernel reported
///
/// Prints one row per scenario. Requires root. Without root, it replays a recording that is part of
/// this program.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 a row is missing, or the kernel's own trace or counters do not match; 2 usage error, or the demo cannot start.

Examples:
  sudo retrans demo --live
  retrans demo --replay lab.kv")]
pub(crate) struct Arguments {
    /// Never replay a recording: fail without root, or if a row is not possible on this kernel
    #[arg(long, group = "mode")]
    live: bool,
    /// Also write the events to FILE if every row is as expected. The file contains one key=value
    /// line per event, with the name of its scenario as the additional key `scenario`
    #[arg(long, value_name = "FILE", group = "mode")]
    record: Option<PathBuf>,
    /// Print the table of a recording that --record wrote, and cause nothing
    #[arg(long, value_name = "FILE", group = "mode")]
    replay: Option<PathBuf>,
}

/// The recording that is replayed without root. `make recording` writes it.
const RECORDING: &str = include_str!("../../recordings/lab.kv");

pub(crate) fn main(arguments: Arguments) -> ExitCode {
    match run(arguments) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in faults {
                crate::status::say(format_args!("retrans: {fault}"));
            }
            ExitCode::from(FAILED)
        }
        Err(error) => fail(CANNOT_START, &*error),
    }
}

/// A writer that ignores if the reader of stdout, such as `head`, has exited. The exit status then
/// still reports a row that is not as expected.
struct UntilClosed<W>(W);

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            Err(error) => Err(io::Error::new(error.kind(), format!("cannot write to stdout: {error}"))),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// The rows that are not as expected, with the reason.
type Faults = Result<Vec<String>, Box<dyn Error>>;

fn run(arguments: Arguments) -> Faults {
    let Arguments { live, record, replay } = arguments;
    let mut out = UntilClosed(io::stdout().lock());
    if let Some(path) = replay {
        let recording = Recording::open(&path)?.lines()?;
        writeln!(out, "REPLAY of {}: nothing is caused here.\n", Escaped::path(&path))?;
        return self::replay(&mut out, recording);
    }
    let must_be_live = live || record.is_some();
    let why_not = match Stream::builder().locate_nomem().fields(FieldSet::default() | FieldSet::drops()).open() {
        Ok(stream) => match privilege::check() {
            Ok(()) => return self::live(&mut out, stream, record.as_deref(), must_be_live),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == ErrorKind::MissingCapability => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    if must_be_live {
        return Err(why_not.into());
    }
    writeln!(out, "REPLAY: this is a recording that was made earlier. Nothing is caused here, because:\n{why_not}\n")?;
    self::replay(&mut out, Recording::from_reader(RECORDING.as_bytes()).lines()?)
}

fn live(out: &mut impl Write, mut stream: Stream, record: Option<&Path>, all: bool) -> Faults {
    writeln!(out, "Each row is what the kernel of this host has just reported about its own retransmission attempts.")?;
    let attachment = stream.live().ok_or("not a live stream")?.attachment().clone();
    writeln!(out, "{attachment}")?;
    let finished = live::run(&mut stream, attachment.observes_failures(), say)?;
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let mut faults = faults_of(&finished.rows);
    if all {
        let without =
            finished.scenarios.iter().zip(&finished.rows).filter(|(_, row)| row.fault.is_none() && !row.has_event());
        faults.extend(
            without.map(|(scenario, _)| format!("{}: not possible or not observable on this kernel", scenario.name())),
        );
    }
    if let (Some(path), true) = (record, faults.is_empty()) {
        finished.record(path).map_err(|error| format!("{}: {error}", Escaped::path(path)))?;
    }

    writeln!(out, "\n{}", Table(&finished.rows))?;
    writeln!(
        out,
        "matches kernel: tracefs contains the same attempts, and RetransSegs and TCPRetransFail rose by the same number."
    )?;
    for what in attachment.unobservable() {
        writeln!(out, "not observable here: {what}. {}", what.description())?;
    }
    for better in attachment.unavailable() {
        writeln!(out, "not used: {better}")?;
    }
    writeln!(
        out,
        "\n{} rows in {:.1} s. The counters, which include other traffic of this host:",
        finished.rows.len(),
        finished.took.as_secs_f64()
    )?;
    writeln!(out, "{}", stream.stats())?;
    let retrans = std::env::current_exe()?;
    writeln!(out, "\nTo watch this machine: sudo {} watch 'result!=success'", Escaped::path(&retrans))?;
    Ok(faults)
}

fn replay(out: &mut impl Write, recording: RecordedLines) -> Faults {
    let mut shown: Vec<_> = SCENARIOS.iter().map(|_| Shown::default()).collect();
    for line in recording {
        let line = line?;
        let is_of = |scenario: &DemoScenario| {
            line.unknown.iter().any(|(key, value)| key == DemoScenario::KEY && *value == scenario.name())
        };
        if let Some(index) = SCENARIOS.iter().position(is_of) {
            shown[index].add(&SCENARIOS[index], &line.event);
        }
    }
    let recorded =
        SCENARIOS.iter().zip(&shown).filter(|(scenario, shown)| !scenario.is_of_the_lab_kernel() || shown.has_event());
    let rows: Vec<_> = recorded.map(|(scenario, shown)| Row::new(scenario, shown, None)).collect();
    writeln!(out, "{}", Table(&rows))?;
    writeln!(out, "REPLAY: these rows are recorded. As root, the demo is live.")?;
    Ok(faults_of(&rows))
}

/// Prints the progress: one changing line on a terminal, otherwise a line per outcome.
fn say(progress: Progress, of: usize) {
    let (done, what) = match progress {
        Progress::Prepared(done) => (done, "connections made"),
        Progress::Seen(done) => (done, "outcomes seen"),
    };
    let mut stderr = io::stderr();
    // An error is ignored: the progress is not part of the result.
    let _ = if stderr.is_terminal() {
        write!(stderr, "\r\x1b[K{done}/{of} {what}")
    } else if done == of || matches!(progress, Progress::Seen(_)) {
        writeln!(stderr, "{done}/{of} {what}")
    } else {
        Ok(())
    };
}

fn faults_of(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| row.fault.clone()).collect()
}
