// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table as key=value lines and as JSON, for programs.

use std::fmt::Write as _;

use retrans_sdk::event::Timestamp;
use retrans_sdk::reason_table::ReasonTable as _;
use serde_json::json;

use crate::histogram::count::Table;

/// Returns one key=value line per row. `cells` contains the counts of the columns, the first of
/// which begins at `begin` by `clock`.
pub(crate) fn draw(table: &Table) -> String {
    let mut text = String::new();
    let (begin, seconds) = (Timestamp::from_nanos(table.begin), table.length as f64 / 1e9);
    for row in &table.rows {
        let prefix = row.name.replace(' ', "_");
        let mostly = row.mostly.map_or_else(|| "-".to_owned(), |result| result.name().to_string());
        let cells: Vec<_> = row.cells.iter().map(u64::to_string).collect();
        let (attempts, failures, cells, clock) = (row.attempts, row.failures, cells.join(":"), table.clock);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "prefix={prefix} attempts={attempts} failures={failures} mostly={mostly} begin={begin} column_seconds={seconds} cells={cells} clock={clock}"
        );
    }
    text
}

/// Returns the whole table as a JSON object.
pub(crate) fn draw_json(table: &Table) -> String {
    let rows: Vec<_> = table
        .rows
        .iter()
        .map(|row| {
            json!({
                "prefix": row.name,
                "attempts": row.attempts,
                "failures": row.failures,
                "mostly": row.mostly.map(|result| result.name().to_string()),
                "cells": row.cells,
            })
        })
        .collect();
    let object = json!({
        "attempts": table.attempts,
        "failures": table.failures,
        "synacks": table.synacks,
        "missing": table.missing,
        "skipped": table.skipped,
        "clock": table.clock.to_string(),
        "begin": Timestamp::from_nanos(table.begin).to_string(),
        "column_seconds": table.length as f64 / 1e9,
        "rows": rows,
    });
    format!("{object}\n")
}
