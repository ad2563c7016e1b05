// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header: the source, what it cannot observe, and all counters.

use crate::utc::{self, Precision};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};

use super::{ALARM, ERROR, QUIET, Shown, TITLE, WARNING, spaced};
use crate::top::model::LOSSES;
use crate::top::source::Progress;

pub(crate) fn lines<'a>(shown: &Shown<'a>, width: u16) -> Vec<Line<'a>> {
    let mut lines = wrapped(source(shown), width);
    if shown.about.observes_failures == Some(false) {
        let text = " FAILURES UNOBSERVABLE: only successes are reported. There may be failures that are not shown.";
        lines.push(Line::styled(text, WARNING));
    }
    lines.extend(wrapped(counters(shown), width));
    lines.push(state(shown));
    if let Some(why) = shown.refused {
        lines.push(Line::from(vec![" filter not changed: ".into(), Span::styled(why, ERROR)]));
    }
    lines
}

fn source<'a>(shown: &Shown<'a>) -> Vec<Span<'a>> {
    let about = shown.about;
    let mut spans = vec![Span::styled("retrans top", TITLE), Span::raw(&about.what)];
    spans.push(match about.observes_failures {
        Some(true) => Span::raw("failures=observed"),
        Some(false) => Span::styled("failures=unobservable", WARNING),
        None => Span::styled("a recording does not state what was unobservable", QUIET),
    });
    // Failures are already shown.
    let rest: Vec<_> = about.unobservable.iter().filter(|what| *what != "failures").map(String::as_str).collect();
    if !rest.is_empty() {
        spans.push(Span::styled(format!("unobservable={}", rest.join(",")), QUIET));
    }
    spans
}

fn counters<'a>(shown: &Shown<'a>) -> Vec<Span<'a>> {
    let of = |(key, value): &(&str, Option<u64>)| {
        let style = if LOSSES.contains(key) && value.is_some_and(|value| value > 0) { ALARM } else { Style::new() };
        let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        Span::styled(format!("{key}={value}"), style)
    };
    shown.model.counters.values.iter().map(of).collect()
}

/// Wraps the spans into as many lines as necessary.
fn wrapped(spans: Vec<Span<'_>>, width: u16) -> Vec<Line<'_>> {
    let mut lines: Vec<Vec<Span<'_>>> = Vec::new();
    let mut left = 0;
    for span in spans {
        let required = span.width() + 1;
        match lines.last_mut() {
            Some(line) if required <= left => line.push(span),
            _ => {
                lines.push(vec![span]);
                left = usize::from(width);
            }
        }
        left = left.saturating_sub(required);
    }
    lines.into_iter().map(spaced).collect()
}

fn state<'a>(shown: &Shown<'a>) -> Line<'a> {
    let model = shown.model;
    let seconds = shown.now.as_nanos().saturating_sub(model.since.as_nanos()) / 1_000_000_000;
    let since = match model.since.as_nanos() {
        // A recording without events.
        0 => "no events".to_owned(),
        _ => {
            let clock = shown.about.clock;
            let since = utc::time(model.since, clock, Precision::Seconds);
            format!("since {since} {}, {seconds} s", utc::unit(clock))
        }
    };
    let mut spans = vec![Span::raw(since)];
    match shown.progress {
        Progress::GoesOn => {}
        Progress::Ended => spans.push("end of the recording".bold()),
        Progress::Broken(why) => spans.push(Span::styled(format!("the recording ends with an error: {why}"), ERROR)),
    }
    if shown.paused {
        spans.push(Span::styled("PAUSED, counting continues", WARNING));
    }
    let filter = shown.filter.to_string();
    spans.push(if filter.is_empty() {
        Span::styled("no filter", QUIET)
    } else {
        Span::raw(format!("filter: {filter}"))
    });
    let parts = spans.into_iter().enumerate().flat_map(|(i, span)| [Span::raw(if i == 0 { " " } else { " · " }), span]);
    parts.collect()
}
