// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans explain`: explains one attempt to a person.

pub(crate) mod facts;
mod markdown;
pub(crate) mod page;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::Cursor;
use std::net::SocketAddr;
use std::process::ExitCode;

use ratatui::crossterm::terminal;
use retrans_sdk::event::Clock;
use retrans_sdk::offline::{RecordedLines, Recording};
use retrans_sdk::{Event, Filter, ResultClass};

use self::page::Page;
use crate::args::{Input, Terms, check_for_recording};
use crate::output::Output;
use crate::status::{say_skipped, say_text_losses};
use crate::table::count;
use crate::utc::{Precision, date_time, unit};
use crate::{CANNOT_START, FAILED, fail, print};

/// Explains an attempt: what happened, what proves it, what else it may be, and what to run next
///
/// Reads a line, or the last failed attempt of a recording, or its last attempt if none failed.
/// The commands are those of the page of the result in docs/results, with the values of the
/// attempt. They are to be run on the host that the attempt is from. A line may contain the name of
/// a task, which any user chooses: pass it to stdin, where no shell interprets it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 success; 1 a malformed line, no attempt, or a write error; 2 usage error, or the recording cannot be opened.

Examples:
  retrans explain attempts.kv dport=443
  sudo retrans watch --count 1 'result!=success' | retrans explain -")]
pub(crate) struct Arguments {
    /// Recording to read (`-` is stdin), or a line, which begins with `ts=` or `{`
    #[arg(value_name = "FILE|LINE")]
    what: OsString,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    input: Input,
}

/// The longest line of text for a person.
const WIDEST: u16 = 100;
/// The width where there is no terminal.
const WIDTH: u16 = 80;

pub(crate) fn main(arguments: &Arguments, output: Output) -> ExitCode {
    let (lines, filter) = match open(arguments) {
        Ok(opened) => opened,
        Err(error) => return fail(CANNOT_START, &error),
    };
    let chosen = match choose(lines, &filter) {
        Ok(chosen) => chosen,
        Err(error) if arguments.what == "-" => return fail(FAILED, &format!("stdin: {error}")),
        Err(error) => return fail(FAILED, &error),
    };
    let Some(chosen) = chosen else {
        return fail(FAILED, "no attempt to explain");
    };
    let width = output.is_terminal().then(terminal::size).and_then(Result::ok).map_or(0, |(width, _)| width);
    let width = if width == 0 { WIDTH } else { width.min(WIDEST) };
    let text = chosen.explain(output, width.into());
    print(text.as_bytes()).map_or_else(|status| status, |()| ExitCode::SUCCESS)
}

/// Returns true if an argument is a line, and not the name of a file.
fn is_line(what: &OsStr) -> bool {
    let bytes = what.as_encoded_bytes();
    bytes.starts_with(b"ts=") || bytes.starts_with(b"{")
}

fn open(arguments: &Arguments) -> Result<(RecordedLines, Filter), Box<dyn Error>> {
    let Arguments { what, terms, input } = arguments;
    if is_line(what) {
        // A line that is pasted without quotes consists of several arguments.
        let mut line = [&[what.to_string_lossy().into_owned()], &terms.0[..]].concat().join(" ");
        line.push('\n');
        let recording = input.configure(Recording::from_reader(Cursor::new(line)));
        return Ok((recording.lines()?, Filter::default()));
    }
    let filter = terms.parse()?;
    check_for_recording(&filter)?;
    Ok((input.open(what.as_ref())?.lines()?, filter))
}

/// The attempt to explain.
struct Chosen {
    event: Event,
    clock: Clock,
    /// The number of attempts that were read and passed the filter, and how many of them failed.
    read: u64,
    failed: u64,
}

/// Returns the last failed attempt that passes the filter, or the last attempt if none failed.
fn choose(mut lines: RecordedLines, filter: &Filter) -> Result<Option<Chosen>, retrans_sdk::Error> {
    let (mut chosen, mut read, mut failed) = (None::<Event>, 0, 0);
    for line in lines.by_ref() {
        let event = line?.event;
        if !filter.matches(&event) {
            continue;
        }
        read += 1;
        let has_failed = event.class() != ResultClass::Ok;
        failed += u64::from(has_failed);
        if has_failed || failed == 0 {
            chosen = Some(event);
        }
    }
    say_skipped(&lines);
    say_text_losses(lines.text_losses());
    let clock = lines.clock();
    Ok(chosen.map(|event| Chosen { event, clock, read, failed }))
}

impl Chosen {
    fn explain(&self, output: Output, width: usize) -> String {
        let Self { event, clock, .. } = self;
        let paint = output.paint;
        let mut text = String::new();
        let mut say = |line: &str| {
            text += line;
            text += "\n";
        };
        let result = event.result.to_string();
        say(&format!("{} ({})", paint.class(event.class(), &result), event.class().key_val()));
        let [local, remote] = [(event.saddr, event.sport), (event.daddr, event.dport)].map(SocketAddr::from);
        let time = date_time(event.ts, *clock, Precision::Milliseconds);
        say(&format!("{time} {}  {local} → {remote}  {}", unit(*clock), event.state));
        if self.read > 1 {
            let which = if self.failed > 0 { "failed one" } else { "one" };
            say(&format!("The last {which} of {}, {} of which failed.", count(self.read, "attempt"), self.failed));
        }

        let paragraph =
            |text: &str| textwrap::fill(text, markdown::options(width).initial_indent("  ").subsequent_indent("  "));
        let page = Page::of(event.result);
        let command = |command: &str| facts::fill_in(command, event);
        let section = |title: &str, markdown: &str| {
            format!("\n{}\n{}", paint.bold(title), markdown::render(markdown, width, &command))
        };
        if let Some(page) = page {
            say(section("What happened", page.happened).trim_end());
        }
        say(&format!("\n{}", paint.bold("What the line shows")));
        for (fact, meaning) in facts::of(event) {
            let first = format!("  {fact:<width$}  ", width = facts::WIDTH);
            let options = markdown::options(width).initial_indent(&first).subsequent_indent(INDENT);
            say(&textwrap::fill(&meaning, options));
        }
        let Some(page) = page else {
            say(
                "\nThis version has no page about this number: a newer retrans, or the kernel's own header, may name it.",
            );
            return text;
        };
        if !page.alternatives.is_empty() {
            say(section("What else it may be", page.alternatives).trim_end());
        }
        let next = section("What to run next", page.next);
        say(next.trim_end());
        for (variable, meaning) in facts::VARIABLES {
            if next.contains(&format!("\"${variable}\"")) {
                say(&("\n".to_owned() + &paragraph(&format!("${variable} is {meaning}."))));
            }
        }
        if let Some((sentence, commands)) = facts::where_to_run(event) {
            say(&("\n".to_owned() + &paragraph(&sentence)));
            say("");
            commands.iter().for_each(|command| say(&format!("      {command}")));
        }
        text
    }
}

/// The column of the meanings, after two spaces and a fact.
const INDENT: &str = "                            ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_not_the_name_of_a_file() {
        let is_line = |what: &str| super::is_line(OsStr::new(what));
        assert!(is_line("ts=1.000000000") && is_line("{\"ts\":\"1\"}"));
        assert!(!is_line("-") && !is_line("attempts.kv") && !is_line("./ts=1"));
    }

    #[test]
    fn the_meanings_are_in_one_column() {
        assert_eq!(INDENT.len(), facts::WIDTH + 4);
    }
}
