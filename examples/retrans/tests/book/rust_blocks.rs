// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rust` blocks are compiled as documentation tests, which a page is taken up for in `src/book.rs`.

use std::fs;

use crate::page::{pages, root};

#[test]
fn each_page_with_rust_is_compiled() {
    let taken_up = fs::read_to_string(root().join("examples/basics/src/book.rs")).expect("the list of pages");
    for page in pages() {
        let has_rust = page.blocks_that(|info| info.starts_with("rust")).next().is_some();
        let is_compiled = taken_up.contains(&format!("(\"../../../docs/{}\")", page.name));
        assert_eq!(has_rust, is_compiled, "{}: is it in src/book.rs?", page.name);
    }
}
