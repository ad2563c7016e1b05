// SPDX-License-Identifier: MIT OR Apache-2.0
//! Draws counts over time as a row of cells, and shares as bars.

use retrans_sdk::event::Clock;

use super::html::{Count, Html, Number};
use super::model::Model;
use super::series::Series;
use crate::histogram::levels::{LEVELS, counts_of, level};
use crate::utc::{self, Precision};

/// The colors of a strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hue {
    Failure,
    Success,
}

impl Hue {
    const fn class(self) -> &'static str {
        match self {
            Self::Failure => " f",
            Self::Success => " s",
        }
    }
}

/// The classes of the levels.
const CLASSES: [&str; LEVELS as usize + 1] = ["e", "l1", "l2", "l3", "l4", "l5", "l6", "l7"];

fn class(level: u64) -> &'static str {
    CLASSES.get(level as usize).copied().unwrap_or("l7")
}

/// Draws strips with the same time axis.
#[derive(Debug)]
pub(crate) struct Strips<'a> {
    model: &'a Model,
    /// A faint cell for each column that a recording covers.
    covered: Html,
    clock: Clock,
    /// True if the axis contains more than one date.
    dates: bool,
}

impl<'a> Strips<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        let mut covered = Html::default();
        covered.raw("<path class=\"e\" d=\"");
        let columns = model.columns();
        for column in columns.clone().filter(|column| model.is_covered(*column)) {
            covered.raw("M").text(column - columns.start).raw(" 0h.92v1h-.92z");
        }
        covered.raw("\"/>");
        let date = |column| utc::date(model.begin_of(column), Clock::Realtime);
        let dates = model.clock == Clock::Realtime
            && !columns.is_empty()
            && date(columns.start) != date(columns.end.saturating_sub(1));
        Self { model, covered, clock: model.clock, dates }
    }

    /// Returns the time at which a column begins.
    pub(crate) fn time(&self, column: u64) -> String {
        let ts = self.model.begin_of(column);
        if self.dates {
            utc::date_time(ts, self.clock, Precision::Seconds)
        } else {
            utc::time(ts, self.clock, Precision::Seconds)
        }
    }

    /// Appends a strip. `most` is the largest count of all strips that share a legend.
    pub(crate) fn draw(&self, html: &mut Html, name: &str, series: &Series, most: u64, hue: Hue) {
        let columns = self.model.columns();
        html.raw("<svg class=\"strip").raw(hue.class()).raw("\" viewBox=\"0 0 ").text(columns.clone().count());
        html.raw(" 1\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"").text(self.describe(name, series));
        html.raw("\">").append(&self.covered);
        for column in columns.clone().filter(|column| series.get(*column) > 0) {
            let count = series.get(column);
            html.raw("<rect class=\"").raw(class(level(count, most))).raw("\" x=\"").text(column - columns.start);
            html.raw("\" width=\".92\" height=\"1\"><title>").text(self.time(column)).raw(": ").text(Number(count));
            html.raw("</title></rect>");
        }
        html.raw("</svg>");
    }

    /// Describes a strip in words.
    fn describe(&self, name: &str, series: &Series) -> String {
        let columns = self.model.columns();
        let used = columns.clone().filter(|column| series.get(*column) > 0).count();
        let all = columns.clone().count();
        let largest = columns.clone().rev().max_by_key(|column| series.get(*column)).filter(|_| used > 0);
        match largest {
            None => format!("{name}: none in {all} columns"),
            Some(at) => format!(
                "{name}: in {used} of {all} columns, most in the one from {}: {}",
                self.time(at),
                Number(series.get(at))
            ),
        }
    }

    /// Appends the labels of the time axis.
    pub(crate) fn axis(&self, html: &mut Html) {
        let columns = self.model.columns();
        let middle = columns.start + (columns.end - columns.start) / 2;
        html.raw("<div><span>").text(self.time(columns.start)).raw("</span>");
        if columns.clone().count() > 2 {
            html.raw("<span class=\"mid\">").text(self.time(middle)).raw("</span>");
        }
        html.raw("<span>").text(self.time(columns.end)).raw("</span></div>");
    }
}

/// Appends the legend of the strips that share a largest count.
pub(crate) fn legend(html: &mut Html, name: &'static str, most: u64, hue: Hue) {
    html.raw("<ul class=\"legend\"><li>").raw(name).raw("</li>");
    for wanted in 1..=LEVELS {
        let Some(counts) = counts_of(wanted, most) else { continue };
        html.raw("<li><svg class=\"")
            .raw(hue.class())
            .raw("\" viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect class=\"");
        html.raw(class(wanted)).raw("\" width=\"1\" height=\"1\"/></svg>").text(Number(*counts.start()));
        if counts.start() != counts.end() {
            html.raw("–").text(Number(*counts.end()));
        }
        html.raw("</li>");
    }
    html.raw("</ul>");
}

/// Appends a bar that shows a part of a whole. The number is next to it, so it has no text.
pub(crate) fn bar(html: &mut Html, part: u64, whole: u64, hue: Hue) {
    let width = (u128::from(part) * 1000).div_ceil(u128::from(whole.max(1)));
    html.raw("<svg class=\"bar").raw(hue.class()).raw("\" viewBox=\"0 0 1000 1\" preserveAspectRatio=\"none\"");
    html.raw(" aria-hidden=\"true\"><rect class=\"e\" width=\"1000\" height=\"1\"/><rect class=\"v\" width=\"");
    html.text(width).raw("\" height=\"1\"/></svg>");
}

/// Returns the length of a time span in its two largest units.
pub(crate) fn span(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let two = |of: u64, unit: &str, rest: u64, smaller: &str| match rest {
        0 => format!("{of} {unit}"),
        rest => format!("{of} {unit} {rest} {smaller}"),
    };
    match seconds {
        0 => format!("{} ms", nanos / 1_000_000),
        1..60 => Count(seconds, "second").to_string(),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::prefix::Prefixes;
    use crate::report::model::tests::line;

    #[test]
    fn a_strip_contains_its_counts_as_text() {
        let mut model = Model::new(Prefixes::default());
        for ts in ["100", "103", "103.5"] {
            model.add(&line(ts, "denied", "rto", "10.0.0.1"));
        }
        let strips = Strips::new(&model);
        let rows = model.results.sorted_by(|outcome| outcome.attempts);
        let mut html = Html::default();
        strips.draw(&mut html, "a<b", &rows[0].1.series, 2, Hue::Failure);
        let html = html.finish();
        assert!(html.contains("aria-label=\"a&lt;b: in 2 of 4 columns, most in the one from 00:01:43: 2\""), "{html}");
        assert!(html.contains("<title>00:01:40: 1</title>") && html.contains("<title>00:01:43: 2</title>"), "{html}");
        assert_eq!((html.matches("<rect").count(), html.matches('M').count()), (2, 4), "{html}");
    }

    #[test]
    fn spans_have_two_units() {
        let of = |seconds: u64| span(seconds * 1_000_000_000);
        assert_eq!([of(0), of(1), of(59), of(60), of(105)], ["0 ms", "1 second", "59 seconds", "1 min", "1 min 45 s"]);
        assert_eq!([of(3600), of(7260), of(86_400 * 3 + 3600)], ["1 h", "2 h 1 min", "3 d 1 h"]);
    }
}
