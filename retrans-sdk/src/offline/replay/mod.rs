// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recordings, which are read as streams.

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

/// A recording, which can be read as a [`Stream`](crate::Stream).
///
/// The formats are key=value lines as events print, JSON lines (feature `json`), and the kernel's
/// own text of its tracepoints. Lines end with LF or CRLF, and contain at most 65,536 bytes with
/// their end. The input may be compressed with zstd (feature `zstd`). Input that was compressed
/// with `--ultra` or `--long` is not supported, because decompressing it requires more than 8 MiB
/// of memory.
///
/// A dedicated thread reads the recording line by line. So memory use does not depend on the size
/// of the recording, and the input may be a pipe. To set a filter, a predicate or fields, use
/// [`StreamBuilder::replay`](crate::StreamBuilder::replay). Requires no privileges.
///
/// # Examples
///
/// ```
/// use retrans_sdk::Stream;
/// use retrans_sdk::offline::Recording;
///
/// let text = "\
/// ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established segs=1
/// ts=1.700000000 result=success err=0 kind=tlp family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established segs=1
/// ";
/// let recording = Recording::from_reader(text.as_bytes());
/// let mut stream = Stream::builder().filter("result!=success".parse()?).replay(recording)?;
/// for event in stream.iter() {
///     assert_eq!(event?.err, Some(-1));
/// }
/// let stats = stream.stats();
/// assert_eq!((stats.seen, stats.filtered, stats.delivered, stats.skipped), (2, 1, 1, Some(0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Kernel text
///
/// Kernel text consists of lines of the tracepoints `tcp_retransmit_skb` and
/// `tcp_retransmit_synack` as tracefs (`trace` and `trace_pipe`), `perf script` and `trace-cmd
/// report` print them. The formats of every kernel since Linux 5.10 are supported, and those of
/// kernels with the patch proposed in July 2025. Other lines are skipped. The events contain less
/// than the events of a live stream:
///
/// - `kind` is `synack` or `unknown`. `segs` is 0 except for SYN-ACKs. The only optional field is
///   `transmit`: `yes` for a success, and `unknown` for a failure.
/// - Before Linux 6.17 the text contains successes only. Failures are then
///   [unobservable](crate::stats::Failures::Unobservable).
/// - The result is derived from `err` alone, so some results are less precise: -EAGAIN, -EINVAL and
///   -EHOSTUNREACH are `err_default`, and -ENOBUFS is `nobufs`. -EBUSY is `in_host_queue` and
///   -ENOMEM is `nomem`, although the transmit step may have returned them. The text of the
///   proposed patch has no `err`.
/// - `ts` is the timestamp of the trace clock plus [`clock_offset`](Self::clock_offset).
/// - [`Stats::missed`](crate::Stats::missed) is the number of events that the text reports as lost,
///   of any tracepoint; `None` if the text does not report a number.
pub struct Recording {
    input: Box<dyn Read + Send>,
    /// The name of the file, for errors.
    name: Option<String>,
    format: Option<Format>,
    bad_lines: BadLines,
    speed: Option<f64>,
    clock_offset: Duration,
}

/// The format of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Key=value lines, as events print. Unknown keys are ignored.
    KeyVal,
    /// JSON, one event per line, as the feature `serde` writes it. Unknown keys are ignored.
    /// Requires the feature `json`.
    Json,
    /// The kernel's own text of its tracepoints.
    KernelText,
}

/// The treatment of malformed lines, and of a last line without a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BadLines {
    /// The stream fails with an error that names the line, after the events before it.
    #[default]
    Fail,
    /// The line is skipped and counted ([`Stats::skipped`](crate::Stats::skipped)).
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
    /// Opens the recording in a file. Errors name the file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        match File::open(path) {
            Ok(file) => Ok(Self { name: Some(path.display().to_string()), ..Self::from_reader(file) }),
            Err(error) => {
                Err(Error::new(ErrorKind::System, format!("cannot open {}", path.display())).caused_by(error))
            }
        }
    }

    /// Creates a recording from a reader, such as a pipe, standard input or bytes.
    ///
    /// If the stream is dropped while its reader thread waits for input, the thread continues to
    /// exist until input arrives.
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

    /// Sets the format. By default the first line that is neither a comment nor malformed
    /// determines it.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets the treatment of malformed lines. The default is [`BadLines::Fail`].
    #[must_use]
    pub fn bad_lines(mut self, bad_lines: BadLines) -> Self {
        self.bad_lines = bad_lines;
        self
    }

    /// Sets the speed of the replay. By default the recording is replayed as fast as possible.
    ///
    /// 1 is the speed of the recording, and 2 is twice as fast. An event with an earlier `ts` than
    /// the one before it is delivered immediately. A factor that is not finite and positive is an
    /// error of [`StreamBuilder::replay`](crate::StreamBuilder::replay).
    #[must_use]
    pub fn speed(mut self, factor: f64) -> Self {
        self.speed = Some(factor);
        self
    }

    /// Sets the offset that is added to the timestamps of kernel text, whose clock starts when the
    /// host boots. The default is zero.
    #[must_use]
    pub fn clock_offset(mut self, offset: Duration) -> Self {
        self.clock_offset = offset;
        self
    }

    /// Returns an iterator over the lines, which reads in the calling thread.
    ///
    /// Keys that this version does not know are kept, so that a key=value line prints as it was
    /// recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::offline::Recording;
    ///
    /// let text = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 \
    ///     daddr=10.0.0.2 dport=443 state=established segs=1 class=drop later=x\n";
    /// for line in Recording::from_reader(text.as_bytes()).lines()? {
    ///     assert_eq!(format!("{}\n", line?), text);
    /// }
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Recording`] if a [`speed`](Self::speed) was set: an iterator does not wait.
    pub fn lines(self) -> Result<RecordedLines, Error> {
        match self.speed {
            Some(_) => {
                let message =
                    "`Recording::speed` has no effect on `Recording::lines`: leave it out, or replay a stream";
                Err(Error::new(ErrorKind::Recording, message))
            }
            None => Ok(RecordedLines::new(self)),
        }
    }

    /// Starts the thread that reads the recording.
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
        spawned.map(|_| ()).map_err(|error| {
            Error::new(ErrorKind::System, "cannot start the reader thread of the recording").caused_by(error)
        })
    }

    /// Sends all events, until the receiver is closed.
    fn send(self, sender: &mut EventSender, mut speed: Option<Pacer>) -> Result<(), Error> {
        let mut lines = Lines::new(plain(self.input)?);
        let mut parser = Parser::new(self.format, self.clock_offset);
        let mut read: Vec<Event> = Vec::with_capacity(BATCH);
        loop {
            // The next line may have to be waited for, so the events before it are sent first.
            if (read.len() >= BATCH || !lines.is_at_hand()) && !sender.send_all(&mut read) {
                return Ok(());
            }
            let parsed = match lines.next()? {
                None => break,
                Some(Piece::Line(line)) => parser.parse(line, None),
                Some(Piece::TooLong) => Err(too_long()),
                // The rest of such a line may never end, so nothing else would detect the close.
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

/// The base-2 logarithm of the maximum zstd window, 8 MiB, which bounds the memory. All levels
/// without `--ultra` and `--long` stay below it.
#[cfg(feature = "zstd")]
const WINDOW_LOG: u32 = 23;

/// The magic number of zstd frames (RFC 8878, 3.1.1). pzstd begins with skippable frames (3.1.2).
const ZSTD: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Decompresses the input if it is compressed.
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
    Err(Error::new(ErrorKind::Recording, "the recording is compressed with zstd, which requires the feature `zstd`"))
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::System, "cannot read the recording").caused_by(error)
}
