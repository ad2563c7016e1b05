// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the recorded results of the kernel matrix contain each run that a page names: a
//! scenario on a kernel by an attach method.

use std::fs;

use crate::page::{Page, pages, root};

/// Returns the scenario, kernel and attach method of each run that a page names.
pub(crate) fn rows(page: &Page) -> Vec<[String; 3]> {
    let rows = page.rows().skip_while(|row| *row != ["scenario", "kernel", "attach method"]).skip(2);
    rows.map_while(|row| <[&str; 3]>::try_from(row).ok())
        .map(|row| row.map(|cell| cell.trim_matches('`').to_owned()))
        .collect()
}

#[test]
fn the_results_contain_each_run() {
    let path = root().join("tests/kernels/results.tsv");
    let results = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let has = |scenario: &str, kernel: &str, method: &str| {
        results.lines().any(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            columns[..] == [kernel, "scenario", scenario, columns.get(3).unwrap_or(&""), "yes"]
                && columns[3].split(',').any(|other| other == method)
        })
    };
    assert!(!has("no_such_scenario", "5.10", "fexit") && !has("backlog", "5.10", "tp_success"), "unobservable there");
    let mut seen = 0;
    for page in pages() {
        for [scenario, kernel, method] in rows(&page) {
            assert!(has(&scenario, &kernel, &method), "{}: no {scenario} by {method} on {kernel}", page.name);
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
