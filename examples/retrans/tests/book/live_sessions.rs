// SPDX-License-Identifier: MIT OR Apache-2.0
//! `console,live` blocks are sessions that require privileges, so they are not run. Checks that the
//! commands exist, that the events have the keys in their order, and that the counters add up.

use std::collections::BTreeMap;

use crate::commands::is_known;
use crate::console::sessions;
use crate::page::pages;
use crate::words::programs;

/// Returns the `key=value` pairs of a line.
fn pairs(line: &str) -> BTreeMap<&str, &str> {
    line.split(' ').filter_map(|pair| pair.split_once('=')).collect()
}

/// Returns the sum of this key over the lines that begin so.
fn sum(printed: &str, begin: &str, key: &str) -> u64 {
    printed.lines().filter(|line| line.starts_with(begin)).map(|line| number(&pairs(line), key)).sum()
}

fn number(pairs: &BTreeMap<&str, &str>, key: &str) -> u64 {
    pairs.get(key).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number `{key}` in {pairs:?}"))
}

#[test]
fn each_live_session_is_plausible() {
    let first: Vec<_> = retrans_sdk::event::keys().take(11).collect();
    let mut count = 0;
    for page in pages() {
        for block in page.blocks_that(|info| info == "console,live") {
            let at = page.at(&block);
            for (command, printed) in sessions(block.text) {
                for program in programs(command) {
                    is_known(&page, &program).unwrap_or_else(|why| panic!("{at}: {command}: {why}"));
                }
                for line in printed.lines().filter(|line| line.starts_with("ts=")) {
                    let keys = line.split(' ').take(11).map(|pair| pair.split('=').next().unwrap_or_default());
                    // The line may be cut off, inside a key as well.
                    let is_prefix = keys.zip(&first).all(|(key, expected)| expected.starts_with(key));
                    assert!(is_prefix, "{at}: {line}");
                }
                let stats = printed.lines().find(|line| line.starts_with("stats "));
                let stats = pairs(stats.unwrap_or_else(|| panic!("{at}: no line `stats`")));
                let of = |keys: &[&str]| keys.iter().map(|key| number(&stats, key)).sum::<u64>();
                assert_eq!(of(&["seen"]), of(&["filtered", "limited", "lost", "submitted"]), "{at}");
                assert!(of(&["submitted"]) >= of(&["rejected", "dropped", "delivered"]), "{at}");
                assert_eq!(of(&["seen"]), sum(&printed, "seen result=", "attempts"), "{at}");
                assert_eq!(of(&["seen"]), sum(&printed, "seen transmit=", "attempts"), "{at}");
                assert_eq!(of(&["failures"]), sum(&printed, "failed ", "failures"), "{at}");
                count += 1;
            }
        }
    }
    assert!(count > 0);
}
