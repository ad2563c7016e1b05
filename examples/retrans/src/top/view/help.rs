// SPDX-License-Identifier: MIT OR Apache-2.0
//! The help for the keys and the columns.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::TITLE;
use crate::top::remotes::MOST;
use crate::top::seconds::KEPT;

pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect) {
    let text = text();
    let width = text.lines().map(|line| line.chars().count()).max().unwrap_or_default() as u16 + 4;
    let height = text.lines().count() as u16 + 2;
    let [area] = Layout::horizontal([Constraint::Max(width)]).flex(Flex::Center).areas(area);
    let [area] = Layout::vertical([Constraint::Max(height)]).flex(Flex::Center).areas(area);
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" help: press any key to close ").title_style(TITLE);
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn text() -> String {
    format!(
        " s  sort addresses: failures, attempts, latest, address
 d  show the droppers (with --drops), or the addresses again
 f  filter, as for watch: key=a,b key!=a,b daddr=PREFIX --or …
    a new filter reopens the source and resets all counts
 p  pause the display; counting continues
 ↑ ↓ PgUp PgDn Home  scroll the rows
 q  quit, also Ctrl-C

 /s     mean rate of the last ten seconds
 bars   one per second, at most {KEPT}, scaled to the row's peak;
        ·  before counting began
 shown  attempts that matched the filter and were delivered
 seen   attempts that the BPF programs saw, before the filter
 (losses)  attempts that were lost, dropped or missed
 (others)  sum of removed addresses: with {MOST} addresses, the
        quarter with the fewest failures is removed"
    )
}
