// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the text of the kernel's own tracepoints as tracefs, `perf script` and `trace-cmd report`
//! print it.
//!
//! # Design
//!
//! A line that contains the name of one of the two tracepoints and its fields is an attempt, part
//! of the text of another event, or an error. It is never ignored because its layout is not
//! known.
//!
//! A call chain may follow the line of an attempt, and prove its kind. So the attempt is held until
//! the next line was read. With tracefs, lines of other CPUs may come in between. While a text
//! contains no call chains, its attempts are not held, so that a reader of `trace_pipe` receives
//! them at once. Only the first attempt is always held.

mod callchain;
mod fields;
mod head;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::fields::{Attempt, Tracepoint};
use self::head::{Head, Time};
use super::clock::{ClockOffset, TextClock};
use crate::event::Event;
use crate::event::clock::Clock;
use crate::event::kind::RetransKind;
use crate::event::timestamp::Timestamp;

/// The maximum number of attempts that are held. A call chain follows its attempt closely.
const MAX_HELD: usize = 64;

/// An item that a line yields.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Attempt(Box<Event>),
    /// Lost trace entries of any event, with their number if the line reports it.
    Lost(Option<u64>),
}

/// A reader of lines, in the order of the text.
#[derive(Debug)]
pub(super) struct KernelText {
    clock: TextClock,
    shows_failures: bool,
    held: VecDeque<Held>,
    /// True while the next lines may be the call chain of the last held attempt with this task.
    chain_of: Option<Task>,
    /// False once an attempt had no call chain, until one appears.
    may_have_chains: bool,
}

/// A task and its CPU, where the columns contain them.
type Task = (Option<u32>, Option<u32>);

#[derive(Debug)]
struct Held {
    event: Box<Event>,
    task: Task,
    /// True once a function of the call chain decided.
    is_decided: bool,
    /// True if no more lines can belong to this attempt.
    is_complete: bool,
}

impl KernelText {
    pub(super) fn new(clock_offset: Option<ClockOffset>) -> Self {
        Self {
            clock: TextClock::new(clock_offset),
            shows_failures: false,
            held: VecDeque::new(),
            chain_of: None,
            may_have_chains: true,
        }
    }

    /// Returns the clock of the attempts so far.
    pub(super) fn clock(&self) -> Clock {
        self.clock.clock()
    }

    /// Reads a comment, which may state the clock.
    pub(super) fn read_header(&mut self, line: &str) {
        self.clock.read_header(line);
    }

    /// Returns true if the form of a line shows that failures are reported as well.
    pub(super) fn shows_failures(&self) -> bool {
        self.shows_failures
    }

    /// Reads a line, and appends what it completes to `found`. After an error everything before the
    /// line is complete.
    pub(super) fn read(&mut self, line: &str, found: &mut VecDeque<Found>) -> Result<(), String> {
        if let (Some(task), Some(function)) = (self.chain_of, callchain::function(line)) {
            self.learn(task, function);
            return Ok(());
        }
        self.end_chain();
        let read = self.read_line(line, found);
        if read.is_err() {
            self.finish(found);
        }
        self.release(found);
        read
    }

    /// Appends all held attempts, after the last line.
    pub(super) fn finish(&mut self, found: &mut VecDeque<Found>) {
        self.end_chain();
        found.extend(self.held.drain(..).map(|held| Found::Attempt(held.event)));
    }

    fn read_line(&mut self, line: &str, found: &mut VecDeque<Found>) -> Result<(), String> {
        let parsed = parse(line)?;
        let head = match parsed {
            Line::Nothing => return Ok(()),
            Line::Lost(count) => {
                // The attempts before the loss come first.
                self.finish(found);
                found.push_back(Found::Lost(count));
                return Ok(());
            }
            Line::Other(ref head) | Line::Attempt(ref head, _) => head,
        };
        let task = (head.pid, head.cpu);
        if head.text.starts_with("<stack trace") && matches!(head.event, None | Some("kernel_stack")) {
            if self.held.iter().any(|held| held.task == task && !held.is_complete) {
                self.chain_of = Some(task);
            }
            // The next attempts will be held.
            self.may_have_chains = true;
            return Ok(());
        }
        // What follows on the same CPU is not the call chain of an earlier attempt.
        for held in self.held.iter_mut().filter(|held| held.task.1 == task.1) {
            self.may_have_chains &= held.is_complete || held.is_decided;
            held.is_complete = true;
        }
        if let Line::Attempt(head, mut attempt) = parsed {
            attempt.event.ts = self.timestamp(&head)?;
            self.shows_failures |= attempt.shows_failures;
            let is_perf = head.event.is_some_and(|name| name.contains(':'));
            let (is_decided, is_complete) = (false, !self.may_have_chains);
            self.held.push_back(Held { event: attempt.event, task, is_decided, is_complete });
            // perf prints the call chain in the next lines.
            self.chain_of = is_perf.then_some(task);
        }
        Ok(())
    }

    fn timestamp(&self, head: &Head<'_>) -> Result<Timestamp, String> {
        let Time::Seconds(ts) = head.time else {
            return Err(
                "the timestamp is not in seconds: the clocks `counter`, `uptime` and `x86-tsc` of tracefs, and \
                 `trace-cmd report --raw-ts`, are not supported"
                    .to_owned(),
            );
        };
        let ts = u64::try_from(ts.as_nanos()).ok().map(Timestamp::from_nanos);
        let ts = ts.and_then(|ts| self.clock.convert(ts));
        ts.ok_or_else(|| "timestamp before 1970 or after 2554: wrong clock offset?".to_owned())
    }

    /// Takes a function of the call chain of the last attempt with this task into account.
    fn learn(&mut self, task: Task, function: &str) {
        self.may_have_chains = true;
        let Some(held) = self.held.iter_mut().rev().find(|held| held.task == task) else { return };
        if held.is_decided {
            return;
        }
        let Some(kind) = callchain::decides(function, held.event.state) else { return };
        held.is_decided = true;
        if held.event.kind == RetransKind::Unknown {
            held.event.kind = kind;
        }
    }

    /// Completes the attempt whose call chain was read.
    fn end_chain(&mut self) {
        let Some(task) = self.chain_of.take() else { return };
        if let Some(held) = self.held.iter_mut().rev().find(|held| held.task == task) {
            held.is_complete = true;
        }
    }

    /// Appends the attempts that are complete, in the order of the text.
    fn release(&mut self, found: &mut VecDeque<Found>) {
        while self.held.len() > MAX_HELD || self.held.front().is_some_and(|held| held.is_complete) {
            found.extend(self.held.pop_front().map(|held| Found::Attempt(held.event)));
        }
    }
}

/// The contents of a line.
#[derive(Debug)]
enum Line<'a> {
    Attempt(Head<'a>, Attempt),
    /// A line of another event.
    Other(Head<'a>),
    Lost(Option<u64>),
    /// A line that is not about an event.
    Nothing,
}

fn parse(line: &str) -> Result<Line<'_>, String> {
    let Some(head) = head::parse(line) else {
        if let Some(count) = lost(line) {
            return Ok(Line::Lost(count));
        }
        let is_passed_over = line.starts_with('#') || Tracepoint::mentioned(line).is_none();
        return if is_passed_over { Ok(Line::Nothing) } else { Err(unknown_head(line)) };
    };
    match head.event {
        Some(name) => match Tracepoint::of_event(name) {
            Some(tracepoint) if fields::is_attempt(head.text) => {
                let attempt = fields::parse(tracepoint, head.text)?;
                Ok(Line::Attempt(head, attempt))
            }
            _ => Ok(Line::Other(head)),
        },
        None if fields::may_be_an_attempt(head.text) => {
            Err("the name of the event is missing: print it with `perf script -F +event`".to_owned())
        }
        None if Tracepoint::mentioned(head.text).is_some() => Err(unknown_head(line)),
        None => Ok(lost_by_perf(head.text).map_or(Line::Other(head), Line::Lost)),
    }
}

/// Returns the problem of a line that contains an attempt after a head that is not known.
fn unknown_head(line: &str) -> String {
    let Some((name, after)) = Tracepoint::mentioned(line) else { return String::new() };
    let before = line.split_once(name).map_or("", |(before, _)| before).trim_end_matches("tcp:").trim_end();
    if after.starts_with('(') {
        return "output of `perf trace`: record with `perf record` and print with `perf script`".to_owned();
    }
    let is_latency = [":", "+:", "!:", "#:", "*:", "@:", "$:"]
        .iter()
        .any(|mark| before.strip_suffix(mark).is_some_and(|before| before.trim_end().ends_with("us")));
    if is_latency || before.ends_with("ms):") {
        return "tracefs in latency format: switch it off with `echo 0 >/sys/kernel/tracing/options/latency-format`"
            .to_owned();
    }
    if before.is_empty() {
        return format!(
            "no timestamp before `{name}`: print it with `perf script -F +time`, or set the option `context-info` of tracefs"
        );
    }
    format!("unknown layout before `{name}`: task, PID, CPU and time of tracefs, perf script or trace-cmd are expected")
}

/// Returns true if a line shows that the text is kernel text: a line of an event, a report of lost
/// events, a heading, or a line of these tracepoints that cannot be parsed.
pub(super) fn is_recognised(line: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match parse(line) {
        Err(_) | Ok(Line::Attempt(..) | Line::Lost(_)) => return true,
        Ok(Line::Other(head)) if head.event.is_some() && (head.cpu.is_some() || head.pid.is_some()) => return true,
        Ok(Line::Other(_) | Line::Nothing) => {}
    }
    line.starts_with("# tracer: ")
        || line.starts_with("# entries-in-buffer/entries-written: ")
        // Printed by trace-cmd before the events.
        || line.strip_prefix("cpus=").is_some_and(is_number)
        || line.strip_prefix("version = ").is_some_and(is_number)
        || line.strip_prefix("CPU ").and_then(|line| line.strip_suffix(" is empty")).is_some_and(is_number)
}

/// Returns the number of lost trace entries that a line without columns reports; the inner value is
/// `None` if the number is not known.
fn lost(line: &str) -> Option<Option<u64>> {
    let line = line.trim();
    if let Some(counts) = line.strip_prefix("# entries-in-buffer/entries-written: ") {
        // The ring buffer of tracefs was full, and the oldest entries were overwritten.
        let (left, written) = counts.split_whitespace().next()?.split_once('/')?;
        let overwritten = written.parse::<u64>().ok()?.checked_sub(left.parse().ok()?)?;
        return (overwritten > 0).then_some(Some(overwritten));
    }
    // trace-cmd prints the name of a file or an instance before it if it reads several.
    let report = match line.split_once(char::is_whitespace) {
        Some((file, report)) if file.ends_with(':') => report.trim_start(),
        _ => line,
    };
    let of_cpu = report.strip_prefix("CPU:").and_then(|report| report.strip_suffix(']')?.split_once(" ["));
    if let Some((_, inner)) = of_cpu.filter(|(cpu, _)| cpu.bytes().all(|byte| byte.is_ascii_digit())) {
        let count = match inner {
            "LOST EVENTS" | "EVENTS DROPPED" => return Some(None),
            _ => inner.strip_prefix("LOST ").and_then(|after| after.strip_suffix(" EVENTS")),
        };
        return count.or_else(|| inner.strip_suffix(" EVENTS DROPPED"))?.parse().ok().map(Some);
    }
    // A warning of perf, which counts parts of its buffer.
    let (_, after) = line.split_once("Processed ")?;
    (after.contains(" events and lost ") && after.contains(" chunks!")).then_some(None)
}

/// Returns the number of lost samples in the text of `perf script --show-lost-events`.
fn lost_by_perf(text: &str) -> Option<Option<u64>> {
    let after = text.strip_prefix("PERF_RECORD_LOST")?;
    Some(after.split_once(" lost ").and_then(|(_, count)| count.split_whitespace().next()?.parse().ok()))
}
