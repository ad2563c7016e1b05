// SPDX-License-Identifier: MIT OR Apache-2.0
//! Draws the display. It depends only on [`Shown`] and on the size of the terminal.
//!
//! Bytes from the kernel, a recording or the command line reach the terminal only as text: ratatui
//! removes control characters from its cells.

mod droppers;
mod entry;
mod header;
mod help;
mod rates;
mod remotes;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use retrans_sdk::event::Timestamp;
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{Filter, ResultClass, RetransResult};

use crate::top::input::{Choices, Mode};
use crate::top::model::Model;
use crate::top::source::{About, Progress};

/// The data of the display.
pub(crate) struct Shown<'a> {
    pub(crate) about: &'a About,
    pub(crate) progress: &'a Progress,
    pub(crate) filter: &'a Filter,
    pub(crate) model: &'a Model,
    pub(crate) now: Timestamp,
    pub(crate) paused: bool,
    pub(crate) refused: Option<&'a str>,
    pub(crate) choices: &'a Choices,
}

/// A smaller terminal shows only losses and results.
const SMALLEST: (u16, u16) = (60, 14);

pub(crate) const ALARM: Style = Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD);
pub(crate) const WARNING: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
pub(crate) const ERROR: Style = Style::new().fg(Color::Red);
pub(crate) const QUIET: Style = Style::new().fg(Color::DarkGray);
pub(crate) const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);

pub(crate) fn draw(frame: &mut Frame<'_>, shown: &Shown<'_>) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        draw_tiny(frame, shown);
        return;
    }
    let header = header::lines(shown, area.width);
    let rates = rates::height(shown.model).clamp(3, (area.height - header.len() as u16) / 2);
    let footer = if matches!(shown.choices.mode, Mode::Filter(_)) { entry::HEIGHT } else { 1 };
    let [top, middle, bottom, foot] = Layout::vertical([
        Constraint::Length(header.len() as u16),
        Constraint::Length(rates),
        Constraint::Min(0),
        Constraint::Length(footer),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header), top);
    rates::draw(frame, middle, shown);
    if shown.choices.droppers {
        droppers::draw(frame, bottom, shown);
    } else {
        remotes::draw(frame, bottom, shown);
    }
    match &shown.choices.mode {
        Mode::Filter(typed) => entry::draw(frame, foot, typed),
        Mode::Plain => frame.render_widget(Line::styled(KEYS, QUIET), foot),
        Mode::Help => {
            frame.render_widget(Line::styled(KEYS, QUIET), foot);
            help::draw(frame, area);
        }
    }
}

const KEYS: &str = " s sort   d droppers   f filter   p pause   ? help   q quit";

/// The most important lines come first, because the rest may be cut off.
fn draw_tiny(frame: &mut Frame<'_>, shown: &Shown<'_>) {
    let area = frame.area();
    if let Mode::Filter(typed) = &shown.choices.mode {
        entry::draw(frame, area, typed);
        return;
    }
    let mut lines = Vec::new();
    let losses = shown.model.counters.losses();
    if losses > 0 {
        lines.push(Line::styled(format!("LOST {losses}"), ALARM));
    }
    if shown.about.observes_failures == Some(false) {
        lines.push(Line::styled("failures unobservable", WARNING));
    }
    lines.extend(shown.refused.map(|why| Line::styled(why, ERROR)));
    if let Progress::Broken(why) = shown.progress {
        lines.push(Line::styled(why.as_str(), ERROR));
    }
    for (result, seconds) in shown.model.results.rows() {
        let name = result.map_or_else(|| "others".to_owned(), |result| result.name().to_string());
        lines.push(Line::styled(format!("{name} {}", seconds.total()), style_of(result)));
    }
    if lines.is_empty() {
        lines.push(Line::raw("nothing yet"));
    }
    if shown.paused {
        lines.insert(0, Line::styled("PAUSED", WARNING));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// Removes all colors. A colored background becomes reverse video, so that alarms stay visible.
pub(crate) fn remove_colors(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.bg != Color::Reset {
            cell.modifier.insert(Modifier::REVERSED);
        }
        (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
    }
}

/// Returns the style of a result.
fn style_of(result: Option<RetransResult>) -> Style {
    Style::new().fg(match result.map(RetransResult::class) {
        Some(ResultClass::Ok) => Color::Green,
        Some(ResultClass::Busy | ResultClass::Window) => Color::Yellow,
        Some(_) => Color::Red,
        None => Color::Reset,
    })
}

/// Formats a number in at most five columns.
fn short(number: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    if number < 100_000 {
        return number.to_string();
    }
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1000.0 {
        value /= 1000.0;
        unit += 1;
    }
    // Rounded down: 999,999 is not a million.
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let scale = 10_f64.powi(decimals as i32);
    format!("{:.decimals$}{}", (value * scale).floor() / scale, UNITS[unit])
}

/// Formats a rate in at most five columns.
fn rate(per_second: f64) -> String {
    if per_second < 1000.0 { format!("{per_second:.1}") } else { short(per_second as u64) }
}

/// Returns a part of an area: `width` columns that begin at `x`.
fn inner(area: Rect, x: u16, width: u16) -> Rect {
    Rect { x: area.x.saturating_add(x), width, ..area }.intersection(area)
}

fn spaced<'a>(spans: impl IntoIterator<Item = Span<'a>>) -> Line<'a> {
    let mut line = Vec::new();
    for span in spans {
        line.extend([Span::raw(" "), span]);
    }
    Line::from(line)
}
