// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints each attempt to retransmit, one line an event.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use retrans_examples::{Interrupted, say_ready, say_stats};
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::{CgroupPaths, PercentEncoded};
use retrans_sdk::format::LineBuffer;
use retrans_sdk::reason_table::KeyVal;
use retrans_sdk::{Event, FieldSet, Filter, Stream, StreamBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

const HELP: &str = "\
Prints each attempt of this host to retransmit a TCP segment, with what came of it.

usage: watch [TERM…] [--or TERM…]… [--format kv|json] [--count N] [--for SECONDS] [--source SOURCE]
             [--fields KEY,…] [--whose]

  TERM            only attempts for which all terms hold: key=a,b  key!=a,b  sport=LO..HI  daddr=PREFIX  key=-
  --or            starts another set of terms; one set that holds is enough
  --format kv     key=val, the default; a file of these lines is a recording
  --format json   one JSON object a line, with the same keys
  --count N       ends after N events
  --for SECONDS   ends after so long
  --source SOURCE this one or none: tp_enum, tp_err, fexit, kretprobe, tp_success; without it the best there is
  --fields KEY,…  no more of the optional keys than these; with an empty list none
  --whose         with the process that the socket belongs to, where that is known (owner, pid, comm), and the path of its
                  cgroup (cgroup_path); not to be filtered by here, but by replay

Events go to stdout. `ready …` goes to stderr once attached; at the end, also by SIGINT or SIGTERM, `stats …` with
every counter, and `seen …` for each result and kind, whatever the filter. A reader of stdout that goes away ends it quietly.
Exit status: 0; 1 if stdout cannot be written; 2 if it could not start.";

#[derive(Clone, Copy)]
enum Format {
    Kv,
    Json,
}

struct Arguments {
    filter: Filter,
    format: Format,
    count: Option<u64>,
    limit: Option<Duration>,
    source: Option<AttachMethod>,
    fields: FieldSet,
    whose: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            let keys: Vec<_> = retrans_sdk::event::keys().collect();
            // Whoever does not want to read it need not.
            let _ = writeln!(io::stdout(), "{HELP}\n\nKeys: {}", keys.join(" "));
            return ExitCode::SUCCESS;
        }
        Err(error) => return cannot_start(error),
    };
    // Before attaching: a signal in between must not kill it without its counts.
    let interrupted = match Interrupted::new() {
        Ok(interrupted) => interrupted,
        Err(error) => return cannot_start(error),
    };
    let builder = Stream::builder().filter(arguments.filter).fields(arguments.fields);
    let builder = if arguments.whose { builder.resolve_owners() } else { builder };
    let builder = arguments.source.into_iter().fold(builder, StreamBuilder::attach_method);
    let stream = match builder.open() {
        Ok(stream) => stream,
        Err(error) => return cannot_start(error),
    };
    // Without the hierarchy there are no paths.
    let paths = arguments.whose.then(CgroupPaths::new).and_then(Result::ok);
    let mut printer =
        Printer { out: BufWriter::new(io::stdout().lock()), format: arguments.format, line: LineBuffer::new(), paths };
    match watch(stream, &mut printer, arguments.count, arguments.limit, interrupted) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the lines has had enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cannot_start(error: impl Display) -> ExitCode {
    eprintln!("watch: {error}");
    ExitCode::from(2)
}

fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut terms: Vec<String> = Vec::new();
    let (mut format, mut count, mut limit, mut source, mut whose) = (Format::Kv, None, None, None, false);
    let mut fields = FieldSet::all();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(term) => terms.push(term.string()?),
            Long("or") => terms.push("--or".to_owned()),
            Long("format") => {
                format = match parser.value()?.string()?.as_str() {
                    "kv" => Format::Kv,
                    "json" => Format::Json,
                    other => return Err(format!("--format is kv or json, not `{other}`").into()),
                }
            }
            Long("count") => count = Some(parser.value()?.parse().map_err(|error| format!("--count: {error}"))?),
            Long("for") => {
                let seconds = parser.value()?.parse().map_err(|error| format!("--for: {error}"))?;
                limit = Some(Duration::try_from_secs_f64(seconds).map_err(|error| format!("--for: {error}"))?);
            }
            Long("source") => source = Some(parser.value()?.parse().map_err(|error| format!("--source: {error}"))?),
            Long("fields") => {
                fields = parser.value()?.string()?.parse().map_err(|error| format!("--fields: {error}"))?;
            }
            Long("whose") => whose = true,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(Arguments { filter: terms.join(" ").parse()?, format, count, limit, source, fields, whose }))
}

fn watch(
    mut stream: Stream,
    printer: &mut Printer<impl Write>,
    count: Option<u64>,
    limit: Option<Duration>,
    interrupted: Interrupted,
) -> Result<(), Box<dyn Error>> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut left = count.unwrap_or(u64::MAX);
    say_ready(&stream);

    while left > 0 && !interrupted.is() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let before = left;
        for event in stream.recv_batch_timeout(Duration::ZERO)?.take(usize::try_from(left).unwrap_or(usize::MAX)) {
            printer.print(&event)?;
            left -= 1;
        }
        printer.out.flush()?;
        // Only once there was nothing, so that the stream sleeps if it is idle.
        if left == before && !wait(&stream, &interrupted, deadline)? {
            return Ok(());
        }
    }
    if left > 0 {
        // What came in before the end, and no more of what comes in now.
        let behind = stream.stats().waiting().min(left);
        for event in stream.try_iter().take(usize::try_from(behind).unwrap_or(usize::MAX)) {
            printer.print(&event?)?;
        }
        printer.out.flush()?;
    }
    say_stats(&stream.stats());
    Ok(())
}

/// Waits for events, a signal or the deadline; false if whoever read the lines has gone, which with nothing to write nothing else
/// would tell.
fn wait(stream: &Stream, interrupted: &Interrupted, deadline: Option<Instant>) -> io::Result<bool> {
    let stdout = io::stdout();
    let timeout = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
    });
    let mut fds = [
        PollFd::new(stream, PollFlags::IN),
        PollFd::new(interrupted, PollFlags::IN),
        PollFd::new(&stdout, PollFlags::empty()),
    ];
    // A terminal that has hung up says so for ever, and is nothing to wait for.
    let is_hung_up = |fds: &[PollFd<'_>]| fds[2].revents().contains(PollFlags::HUP);
    loop {
        let watched = if is_hung_up(&fds) { 2 } else { 3 };
        match poll(&mut fds[..watched], timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
            Ok(_) if fds[2].revents().contains(PollFlags::ERR) => return Ok(false),
            Ok(1) if watched == 3 && is_hung_up(&fds) => {}
            Ok(_) => return Ok(true),
        }
    }
}

/// What an event is printed as, and on what.
struct Printer<W> {
    out: W,
    format: Format,
    line: LineBuffer,
    /// Where they are asked for.
    paths: Option<CgroupPaths>,
}

/// An event with what it does not hold itself.
#[derive(Serialize)]
struct WithPath<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_path: Option<String>,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, event: &Event) -> Result<(), Box<dyn Error>> {
        let path = self.paths.as_mut().and_then(|paths| paths.path(event.cgroup?));
        let path = path.map(|path| PercentEncoded(path.as_os_str().as_encoded_bytes()));
        match self.format {
            Format::Kv => {
                self.out.write_all(self.line.line(event))?;
                if let Some(value) = path {
                    write!(self.out, " {}", KeyVal { key: "cgroup_path", value })?;
                }
            }
            Format::Json => {
                let cgroup_path = path.as_ref().map(PercentEncoded::to_string);
                serde_json::to_writer(&mut self.out, &WithPath { event, cgroup_path }).map_err(io::Error::from)?;
            }
        }
        self.out.write_all(b"\n")?;
        Ok(())
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
