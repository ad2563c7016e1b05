// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of remote addresses, with the results of the attempts.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Row, Table};
use retrans_sdk::event::Timestamp;
use retrans_sdk::reason_table::ReasonTable;

use super::{QUIET, Shown, TITLE, short, style_of};
use crate::top::remotes::Order;

pub(crate) fn draw(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let remotes = &shown.model.remotes;
    let order = shown.choices.order;
    let title = format!(" remote addresses, {} ", remotes.len());
    let block = Block::bordered().border_style(QUIET).title(title).title_style(TITLE);
    // Two borders and the heading.
    let room = usize::from(area.height).saturating_sub(3);

    let mut rows = Vec::new();
    if let Some(others) = remotes.others() {
        let failures = failures(shown, others.failures);
        let removed = format!("removed {}", short(others.removed));
        rows.push(row(["(others)".to_owned(), short(others.attempts), failures, removed, String::new()]).style(QUIET));
    }
    let sorted = remotes.sorted(order);
    let below = sorted.iter().skip(shown.choices.scrolled).take(room.saturating_sub(rows.len()));
    let below = below.map(|(address, remote)| {
        row([
            address.to_string(),
            short(remote.attempts),
            failures(shown, remote.failures),
            remote.last.name().to_string(),
            ago(remote.at, shown.now),
        ])
        .style(if remote.failures > 0 { style_of(Some(remote.last)) } else { Style::new() })
    });
    let rows: Vec<_> = below.chain(rows).collect();

    let marked = |name: &str, by| if order == by { format!("{name}▼") } else { name.to_owned() };
    let heading = row([
        if order == Order::Address { "address▲".to_owned() } else { "address".to_owned() },
        marked("attempts", Order::Attempts),
        marked("failures", Order::Failures),
        "last result".to_owned(),
        marked("ago", Order::Latest),
    ]);
    let widths = [
        Constraint::Max(39),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(15),
        Constraint::Length(7),
    ];
    frame.render_widget(Table::new(rows, widths).header(heading.style(TITLE)).block(block), area);
}

/// Builds a row with right-aligned numbers.
fn row(cells: [String; 5]) -> Row<'static> {
    let [address, attempts, failures, result, ago] = cells.map(Line::from);
    Row::new([address, attempts.right_aligned(), failures.right_aligned(), result, ago.right_aligned()])
}

/// Shows unobservable failures as unobservable, not as 0.
fn failures(shown: &Shown<'_>, failures: u64) -> String {
    if shown.about.observes_failures == Some(false) { "unobs.".to_owned() } else { short(failures) }
}

pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_nanos().saturating_sub(at.as_nanos()) / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..345_600 => format!("{} h", seconds / 3600),
        _ => format!("{} d", short(seconds / 86_400)),
    }
}
