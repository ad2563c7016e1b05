// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes TCP retransmit, and fail to, in every way that traffic can bring about, in network namespaces of its own, and says
//! what came of it; or replays a recording of that.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use lexopt::prelude::*;
use retrans_examples::recording;
use retrans_sdk::{ErrorKind, Line, Stream};
use retrans_tests::trial::Progress;
use retrans_tests::{TraceInstance, Trial, privilege};

mod acts;
mod table;

use acts::{ACTS, Act};
use table::{Row, Table};

const HELP: &str = "\
Makes TCP retransmit, and fail to, in network namespaces of its own, and prints what came of it, a row an outcome.

usage: demo [--record FILE | --replay FILE]

  --record FILE   writes the events to FILE too, one line each, with the key `act` besides
  --replay FILE   provokes nothing, and makes the table of such a file

Needs root; without it, replays a recording that was made before. Exit status: 0; 1 if a row is missing, or the witnesses
tell otherwise; 2 if it could not start.";

/// Made by `make recording`.
const RECORDING: &str = include_str!("../../../recordings/lab.kv");

/// A hardened kernel may not run BPF programs at the very moment of an attempt (see `Trial::was_disturbed`).
const TRIES: u32 = 3;

struct Arguments {
    record: Option<PathBuf>,
    replay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let faults = match arguments() {
        Ok(None) => {
            let _ = writeln!(io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(Arguments { replay: Some(path), .. })) => replay_file(&path),
        Ok(Some(Arguments { record, replay: None })) => live_or_replay(record),
        Err(error) => Err(error),
    };
    match faults {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            faults.iter().for_each(|fault| eprintln!("demo: {fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut arguments = Arguments { record: None, replay: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("record") => arguments.record = Some(parser.value()?.into()),
            Long("replay") => arguments.replay = Some(parser.value()?.into()),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if arguments.record.is_some() && arguments.replay.is_some() {
        return Err("--record and --replay exclude each other".into());
    }
    Ok(Some(arguments))
}

type Faults = Result<Vec<String>, Box<dyn Error>>;

fn live_or_replay(record: Option<PathBuf>) -> Faults {
    let why_not = match Stream::builder().open() {
        Ok(stream) => match privilege::check() {
            Ok(()) => return live(stream, record),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == ErrorKind::MissingCapability => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    if record.is_some() {
        return Err(why_not.into());
    }
    println!("REPLAY: this is a recording that was made before. Nothing is provoked here, because:\n{why_not}\n");
    replay(RECORDING.as_bytes(), "the recording")
}

fn replay_file(path: &PathBuf) -> Faults {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("REPLAY of {}: nothing is provoked.\n", path.display());
    replay(io::BufReader::new(file), &path.display().to_string())
}

fn replay(recording: impl io::BufRead, name: &str) -> Faults {
    let lines: Vec<Line> =
        recording::lines(recording).collect::<Result<_, _>>().map_err(|error| format!("{name}: {error}"))?;
    let rows = ACTS.map(|act| {
        let of_the_act = |line: &&Line| line.unknown.iter().any(|(key, value)| key == Act::KEY && *value == act.name());
        let events: Vec<_> = lines.iter().filter(of_the_act).map(|line| line.event).collect();
        Row::new(&act, &events, None)
    });
    print!("{}", Table(&rows));
    println!("\nREPLAY: recorded, not seen here. As root it is seen live.");
    Ok(faults_of(rows))
}

fn live(mut stream: Stream, record: Option<PathBuf>) -> Faults {
    println!("Each row is what this host's kernel said of its own attempts to retransmit, a moment ago.");
    println!("{}", stream.attachment());
    stream.attachment().passed_over.iter().for_each(|way| println!("not {way}"));
    println!();
    let began = Instant::now();
    let observes_failures = stream.source().observes_failures();
    let mut trace = TraceInstance::new()?;
    let mut trials: Vec<Option<Trial>> = ACTS.iter().map(|_| None).collect();
    for _ in 0..TRIES {
        let missing: Vec<_> = (0..ACTS.len())
            .filter(|&index| observes_failures || ACTS[index].outcome.expected(0).err == 0)
            .filter(|&index| {
                trials[index].as_ref().is_none_or(|trial| trial.was_disturbed() && trial.verify().is_err())
            })
            .collect();
        let wanted: Vec<_> = missing.iter().map(|&index| (ACTS[index].outcome, ACTS[index].family)).collect();
        if wanted.is_empty() {
            break;
        }
        let ran = Trial::run(&mut stream, &mut trace, &wanted, |progress| say(progress, wanted.len()))?;
        missing.into_iter().zip(ran).for_each(|(index, trial)| trials[index] = Some(trial));
    }
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }

    let rows: Vec<_> = ACTS.iter().zip(&trials).map(|(act, trial)| row(act, trial.as_ref())).collect();
    print!("{}", Table(&rows));
    println!(
        "\nagreed: the kernel's own text (tracefs) has the same attempts, and RetransSegs and TCPRetransFail rose by as much."
    );
    println!(
        "{} rows in {:.1} s. The counters, this host's other traffic included:",
        rows.len(),
        began.elapsed().as_secs_f64()
    );
    println!("{}", stream.stats());
    let watch = std::env::current_exe()?.with_file_name("watch");
    println!("\nTo watch this machine: sudo {} 'result!=success'", watch.display());
    if let Some(path) = record {
        write_recording(&path, &trials).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(faults_of(rows))
}

fn row(act: &Act, trial: Option<&Trial>) -> Row {
    let Some(trial) = trial else { return Row::unobservable(act) };
    Row::new(act, &trial.events, Some(trial.verify().map_err(|error| error.to_string())))
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

fn write_recording(path: &PathBuf, trials: &[Option<Trial>]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (act, trial) in ACTS.iter().zip(trials) {
        for event in trial.iter().flat_map(|trial| &trial.events) {
            let unknown = vec![(Act::KEY.to_owned(), act.name())];
            writeln!(file, "{}", Line { event: *event, unknown })?;
        }
    }
    file.flush()
}

fn faults_of(rows: impl IntoIterator<Item = Row>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.fault).collect()
}
