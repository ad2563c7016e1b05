// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recordings, which are read as streams.

mod clock;
mod kernel_text;
mod lines;
mod pacing;
mod parser;
mod reader;
mod recorded;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::thread;

pub use self::clock::ClockOffset;
pub use self::recorded::{RecordedItem, RecordedLines};

use self::pacing::Pacer;
use self::parser::{Parsed, Parser};
use self::reader::Reader;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::buffer::BATCH;
use crate::offline::channel::EventSender;
use crate::text::escape::Escaped;

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
/// report` print them, with any of their columns. The time, the name and the fields are required.
/// The formats of every kernel since Linux 5.10 are supported, and those of kernels with the patch
/// proposed in July 2025. Lines of other events are ignored. A line with the name of one of the
/// tracepoints and its fields is malformed if its columns are not known. The events contain less
/// than the events of a live stream:
///
/// - `kind` is `synack` or `unknown`, unless the text contains the call chain of the attempt and
///   the chain proves `rto`, `syn`, `tlp`, `mtu` or `fastopen`. A call chain does not distinguish
///   `zero_window_probe` from `rto`. Such an attempt is `rto`.
/// - `segs` is 0 except for SYN-ACKs. The only optional field is `transmit`: `yes` for a success,
///   and `unknown` for a failure.
/// - Before Linux 6.17 the text contains successes only. Failures are then
///   [unobservable](crate::stats::Failures::Unobservable).
/// - The result is derived from `err` alone, so some results are less precise: -EAGAIN, -EINVAL and
///   -EHOSTUNREACH are `err_default`, and -ENOBUFS is `nobufs`. -EBUSY is `in_host_queue` and
///   -ENOMEM is `nomem`, although the transmit step may have returned them. The text of the
///   proposed patch has no `err`.
/// - `ts` is the timestamp of the text plus [`clock_offset`](Self::clock_offset). Without an offset
///   it does not count from the Unix epoch ([`Clock::Unknown`](crate::event::Clock::Unknown)),
///   unless the text contains the header of `perf script --header` and the clock was selected with
///   `perf record --clockid`.
/// - [`Stats::text_losses`](crate::Stats::text_losses) counts the trace entries that the text
///   reports as lost. They may belong to any event.
///
/// In a text without call chains, only the first attempt waits for the next line before it is
/// delivered. In a text with call chains, each attempt waits for the end of its chain.
///
/// Users of the traced host choose task names and file names. These cannot imitate or hide an
/// attempt in a line. But a file name with a line end can imitate a whole line if the trace
/// contains events or user call chains with file names. If this matters, record only the two
/// tracepoints, and with perf `--kernel-callchains`.
pub struct Recording {
    input: Box<dyn Read + Send>,
    /// The name of the file, for errors.
    name: Option<String>,
    format: Option<Format>,
    bad_lines: BadLines,
    speed: Option<f64>,
    clock_offset: Option<ClockOffset>,
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

/// The format of a recording, and the line that determined it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetectedFormat {
    /// The format.
    pub format: Format,
    /// The number of the line, from 1. The lines before it are comments, or were
    /// [skipped](RecordedLines::skipped).
    pub line: u64,
}

/// Prints the name of the format for a message: `kernel text`.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyVal => "key=value lines",
            Self::Json => "JSON",
            Self::KernelText => "kernel text",
        })
    }
}

/// The treatment of malformed lines, and of a last line without a line end, except in JSON.
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
            Ok(file) => Ok(Self { name: Some(Escaped::path(path).to_string()), ..Self::from_reader(file) }),
            Err(error) => {
                Err(Error::new(ErrorKind::System, format!("cannot open {}", Escaped::path(path))).caused_by(error))
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
            clock_offset: None,
        }
    }

    /// Sets the format. By default it is detected from the first line that is a recording. The
    /// lines before it, at most 16 MiB, may be comments or anything else that a terminal or a page
    /// contains. They are [skipped](crate::Stats::skipped), and comments are not counted.
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
    /// the one before it is delivered immediately. A `ts` that is at least 1 s earlier counts as a
    /// step of the wall clock, and the replay continues from it. A factor that is not finite and
    /// positive is an error of [`StreamBuilder::replay`](crate::StreamBuilder::replay).
    #[must_use]
    pub fn speed(mut self, factor: f64) -> Self {
        self.speed = Some(factor);
        self
    }

    /// Sets the offset from the clock of kernel text to the Unix epoch. It is added to each
    /// timestamp. By default it is read from the header of `perf script --header`, or is not known
    /// and nothing is added.
    ///
    /// [`ClockOffset::boot_time`] returns the offset for text of this host. Key=value lines and
    /// JSON contain wall-clock time, so the offset has no effect on them. A timestamp that becomes
    /// earlier than 1970 or later than 2554 makes its line malformed.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::event::Clock;
    /// use retrans_sdk::offline::{ClockOffset, Recording};
    ///
    /// let text = " <idle>-0  [001] ..s3.  17783.867820: tcp_retransmit_synack: family=AF_INET \
    ///     sport=443 dport=4000 saddr=10.0.0.1 daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2\n";
    /// let mut lines = Recording::from_reader(text.as_bytes()).lines()?;
    /// assert_eq!(lines.next().unwrap()?.event.ts.to_string(), "17783.867820000");
    /// assert_eq!(lines.clock(), Clock::Unknown);
    ///
    /// let offset = ClockOffset::from_nanos(1_795_426_283_000_000_000);
    /// let mut lines = Recording::from_reader(text.as_bytes()).clock_offset(offset).lines()?;
    /// assert_eq!(lines.next().unwrap()?.event.ts.to_string(), "1795444066.867820000");
    /// assert_eq!(lines.clock(), Clock::Realtime);
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    #[must_use]
    pub fn clock_offset(mut self, offset: impl Into<ClockOffset>) -> Self {
        self.clock_offset = Some(offset.into());
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
        let parser = Parser::new(self.format, self.clock_offset, false);
        let mut reader = Reader::new(self.input, parser, self.bad_lines)?;
        let mut read: Vec<Event> = Vec::with_capacity(BATCH);
        loop {
            // The next line may have to be waited for, so the events before it are sent first.
            if (read.len() >= BATCH || !reader.is_at_hand()) && !sender.send_all(&mut read) {
                return Ok(());
            }
            let next = reader.next();
            let counters = &sender.pipeline().counters;
            if reader.parser().shows_failures() {
                counters.set_observes_failures();
            }
            counters.set_clock(reader.parser().clock());
            if reader.parser().is_kernel_text() {
                counters.set_kernel_text();
            }
            match next {
                Ok(Some(Parsed::Event(event, _))) => {
                    if let Some(speed) = &mut speed {
                        if !(sender.send_all(&mut read) && sender.wait_until(speed.due(event.ts))) {
                            return Ok(());
                        }
                    }
                    read.push(*event);
                }
                Ok(Some(Parsed::Lost(count))) => counters.lose_text(count),
                Ok(Some(Parsed::Skipped)) => counters.skip(),
                // An input may never end, so nothing else would detect the close.
                Ok(Some(Parsed::Nothing)) if sender.is_closed() => return Ok(()),
                Ok(Some(Parsed::Nothing | Parsed::Verdict(_))) => {}
                Ok(None) => {
                    sender.send_all(&mut read);
                    return Ok(());
                }
                Err(error) => {
                    sender.send_all(&mut read);
                    return Err(error);
                }
            }
        }
    }
}

/// The base-2 logarithm of the maximum zstd window, 8 MiB, which bounds the memory. All levels
/// without `--ultra` and `--long` stay below it.
#[cfg(feature = "zstd")]
const WINDOW_LOG: u32 = 23;

/// The magic number of zstd frames (RFC 8878, 3.1.1). pzstd begins with skippable frames (3.1.2).
const ZSTD: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// The magic numbers of files that another program must decompress or print first.
const OTHERS: [(&[u8], &str); 5] = [
    (b"\x1f\x8b", "compressed with gzip: decompress it with zcat"),
    (b"\xfd7zXZ", "compressed with xz: decompress it with xzcat"),
    (b"BZh", "compressed with bzip2: decompress it with bzcat"),
    (b"PERFILE2", "a file of perf record: print it with perf script"),
    (b"\x17\x08\x44tracing", "a file of trace-cmd record: print it with trace-cmd report"),
];

/// Decompresses the input if it is compressed.
fn plain(mut input: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, Error> {
    let mut first = Vec::new();
    input.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first).map_err(unreadable)?;
    if let Some((magic, how)) = OTHERS.iter().find(|(magic, _)| first.starts_with(&magic[..magic.len().min(4)])) {
        let rest = (magic.len() - magic.len().min(first.len())) as u64;
        input.by_ref().take(rest).read_to_end(&mut first).map_err(unreadable)?;
        if first.starts_with(magic) {
            return Err(Error::new(ErrorKind::Recording, format!("the recording is {how}")));
        }
    }
    let is_compressed = matches!(first[..], [0x50..=0x5F, 0x2A, 0x4D, 0x18]) || first.starts_with(&ZSTD);
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
