// SPDX-License-Identifier: MIT OR Apache-2.0
//! What pages say of the kernel matrix is recorded: an outcome on a kernel by an attach method.

use std::fs;

use crate::page::{Page, pages, root};

/// Outcome, kernel, attach method.
pub(crate) fn rows(page: &Page) -> Vec<[String; 3]> {
    let rows = page.rows().skip_while(|row| *row != ["scenario", "kernel", "attach method"]).skip(2);
    rows.map_while(|row| <[&str; 3]>::try_from(row).ok())
        .map(|row| row.map(|cell| cell.trim_matches('`').to_owned()))
        .collect()
}

#[test]
fn the_results_have_them() {
    let path = root().join("tests/kernels/results.tsv");
    let results = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let has = |outcome: &str, kernel: &str, method: &str| {
        results.lines().any(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            columns[..] == [kernel, "scenario", outcome, columns.get(3).unwrap_or(&""), "yes"]
                && columns[3].split(',').any(|other| other == method)
        })
    };
    assert!(!has("no_such_outcome", "5.10", "fexit") && !has("backlog", "5.10", "tp_success"), "unobservable there");
    let mut seen = 0;
    for page in pages() {
        for [outcome, kernel, method] in rows(&page) {
            assert!(has(&outcome, &kernel, &method), "{}: no {outcome} by {method} on {kernel}", page.name);
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
