// SPDX-License-Identifier: MIT OR Apache-2.0
//! The logs of the tree.

/// A row of the demo without the number of events, which differs from boot to boot.
fn demo(log: &str) -> Vec<Vec<&str>> {
    let rows = log.lines().filter_map(|line| line.strip_prefix("demo | "));
    rows.map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .map(|mut row: Vec<&str>| {
            let events = row.len() - 2;
            assert!(row[0] == "what was done" || row[events].parse::<u32>().is_ok(), "{row:?}");
            row.remove(events);
            row
        })
        .collect()
}

#[test]
fn on_6_1_as_on_7_3_an_attempt_is_told_in_the_same_words() {
    let [old, new] = [include_str!("../logs/6.1.log"), include_str!("../logs/7.3.log")].map(demo);
    assert!(old.len() > 28 && old.iter().any(|row| row.contains(&"frag_nomem")), "{old:?}");
    assert_eq!(old, new);
}
