// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes TCP retransmit, and fail to, in every way that traffic can bring about, in network namespaces of its own, and says
//! what came of it; or replays a recording of that.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::prelude::*;
use retrans_examples::recording;
use retrans_sdk::{ErrorKind, Stream};
use retrans_tests::privilege;
use retrans_tests::trial::Progress;

mod acts;
mod live;
mod table;

use acts::{ACTS, Act};
use table::{Row, Shown, Table};

const HELP: &str = "\
Makes TCP retransmit, and fail to, in network namespaces of its own, and prints what came of it, a row an outcome.

usage: demo [--live | --record FILE | --replay FILE]

  --live          no replay where it cannot be done live, and no row left out because this kernel cannot do or show it
  --record FILE   writes the events to FILE too, one line each, with the key `act` besides, if all rows are as they should be
  --replay FILE   provokes nothing, and makes the table of such a file

Needs root; without it, replays a recording that was made before. Exit status: 0; 1 if a row is missing, or the witnesses
tell otherwise; 2 if it could not start.";

/// Made by `make recording`.
const RECORDING: &str = include_str!("../../../recordings/lab.kv");

enum Mode {
    LiveOrReplay,
    Live,
    Record(PathBuf),
    Replay(PathBuf),
}

fn main() -> ExitCode {
    let mode = match arguments() {
        Ok(Some(mode)) => mode,
        Ok(None) => {
            let _ = writeln!(io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return cannot_start(&*error),
    };
    match run(mode) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in faults {
                let _ = writeln!(io::stderr(), "demo: {fault}");
            }
            ExitCode::FAILURE
        }
        // Whoever read it has had enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => cannot_start(&*error),
    }
}

fn cannot_start(error: &dyn Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "demo: {error}");
    ExitCode::from(2)
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn arguments() -> Result<Option<Mode>, Box<dyn Error>> {
    let mut mode = Mode::LiveOrReplay;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let asked = match argument {
            Long("live") => Mode::Live,
            Long("record") => Mode::Record(parser.value()?.into()),
            Long("replay") => Mode::Replay(parser.value()?.into()),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        };
        if !matches!(mode, Mode::LiveOrReplay) {
            return Err("--live, --record and --replay exclude each other".into());
        }
        mode = asked;
    }
    Ok(Some(mode))
}

/// What is not as it should be, row by row.
type Faults = Result<Vec<String>, Box<dyn Error>>;

fn run(mode: Mode) -> Faults {
    let mut out = io::stdout().lock();
    let record = match &mode {
        Mode::Replay(path) => {
            let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
            writeln!(out, "REPLAY of {}: nothing is provoked.\n", path.display())?;
            return replay(&mut out, BufReader::new(file), &path.display().to_string());
        }
        Mode::Record(path) => Some(path.as_path()),
        Mode::Live | Mode::LiveOrReplay => None,
    };
    let why_not = match Stream::builder().open() {
        Ok(stream) => match privilege::check() {
            Ok(()) => return live(&mut out, stream, record, !matches!(mode, Mode::LiveOrReplay)),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == ErrorKind::MissingCapability => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    if !matches!(mode, Mode::LiveOrReplay) {
        return Err(why_not.into());
    }
    writeln!(out, "REPLAY: this is a recording that was made before. Nothing is provoked here, because:\n{why_not}\n")?;
    replay(&mut out, RECORDING.as_bytes(), "the recording")
}

fn live(out: &mut impl Write, mut stream: Stream, record: Option<&Path>, all: bool) -> Faults {
    writeln!(out, "Each row is what this host's kernel said of its own attempts to retransmit, a moment ago.")?;
    let attachment = stream.live().ok_or("not a live stream")?.attachment().clone();
    writeln!(out, "{attachment}")?;
    let acted = live::act(&mut stream, attachment.observes_failures(), say)?;
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let mut faults = faults_of(&acted.rows);
    if all {
        let without = acted.acts.iter().zip(&acted.rows).filter(|(_, row)| row.fault.is_none() && !row.has_event());
        faults.extend(without.map(|(act, _)| format!("{}: not here", act.name())));
    }
    if let (Some(path), true) = (record, faults.is_empty()) {
        acted.record(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }

    writeln!(out, "\n{}", Table(&acted.rows))?;
    writeln!(
        out,
        "agreed: whether the kernel's own text (tracefs) has the same attempts, and RetransSegs and TCPRetransFail rose by as much."
    )?;
    for what in attachment.unobservable() {
        writeln!(out, "unobservable here: {what}. {}", what.description())?;
    }
    for passed_over in attachment.unavailable() {
        writeln!(out, "not {passed_over}")?;
    }
    writeln!(
        out,
        "\n{} rows in {:.1} s. The counters, this host's other traffic included:",
        acted.rows.len(),
        acted.took.as_secs_f64()
    )?;
    writeln!(out, "{}", stream.stats())?;
    let watch = std::env::current_exe()?.with_file_name("watch");
    writeln!(out, "\nTo watch this machine: sudo {} 'result!=success'", watch.display())?;
    Ok(faults)
}

fn replay(out: &mut impl Write, recording: impl BufRead, name: &str) -> Faults {
    let mut shown: Vec<_> = ACTS.iter().map(|_| Shown::default()).collect();
    for line in recording::lines(recording) {
        let line = line.map_err(|error| format!("{name}: {error}"))?;
        let is_of = |act: &Act| line.unknown.iter().any(|(key, value)| key == Act::KEY && *value == act.name());
        if let Some(index) = ACTS.iter().position(is_of) {
            shown[index].add(&ACTS[index], &line.event);
        }
    }
    let recorded = ACTS.iter().zip(&shown).filter(|(act, shown)| !act.is_of_the_lab_kernel() || shown.has_event());
    let rows: Vec<_> = recorded.map(|(act, shown)| Row::new(act, shown, None)).collect();
    writeln!(out, "{}", Table(&rows))?;
    writeln!(out, "REPLAY: recorded, not seen here. As root it is seen live.")?;
    Ok(faults_of(&rows))
}

/// On a terminal one line that changes, elsewhere a line at each outcome.
fn say(progress: Progress, of: usize) {
    let (done, what) = match progress {
        Progress::Prepared(done) => (done, "connections made"),
        Progress::Seen(done) => (done, "outcomes seen"),
    };
    let mut stderr = io::stderr();
    // Whether anybody reads it is not our concern.
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
