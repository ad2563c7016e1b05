// SPDX-License-Identifier: MIT OR Apache-2.0
//! What pages say of the matrix is in its logs: so many events of an outcome, on a kernel, from a source, over all families.

use std::fs;

use crate::page::{Page, pages, root};

/// Outcome, kernel, source, events.
pub(crate) fn rows(page: &Page) -> Vec<[String; 4]> {
    let rows = page.rows().skip_while(|row| *row != ["outcome", "kernel", "source", "events"]).skip(2);
    rows.map_while(|row| <[&str; 4]>::try_from(row).ok())
        .map(|row| row.map(|cell| cell.trim_matches('`').to_owned()))
        .collect()
}

/// The events of the trials of which the witnesses agreed, and how many trials these were.
fn logged(kernel: &str, source: &str, outcome: &str) -> (u32, usize) {
    let path = root().join(format!("tests/kernels/logs/{kernel}.log"));
    let log = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let of_trial = |line: &str| {
        let pairs: Vec<_> = line.strip_prefix("cell ")?.split(' ').collect();
        let has = |pair: &str| pairs.contains(&pair);
        let is_it = has(&format!("source={source}")) && has(&format!("outcome={outcome}")) && has("agreed=yes");
        pairs.iter().find_map(|pair| pair.strip_prefix("events=")).filter(|_| is_it)?.parse::<u32>().ok()
    };
    let trials: Vec<_> = log.lines().filter_map(of_trial).collect();
    (trials.iter().sum(), trials.len())
}

#[test]
fn the_logs_have_as_many() {
    let mut seen = 0;
    for page in pages() {
        for [outcome, kernel, source, events] in rows(&page) {
            let (logged, trials) = logged(&kernel, &source, &outcome);
            assert!(trials > 0, "{}: no {outcome} from {source} on {kernel}", page.name);
            assert_eq!(logged.to_string(), events, "{}: {outcome} from {source} on {kernel}", page.name);
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
