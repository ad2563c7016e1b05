// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the stream under test until an event was seen, and checks its counters.

use std::fs;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use retrans_sdk::attach::Attachment;
use retrans_sdk::event::Family as Inet;
use retrans_sdk::stats::Count;
use retrans_sdk::{Event, Filter, RetransKind, RetransResult, Stats, Stream};

use crate::wait::PATIENCE;
use crate::{Context, Error, Family, Result, Subject, TraceEvent, TraceInstance, privilege};

/// Opens a stream without a filter that locates -ENOMEM if possible, or reports why the lab cannot
/// run here.
///
/// # Errors
/// Returns an error without the required privileges, or if the stream cannot be opened.
pub fn open() -> Result<Stream> {
    privilege::check()?;
    Stream::builder().locate_nomem().open().context("cannot open a stream")
}

/// Returns the attachment of a live stream.
///
/// # Panics
/// Panics if the stream is not live.
#[track_caller]
pub fn attachment(stream: &Stream) -> &Attachment {
    stream.live().expect("a live stream").attachment()
}

/// Parses a filter.
///
/// # Errors
/// Returns an error if the text is not a filter.
pub fn filter(text: &str) -> Result<Filter> {
    text.parse().with_context(|| format!("not a filter: {text}"))
}

/// Returns filter terms that select one socket. The kernel evaluates all of them.
pub fn ports_of(subject: &Subject) -> String {
    format!("sport={} dport={}", subject.local.port(), subject.remote.port())
}

/// Returns the local and the remote end of an event's connection.
pub fn ends(event: &Event) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(event.saddr, event.sport), SocketAddr::new(event.daddr, event.dport))
}

/// Returns whether an event concerns this connection.
pub fn concerns(subject: &Subject, event: &Event) -> bool {
    ends(event) == (subject.local, subject.remote)
}

/// Returns the `family` and `mapped` of events of such a connection.
pub fn printed_family(family: Family) -> (Inet, bool) {
    match family {
        Family::V4 => (Inet::Inet, false),
        Family::V6 => (Inet::Inet6, false),
        Family::Mapped => (Inet::Inet, true),
    }
}

/// Returns whether an attempt reached the transmit step, where RetransSegs is counted. Returns
/// `None` if the event leaves it open: without the errno one name can have several causes. The
/// kernel counts a SYN-ACK only if it was sent.
pub fn reaches_transmit(event: &Event) -> Option<bool> {
    use RetransResult::{Denied, ErrDefault, Nobufs, Nomem, PskbCopyNobufs, Success, XmitDrop};
    match event.result {
        result if event.kind == RetransKind::Synack => Some(result == Success),
        Success | Denied | XmitDrop | PskbCopyNobufs | Nobufs => Some(true),
        ErrDefault | Nomem if event.err.is_none() => None,
        // A packet that is routed again fails in IP: ENETUNREACH.
        ErrDefault if event.err == Some(-101) => Some(true),
        // The lab provokes no other result that reaches the transmit step.
        _ => Some(false),
    }
}

/// Reads until `enough` returns true for all events of this call, and returns them.
///
/// # Errors
/// Returns an error after `limit`, with the events that were received. Also returns an error if the
/// stream cannot be read.
pub fn until(stream: &mut Stream, limit: Duration, enough: impl Fn(&[Event]) -> bool) -> Result<Vec<Event>> {
    let deadline = Instant::now() + limit;
    let mut events = Vec::new();
    while !enough(&events) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let lines: Vec<_> = events.iter().map(Event::to_string).collect();
            return Err(Error::new(format!("not in the stream within {limit:?}; received:\n{}", lines.join("\n"))));
        }
        events.extend(stream.recv_batch_timeout(left).context("cannot read the stream")?);
    }
    Ok(events)
}

/// Returns all events that the stream contains now.
///
/// # Errors
/// Returns an error if the stream cannot be read.
pub fn drain(stream: &mut Stream) -> Result<Vec<Event>> {
    stream.try_iter().collect::<std::result::Result<_, _>>().context("cannot drain the stream")
}

/// Runs `run`, which observes attempts, and returns its result with the trace of the same time.
/// Repeats it if process 1 interfered.
///
/// A hardened kernel may not run BPF programs while a thread of process 1 is current, even if a
/// softirq merely interrupted it. It does not count the skipped runs. (On a 6.18 kernel the
/// programs saw 0 of 126 such attempts, and all of 39,983 others.) A stream cannot compensate for
/// this, so such a run proves nothing.
///
/// # Errors
/// Returns the error of the last run, and an error if the trace is not available.
pub fn undisturbed<T>(mut run: impl FnMut(&mut TraceInstance) -> Result<T>) -> Result<(T, Vec<TraceEvent>)> {
    const RUNS: u32 = 5;
    privilege::check()?;
    for left in (0..RUNS).rev() {
        let mut trace = TraceInstance::without_stacks()?;
        // A panic of `run` proves as little as a result.
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut trace)));
        let traced = trace.read()?;
        if trace.lost()? != 0 {
            return Err(Error::new("the trace is incomplete: the kernel dropped events"));
        }
        match traced.iter().find(|event| event.of_process_1) {
            Some(event) if left > 0 => eprintln!("repeated, since process 1 interfered: {}", event.line),
            _ => return Ok((result.unwrap_or_else(|panic| resume_unwind(panic))?, traced)),
        }
    }
    unreachable!("the last run is the last")
}

/// Returns whether the kernel reports the runs of a program that it skipped (Linux 5.12). This is
/// read from a program that this process has open.
///
/// # Errors
/// Returns an error if no program is open.
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

/// Returns the number of attempts in counts by result and kind.
pub fn attempts(counts: &[Count]) -> u64 {
    counts.iter().map(|count| count.attempts).sum()
}

/// Returns whether all equations hold exactly. They do if nothing is in flight.
pub fn adds_up(stats: &Stats) -> bool {
    let Stats { seen, filtered, limited, lost, submitted, rejected, dropped, delivered, .. } = *stats;
    seen == filtered + limited + lost + submitted
        && submitted == rejected + dropped + delivered
        && seen == filtered + attempts(&stats.passed)
}

/// Asserts the conditions that hold at any moment: no part is larger than its whole.
///
/// # Panics
/// Panics if a part is larger.
#[track_caller]
pub fn assert_plausible(stats: &Stats) {
    let Stats { seen, filtered, limited, lost, submitted, rejected, dropped, delivered, .. } = *stats;
    assert!(seen >= filtered + limited + lost + submitted, "{stats}");
    assert!(submitted >= rejected + dropped + delivered, "{stats}");
    let (counted, passed) = (attempts(&stats.counts), attempts(&stats.passed));
    assert!(seen >= counted, "{stats}: {counted} by result and kind");
    assert!(seen >= filtered + passed && counted >= passed, "{stats}: {passed} passed");
}

/// Calls `read` until the counters add up. Attempts of other traffic may be in flight during any
/// one reading. A wrongly counted attempt would keep the counters apart forever.
///
/// # Errors
/// Returns an error if they do not add up before [`PATIENCE`] ends.
///
/// # Panics
/// Panics if a reading is not plausible.
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
            return Err(Error::new(format!("counters do not add up: {stats}; by result and kind: {counted}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Drains the stream into `events` until its counters add up.
///
/// # Errors
/// Returns the errors of [`settled`], and an error if the stream cannot be read.
///
/// # Panics
/// Panics like [`settled`].
#[track_caller]
pub fn settle(stream: &mut Stream, events: &mut Vec<Event>) -> Result<Stats> {
    settled(|| {
        events.append(&mut drain(stream)?);
        Ok(stream.stats())
    })
}
