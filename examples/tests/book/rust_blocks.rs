// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rust` blocks are compiled as documentation tests, which a page is taken up for in `src/book.rs`.

use std::fs;

use crate::PENDING;
use crate::page::{pages, root};

#[test]
fn each_page_with_rust_is_compiled_or_said_to_be_pending() {
    let taken_up = fs::read_to_string(root().join("examples/src/book.rs")).expect("the list of pages");
    for page in pages() {
        let has_rust = page.blocks_that(|info| info.starts_with("rust")).next().is_some();
        let is_pending = PENDING.iter().any(|(name, _)| *name == page.name);
        let is_compiled = taken_up.contains(&format!("(\"../../docs/{}\")", page.name));
        assert!(!(is_pending && is_compiled), "{} is compiled, and so not pending", page.name);
        assert_eq!(has_rust, is_pending || is_compiled, "{}: is it in src/book.rs, or in PENDING?", page.name);
    }
}

#[test]
fn what_is_pending_is_there() {
    for (name, why) in PENDING {
        assert!(root().join("docs").join(name).exists() && !why.is_empty(), "{name}");
    }
}
