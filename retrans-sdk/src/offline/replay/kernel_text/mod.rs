// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the text of the kernel's own tracepoints as tracefs, `perf script` and `trace-cmd report`
//! print it.
//!
//! # Design
//!
//! A line that contains the name of one of the two tracepoints and its fields is an attempt, part
//! of the text of another event, or an error.
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

use std::borrow::Cow;
use std::collections::VecDeque;

use self::callchain::Printer;
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
    /// True if the last line was an attempt without a result.
    follows_attempt: bool,
    /// True if perf printed the last event, so that its call chain may follow.
    follows_perf: bool,
    held: VecDeque<Held>,
    /// The call chain that the next lines may belong to.
    chain: Option<Chain>,
    chains: Chains,
}

/// The knowledge about call chains in the text so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chains {
    /// No attempt is complete yet, so the first one is held.
    Unknown,
    /// An attempt had no call chain, so attempts are not held.
    Absent,
    /// There was a call chain, so attempts are held.
    Present,
}

/// The call chain of the last held attempt of a task.
#[derive(Debug, Clone, Copy)]
struct Chain {
    task: Task,
    printer: Printer,
    has_functions: bool,
}

/// A task and its CPU, where the columns contain them.
type Task = (Option<u32>, Option<u32>);

#[derive(Debug)]
struct Held {
    event: Box<Event>,
    task: Task,
    /// True once the call chain contained a function of the attempt itself.
    has_begun: bool,
    /// True once a function of the call chain decided.
    is_decided: bool,
    /// True if no more lines can belong to this attempt.
    is_complete: bool,
}

impl Held {
    /// Returns true for the other tracepoint, whose text never contains a result. It does not show
    /// that the attempts of the first one need not be held.
    fn is_synack(&self) -> bool {
        self.event.kind == RetransKind::Synack
    }
}

impl KernelText {
    pub(super) fn new(clock_offset: Option<ClockOffset>) -> Self {
        Self {
            clock: TextClock::new(clock_offset),
            shows_failures: false,
            follows_attempt: false,
            follows_perf: false,
            held: VecDeque::new(),
            chain: None,
            chains: Chains::Unknown,
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

    /// Reads a line, and appends what it completes to `found`. After an error, no earlier attempt
    /// is held.
    pub(super) fn read(&mut self, line: &str, found: &mut VecDeque<Found>) -> Result<(), String> {
        let line = &*undecorated(line);
        let read = self.read_line(line, found);
        if read.is_err() {
            self.finish(found);
        }
        self.release(found);
        read
    }

    /// Appends all held attempts, after the last line.
    pub(super) fn finish(&mut self, found: &mut VecDeque<Found>) {
        // An interrupted chain does not show that the text contains no chains.
        self.chain = None;
        found.extend(self.held.drain(..).map(|held| Found::Attempt(held.event)));
    }

    fn read_line(&mut self, line: &str, found: &mut VecDeque<Found>) -> Result<(), String> {
        let followed_attempt = std::mem::take(&mut self.follows_attempt);
        // A frame may contain any path.
        let is_frame = (self.follows_perf && callchain::is_frame_of_perf(line)) || callchain::is_user_frame(line);
        let parsed = if is_frame && head::parse(line).is_none() { Line::Nothing } else { parse(line)? };
        let head = match parsed {
            Line::Nothing => {
                let text = line.trim_start();
                if followed_attempt && ["err=", "result=", "quit_reason="].iter().any(|key| text.starts_with(key)) {
                    // This attempt, and each later one without a result, would be a success.
                    self.shows_failures = true;
                    self.held.pop_back();
                    return Err("the result is in a line of its own: join the lines of the event".to_owned());
                }
                self.read_function(line);
                return Ok(());
            }
            Line::Lost(count) => {
                // The attempts before the loss come first.
                self.finish(found);
                found.push_back(Found::Lost(count));
                return Ok(());
            }
            Line::Other(ref head) | Line::Attempt(ref head, _) => head,
        };
        self.end_chain();
        let is_perf = head.event.is_some_and(|name| name.contains(':'));
        self.follows_perf = is_perf;
        let task = (head.pid, head.cpu);
        if head.text.starts_with("<stack trace") && matches!(head.event, None | Some("kernel_stack")) {
            if self.held.iter().any(|held| held.task == task && !held.is_complete) {
                self.chain = Some(Chain { task, printer: Printer::Tracefs, has_functions: false });
            }
            self.chains = Chains::Present;
            return Ok(());
        }
        // The call chain of an attempt is the next line of its CPU.
        let mut lacks_chain = false;
        for held in self.held.iter_mut().filter(|held| held.task.1 == task.1) {
            lacks_chain |= !held.is_complete && !held.is_decided && !held.is_synack();
            held.is_complete = true;
        }
        if lacks_chain {
            self.lack_chain();
        }
        if let Line::Attempt(head, mut attempt) = parsed {
            attempt.event.ts = self.timestamp(&head)?;
            // It would be reported as a success.
            if self.shows_failures && !attempt.shows_failures && attempt.event.kind != RetransKind::Synack {
                return Err("missing `err` or `result`, which an earlier line contains".to_owned());
            }
            self.shows_failures |= attempt.shows_failures;
            self.follows_attempt = !attempt.shows_failures;
            self.held.push_back(Held {
                event: attempt.event,
                task,
                has_begun: false,
                is_decided: false,
                is_complete: self.chains == Chains::Absent,
            });
            // perf prints the call chain in the next lines.
            self.chain = is_perf.then_some(Chain { task, printer: Printer::Perf, has_functions: false });
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

    /// Reads a line without columns, which may be a function of the call chain.
    fn read_function(&mut self, line: &str) {
        let Some(chain) = &mut self.chain else { return };
        let Some(function) = callchain::function(line, chain.printer) else {
            // perf prints other lines between the functions, and a blank line after them.
            if chain.printer == Printer::Tracefs || line.trim().is_empty() {
                self.end_chain();
            }
            return;
        };
        chain.has_functions = true;
        self.chains = Chains::Present;
        let task = chain.task;
        let Some(held) = self.held.iter_mut().rev().find(|held| held.task == task) else { return };
        held.has_begun |= callchain::is_attempt(function);
        if held.is_decided {
            return;
        }
        let Some(kind) = callchain::decides(function, held.event.state) else { return };
        held.is_decided = true;
        // A chain in the opposite order begins with the outermost caller, which proves nothing.
        if held.has_begun && held.event.kind == RetransKind::Unknown {
            held.event.kind = kind;
        }
    }

    /// Completes the attempt whose call chain was read.
    fn end_chain(&mut self) {
        let Some(chain) = self.chain.take() else { return };
        let held = self.held.iter_mut().rev().find(|held| held.task == chain.task);
        let is_synack = held.as_ref().is_some_and(|held| held.is_synack());
        if let Some(held) = held {
            held.is_complete = true;
        }
        if !chain.has_functions && !is_synack {
            self.lack_chain();
        }
    }

    fn lack_chain(&mut self) {
        if self.chains == Chains::Unknown {
            self.chains = Chains::Absent;
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
        return match unknown_head(line) {
            Some(problem) => Err(problem),
            None => Ok(lost(line).map_or(Line::Nothing, Line::Lost)),
        };
    };
    let Some(name) = head.event else {
        if fields::may_be_an_attempt(head.text) {
            return Err("the name of the event is missing: print it with `perf script -F +event`".to_owned());
        }
        if let Some(lost) = lost_by_perf(head.text) {
            return Ok(Line::Lost(lost));
        }
        // Records of perf contain file names.
        let problem = if head.text.starts_with("PERF_RECORD_") { None } else { unknown_head(line) };
        return problem.map_or(Ok(Line::Other(head)), Err);
    };
    let Some(tracepoint) = Tracepoint::of_event(name) else { return Ok(Line::Other(head)) };
    if fields::is_attempt(head.text) {
        let attempt = fields::parse(tracepoint, head.text)?;
        return Ok(Line::Attempt(head, attempt));
    }
    fields::missing(head.text, name.contains(':')).map_or(Ok(Line::Other(head)), |problem| Err(problem.to_owned()))
}

/// Returns the problem of a line that contains an attempt after columns that are not known.
fn unknown_head(line: &str) -> Option<String> {
    let (name, after) = Tracepoint::mentioned(line)?;
    let before = line.get(..line.len() - after.len() - name.len())?.trim_end_matches("tcp:").trim_end();
    if after.starts_with('(') {
        return Some("output of `perf trace`: record with `perf record` and print with `perf script`".to_owned());
    }
    let is_latency = [":", "+:", "!:", "#:", "*:", "@:", "$:"]
        .iter()
        .any(|mark| before.strip_suffix(mark).is_some_and(|before| before.trim_end().ends_with("us")));
    if is_latency || before.ends_with("ms):") {
        return Some(
            "tracefs in latency format: switch it off with `echo 0 >/sys/kernel/tracing/options/latency-format`"
                .to_owned(),
        );
    }
    let has_time = before.split_whitespace().any(|word| {
        word.strip_suffix(':')
            .is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| b"0123456789.,".contains(&byte)))
    });
    if !has_time {
        return Some(format!(
            "no timestamp before `{name}`: print it with `perf script -F +time`, or set the option `context-info` of tracefs"
        ));
    }
    Some(format!(
        "unknown columns before `{name}`: remove columns that tracefs, perf script or trace-cmd did not print (known: \
         task, PID, CPU, time in seconds with six or nine decimals)"
    ))
}

/// Removes what a terminal or a mail adds to a line: the colours of grep and of other programs, and
/// the marks of a quotation. Other control sequences may be part of a task name.
fn undecorated(line: &str) -> Cow<'_, str> {
    let line = if line.starts_with('>') { line.trim_start_matches(['>', ' ']) } else { line };
    let Some((first, rest)) = line.split_once(COLOR) else { return Cow::Borrowed(line) };
    let mut plain = first.to_owned();
    for part in rest.split(COLOR) {
        let after = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match after.strip_prefix(['m', 'K']) {
            Some(text) => plain.push_str(text),
            None => plain.extend([COLOR, part]),
        }
    }
    Cow::Owned(plain)
}

/// The beginning of the control sequences for colours.
const COLOR: &str = "\u{1b}[";

/// Returns true if a line shows that the text is kernel text: a line of an event, a report of lost
/// events, a heading, or a line of these tracepoints that cannot be parsed.
pub(super) fn is_recognised(line: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let line = &*undecorated(line);
    match parse(line) {
        Err(_) | Ok(Line::Attempt(..) | Line::Lost(_)) => return true,
        // The name of an event of perf contains its system.
        Ok(Line::Other(head))
            if head.event.is_some_and(|name| name.contains(':') || head.cpu.is_some() || head.pid.is_some()) =>
        {
            return true;
        }
        Ok(Line::Other(_) | Line::Nothing) => {}
    }
    line.starts_with("# tracer: ")
        || line.starts_with("# entries-in-buffer/entries-written: ")
        || line.starts_with("# latency: ")
        // Printed by trace-cmd before the events.
        || line.strip_prefix("cpus=").is_some_and(is_number)
        || line.strip_prefix("version = ").is_some_and(is_number)
        || line.strip_prefix("CPU ").and_then(|line| line.strip_suffix(" is empty")).is_some_and(is_number)
}

/// Returns true if a line begins with the columns of an event.
pub(super) fn has_columns(line: &str) -> bool {
    head::parse(line).is_some_and(|head| head.event.is_some())
}

/// Returns the number of lost trace entries that a line without columns reports; the inner value is
/// `None` if the number is not known.
fn lost(line: &str) -> Option<Option<u64>> {
    let line = line.trim();
    // The heading of tracefs, and that of its latency format.
    let latency = || line.strip_prefix("# latency: ")?.split_once(" #");
    let counts = line.strip_prefix("# entries-in-buffer/entries-written: ").or_else(|| Some(latency()?.1));
    if let Some(counts) = counts {
        // The ring buffer of tracefs was full, and the oldest entries were overwritten.
        let (left, written) = counts.split([' ', ',']).next()?.split_once('/')?;
        let overwritten = written.parse::<u64>().ok()?.checked_sub(left.parse().ok()?)?;
        return (overwritten > 0).then_some(Some(overwritten));
    }
    // The name of a file, or the columns of a log, may precede it.
    let of_cpu = line.split_once("CPU:").and_then(|(_, report)| report.split_once(']')?.0.split_once(" ["));
    if let Some((_, inner)) = of_cpu.filter(|(cpu, _)| !cpu.is_empty() && cpu.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let count = match inner {
            "LOST EVENTS" | "EVENTS DROPPED" => return Some(None),
            _ => inner.strip_prefix("LOST ").and_then(|after| after.strip_suffix(" EVENTS")),
        };
        return count.or_else(|| inner.strip_suffix(" EVENTS DROPPED"))?.parse().ok().map(Some);
    }
    // Warnings of perf, which count parts of its buffer, or report a percentage.
    let (_, after) = line.split_once("Processed ")?;
    let is_warning = after.contains(" and lost ") && (after.contains(" chunks!") || after.contains("%!"));
    is_warning.then_some(None)
}

/// Returns the number of lost samples in the text of `perf script --show-lost-events`.
fn lost_by_perf(text: &str) -> Option<Option<u64>> {
    let after = text.strip_prefix("PERF_RECORD_LOST")?;
    Some(after.split_once(" lost ").and_then(|(_, count)| count.split_whitespace().next()?.parse().ok()))
}
