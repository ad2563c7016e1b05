// SPDX-License-Identifier: MIT OR Apache-2.0
//! The line in which a filter is typed.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{ERROR, QUIET, TITLE};
use crate::top::entry::Entry;

pub(crate) const HEIGHT: u16 = 2;

const PROMPT: &str = "filter: ";

pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, entry: &Entry) {
    let message = match &entry.parsed {
        Ok(_) => Line::styled("Enter applies the filter and resets the counts, Esc cancels", QUIET),
        Err(error) => Line::styled(error.to_string(), ERROR),
    };
    // Scrolls to the left until the cursor is visible.
    let cursor = PROMPT.len() + entry.cursor();
    let hidden = (cursor + 1).saturating_sub(area.width.into());
    let text = Line::from(vec![Span::styled(PROMPT, TITLE), Span::raw(entry.text())]);
    let [first, second] = [0, 1].map(|y| Rect { y: area.y.saturating_add(y), height: 1, ..area }.intersection(area));
    frame.render_widget(Paragraph::new(text).scroll((0, u16::try_from(hidden).unwrap_or(u16::MAX))), first);
    frame.render_widget(message, second);
    if !first.is_empty() {
        let x = area.x.saturating_add(u16::try_from(cursor - hidden).unwrap_or(u16::MAX));
        frame.set_cursor_position(Position { x, y: area.y });
    }
}
