// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the example programs share.

#[cfg(doctest)]
mod book;
pub mod command;
pub mod keys;
pub mod privileges;
pub mod recording;
pub mod terminal;
pub mod utc;

use std::error::Error;
use std::fmt;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use retrans_sdk::stream::Live;
use retrans_sdk::stream::StopHandle;
use retrans_sdk::{RetransKind, Stats, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether SIGINT or SIGTERM has come. Readable then, for whoever waits.
#[derive(Debug)]
pub struct Interrupted {
    flag: Arc<AtomicBool>,
    pipe: UnixStream,
}

impl Interrupted {
    /// A second signal ends the process at once. A hang-up is left as it is: under nohup it must not end anything.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed.
    pub fn new() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let (pipe, write) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { flag, pipe })
    }

    /// Whether one has.
    #[must_use]
    pub fn is(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

impl Interrupted {
    /// For who waits for a stream: it is stopped then. By a thread, which has the privileges that this one has now.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn stops(self, stop: StopHandle) -> io::Result<impl Fn() -> bool> {
        let mut pipe = self.pipe.try_clone()?;
        let wait = move || {
            // Not cut short by a signal. Whoever holds the other end lives as long as the process.
            if pipe.read_exact(&mut [0]).is_ok() {
                stop.stop();
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(move || self.is())
    }
}

impl AsFd for Interrupted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// The same for who looks now and then.
///
/// # Errors
///
/// As [`Interrupted::new`].
pub fn until_interrupted() -> io::Result<impl Fn() -> bool> {
    let interrupted = Interrupted::new()?;
    Ok(move || interrupted.is())
}

/// A line on stderr; whether anybody reads it is not our concern.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The exit status of a program that ended so; why, if it failed, is said on stderr.
pub fn ended(program: &str, result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{program}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says on stderr that the stream is attached, and to what.
pub fn say_ready(stream: &Stream) {
    let Some(attachment) = stream.live().map(Live::attachment) else {
        return say(format_args!("ready"));
    };
    let seen = |observed: bool| if observed { "observed" } else { "unobservable" };
    let owners = stream.live().and_then(Live::owner_hooks).map(|hooks| format!(" {hooks}")).unwrap_or_default();
    say(format_args!(
        "ready {attachment} failures={} synack_failures={}{owners}",
        seen(attachment.observes_failures()),
        seen(false)
    ));
}

/// Says on stderr what became of every attempt: one line of counters, one for each result and kind that was seen, filter or
/// not, one for each of these kinds with how many failed, if that can be seen, and one for those that reached the transmit step,
/// did not, or may have.
pub fn say_stats(stats: &Stats) {
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

/// Whether the reader of a pipe, or the terminal, has gone: with nothing to write, nothing else would tell.
pub fn is_closed(out: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

/// For a program without arguments: says what it does if it was given any, and whether it was.
pub fn was_asked_for_help(help: &str) -> bool {
    let asked = std::env::args_os().len() > 1;
    if asked {
        eprintln!("{help}");
    }
    asked
}
