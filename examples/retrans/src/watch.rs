// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans watch`: prints each attempt.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use retrans_sdk::attach::{AttachMethod, Attachment};
use retrans_sdk::event::{CgroupPaths, Clock, PercentEncoded, Verdict};
use retrans_sdk::format::LineBuffer;
use retrans_sdk::reason_table::KeyVal;
use retrans_sdk::{Event, FieldSet, Stream, StreamBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use crate::args::{Attach, Format, Terms, attach_method, seconds};
use crate::output::Output;
use crate::signals::Interrupted;
use crate::status::{say, say_ready, say_stats};
use crate::table::{Table, summary};
use crate::{CANNOT_START, FAILED, fail, fail_to_write};

/// Prints the retransmission attempts of this host
///
/// On a terminal, prints a table to stdout. At the end, it prints a summary of the counters to
/// stderr.
///
/// Otherwise, prints key=value lines to stdout. A file of these lines is a recording, which replay,
/// top and histogram read. The status goes to stderr. A line `ready` reports the attach method as
/// soon as the stream is attached. At the end, also after SIGINT or SIGTERM, a line `stats`
/// contains the counters of the stream, and lines `seen` contain the attempts and segments by
/// result and kind, and by transmit, before the filter. Lines `failed` contain the failures by
/// kind.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(crate) struct Arguments {
    #[command(flatten)]
    terms: Terms,
    /// Output format. auto prints a table on a terminal, otherwise key=value lines; json prints one
    /// object per line
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,
    /// End after N events (default: no limit)
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this time, in seconds (default: no limit)
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    limit: Option<Duration>,
    /// Use only this attach method (default: the best that the kernel supports)
    #[arg(long, value_name = "METHOD", value_parser = attach_method())]
    attach_method: Option<AttachMethod>,
    /// Read the BTF of the running kernel from this file (default: /sys/kernel/btf/vmlinux)
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Optional keys to report, separated by commas; an empty list reports none (default: all
    /// except the extended ones). The lists of keys below show which ones are optional and
    /// extended. The keys of --owners require --owners
    #[arg(long, value_name = "KEY,...", default_value_t = FieldSet::default(), hide_default_value = true)]
    fields: FieldSet,
    /// Also report the process that owns the socket (keys owner, pid and comm, if the process is
    /// known), and the path of the socket's cgroup (key cgroup_path)
    #[arg(long)]
    owners: bool,
    /// Also report the packet that this host dropped inside the attempt (keys drop_reason, drop_at
    /// and drop_dev, if it is proven), and the device of the route (keys oif and dev). Adds a cost
    /// for every packet that the host drops
    #[arg(long)]
    drops: bool,
    /// Also print verdicts: attempts that were unneeded, and how connections with attempts ended. A
    /// key=value line of a verdict begins with what=verdict, and readers of a recording skip it
    #[arg(long)]
    verdicts: bool,
    /// Locate the allocation that failed: report frag_nomem and unclone_nomem instead of nomem.
    /// Requires fexit, and adds a cost whenever a socket sends a part of a larger buffer
    #[arg(long)]
    locate_nomem: bool,
}

fn help() -> String {
    let keys: Vec<_> = retrans_sdk::event::keys().collect();
    let extended: Vec<_> = FieldSet::all().keys().filter(|key| !FieldSet::default().contains(key)).collect();
    format!(
        "\
Keys of terms and of the output: {}

The keys from ts to transmit are in every event. The other keys are optional: a key whose value is not known is left out. The extended \
keys are reported only if --fields contains them, or --drops requests them: {}

Terms with owner, pid or comm are rejected here, because the owner may be found only after the filter has run. So are terms with an \
extended key, which the BPF programs do not evaluate. Use them to filter a recording (retrans replay).

Exit status: 0 success, also if the reader of stdout exits; 1 the stream or stdout failed after the start; 2 usage error, or the \
stream cannot be opened: a capability is missing, no attach method is available, or a term cannot be evaluated.

Examples:
  sudo retrans watch 'result!=success' daddr=10.0.0.0/8
  sudo retrans watch class=route,drop --or kind=syn --for 60 > attempts.kv",
        keys.join(" "),
        extended.join(" ")
    )
}

pub(crate) fn main(arguments: Arguments, output: Output) -> ExitCode {
    let Arguments { terms, format, count, limit, attach_method, btf, fields, owners, drops, verdicts, locate_nomem } =
        arguments;
    let fields = if drops { fields | FieldSet::drops() } else { fields };
    let filter = match terms.parse() {
        Ok(filter) => filter,
        Err(error) => return fail(CANNOT_START, &error),
    };
    // The handlers are installed before the stream is attached. Otherwise a signal in between would
    // end the process without printing its counters.
    let interrupted = match Interrupted::new() {
        Ok(interrupted) => interrupted,
        Err(error) => return fail(CANNOT_START, &format!("cannot handle signals: {error}")),
    };
    let builder = Stream::builder().filter(filter).fields(fields);
    let builder = if owners { builder.resolve_owners() } else { builder };
    let builder = if locate_nomem { builder.locate_nomem() } else { builder };
    let received = Verdicts::default();
    let builder = if verdicts { received.collect(builder) } else { builder };
    let stream = match (Attach { method: attach_method, btf }).configure(builder).open() {
        Ok(stream) => stream,
        Err(error) => return fail(CANNOT_START, &error),
    };
    // If the cgroup hierarchy is not available, events are printed without paths.
    let paths = owners.then(CgroupPaths::new).and_then(Result::ok);
    let style = match output.format(format) {
        Format::Table => Style::Table(Table::new(output.paint, owners, Clock::Realtime)),
        Format::Json => Style::Json,
        _ => Style::Kv(Box::default()),
    };
    let mut printer = Printer { out: BufWriter::new(io::stdout().lock()), style, paths, verdicts: received };
    match watch(stream, &mut printer, count, limit, interrupted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Stdout(error)) => fail_to_write(&error),
        Err(Failure::Other(error)) => fail(FAILED, &*error),
    }
}

/// The reason why printing the events failed.
enum Failure {
    Stdout(io::Error),
    Other(Box<dyn Error>),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Stdout(error)
    }
}

impl From<retrans_sdk::Error> for Failure {
    fn from(error: retrans_sdk::Error) -> Self {
        Self::Other(error.into())
    }
}

fn watch(
    mut stream: Stream,
    printer: &mut Printer<impl Write>,
    count: Option<u64>,
    limit: Option<Duration>,
    interrupted: Interrupted,
) -> Result<(), Failure> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut left = count.unwrap_or(u64::MAX);
    printer.start(&stream)?;

    while left > 0 && !interrupted.is() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let before = left;
        let batch = stream.recv_batch_timeout(Duration::ZERO)?;
        // They precede the events of this batch.
        printer.print_verdicts()?;
        for event in batch.take(usize::try_from(left).unwrap_or(usize::MAX)) {
            printer.print(&event)?;
            left -= 1;
        }
        printer.out.flush()?;
        // Wait only if the batch was empty. Otherwise more events may be available already.
        if left == before && !wait(&stream, &interrupted, deadline).map_err(|error| Failure::Other(error.into()))? {
            return Ok(());
        }
    }
    if left > 0 {
        // Print only the events that arrived before the end.
        let waiting = stream.stats().waiting().min(left);
        for event in stream.try_iter().take(usize::try_from(waiting).unwrap_or(usize::MAX)) {
            printer.print(&event?)?;
        }
        printer.print_verdicts()?;
        printer.out.flush()?;
    }
    printer.end(&stream)
}

/// Waits for events, a signal or the deadline. Returns false if the reader of stdout has exited.
/// While there is nothing to write, no failed write would report that.
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
    // After a terminal has hung up, each poll() reports POLLHUP at once. Stdout is then no longer
    // polled.
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

/// The format of the output.
enum Style {
    Kv(Box<LineBuffer>),
    Json,
    Table(Table),
}

struct Printer<W> {
    out: W,
    style: Style,
    /// The paths of cgroups, if `--owners` is given.
    paths: Option<CgroupPaths>,
    verdicts: Verdicts,
}

/// The verdicts that the stream has reported and that are not printed yet. Reading one batch adds
/// at most two batches of them.
#[derive(Clone, Default)]
struct Verdicts(Arc<Mutex<Vec<Verdict>>>);

impl Verdicts {
    /// Collects the verdicts of a stream.
    fn collect(&self, builder: StreamBuilder) -> StreamBuilder {
        let all = Arc::clone(&self.0);
        builder.on_verdict(move |verdict| all.lock().unwrap_or_else(PoisonError::into_inner).push(*verdict))
    }

    fn take(&self) -> Vec<Verdict> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An event with the path of its cgroup, which is not a field of the event.
#[derive(Serialize)]
struct WithPath<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_path: Option<String>,
}

impl<W: Write> Printer<W> {
    fn start(&mut self, stream: &Stream) -> io::Result<()> {
        let Style::Table(table) = &self.style else {
            say_ready(stream);
            return Ok(());
        };
        if let Some(attachment) = stream.live().map(|live| live.attachment()) {
            say(format_args!("{}", attached(attachment)));
        }
        self.out.write_all(table.header().as_bytes())?;
        self.out.flush()
    }

    fn end(&mut self, stream: &Stream) -> Result<(), Failure> {
        match &self.style {
            Style::Table(_) => say(format_args!("\n{}", summary(&stream.stats()).trim_end())),
            _ => say_stats(&stream.stats()),
        }
        if let Some(stats) = stream.verdict_stats() {
            say(format_args!("verdicts {stats}"));
        }
        Ok(())
    }

    fn print_verdicts(&mut self) -> io::Result<()> {
        for verdict in self.verdicts.take() {
            match &mut self.style {
                Style::Kv(_) => writeln!(self.out, "{verdict}")?,
                Style::Json => {
                    serde_json::to_writer(&mut self.out, &verdict).map_err(io::Error::from)?;
                    self.out.write_all(b"\n")?;
                }
                Style::Table(table) => self.out.write_all(table.verdict(&verdict).as_bytes())?,
            }
        }
        Ok(())
    }

    fn print(&mut self, event: &Event) -> io::Result<()> {
        let path = self.paths.as_mut().and_then(|paths| paths.path(event.cgroup?));
        let path = path.map(|path| PercentEncoded(path.as_os_str().as_encoded_bytes()));
        match &mut self.style {
            Style::Kv(line) => {
                self.out.write_all(line.line(event))?;
                if let Some(value) = path {
                    write!(self.out, " {}", KeyVal { key: "cgroup_path", value })?;
                }
            }
            Style::Json => {
                let cgroup_path = path.as_ref().map(PercentEncoded::to_string);
                serde_json::to_writer(&mut self.out, &WithPath { event, cgroup_path }).map_err(io::Error::from)?;
            }
            Style::Table(table) => {
                let path = path.as_ref().map(PercentEncoded::to_string);
                return self.out.write_all(table.row(event, path.as_deref()).as_bytes());
            }
        }
        self.out.write_all(b"\n")
    }
}

/// Describes the attachment of the stream in sentences.
fn attached(attachment: &Attachment) -> String {
    let companion = attachment.companion.map(|companion| format!(" with {companion}")).unwrap_or_default();
    let failures = if attachment.observes_synack_failures() {
        "Failures are reported."
    } else if attachment.observes_failures() {
        "Failures are reported, except SYN-ACK failures."
    } else {
        "Only successes are reported. Run `retrans doctor` for the reason."
    };
    format!("Attach method: {}{companion}. {failures} Press Ctrl-C to stop.", attachment.method)
}
