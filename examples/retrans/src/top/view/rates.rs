// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rates by result and by kind, with a bar per second.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Sparkline};
use retrans_sdk::RetransResult;
use retrans_sdk::reason_table::ReasonTable;

use super::{ALARM, QUIET, Shown, TITLE, inner, rate, short, style_of};
use crate::top::model::Model;
use crate::top::seconds::Seconds;

/// The minimum width for the column of the kernel's own counts.
const WIDE: u16 = 54;

/// The number of heights that a bar can have.
const LEVELS: u64 = 8;

/// One row of a panel.
struct Row<'a> {
    name: String,
    seconds: &'a Seconds,
    /// Attempts before the filter and losses, if known.
    seen: Option<u64>,
    style: Style,
}

/// Returns the height of the larger panel, with borders and heading.
pub(crate) fn height(model: &Model) -> u16 {
    let rows = results(model).len().max(model.kinds.rows().count());
    u16::try_from(rows + 3).unwrap_or(u16::MAX)
}

pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let [left, right] = Layout::horizontal([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(area);
    panel(frame, left, "result", 15, &results(shown.model), shown);
    panel(frame, right, "kind", 7, &kinds(shown.model), shown);
}

fn results(model: &Model) -> Vec<Row<'_>> {
    let seen = |result: RetransResult| {
        let seen = model.counters.seen.as_ref()?;
        match seen.iter().find(|(name, _)| *name == Some(result)) {
            Some((_, attempts)) => Some(*attempts),
            // The BPF programs count all numbers that are not in the table together.
            None => result.entry().map(|_| 0),
        }
    };
    let row = |(result, seconds): (Option<_>, _)| Row {
        name: name_of(result),
        seconds,
        seen: result.and_then(seen),
        style: style_of(result),
    };
    let mut rows: Vec<_> = model.results.rows().map(row).collect();
    let losses = model.losses.total() > 0;
    let style = if losses { ALARM } else { QUIET };
    rows.push(Row { name: "(losses)".to_owned(), seconds: &model.losses, seen: None, style });
    rows
}

fn kinds(model: &Model) -> Vec<Row<'_>> {
    let row = |(kind, seconds): (Option<_>, _)| Row { name: name_of(kind), seconds, seen: None, style: Style::new() };
    model.kinds.rows().map(row).collect()
}

fn name_of<T: ReasonTable>(name: Option<T>) -> String {
    name.map_or_else(|| "others".to_owned(), |name| name.name().to_string())
}

fn panel(frame: &mut Frame<'_>, area: Rect, what: &'static str, names: u16, rows: &[Row<'_>], shown: &Shown<'_>) {
    let block = Block::bordered().border_style(QUIET);
    let within = block.inner(area);
    frame.render_widget(block, area);
    let wide = within.width >= WIDE && shown.model.counters.seen.is_some() && what == "result";
    let columns = names + 6 + 7 + if wide { 7 } else { 0 };
    let bars = inner(within, columns + 1, within.width.saturating_sub(columns + 1));
    let heading = if wide {
        format!("{what:names$}{:>6}{:>7}{:>7}", "/s", "shown", "seen", names = usize::from(names))
    } else {
        format!("{what:names$}{:>6}{:>7}", "/s", "shown", names = usize::from(names))
    };
    let mut lines = within.rows();
    let Some(line) = lines.next() else { return };
    frame.render_widget(Line::styled(heading, TITLE), line);
    frame.render_widget(Line::styled(format!("last {} s", bars.width), QUIET), bars.intersection(line));

    let room = usize::from(within.height).saturating_sub(1);
    for (i, (row, line)) in rows.iter().zip(lines).enumerate() {
        // The last line, if there are more rows than lines.
        if i + 1 == room && rows.len() > room {
            let hidden = rows.len() - i;
            // A loss must always be visible.
            let lost = rows[i..].iter().any(|row| row.style == ALARM);
            let style = if lost { ALARM } else { QUIET };
            let text = if lost { format!("… {hidden} more, LOSSES") } else { format!("… {hidden} more") };
            frame.render_widget(Line::styled(text, style), line);
            break;
        }
        draw_row(frame, line, bars.intersection(line), names, wide, row, shown);
    }
}

fn draw_row(frame: &mut Frame<'_>, line: Rect, bars: Rect, names: u16, wide: bool, row: &Row<'_>, shown: &Shown<'_>) {
    let (since, now) = (shown.model.since, shown.now);
    let Row { name, seconds, seen, style } = row;
    let mut text = format!(
        "{name:names$}{:>6}{:>7}",
        rate(seconds.rate(since, now)),
        short(seconds.total()),
        names = names.into()
    );
    if wide {
        text += &format!("{:>7}", seen.map_or_else(|| "-".to_owned(), short));
    }
    frame.render_widget(Line::styled(text, *style), inner(line, 0, bars.x.saturating_sub(line.x)));
    let counts = seconds.last(bars.width.into(), since, now);
    let most = counts.iter().flatten().max().copied().unwrap_or_default().max(1);
    // The widget rounds down, but a count above zero must be visible.
    let levels = counts
        .iter()
        .map(|count| count.map(|count| (u128::from(count) * u128::from(LEVELS)).div_ceil(most.into()) as u64));
    let sparkline = Sparkline::default()
        .data(levels)
        .max(LEVELS)
        .absent_value_symbol("·")
        .absent_value_style(QUIET)
        .style(Style::new().fg(style.fg.filter(|_| *style != ALARM).unwrap_or(Color::Reset)));
    frame.render_widget(sparkline, bars);
}
