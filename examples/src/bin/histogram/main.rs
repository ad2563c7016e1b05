// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failed attempts by remote prefix over time, as text and as SVG.

mod arguments;
mod buckets;
mod count;
mod levels;
mod picture;
mod prefix;
#[cfg(test)]
mod tests;
mod text;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use retrans_examples::{is_closed, say_ready, say_stats, until_interrupted};
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::offline::Recording;
use retrans_sdk::stream::Live;
use retrans_sdk::{Filter, Stream};

use arguments::{Arguments, HELP, Origin, arguments};
use count::Count;

/// How long it sleeps at most before it looks at the clock and the signals.
const TICK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            // Whoever does not want to read it need not.
            let _ = writeln!(io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return ends(2, &*error),
    };
    let Arguments { origin, filter, prefixes, bucket, rows, svg } = arguments;
    let mut count = Count::new(prefixes, bucket);
    let counted = match &origin {
        Origin::Recording(path) => match replay(path, filter) {
            Ok(stream) => read(stream, &mut count),
            Err(error) => return ends(2, &*error),
        },
        Origin::Live { limit, source } => match open(filter, *source) {
            Ok(stream) => listen(stream, *limit, &mut count),
            Err(error) => return ends(2, &*error),
        },
    };
    // What was counted before it failed is worth seeing.
    let shown = show(&count, rows, svg.as_deref());
    match counted.and(shown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ends(1, &*error),
    }
}

fn ends(status: u8, why: &(impl std::fmt::Display + ?Sized)) -> ExitCode {
    // Whether anybody reads it is not our concern.
    let _ = writeln!(io::stderr(), "histogram: {why}");
    ExitCode::from(status)
}

/// Of a file, or of standard input.
fn replay(path: &Path, filter: Filter) -> Result<Stream, Box<dyn Error>> {
    let recording = if path == Path::new("-") { Recording::from_reader(io::stdin()) } else { Recording::open(path)? };
    Ok(Stream::builder().filter(filter).replay(recording)?)
}

fn read(mut stream: Stream, count: &mut Count) -> Result<(), Box<dyn Error>> {
    let read = stream.iter().try_for_each(|event| Ok(count.add(&event?)?));
    // As a kernel's text has it, also of what is read of one that is torn.
    count.missing = stream.stats().missed.unwrap_or_default();
    read
}

fn open(filter: Filter, source: Option<AttachMethod>) -> Result<Stream, Box<dyn Error>> {
    let builder = Stream::builder().filter(filter);
    let stream = source.into_iter().fold(builder, retrans_sdk::StreamBuilder::attach_method).open()?;
    if let Some(attachment) = stream.live().map(Live::attachment).filter(|attachment| !attachment.observes_failures()) {
        return Err(format!("failures are unobservable here ({attachment}): see `doctor`").into());
    }
    Ok(stream)
}

fn listen(mut stream: Stream, limit: Duration, count: &mut Count) -> Result<(), Box<dyn Error>> {
    let interrupted = until_interrupted()?;
    let deadline = Instant::now().checked_add(limit);
    say_ready(&stream);
    while !interrupted() && !is_closed(&io::stdout()) {
        let left = deadline.map_or(TICK, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            break;
        }
        for event in stream.recv_batch_timeout(TICK.min(left))? {
            count.add(&event)?;
        }
    }
    // What came in before the end, and no more of what comes in now.
    let behind = usize::try_from(stream.stats().waiting()).unwrap_or(usize::MAX);
    for event in stream.try_iter().take(behind) {
        count.add(&event?)?;
    }
    let stats = stream.stats();
    count.missing = stats.lost + stats.dropped + stats.missed.unwrap_or_default();
    say_stats(&stats);
    Ok(())
}

fn show(count: &Count, rows: usize, svg: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let table = count.table(rows);
    match io::stdout().write_all(text::draw(&table).as_bytes()) {
        // Whoever reads it has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    match svg {
        Some(path) => {
            let written = write_whole(path, &picture::draw(&table));
            written.map_err(|error| format!("{}: {error}", path.display()).into())
        }
        None => Ok(()),
    }
}

/// Writes a file that is there whole or not at all. What is no regular file, such as /dev/stdout, is written as it is.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return fs::write(path, text);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}
