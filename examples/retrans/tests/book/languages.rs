// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every block says of what sort it is, and there is a test for each sort.

use std::fs;

use crate::page::{pages, root};

/// Each sort, and the file here that sees to it.
const KNOWN: [(&str, &str); 11] = [
    ("rust,no_run", "rust_blocks"),
    ("rust", "rust_blocks"),
    ("text", "lab_lines"),
    ("json", "lab_lines"),
    ("filter", "filters"),
    ("filter,live_only", "filters"),
    ("filter,event_only", "filters"),
    ("filter,refused", "filters"),
    ("sh", "commands"),
    ("console", "console"),
    ("toml", "manifests"),
];

#[test]
fn no_block_is_of_a_sort_that_nobody_checks() {
    for page in pages() {
        for block in page.blocks() {
            let at = page.at(&block);
            assert!(KNOWN.iter().any(|(info, _)| *info == block.info), "{at}: `{}` is checked by nothing", block.info);
            assert!(!block.text.trim().is_empty(), "{at}: an empty block");
        }
    }
    for (_, file) in KNOWN {
        let path = root().join(format!("examples/retrans/tests/book/{file}.rs"));
        assert!(fs::read_to_string(path).is_ok_and(|text| text.contains("#[test]")), "{file}.rs has no test");
    }
}

#[test]
fn every_page_says_how_it_may_be_used() {
    for page in pages() {
        let (first, _) = page.text.split_once('\n').unwrap_or_default();
        assert_eq!(first, "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->", "{}", page.name);
    }
}
