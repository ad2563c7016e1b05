// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses the head of a line of kernel text: everything before the text of the event.
//!
//! # Design
//!
//! tracefs, `perf script` and `trace-cmd report` print the same columns in the same order, and each
//! column is optional:
//!
//! ```text
//! tracefs    task-pid (tgid) [cpu] flags time: event: text
//! trace-cmd  file: task-pid [cpu] time: (+difference) event: text
//! perf       task pid/tid [cpu] misc day time: period event: text
//! ```
//!
//! Users of the host choose the task's name and strings in the text, such as the path of a program.
//! Both may imitate the columns. So a head is accepted only as a whole, and only if what remains
//! before its columns can be a task name, which has at most 15 bytes. The first such head in a line
//! is the head of the line, because everything that follows it is the text of the event. A head
//! that ends within the first 15 characters may be part of a task name, so a later one is preferred
//! to it. A byte that is not UTF-8 and an escape of HTML count as one character, and the name of a
//! file before the task name does not count.

use std::time::Duration;

/// The maximum length of a task name: `TASK_COMM_LEN` without its end.
pub(super) const MAX_TASK: usize = 15;

/// No head is longer in bytes. It contains the name of a file (255 bytes), a task name (at most six
/// bytes each character, if it is escaped for HTML) and numbers.
const MAX_HEAD: usize = 512;

/// The columns of a line.
#[derive(Debug, PartialEq)]
pub(super) struct Head<'a> {
    pub(super) pid: Option<u32>,
    pub(super) cpu: Option<u32>,
    pub(super) time: Time,
    /// The name of the event, without the colon behind it: `tcp_retransmit_skb`, or
    /// `tcp:tcp_retransmit_skb` with perf. `None` if no name follows the time.
    pub(super) event: Option<&'a str>,
    /// The text after the name of the event, or after the time.
    pub(super) text: &'a str,
}

#[derive(Debug, PartialEq)]
pub(super) enum Time {
    Seconds(Duration),
    /// A number of ticks or nanoseconds.
    Integer,
}

/// A word of a line, and the place where it begins.
type Word<'a> = (usize, &'a str);

/// Returns the head of a line.
pub(super) fn parse(line: &str) -> Option<Head<'_>> {
    let words = words(line);
    let found = words.iter().enumerate().filter_map(|(at, word)| {
        let time = time(word.1)?;
        let (pid, cpu) = columns(line, words.get(..at)?)?;
        // An integer is a time only in a complete head.
        (time != Time::Integer || pid.is_some() && cpu.is_some()).then_some((word.0 + word.1.len(), time, pid, cpu))
    });
    let mut first = None;
    for head in found {
        let is_certain = is_longer_than_a_task(line.get(..head.0)?);
        if is_certain || first.is_none() {
            first = Some(head);
        }
        if is_certain {
            break;
        }
    }
    let (end, time, pid, cpu) = first?;
    let (event, text) = event(line.get(end..)?);
    Some(Head { pid, cpu, time, event, text })
}

/// Returns the words at the beginning of a line, as far as a head can extend.
fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let at = line.len() - rest.len();
        let (word, after) = first_word(rest);
        if at + word.len() > MAX_HEAD {
            break;
        }
        words.push((at, word));
        rest = after;
    }
    words
}

fn time(word: &str) -> Option<Time> {
    let number = word.strip_suffix(':')?;
    let is_integer = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    seconds(number).map(Time::Seconds).or(is_integer.then_some(Time::Integer))
}

/// Parses the columns before the time, from the right. Returns the PID and the CPU.
fn columns(line: &str, words: &[Word<'_>]) -> Option<(Option<u32>, Option<u32>)> {
    let rest = before_day(words);
    let (rest, cpu) = before_cpu(rest);
    let rest = before_thread_group(rest);
    // The task's name ends where the PID begins.
    let (pid, end) = match rest.last() {
        None => (None, 0),
        Some((at, word)) => match pid(word) {
            Some((pid, name)) => (pid, at + name),
            None => (None, at + word.len()),
        },
    };
    is_task(line.get(..end)?, pid.is_some() && cpu.is_some()).then_some((pid, cpu))
}

/// Removes perf's time of day: `2026-11-30 06:38:58.123456`.
fn before_day<'a, 'b>(words: &'b [Word<'a>]) -> &'b [Word<'a>] {
    match words {
        [rest @ .., (_, day), (_, clock)]
            if day.len() == 10 && is_made_of(day, "-") && clock.contains(':') && is_made_of(clock, ":.") =>
        {
            rest
        }
        _ => words,
    }
}

/// Removes and returns the CPU, and removes the flags after it.
fn before_cpu<'a, 'b>(words: &'b [Word<'a>]) -> (&'b [Word<'a>], Option<u32>) {
    let [rest @ .., (_, last)] = words else { return (words, None) };
    if let Some(cpu) = bracketed(last) {
        return (rest, Some(cpu));
    }
    if let [before @ .., (_, previous)] = rest {
        if let Some(cpu) = bracketed(previous).filter(|_| last.len() <= 8 && is_flags(last)) {
            return (before, Some(cpu));
        }
    }
    // `trace-cmd report -l` prints both as one word: `0d.s2`.
    let digits = last.bytes().take_while(u8::is_ascii_digit).count();
    let (cpu, flags) = last.split_at(digits);
    let follows_pid = rest.last().is_some_and(|(_, word)| word.contains('-') && pid(word).is_some());
    match cpu.parse() {
        Ok(cpu) if follows_pid && (4..=8).contains(&flags.len()) && is_flags(flags) => (rest, Some(cpu)),
        _ => (words, None),
    }
}

/// Removes the thread group of tracefs: `(  123)` or `(-------)`.
fn before_thread_group<'a, 'b>(words: &'b [Word<'a>]) -> &'b [Word<'a>] {
    let is_group = |word: &str| is_made_of(word.trim_matches(['(', ')']), "-");
    match words {
        [rest @ .., (_, group)] if group.starts_with('(') && group.ends_with(')') && is_group(group) => rest,
        [rest @ .., (_, "("), (_, group)] if group.ends_with(')') && is_group(group) => rest,
        _ => words,
    }
}

/// Returns the PID in a word, and the length of the part of the task's name in it: `name-123` of
/// tracefs and trace-cmd, `123` or `123/124` of perf. perf prints `-1` if it does not know the PID.
fn pid(word: &str) -> Option<(Option<u32>, usize)> {
    if word == "-1" || word == "-1/-1" {
        return Some((None, 0));
    }
    if let Some((name, pid)) = word.rsplit_once('-') {
        return Some((Some(number(pid)?), name.len()));
    }
    let thread = match word.split_once('/') {
        Some((process, thread)) => number(process).and_then(|_| number(thread)),
        None => number(word),
    };
    Some((Some(thread?), 0))
}

/// Returns true if a text can be a task's name, which may follow the name of a file.
fn is_task(text: &str, may_follow_file: bool) -> bool {
    let text = text.trim();
    let fits = |name: &str| name.len() <= MAX_HEAD && unescaped_len(name) <= MAX_TASK;
    fits(text) || may_follow_file && after_file(text).is_some_and(fits)
}

/// Returns true if a head is too long to be a part of a task's name, even after the name of a file.
fn is_longer_than_a_task(head: &str) -> bool {
    let head = head.trim_start();
    unescaped_len(after_file(head).unwrap_or(head)) > MAX_TASK
}

/// Returns the text after the name of a file or of an instance, which trace-cmd prints first if it
/// reads several, and so does grep.
fn after_file(text: &str) -> Option<&str> {
    let (file, name) = text.split_once(':')?;
    let is_file = !file.contains(char::is_whitespace) && seconds(file).is_none();
    (is_file && !name.is_empty()).then(|| name.trim_start())
}

/// Returns the number of characters, where a character that is escaped for HTML counts as one. A
/// replaced byte counts as one too.
fn unescaped_len(text: &str) -> usize {
    let escaped = ["&lt;", "&gt;", "&amp;", "&quot;", "&#34;", "&#39;", "&#x27;"];
    let excess: usize = escaped.iter().map(|escape| text.matches(escape).count() * (escape.len() - 1)).sum();
    text.chars().count().saturating_sub(excess)
}

/// Splits the text after the time into the name of the event and its text.
fn event(text: &str) -> (Option<&str>, &str) {
    let mut rest = text.trim_start();
    let (mut word, mut after) = first_word(rest);
    // The difference of `trace-cmd report --ts-diff`, or the period of perf.
    let is_difference = word.starts_with("(+") && word.ends_with(')');
    if is_difference || is_made_of(word, "") {
        rest = after;
        (word, after) = first_word(rest);
    }
    match word.strip_suffix(':').filter(|name| seconds(name).is_none()) {
        // Kernels before Linux 5.9 print an address or a number as the name of `bpf_trace_printk`.
        Some(name) if name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_') => {
            (Some(name), after)
        }
        _ => (None, rest),
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let (word, after) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, after.trim_start())
}

/// Returns the number in `[001]`.
fn bracketed(word: &str) -> Option<u32> {
    number(word.strip_prefix('[')?.strip_suffix(']')?)
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn is_flags(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".#+!*@$>".contains(&byte))
}

/// Returns true if a text consists of digits and these characters.
fn is_made_of(text: &str, others: &str) -> bool {
    !text.is_empty() && text.chars().all(|one| one.is_ascii_digit() || others.contains(one))
}

/// Parses `123.456789`, or with nine decimals.
fn seconds(text: &str) -> Option<Duration> {
    let (seconds, decimals) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(decimals.len(), 6 | 9) || !digits(decimals) || !digits(seconds) {
        return None;
    }
    let scale = 10u64.pow(9 - decimals.len() as u32);
    Duration::from_secs(seconds.parse().ok()?).checked_add(Duration::from_nanos(decimals.parse::<u64>().ok()? * scale))
}
