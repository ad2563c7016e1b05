// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans histogram`: counts attempts by remote prefix over time, as text and as SVG.

mod arguments;
pub(crate) mod buckets;
mod count;
pub(crate) mod levels;
mod lines;
mod picture;
pub(crate) mod prefix;
#[cfg(test)]
mod tests;
mod text;

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::args::{Attach, Format};
use crate::signals::until_interrupted;
use crate::status::{is_closed, say_beginning, say_ready, say_stats, say_text_losses};
use crate::{CANNOT_START, FAILED, fail};
use retrans_sdk::event::{RetransKind, RetransResult};
use retrans_sdk::format::Escaped;
use retrans_sdk::offline::{RecordedLines, Recording};
use retrans_sdk::stats::Failures;
use retrans_sdk::stream::Live;
use retrans_sdk::{Filter, Stream};

pub(crate) use arguments::Arguments;
use arguments::{Origin, Parsed, Which};
use count::Count;

/// The longest sleep before the clock and the signals are checked.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn main(arguments: Arguments) -> ExitCode {
    let Parsed { origin, filter, prefixes, bucket, rows, svg, format, which } = match arguments.parse() {
        Ok(parsed) => parsed,
        Err(error) => return fail(CANNOT_START, &*error),
    };
    let mut count = Count::new(prefixes, bucket, which);
    let ended = match &origin {
        Origin::Recording(path, input) => match input.open(path).and_then(Recording::lines) {
            Ok(lines) => read(lines, &filter, &mut count).map_err(|error| named(path, error)),
            Err(error) => return fail(CANNOT_START, &error),
        },
        Origin::Live { limit, attach } => match open(filter, attach, which) {
            Ok(stream) => listen(stream, *limit, &mut count),
            Err(error) => return fail(CANNOT_START, &*error),
        },
    };
    // After an error, the attempts that were counted before it are still printed.
    let shown = show(&count, rows, format, svg.as_deref());
    match ended.and(shown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &*error),
    }
}

/// Adds the name of stdin to an error. The SDK's errors already name a file.
fn named(path: &Path, error: Box<dyn Error>) -> Box<dyn Error> {
    if path == Path::new("-") { format!("stdin: {error}").into() } else { error }
}

fn read(mut lines: RecordedLines, filter: &Filter, count: &mut Count) -> Result<(), Box<dyn Error>> {
    let read = lines.try_for_each(|line| {
        let event = line?.event;
        // A recording with one failed SYN-ACK was made where they are observable.
        count.synack_failures |= event.kind == RetransKind::Synack && event.result != RetransResult::Success;
        if filter.matches(&event) { Ok(count.add(&event)?) } else { Ok(()) }
    });
    // After an error, too, these numbers are valid for the lines before it.
    say_beginning(&lines);
    say_text_losses(lines.text_losses());
    count.skipped = lines.skipped();
    count.clock = lines.clock();
    read
}

fn open(filter: Filter, attach: &Attach, which: Which) -> Result<Stream, Box<dyn Error>> {
    let stream = attach.configure(Stream::builder().filter(filter)).open()?;
    if let Some(attachment) = stream
        .live()
        .map(Live::attachment)
        .filter(|attachment| which == Which::Failed && !attachment.observes_failures())
    {
        return Err(format!("failures cannot be observed with this attach method ({attachment}): see `retrans doctor`, or use --count all").into());
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
    // Count only the events that arrived before the end.
    let waiting = usize::try_from(stream.stats().waiting()).unwrap_or(usize::MAX);
    for event in stream.try_iter().take(waiting) {
        count.add(&event?)?;
    }
    let stats = stream.stats();
    count.missing = stats.lost + stats.dropped + stats.missed.unwrap_or_default();
    count.synack_failures = stats.synack_failures != Failures::Unobservable;
    say_stats(&stats);
    Ok(())
}

fn show(count: &Count, rows: usize, format: Format, svg: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let table = count.table(rows);
    let text = match format {
        Format::Auto | Format::Table => text::draw(&table),
        Format::Kv => lines::draw(&table),
        Format::Json => lines::draw_json(&table),
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader of stdout has exited.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| format!("cannot write to stdout: {error}"))?,
    }
    match svg {
        Some(path) => {
            let written = write_whole(path, &picture::draw(&table));
            written.map_err(|error| format!("{}: {error}", Escaped::path(path)).into())
        }
        None => Ok(()),
    }
}

/// Writes a file, which appears complete or not at all. Writes directly to anything that is not a
/// regular file, such as /dev/stdout.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return fs::write(path, text);
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    // A run that was killed leaves it. In a directory such as /tmp it may also be another user's
    // link, which must not be followed: `create_new` follows none.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    File::create_new(&temporary)?.write_all(text.as_bytes())?;
    fs::rename(&temporary, path)
}
