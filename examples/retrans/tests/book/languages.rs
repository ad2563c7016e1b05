// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that every block states its kind, and that each kind has a test.

use std::fs;

use crate::page::{pages, root};

/// Each kind, and the file that checks it, relative to this directory.
const KNOWN: [(&str, &str); 15] = [
    ("rust,no_run", "rust_blocks"),
    ("rust", "rust_blocks"),
    ("text", "lab_lines"),
    ("text,demo", "../demo/replayed"),
    ("json", "lab_lines"),
    ("filter", "filters"),
    ("filter,live_only", "filters"),
    ("filter,event_only", "filters"),
    ("filter,refused", "filters"),
    ("sh", "commands"),
    ("console", "console"),
    ("console,live", "live_sessions"),
    ("toml", "manifests"),
    ("yaml", "deploy"),
    ("dockerfile", "deploy"),
];

#[test]
fn each_block_is_of_a_kind_that_is_checked() {
    for page in pages() {
        for block in page.blocks() {
            let at = page.at(&block);
            assert!(KNOWN.iter().any(|(info, _)| *info == block.info), "{at}: no test checks `{}`", block.info);
            assert!(!block.text.trim().is_empty(), "{at}: an empty block");
        }
    }
    for (_, file) in KNOWN {
        let path = root().join(format!("examples/retrans/tests/book/{file}.rs"));
        assert!(fs::read_to_string(path).is_ok_and(|text| text.contains("#[test]")), "{file}.rs has no test");
    }
}

#[test]
fn each_page_states_its_license() {
    for page in pages() {
        let (first, _) = page.text.split_once('\n').unwrap_or_default();
        assert_eq!(first, "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->", "{}", page.name);
    }
}
