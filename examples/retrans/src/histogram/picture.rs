// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table as SVG: one row per prefix, one column per period, darker cells for larger counts.

use crate::utc::{self, Precision};
use retrans_sdk::event::Timestamp;
use retrans_sdk::reason_table::ReasonTable;
use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Text, Title};

use crate::histogram::arguments::Which;
use crate::histogram::count::{Row, Table};
use crate::histogram::levels::{LEVELS, counts_of, level};
use crate::histogram::text::{range, remarks, span, title};

/// The colours of zero and of the levels above it, from light to dark. They can be distinguished
/// without colour.
const COLOURS: [&str; LEVELS as usize + 1] =
    ["#f4f4f4", "#fee5d9", "#fcbba1", "#fc9272", "#fb6a4a", "#de2d26", "#a50f15", "#4d0006"];

const INK: &str = "#222222";
const FAINT: &str = "#666666";
const FONT: usize = 13;
/// The maximum width of a letter, so that nothing overlaps in any font.
const LETTER: usize = 8;
const MARGIN: usize = 24;
const ROW: usize = 22;
/// The approximate width of all cells together.
const PLOT: usize = 800;

struct Layout {
    /// The position of the first cell.
    left: usize,
    top: usize,
    cell: usize,
    columns: usize,
    rows: usize,
}

impl Layout {
    fn of(table: &Table) -> Self {
        let names = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        let columns = table.rows.first().map_or(0, |row| row.cells.len());
        let cell = (PLOT / columns.max(1)).clamp(2, 40);
        Self { left: MARGIN + names * LETTER + 12, top: 92, cell, columns, rows: table.rows.len() }
    }

    fn right(&self) -> usize {
        self.left + self.columns * self.cell
    }

    fn bottom(&self) -> usize {
        self.top + self.rows * ROW
    }

    /// Returns the width of the picture. It has room for the totals next to the cells, and for the
    /// lines of text above and below them.
    fn width(&self, lines: &[String]) -> usize {
        let longest = lines.iter().map(|line| line.chars().count() * LETTER).max().unwrap_or_default();
        (self.right() + 27 * LETTER).max(longest).max(LEGEND * (LEVELS as usize + 1)) + 2 * MARGIN
    }
}

/// The width of one entry of the legend.
const LEGEND: usize = 96;

fn text(x: usize, y: usize, words: &str) -> Text {
    // XML cannot represent control characters.
    let words: String = words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    Text::new(words).set("x", x).set("y", y).set("fill", INK)
}

fn faint(x: usize, y: usize, words: &str) -> Text {
    text(x, y, words).set("fill", FAINT)
}

fn line(from: (usize, usize), to: (usize, usize)) -> Line {
    Line::new().set("x1", from.0).set("y1", from.1).set("x2", to.0).set("y2", to.1).set("stroke", FAINT)
}

pub(crate) fn draw(table: &Table) -> String {
    let layout = Layout::of(table);
    let span = if table.rows.is_empty() { "nothing to draw".to_owned() } else { span(table) };
    let mut lines = vec![title(table), span];
    lines.extend(remarks(table));
    let height = layout.bottom() + 116 + (lines.len() - 2) * ROW;
    let width = layout.width(&lines);
    let mut document = Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .set("role", "img")
        .set("font-family", "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif")
        .set("font-size", FONT)
        .add(Title::new(lines[0].as_str()))
        .add(Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff"))
        .add(text(MARGIN, 32, &lines[0]).set("font-size", 17).set("font-weight", "bold"))
        .add(faint(MARGIN, 54, &lines[1]));
    if !table.rows.is_empty() {
        document = document.add(heading(&layout)).add(cells(table, &layout)).add(time_axis(table, &layout));
        document = document.add(legend(table, layout.bottom() + 72));
    }
    for (i, remark) in lines[2..].iter().enumerate() {
        document = document.add(text(MARGIN, layout.bottom() + 118 + i * ROW, remark));
    }
    document.to_string() + "\n"
}

fn heading(layout: &Layout) -> Group {
    let y = layout.top - 8;
    Group::new().add(faint(layout.left - 8, y, "remote prefix").set("text-anchor", "end")).add(faint(
        layout.right() + 12,
        y,
        "failures / attempts, mostly",
    ))
}

fn cells(table: &Table, layout: &Layout) -> Group {
    let mut group = Group::new();
    for (i, row) in table.rows.iter().enumerate() {
        let y = layout.top + i * ROW;
        let baseline = y + ROW - 7;
        let mostly = row.mostly.map_or_else(String::new, |result| format!(", {}", result.name()));
        let total = format!("{} / {}{mostly}", row.failures, row.attempts);
        group = group.add(text(layout.left - 8, baseline, &row.name).set("text-anchor", "end")).add(text(
            layout.right() + 12,
            baseline,
            &total,
        ));
        for (column, count) in row.cells.iter().enumerate() {
            group = group.add(cell(table, layout, row, (column, y), *count));
        }
    }
    group
}

fn cell(table: &Table, layout: &Layout, row: &Row, (column, y): (usize, usize), count: u64) -> Rectangle {
    let gap = usize::from(layout.cell > 6);
    let rectangle = Rectangle::new()
        .set("x", layout.left + column * layout.cell)
        .set("y", y)
        .set("width", layout.cell - gap)
        .set("height", ROW - 1)
        .set("fill", COLOURS[level(count, table.most) as usize]);
    if count == 0 {
        return rectangle;
    }
    // Shown when the pointer is over the cell.
    rectangle.add(Title::new(format!("{}, {}: {count}", row.name, time(table, column))))
}

/// Returns the time at which a column begins.
fn time(table: &Table, column: usize) -> String {
    let ts = Timestamp::from_nanos(table.begin.saturating_add(table.length.saturating_mul(column as u64)));
    match table.length {
        length if length % 1_000_000_000 != 0 => utc::time(ts, table.clock, Precision::Milliseconds),
        86_400_000_000_000.. => utc::date(ts, table.clock),
        _ => utc::time(ts, table.clock, Precision::Seconds),
    }
}

fn time_axis(table: &Table, layout: &Layout) -> Group {
    let y = layout.bottom() + 4;
    let mut group = Group::new().add(line((layout.left, y), (layout.right(), y)));
    // As many labels as fit next to each other.
    let room = (12 * LETTER + 16).div_ceil(layout.cell);
    for column in (0..=layout.columns).step_by(room) {
        let x = layout.left + column * layout.cell;
        group =
            group.add(line((x, y), (x, y + 6))).add(text(x, y + 22, &time(table, column)).set("text-anchor", "middle"));
    }
    group.add(faint(layout.left, y + 42, &format!("time, {}", utc::unit(table.clock))))
}

fn legend(table: &Table, y: usize) -> Group {
    let mut group =
        Group::new().add(faint(MARGIN, y + 13, if table.which == Which::All { "attempts:" } else { "failures:" }));
    let none = std::iter::once((0, "0".to_owned()));
    let some = (1..=LEVELS).filter_map(|level| Some((level, counts_of(level, table.most)?)));
    let entries = none.chain(some.map(|(level, counts)| (level, range(counts.start(), counts.end()))));
    for (i, (level, counts)) in entries.enumerate() {
        let x = MARGIN + LEGEND * 7 / 8 + i * LEGEND;
        let sample = Rectangle::new().set("x", x).set("y", y).set("width", 18).set("height", 18);
        group = group
            .add(sample.set("fill", COLOURS[level as usize]).set("stroke", FAINT).set("stroke-width", 0.5))
            .add(text(x + 24, y + 14, &counts));
    }
    group
}
