// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stream under test: reading it until something was seen, and holding its counters to their equations.

use std::fs;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use retrans_sdk::attach::Attachment;
use retrans_sdk::event::Family as Inet;
use retrans_sdk::stats::Count;
use retrans_sdk::{Event, Filter, RetransResult, Stats, Stream};

use crate::wait::PATIENCE;
use crate::{Context, Error, Family, Result, Subject, TraceEvent, TraceInstance, privilege};

/// Opens a stream of everything, or says why the lab cannot be built here.
///
/// # Errors
/// For want of privileges, and when the stream cannot be opened.
pub fn open() -> Result<Stream> {
    privilege::check()?;
    Stream::builder().open().context("cannot open a stream")
}

/// What a live stream is attached to.
///
/// # Panics
/// When it is none.
#[track_caller]
pub fn attachment(stream: &Stream) -> &Attachment {
    stream.live().expect("a live stream").attachment()
}

/// A filter from its text.
///
/// # Errors
/// When it is none.
pub fn filter(text: &str) -> Result<Filter> {
    text.parse().with_context(|| format!("not a filter: {text}"))
}

/// The terms that single out one socket, and that the kernel side decides.
pub fn ports_of(subject: &Subject) -> String {
    format!("sport={} dport={}", subject.local.port(), subject.remote.port())
}

/// The local and the remote end of an event's connection.
pub fn ends(event: &Event) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(event.saddr, event.sport), SocketAddr::new(event.daddr, event.dport))
}

/// Whether an event is about this connection, whatever it says of it.
pub fn concerns(subject: &Subject, event: &Event) -> bool {
    ends(event) == (subject.local, subject.remote)
}

/// Family and `mapped` of the events of such a connection.
pub fn printed_family(family: Family) -> (Inet, bool) {
    match family {
        Family::V4 => (Inet::Inet, false),
        Family::V6 => (Inet::Inet6, false),
        Family::Mapped => (Inet::Inet, true),
    }
}

/// Whether an attempt of the lab's came as far as the transmit step, where RetransSegs is counted. `None` if the event does not
/// tell: without the errno one name can stand for several causes.
pub fn reaches_transmit(event: &Event) -> Option<bool> {
    use RetransResult::{Denied, ErrDefault, Nobufs, Nomem, PskbCopyNobufs, Success, XmitDrop};
    match event.result {
        Success | Denied | XmitDrop | PskbCopyNobufs | Nobufs => Some(true),
        ErrDefault | Nomem if event.err.is_none() => None,
        // Of those that do, the lab provokes none with another name.
        _ => Some(false),
    }
}

/// Reads until `enough` is true of all events read by this call, and gives them.
///
/// # Errors
/// After `limit`, with the events that did come; when the stream cannot be read.
pub fn until(stream: &mut Stream, limit: Duration, enough: impl Fn(&[Event]) -> bool) -> Result<Vec<Event>> {
    let deadline = Instant::now() + limit;
    let mut events = Vec::new();
    while !enough(&events) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let lines: Vec<_> = events.iter().map(Event::to_string).collect();
            return Err(Error::new(format!("not seen in the stream within {limit:?}, but:\n{}", lines.join("\n"))));
        }
        events.extend(stream.recv_batch_timeout(left).context("cannot read the stream")?);
    }
    Ok(events)
}

/// Everything that is in the stream now.
///
/// # Errors
/// When the stream cannot be read.
pub fn drain(stream: &mut Stream) -> Result<Vec<Event>> {
    stream.try_iter().collect::<std::result::Result<_, _>>().context("cannot drain the stream")
}

/// Runs `run`, which watches attempts, and gives its result with what the kernel's own text has of them: again if process 1
/// was in the way.
///
/// A hardened kernel may not run BPF programs while a thread of process 1 is the current one, be it a mere bystander of a
/// softirq, and it does not count what they miss then. (Seen on a 6.18: the programs saw none of 126 such attempts, and each of
/// 39,983 others.) Nothing that a stream does can make up for it, so such a run proves nothing.
///
/// # Errors
/// Those of the last run, and when there can be no trace.
pub fn undisturbed<T>(mut run: impl FnMut(&mut TraceInstance) -> Result<T>) -> Result<(T, Vec<TraceEvent>)> {
    const RUNS: u32 = 5;
    privilege::check()?;
    for left in (0..RUNS).rev() {
        let mut trace = TraceInstance::new()?;
        // What is asserted in there holds as little.
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut trace)));
        let traced = trace.read()?;
        if trace.lost()? != 0 {
            return Err(Error::new("the kernel's text is not complete"));
        }
        match traced.iter().find(|event| event.of_process_1) {
            Some(event) if left > 0 => eprintln!("once more, for process 1 was in the way: {}", event.line),
            _ => return Ok((result.unwrap_or_else(|panic| resume_unwind(panic))?, traced)),
        }
    }
    unreachable!("the last run is the last")
}

/// Whether the kernel says of a program how often it skipped it (Linux 5.12), by what it says of those that this process has open.
///
/// # Errors
/// When it has none open.
pub fn reports_missed() -> Result<bool> {
    let open = fs::read_dir("/proc/self/fd").context("cannot read /proc/self/fd")?;
    let is_program =
        |path: &std::path::PathBuf| fs::read_link(path).is_ok_and(|target| target.as_os_str() == "anon_inode:bpf-prog");
    let program = open.flatten().map(|entry| entry.path()).find(is_program);
    let program = program.ok_or_else(|| Error::new("no program is open"))?;
    let info = program.to_string_lossy().replacen("/fd/", "/fdinfo/", 1);
    let info = fs::read_to_string(&info).with_context(|| format!("cannot read {info}"))?;
    Ok(info.lines().any(|line| line.starts_with("recursion_misses:")))
}

/// The attempts of counts by result and kind.
pub fn attempts(counts: &[Count]) -> u64 {
    counts.iter().map(|count| count.attempts).sum()
}

/// Returns whether all equations hold exactly, which they do with nothing in flight.
pub fn adds_up(stats: &Stats) -> bool {
    let Stats { seen, filtered, limited, lost, submitted, rejected, dropped, delivered, .. } = *stats;
    seen == filtered + limited + lost + submitted
        && submitted == rejected + dropped + delivered
        && seen == filtered + attempts(&stats.passed)
}

/// What every reading must show, at any moment: no part is larger than its whole.
///
/// # Panics
/// When one is.
#[track_caller]
pub fn assert_plausible(stats: &Stats) {
    let Stats { seen, filtered, limited, lost, submitted, rejected, dropped, delivered, .. } = *stats;
    assert!(seen >= filtered + limited + lost + submitted, "{stats}");
    assert!(submitted >= rejected + dropped + delivered, "{stats}");
    let (counted, passed) = (attempts(&stats.counts), attempts(&stats.passed));
    assert!(seen >= counted, "{stats}: {counted} by result and kind");
    assert!(seen >= filtered + passed && counted >= passed, "{stats}: {passed} passed");
}

/// Calls `read` until the counters add up, for the machine's other traffic may be under way in any one reading. An
/// attempt that was counted wrongly would keep them apart for ever.
///
/// # Errors
/// When they do not within [`PATIENCE`].
///
/// # Panics
/// When a reading is not plausible.
#[track_caller]
pub fn settled(mut read: impl FnMut() -> Result<Stats>) -> Result<Stats> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = read()?;
        assert_plausible(&stats);
        let counted = attempts(&stats.counts);
        if adds_up(&stats) && stats.seen == counted {
            return Ok(stats);
        }
        if Instant::now() >= deadline {
            return Err(Error::new(format!("does not add up: {stats}; by result and kind: {counted}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Drains the stream into `events` until its counters add up.
///
/// # Errors
/// As [`settled`], and when the stream cannot be read.
///
/// # Panics
/// As [`settled`].
#[track_caller]
pub fn settle(stream: &mut Stream, events: &mut Vec<Event>) -> Result<Stats> {
    settled(|| {
        events.append(&mut drain(stream)?);
        Ok(stream.stats())
    })
}
