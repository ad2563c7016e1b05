// SPDX-License-Identifier: MIT OR Apache-2.0
//! A recording read again, as a stream.

mod kernel_text;
mod lines;
mod pacing;
mod parser;
mod recorded;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

pub use self::recorded::RecordedLines;

use self::lines::{Lines, Piece, too_long};
use self::pacing::Pacer;
use self::parser::{Parsed, Parser};
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::buffer::BATCH;
use crate::offline::channel::EventSender;

/// A recording, to be read as a [`Stream`](crate::Stream): lines of `key=val` as they are printed, lines of JSON (feature `json`), or what the kernel itself
/// prints of its tracepoints, each ended by LF or CRLF; also compressed with zstd (feature `zstd`; not with `--ultra` or `--long`, which take more memory than 8 MiB).
///
/// It is read by a thread of its own, a line after the other, so that a file of any size takes no more memory than a small one, and a
/// pipe can be read as well. With a filter, a predicate or a choice of fields: [`StreamBuilder::replay`](crate::StreamBuilder::replay).
///
/// ```
/// use retrans_sdk::Stream;
/// use retrans_sdk::offline::Recording;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let recording = "\
/// ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established segs=1
/// ts=1.700000000 result=success err=0 kind=tlp family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established segs=1
/// ";
/// let recording = Recording::from_reader(recording.as_bytes());
/// let mut stream = Stream::builder().filter("result!=success".parse()?).replay(recording)?;
/// for event in stream.iter() {
///     assert_eq!(event?.err, Some(-1));
/// }
/// let stats = stream.stats();
/// assert_eq!((stats.seen, stats.filtered, stats.delivered, stats.skipped), (2, 1, 1, Some(0)));
/// # Ok(())
/// # }
/// ```
///
/// # What the kernel prints
///
/// The lines of `tcp_retransmit_skb` and `tcp_retransmit_synack` in tracefs' `trace` and `trace_pipe`, and as `perf script` and `trace-cmd report` print them, of every
/// kernel from 5.10 on and of those with the proposal of July 2025. Other lines are passed over. It has less than an event of the stream's own:
///
/// - `kind` is `synack` or `unknown`, `segs` 0 but for SYN-ACKs, and of the optional fields there is `transmit`, where the result proves it.
/// - Before Linux 6.17 it has successes only: failures are then [unobservable](crate::stats::Failures::Unobservable).
/// - Of `err` only those names are given that it proves by itself: -EAGAIN, -EINVAL and -EHOSTUNREACH are `err_default`, -ENOMEM is `nomem`, -ENOBUFS `nobufs`. With the
///   proposal's names there is no `err`.
/// - Time is that of the trace's clock, to which [`clock_offset`](Self::clock_offset) is added.
/// - What the text says was lost is in [`Stats::missed`](crate::Stats::missed), whatever tracepoint it was of; that is `None` where it does not say how much, and where it says nothing of it.
pub struct Recording {
    input: Box<dyn Read + Send>,
    /// That of the file, for errors.
    name: Option<String>,
    format: Option<Format>,
    bad_lines: BadLines,
    speed: Option<f64>,
    clock_offset: Duration,
}

/// What the lines of a recording are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Events as they print, `key=val`. Keys that this version does not know are passed over.
    KeyVal,
    /// Events as JSON, as feature `serde` writes them, one a line; likewise. Takes the feature `json`.
    Json,
    /// What the kernel prints of its own tracepoints.
    KernelText,
}

/// What shall become of a line that is none, or of the last one if it has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BadLines {
    /// The stream fails with an error that names the line, behind the events before it.
    #[default]
    Fail,
    /// It is passed over and counted ([`Stats::skipped`](crate::Stats::skipped)).
    Skip,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("format", &self.format)
            .field("bad_lines", &self.bad_lines)
            .field("speed", &self.speed)
            .field("clock_offset", &self.clock_offset)
            .finish_non_exhaustive()
    }
}

impl Recording {
    /// The recording in a file, which errors name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        match File::open(path) {
            Ok(file) => Ok(Self { name: Some(path.display().to_string()), ..Self::from_reader(file) }),
            Err(error) => {
                Err(Error::new(ErrorKind::System, format!("cannot open {}", path.display())).caused_by(error))
            }
        }
    }

    /// The recording that comes out of `input`: a pipe, standard input, bytes. A stream that is dropped while its input is waited for leaves the waiting thread behind until
    /// there is some.
    pub fn from_reader(input: impl Read + Send + 'static) -> Self {
        Self {
            input: Box::new(input),
            name: None,
            format: None,
            bad_lines: BadLines::Fail,
            speed: None,
            clock_offset: Duration::ZERO,
        }
    }

    /// What its lines are; the first one tells unless set.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// What shall become of lines that are none; [`BadLines::Fail`] unless set.
    #[must_use]
    pub fn bad_lines(mut self, bad_lines: BadLines) -> Self {
        self.bad_lines = bad_lines;
        self
    }

    /// How fast: 1 as it was recorded, 2 twice as fast. As fast as it is read unless set. What was recorded with a `ts` before that of the line before it comes at once.
    #[must_use]
    pub fn speed(mut self, factor: f64) -> Self {
        self.speed = Some(factor);
        self
    }

    /// What is added to the times of a kernel's text, which are of a clock that begins when the host boots. None unless set.
    #[must_use]
    pub fn clock_offset(mut self, offset: Duration) -> Self {
        self.clock_offset = offset;
        self
    }

    /// Returns an iterator over its lines, which reads in the calling thread. Keys that this version does not know are kept, so that a line of
    /// `key=val` prints as it was recorded.
    ///
    /// ```
    /// use retrans_sdk::offline::Recording;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let recording = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 \
    ///     state=established segs=1 class=drop later=x\n";
    /// for line in Recording::from_reader(recording.as_bytes()).lines()? {
    ///     assert_eq!(format!("{}\n", line?), recording);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Recording`] if a [`speed`](Self::speed) was set: an iterator does not wait.
    pub fn lines(self) -> Result<RecordedLines, Error> {
        match self.speed {
            Some(_) => Err(Error::new(ErrorKind::Recording, "lines of a recording have no speed")),
            None => Ok(RecordedLines::new(self)),
        }
    }

    /// Starts to tell it.
    pub(crate) fn run(self, mut sender: EventSender) -> Result<(), Error> {
        let speed = self.speed.map(Pacer::new).transpose()?;
        let name = self.name.clone();
        let run = move || {
            let end = self.send(&mut sender, speed).map_err(|error| match &name {
                Some(name) => error.within(name),
                None => error,
            });
            sender.end(end);
        };
        let spawned = thread::Builder::new().name("retrans-replay".to_owned()).spawn(run);
        spawned.map(|_| ()).map_err(|error| Error::new(ErrorKind::System, "cannot start a thread").caused_by(error))
    }

    /// Tells all of it, unless nobody listens any more.
    fn send(self, sender: &mut EventSender, mut speed: Option<Pacer>) -> Result<(), Error> {
        let mut lines = Lines::new(plain(self.input)?);
        let mut parser = Parser::new(self.format, self.clock_offset);
        let mut read: Vec<Event> = Vec::with_capacity(BATCH);
        loop {
            // Before what may take its time.
            if (read.len() >= BATCH || !lines.is_at_hand()) && !sender.send_all(&mut read) {
                return Ok(());
            }
            let parsed = match lines.next()? {
                None => break,
                Some(Piece::Line(line)) => parser.parse(line, None),
                Some(Piece::TooLong) => Err(too_long()),
                // It may be endless.
                Some(Piece::Rest) if sender.is_closed() => return Ok(()),
                Some(Piece::Rest) => Ok(Parsed::Nothing),
            };
            match parsed {
                Ok(Parsed::Event(event)) => {
                    if let Some(speed) = &mut speed
                        && !(sender.send_all(&mut read) && sender.wait_until(speed.due(event.ts)))
                    {
                        return Ok(());
                    }
                    read.push(*event);
                }
                Ok(Parsed::Missed(count)) => sender.pipeline().counters.miss(count),
                Ok(Parsed::Nothing) => {}
                Err(_) if self.bad_lines == BadLines::Skip => sender.pipeline().counters.skip(),
                Err(problem) => {
                    sender.send_all(&mut read);
                    let message = format!("line {}: {problem}", lines.number());
                    return Err(Error::new(ErrorKind::Recording, message));
                }
            }
            if parser.shows_failures() {
                sender.pipeline().counters.set_observes_failures();
            }
        }
        sender.send_all(&mut read);
        match parser.problem() {
            Some(problem) if lines.number() > 0 => Err(Error::new(ErrorKind::Recording, problem)),
            _ => Ok(()),
        }
    }
}

/// The largest window, as its logarithm, of what is decompressed: 8 MiB, which all levels keep to without `--ultra` and `--long`. It is what memory it takes.
#[cfg(feature = "zstd")]
const WINDOW_LOG: u32 = 23;

/// As every zstd frame begins (RFC 8878, 3.1.1), but for those that are to be skipped (3.1.2), which pzstd puts first.
const ZSTD: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Without compression, if there is one.
fn plain(mut input: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, Error> {
    let mut first = Vec::new();
    input.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first).map_err(unreadable)?;
    let is_compressed = matches!(first[..], [0x50..=0x5F, 0x2A, 0x4D, 0x18]) || first == ZSTD;
    let input = Box::new(Cursor::new(first).chain(input));
    if is_compressed { decompressed(input) } else { Ok(input) }
}

#[cfg(feature = "zstd")]
fn decompressed(input: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, Error> {
    let mut decoder = zstd::Decoder::new(input).map_err(unreadable)?;
    decoder.window_log_max(WINDOW_LOG).map_err(unreadable)?;
    Ok(Box::new(decoder))
}

#[cfg(not(feature = "zstd"))]
fn decompressed(_: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, Error> {
    Err(Error::new(ErrorKind::Recording, "it is compressed with zstd, which takes the feature `zstd`"))
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::System, "cannot read the recording").caused_by(error)
}
