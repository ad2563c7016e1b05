// SPDX-License-Identifier: MIT OR Apache-2.0
//! Status lines on stderr, in key=value form.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;

use retrans_sdk::format::Escaped;
use retrans_sdk::offline::{DetectedFormat, RecordedLines};
use retrans_sdk::stats::TextLosses;
use retrans_sdk::{RetransKind, Stats, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Prints a line on stderr, escaped. Ignores an error, because it cannot be reported anywhere.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{}", Escaped::text(&line.to_string()));
}

/// Prints on stderr that the stream is attached, and the attach method.
pub(crate) fn say_ready(stream: &Stream) {
    let Some(attachment) = stream.live().map(|live| live.attachment()) else {
        return say(format_args!("ready"));
    };
    let seen = |observed: bool| if observed { "observed" } else { "unobservable" };
    let owners = stream.live().and_then(|live| live.owner_hooks()).map(|hooks| format!(" {hooks}")).unwrap_or_default();
    let verdicts =
        stream.live().and_then(|live| live.verdict_hooks()).map(|hooks| format!(" {hooks}")).unwrap_or_default();
    say(format_args!(
        "ready {attachment} failures={} synack_failures={}{owners}{verdicts}",
        seen(attachment.observes_failures()),
        seen(attachment.observes_synack_failures())
    ));
}

/// Prints the result of all attempts on stderr: one line of counters, one line for each result and
/// kind that was seen before the filter, one line for each of these kinds with its failures (if
/// observable), and one line for each value of `transmit`.
pub(crate) fn say_stats(stats: &Stats) {
    say(format_args!("stats {stats}"));
    for count in &stats.counts {
        say(format_args!("seen {count}"));
    }
    for kind in RetransKind::ALL.iter().map(|entry| entry.variant) {
        if stats.counts.iter().any(|count| count.kind == kind) {
            say(format_args!("failed {} failures={}", kind.key_val(), stats.failures_of(kind)));
        }
    }
    for count in &stats.transmits {
        say(format_args!("seen {count}"));
    }
}

/// Returns the detected format of a recording and the line at which it begins, if this is not the
/// first line and lines were skipped.
pub(crate) fn beginning(lines: &RecordedLines) -> Option<DetectedFormat> {
    lines.detected_format().filter(|detected| detected.line > 1 && lines.skipped() > 0)
}

/// Prints on stderr where a recording [begins](beginning).
pub(crate) fn say_beginning(lines: &RecordedLines) {
    if let Some(detected) = beginning(lines) {
        say(format_args!("retrans: the recording begins at line {} ({})", detected.line, detected.format));
    }
}

/// Prints on stderr where a recording begins, and the number of skipped lines, if there are any.
pub(crate) fn say_skipped(lines: &RecordedLines) {
    say_beginning(lines);
    if lines.skipped() > 0 {
        say(format_args!("retrans: {} skipped", crate::table::count(lines.skipped(), "line")));
    }
}

/// Prints the losses that a kernel text reports on stderr, if there are any.
pub(crate) fn say_text_losses(losses: TextLosses) {
    if losses.entries > 0 {
        say(format_args!("retrans: the text reports {} lost trace entries, of any event", losses.entries));
    }
    if losses.unknown > 0 {
        let reports = crate::table::count(losses.unknown, "loss report");
        say(format_args!("retrans: the text contains {reports} without a number of entries"));
    }
}

/// Returns whether the reader of a pipe, or the terminal, is gone. While there is nothing to write,
/// no failed write would report that.
pub(crate) fn is_closed(out: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}
