// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of the parts of this host that dropped segments.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Row, Table};

use super::remotes::ago;
use super::{QUIET, Shown, TITLE, short};

pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let droppers = &shown.model.droppers;
    let title = format!(" dropped by, {} ", droppers.len());
    let block = Block::bordered().border_style(QUIET).title(title).title_style(TITLE);
    let mut rows: Vec<_> = droppers
        .sorted()
        .into_iter()
        .skip(shown.choices.scrolled)
        .map(|(name, dropper)| row(name.to_owned(), short(dropper.attempts), ago(dropper.at, shown.now)))
        .collect();
    if droppers.others() > 0 {
        rows.push(row("(others)".to_owned(), short(droppers.others()), String::new()).style(QUIET));
    }
    if rows.is_empty() {
        rows.push(row("no drop is known (see --drops)".to_owned(), String::new(), String::new()).style(QUIET));
    }
    let heading = row("reason, function, device".to_owned(), "attempts".to_owned(), "ago".to_owned());
    let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(7)];
    frame.render_widget(Table::new(rows, widths).header(heading.style(TITLE)).block(block), area);
}

/// Builds a row with right-aligned numbers.
fn row(name: String, attempts: String, ago: String) -> Row<'static> {
    Row::new([Line::from(name), Line::from(attempts).right_aligned(), Line::from(ago).right_aligned()])
}
