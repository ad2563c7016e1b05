// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints a recording again, whole or filtered.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::*;
use retrans_examples::recording;
use retrans_sdk::Filter;

const HELP: &str = "\
Prints the lines of a recording, as `watch > FILE` makes one, that meet a filter; without a filter all of them.

usage: replay FILE [TERM…] [--or TERM…]…

  FILE   the recording; `-` is stdin
  TERM   as for watch: key=a,b  key!=a,b  sport=LO..HI  daddr=PREFIX  key=-

Keys that this version does not know are kept. Exit status: 0; 1 at a line that is not an event's, which is named, or if
stdout cannot be written; 2 if it could not start.";

fn main() -> ExitCode {
    let (path, filter) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            let _ = writeln!(io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return fails(2, &*error),
    };
    let recording = match recording::open(&path) {
        Ok(recording) => recording,
        Err(error) => return fails(2, &format!("{}: {error}", path.display())),
    };
    // A line at a time: who writes the recording may do so now.
    let mut out = io::stdout().lock();
    for line in recording::lines(recording) {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                return fails(1, &format!("{}: {error}", path.display()));
            }
        };
        if filter.matches(&line.event) {
            match writeln!(out, "{line}") {
                Ok(()) => {}
                Err(error) => return ends(&error),
            }
        }
    }
    out.flush().map_or_else(|error| ends(&error), |()| ExitCode::SUCCESS)
}

fn arguments() -> Result<Option<(PathBuf, Filter)>, Box<dyn Error>> {
    let mut path = None;
    let mut terms: Vec<String> = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(file) if path.is_none() => path = Some(PathBuf::from(file)),
            Value(term) => terms.push(term.string()?),
            Long("or") => terms.push("--or".to_owned()),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let path = path.ok_or("which recording? (see --help)")?;
    let filter: Filter = terms.join(" ").parse()?;
    let live_only = filter.live_only().next().map(str::to_owned);
    if let Some(term) = live_only {
        return Err(format!("{term}: a recording does not tell (cgroup=ID and cookie=NUMBER it does)").into());
    }
    Ok(Some((path, filter)))
}

fn fails(status: u8, why: &(impl std::fmt::Display + ?Sized)) -> ExitCode {
    eprintln!("replay: {why}");
    ExitCode::from(status)
}

/// Whoever read the lines may have had enough.
fn ends(error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe { ExitCode::SUCCESS } else { fails(1, error) }
}
