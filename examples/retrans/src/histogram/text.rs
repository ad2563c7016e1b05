// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table as text.

use std::fmt::Write;

use crate::utc::{self, Precision};
use retrans_sdk::event::{Clock, Timestamp};
use retrans_sdk::reason_table::ReasonTable;

use crate::histogram::arguments::Which;
use crate::histogram::count::Table;
use crate::histogram::levels::{LEVELS, counts_of, level};

const SIGNS: [char; LEVELS as usize + 1] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '█'];

fn sign(count: u64, most: u64) -> char {
    SIGNS[level(count, most) as usize]
}

/// Returns the remarks on the counts, one sentence each.
pub(crate) fn remarks(table: &Table) -> Vec<String> {
    let mut remarks = Vec::new();
    if table.synacks > 0 && !table.synack_failures {
        let attempts = table.synacks;
        remarks.push(format!("{attempts} of the attempts are SYN-ACKs, whose failures may be unobservable."));
    }
    if table.missing > 0 {
        remarks.push(format!("LOST: {} attempts are not counted here.", table.missing));
    }
    if table.clock != Clock::Realtime && !table.rows.is_empty() {
        remarks
            .push("The clock of the recording is not known: --clock-offset sets its offset from the epoch.".to_owned());
    }
    if table.skipped > 0 {
        remarks.push(format!("{} skipped.", crate::table::count(table.skipped, "line")));
    }
    remarks
}

/// Returns the length of a column in a unit for people.
pub(crate) fn length(nanos: u64) -> String {
    match nanos / 1_000_000_000 {
        s if !nanos.is_multiple_of(1_000_000_000) || s < 60 => format!("{} s", nanos as f64 / 1e9),
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

pub(crate) fn title(table: &Table) -> String {
    match table.which {
        Which::Failed => format!("failed attempts by remote prefix: {} of {}", table.failures, table.attempts),
        Which::All => format!("attempts by remote prefix: {}, of which {} failed", table.attempts, table.failures),
    }
}

/// Returns the time span of the columns. Its precision is a second, or a millisecond if the columns
/// require it.
pub(crate) fn span(table: &Table) -> String {
    let columns = table.rows.first().map_or(0, |row| row.cells.len()) as u64;
    let precision =
        if table.length.is_multiple_of(1_000_000_000) { Precision::Seconds } else { Precision::Milliseconds };
    let at = |nanos| utc::date_time(Timestamp::from_nanos(nanos), table.clock, precision);
    let end = table.begin.saturating_add(table.length.saturating_mul(columns));
    format!("{} to {} {}, {} a column", at(table.begin), at(end), utc::unit(table.clock), length(table.length))
}

pub(crate) fn draw(table: &Table) -> String {
    let mut text = title(table) + "\n";
    if table.rows.is_empty() {
        text += "Nothing to draw. A recording does not state whether failures were observable.\n";
    } else {
        text += &span(table);
        text += "\n\n";
        rows(&mut text, table);
        text.push('\n');
        legend(&mut text, table);
    }
    for remark in remarks(table) {
        text += &remark;
        text.push('\n');
    }
    text
}

fn rows(text: &mut String, table: &Table) {
    let names = table.rows.iter().map(|row| row.name.len()).max().unwrap_or_default().max("prefix".len());
    let mostly =
        |row: &crate::histogram::count::Row| row.mostly.map_or_else(String::new, |result| result.name().to_string());
    let results = table.rows.iter().map(|row| mostly(row).len()).max().unwrap_or_default().max("mostly".len());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:names$}  failures  attempts  {:results$}  over time", "prefix", "mostly");
    for row in &table.rows {
        let cells: String = row.cells.iter().map(|count| sign(*count, table.most)).collect();
        let (name, result) = (&row.name, mostly(row));
        let _ = writeln!(text, "{name:names$}  {:>8}  {:>8}  {result:results$}  {cells}", row.failures, row.attempts);
    }
}

fn legend(text: &mut String, table: &Table) {
    let _ = write!(text, "{} 0", SIGNS[0]);
    for level in 1..=LEVELS {
        if let Some(range) = counts_of(level, table.most) {
            let _ = write!(text, "  {} {}", SIGNS[level as usize], self::range(range.start(), range.end()));
        }
    }
    text.push('\n');
}

pub(crate) fn range(from: &u64, to: &u64) -> String {
    if from == to { from.to_string() } else { format!("{from}–{to}") }
}
