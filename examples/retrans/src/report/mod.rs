// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans report`: writes a page about recordings.
//!
//! # Design
//!
//! The page is one file without scripts, because it is attached to an incident: mail programs and
//! issue trackers remove scripts, and it has to be readable where nothing else is available. The
//! same input yields the same bytes, so the page does not contain the time at which it was written.
//! Values that others choose are escaped in one place ([`html`]).

mod html;
mod meanings;
mod model;
mod page;
mod prefixes;
mod sections;
mod series;
mod status;
mod strip;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use retrans_sdk::event::{Clock, Timestamp};
use retrans_sdk::format::Escaped;
use retrans_sdk::offline::{RecordedItem, RecordedLines, Recording};
use retrans_sdk::{Event, Filter};

use crate::args::{Input, check_for_recording};
use crate::histogram::prefix::Prefixes as Lengths;
use crate::status::say;
use crate::{CANNOT_START, FAILED, fail, print};
use model::Model;
use page::Options;
use status::Status;

/// Writes a page about recordings, for example for an incident report
///
/// The page is HTML in one file, without scripts, and needs nothing else: the basis of the report
/// and its limits, results over time, results and kinds, remote prefixes, drops, what became of
/// connections (with the lines of `retrans watch --verdicts`), the newest failures, and the meaning
/// of each value. Reads key=value lines, JSON, and the text of tracefs, `perf script` and
/// `trace-cmd report`. The input may be compressed with zstd. The same input yields the same page.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 a malformed line, a clock that differs, or a write error (the page is still written, and states it); 2 usage \
error, or a file cannot be opened.

Examples:
  retrans report attempts.kv --status attempts.status > report.html
  retrans report --title 'Incident 4711' monday.kv.zst tuesday.kv.zst > report.html")]
pub(crate) struct Arguments {
    /// Recordings to read; `-` is stdin
    #[arg(required = true, value_name = "RECORDING")]
    files: Vec<PathBuf>,
    /// Report only the attempts that match these terms, as of `retrans replay`, in one argument:
    /// 'class=drop daddr=10.0.0.0/8 --or kind=syn'. Verdicts are not filtered
    #[arg(long, value_name = "TERMS", value_parser = filter)]
    filter: Option<Filtered>,
    /// File with the stderr of `retrans watch` while it recorded. The page then states
    /// the attach method, and how many attempts are not in the recording. May be repeated
    #[arg(long, value_name = "FILE")]
    status: Vec<PathBuf>,
    /// Title of the page
    #[arg(long, value_name = "TEXT", default_value = "TCP retransmissions")]
    title: String,
    /// Maximum number of remote prefixes and of droppers to show
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rows: u16,
    /// Length of IPv4 prefixes in bits; IPv4-mapped addresses count as IPv4
    #[arg(long, value_name = "BITS", default_value = "24", value_parser = clap::value_parser!(u8).range(0..=32))]
    v4_prefix: u8,
    /// Length of IPv6 prefixes in bits
    #[arg(long, value_name = "BITS", default_value = "64", value_parser = clap::value_parser!(u8).range(0..=128))]
    v6_prefix: u8,
    #[command(flatten)]
    input: Input,
}

pub(crate) fn main(arguments: Arguments) -> ExitCode {
    let Arguments { files, filter, status, title, rows, v4_prefix, v6_prefix, input } = arguments;
    let recordings = match open(&files, input) {
        Ok(recordings) => recordings,
        Err(error) => return fail(CANNOT_START, &*error),
    };
    let mut model = Model::new(Lengths { v4: v4_prefix, v6: v6_prefix });
    model.status = match Status::read(&status) {
        Ok(status) => status,
        Err(error) => return fail(CANNOT_START, &error),
    };
    let accepts = |event: &Event| filter.as_ref().is_none_or(|filtered| filtered.filter.matches(event));
    let mut is_complete = true;
    for (path, lines) in recordings {
        let is_stdin = path == Path::new("-");
        model.begin(if is_stdin { "stdin".to_owned() } else { Escaped::path(path).to_string() });
        if let Err(error) = read(lines, &accepts, &mut model) {
            let error = match error {
                Ended::Error(error) if is_stdin => format!("stdin: {error}"),
                Ended::Error(error) => error.to_string(),
                Ended::OtherClock(why) => format!("{}: {why}", model.source().name),
            };
            say(format_args!("retrans: {error}"));
            model.source().error = Some(error);
            is_complete = false;
        }
    }
    let page = page::draw(&model, &Options { title, rows: rows.into(), filter: filter.map(|filtered| filtered.text) });
    match print(page.as_bytes()) {
        Err(status) => status,
        Ok(()) if is_complete => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(FAILED),
    }
}

/// A filter, and its text.
#[derive(Debug, Clone)]
struct Filtered {
    filter: Filter,
    text: String,
}

/// Parses `--filter`.
fn filter(text: &str) -> Result<Filtered, String> {
    let filter: Filter = text.parse().map_err(|error: retrans_sdk::filter::FilterError| error.to_string())?;
    check_for_recording(&filter)?;
    Ok(Filtered { filter, text: text.to_owned() })
}

/// Opens all recordings, so that a missing one is reported before hours of reading.
fn open(files: &[PathBuf], input: Input) -> Result<Vec<(&Path, RecordedLines)>, Box<dyn Error>> {
    if files.iter().filter(|path| *path == Path::new("-")).count() > 1 {
        return Err("stdin can be read only once: `-` is given several times".into());
    }
    files.iter().map(|path| Ok((path.as_path(), input.open(path).and_then(Recording::lines)?))).collect()
}

/// Why the reading of a recording ended before its end.
enum Ended {
    /// The error of the SDK, which names the file.
    Error(retrans_sdk::Error),
    OtherClock(&'static str),
}

/// Reads a recording to its end. After an error, the lines before it are counted.
fn read(mut lines: RecordedLines, accepts: &dyn Fn(&Event) -> bool, model: &mut Model) -> Result<(), Ended> {
    let read = read_items(&mut lines, accepts, model);
    let source = model.source();
    source.skipped = lines.skipped();
    source.losses = lines.text_losses();
    source.detected = lines.detected_format();
    let attempts = source.attempts;
    for (key, value) in [("host", lines.host()), ("kernel", lines.kernel())] {
        model.state(key, value, attempts);
    }
    read
}

fn read_items(lines: &mut RecordedLines, accepts: &dyn Fn(&Event) -> bool, model: &mut Model) -> Result<(), Ended> {
    let mut previous: Option<Timestamp> = None;
    let mut reports = 0;
    while let Some(item) = lines.next_item() {
        let item = item.map_err(Ended::Error)?;
        // Verdicts always have wall-clock time.
        let clock = if let RecordedItem::Attempt(_) = item { lines.clock() } else { Clock::Realtime };
        if model.range().is_none() {
            model.clock = clock;
        } else if model.clock != clock {
            return Err(Ended::OtherClock(other_clock(model.clock)));
        }
        match item {
            RecordedItem::Attempt(line) => {
                let ts = line.event.ts;
                if accepts(&line.event) {
                    model.add(&line);
                } else {
                    model.exclude(ts);
                }
                let now = lines.text_losses();
                let now = now.entries + now.unknown;
                if now > reports {
                    reports = now;
                    model.lose(previous.unwrap_or(ts), ts);
                }
                previous = Some(ts);
            }
            RecordedItem::Verdict(verdict) => model.add_verdict(&verdict),
            // No other item exists in this version.
            _ => {}
        }
    }
    let losses = lines.text_losses();
    if let Some(ts) = previous.filter(|_| losses.entries + losses.unknown > reports) {
        model.lose(ts, ts);
    }
    Ok(())
}

/// Returns the error of a recording whose times have another clock than those before it.
fn other_clock(clock: Clock) -> &'static str {
    match clock {
        Clock::Realtime => {
            "the clock of this text is not known, so its times cannot be compared with those of the other recordings: see --clock-offset"
        }
        _ => {
            "the times of this recording count from the epoch, and those of the other recordings do not: see --clock-offset"
        }
    }
}
