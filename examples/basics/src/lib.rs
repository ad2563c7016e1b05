// SPDX-License-Identifier: MIT OR Apache-2.0
//! Code that the programs share: signals, arguments and status lines.

// They panic if the output is closed or full.
#![deny(clippy::print_stderr, clippy::print_stdout)]

#[cfg(doctest)]
mod book;
mod source;

pub use self::source::Source;

use std::error::Error;
use std::fmt;
use std::io::{self, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use retrans_sdk::format::Escaped;
use retrans_sdk::stream::Live;
use retrans_sdk::stream::StopHandle;
use retrans_sdk::{RetransKind, Stats, Stream};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A flag that SIGINT and SIGTERM set.
#[derive(Debug)]
pub struct Interrupted {
    flag: Arc<AtomicBool>,
    pipe: UnixStream,
}

impl Interrupted {
    /// Installs the signal handlers. A second signal ends the process at once. SIGHUP keeps its
    /// disposition, so that the process survives it under nohup.
    ///
    /// # Errors
    ///
    /// Returns an error if the handlers cannot be installed.
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

    /// Returns whether a signal has arrived.
    #[must_use]
    pub fn is(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

impl Interrupted {
    /// Stops a stream at the first signal. Starts a thread, which has the privileges that the
    /// caller has now. Returns a function that reports whether a signal has arrived.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread cannot be started.
    pub fn stops(self, stop: StopHandle) -> io::Result<impl Fn() -> bool> {
        let mut pipe = self.pipe.try_clone()?;
        let wait = move || {
            // std restarts the read after a signal. The other end stays open until the process
            // ends.
            if pipe.read_exact(&mut [0]).is_ok() {
                stop.stop();
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(move || self.is())
    }
}

/// Makes a call, and repeats it if it has timed out ([`WouldBlock`](io::ErrorKind::WouldBlock)).
///
/// # Errors
///
/// Returns the error of the call, or [`TimedOut`](io::ErrorKind::TimedOut) once `over` returns
/// true.
pub fn retry<T>(over: impl Fn() -> bool, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    while !over() {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Prints a line on stderr, escaped. Ignores an error, because it cannot be reported anywhere.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{}", Escaped::text(&line.to_string()));
}

/// The result of printing.
pub type Printed = Result<(), Box<dyn Error>>;

/// Prints a line on stdout. Ends the program without an error if the reader of stdout, such as
/// `head`, has exited.
///
/// # Errors
///
/// Returns an error if stdout cannot be written, such as on a full disk.
pub fn print(line: fmt::Arguments<'_>) -> Printed {
    written(writeln!(io::stdout(), "{line}"))
}

/// Checks the result of writing to stdout, as [`print()`] does.
///
/// # Errors
///
/// As [`print()`].
pub fn written(result: io::Result<()>) -> Printed {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => Err(format!("cannot write to stdout: {error}").into()),
        Ok(()) => Ok(()),
    }
}

/// Prints on stderr that the stream is attached, and the attach method.
pub fn say_ready(stream: &Stream) {
    let Some(attachment) = stream.live().map(Live::attachment) else {
        return say(format_args!("ready"));
    };
    let seen = |observed: bool| if observed { "observed" } else { "unobservable" };
    let owners = stream.live().and_then(Live::owner_hooks).map(|hooks| format!(" {hooks}")).unwrap_or_default();
    say(format_args!(
        "ready {attachment} failures={} synack_failures={}{owners}",
        seen(attachment.observes_failures()),
        seen(attachment.observes_synack_failures())
    ));
}

/// Prints the result of all attempts on stderr: the counters, a line for each result and kind that
/// was seen before the filter, a line for each kind with its failures, and a line for each value of
/// `transmit`.
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
