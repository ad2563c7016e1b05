// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the `rust` blocks of each page are compiled as documentation tests, because
//! `examples/basics/src/book.rs` lists the page.

use std::fs;

use crate::page::{pages, root};

#[test]
fn each_page_with_rust_is_compiled() {
    let listed = fs::read_to_string(root().join("examples/basics/src/book.rs")).expect("the list of pages");
    for page in pages() {
        let has_rust = page.blocks_that(|info| info.starts_with("rust")).next().is_some();
        let is_compiled = listed.contains(&format!("(\"../../../docs/{}\")", page.name));
        assert_eq!(has_rust, is_compiled, "{}: is it in src/book.rs?", page.name);
    }
}
