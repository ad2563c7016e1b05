// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the keys and the columns are.

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
    let block = Block::bordered().title(" help: any key goes back ").title_style(TITLE);
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn text() -> String {
    format!(
        " s  sort addresses: failures, attempts, latest, address
 f  filter, as for watch: key=a,b key!=a,b daddr=PREFIX --or …
    it is opened anew with it, and all counts begin anew
 p  pause what is shown; counting goes on
 ↑ ↓ PgUp PgDn Home  scroll the addresses
 q  quit, also Ctrl-C

 /s     the mean of the last ten seconds
 bars   a second each, {KEPT} at most, each row by its own peak;
        ·  before counting began
 shown  attempts that passed the filter and got here
 seen   attempts that the kernel side saw, the filter aside
 (losses)  admitted and not shown: lost, dropped, missed
 (others)  of {MOST} addresses the quarter that failed least
        makes room for others, and is summed up here"
    )
}
