// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans replay`: prints a recording again.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use retrans_sdk::Filter;
use retrans_sdk::event::Clock;
use retrans_sdk::format::Line;
use retrans_sdk::offline::RecordedLines;
use serde_json::Value as Json;

use crate::args::{Format, Input, Terms, check_for_recording};
use crate::output::Output;
use crate::status::{say_skipped, say_text_losses};
use crate::table::Table;
use crate::{CANNOT_START, FAILED, fail, fail_to_write};

/// Prints the attempts of a recording, all or filtered
///
/// Reads key=value lines, JSON, and the text of tracefs, `perf script` and `trace-cmd report`. The
/// input may be compressed with zstd. Unknown keys are printed, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 a malformed line, whose number is reported, or a write error; 2 usage error, or the recording cannot be opened.

Examples:
  retrans replay attempts.kv class=route
  sudo cat /sys/kernel/tracing/trace_pipe | retrans replay - --format kv --clock-offset btime")]
pub(crate) struct Arguments {
    /// Recording to read; `-` is stdin
    file: PathBuf,
    #[command(flatten)]
    terms: Terms,
    /// Output format. auto prints a table on a terminal, otherwise key=value lines; json prints one
    /// object per line
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,
    #[command(flatten)]
    input: Input,
}

pub(crate) fn main(arguments: Arguments, output: Output) -> ExitCode {
    let Arguments { file, terms, format, input } = arguments;
    let filter = match terms.parse() {
        Ok(filter) => filter,
        Err(error) => return fail(CANNOT_START, &error),
    };
    if let Err(error) = check_for_recording(&filter) {
        return fail(CANNOT_START, &error);
    }
    let lines = match input.open(&file).and_then(retrans_sdk::offline::Recording::lines) {
        Ok(lines) => lines,
        Err(error) => return fail(CANNOT_START, &error),
    };
    match output.format(format) {
        Format::Table => print(lines, &file, &filter, Rows::new(output)),
        Format::Json => print(lines, &file, &filter, JsonLines),
        _ => print(lines, &file, &filter, KvLines),
    }
}

/// Prints line by line, because another program may still be writing the recording.
fn print(mut lines: RecordedLines, file: &Path, filter: &Filter, mut style: impl Style) -> ExitCode {
    let mut out = io::stdout().lock();
    let mut failed = None;
    let printed = print_lines(&mut lines, filter, &mut style, &mut out, &mut failed);
    if let Err(error) = printed {
        return fail_to_write(&error);
    }
    say_skipped(&lines);
    say_text_losses(lines.text_losses());
    match failed {
        Some(error) if file == Path::new("-") => fail(FAILED, &format!("stdin: {error}")),
        Some(error) => fail(FAILED, &error),
        None => ExitCode::SUCCESS,
    }
}

fn print_lines(
    lines: &mut RecordedLines,
    filter: &Filter,
    style: &mut impl Style,
    out: &mut impl Write,
    failed: &mut Option<retrans_sdk::Error>,
) -> io::Result<()> {
    // The first line shows which clock the times have.
    let mut next = lines.next();
    style.start(out, lines.clock())?;
    if matches!(next, Some(Ok(_))) && lines.clock() == Clock::Unknown {
        let _ = writeln!(
            io::stderr(),
            "retrans: the clock of this text is not known, so its times do not count from the epoch: see --clock-offset"
        );
    }
    while let Some(line) = next {
        match line {
            Ok(line) if filter.matches(&line.event) => style.print(out, &line)?,
            Ok(_) => {}
            Err(error) => *failed = Some(error),
        }
        next = lines.next();
    }
    out.flush()
}

/// The format of the output.
trait Style {
    fn start(&mut self, _out: &mut impl Write, _clock: Clock) -> io::Result<()> {
        Ok(())
    }

    fn print(&mut self, out: &mut impl Write, line: &Line) -> io::Result<()>;
}

struct KvLines;

impl Style for KvLines {
    fn print(&mut self, out: &mut impl Write, line: &Line) -> io::Result<()> {
        writeln!(out, "{line}")
    }
}

struct JsonLines;

impl Style for JsonLines {
    fn print(&mut self, out: &mut impl Write, line: &Line) -> io::Result<()> {
        if line.unknown.is_empty() {
            serde_json::to_writer(&mut *out, &line.event).map_err(io::Error::from)?;
        } else {
            #[derive(serde::Serialize)]
            struct Whole<'a> {
                #[serde(flatten)]
                event: &'a retrans_sdk::Event,
                #[serde(flatten)]
                unknown: serde_json::Map<String, Json>,
            }
            let unknown = line.unknown.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
            serde_json::to_writer(&mut *out, &Whole { event: &line.event, unknown }).map_err(io::Error::from)?;
        }
        out.write_all(b"\n")
    }
}

/// A table. It has a column for owners, which a recording may contain.
struct Rows(Table);

impl Rows {
    fn new(output: Output) -> Self {
        Self(Table::new(output.paint, true, Clock::Realtime))
    }
}

impl Style for Rows {
    fn start(&mut self, out: &mut impl Write, clock: Clock) -> io::Result<()> {
        self.0.set_clock(clock);
        out.write_all(self.0.header().as_bytes())
    }

    fn print(&mut self, out: &mut impl Write, line: &Line) -> io::Result<()> {
        let path = line.unknown.iter().find(|(key, _)| key == "cgroup_path").map(|(_, path)| path.as_str());
        out.write_all(self.0.row(&line.event, path).as_bytes())
    }
}
