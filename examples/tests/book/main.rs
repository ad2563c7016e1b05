// SPDX-License-Identifier: MIT OR Apache-2.0
//! The book (`docs/`): nothing in it is left unchecked. `rust` blocks are documentation tests of this package
//! (`src/book.rs`); what every other sort of block must be is here, a file each.

mod commands;
mod console;
mod facts;
mod filters;
mod keys;
mod lab_lines;
mod languages;
mod links;
mod manifests;
mod matrix;
mod page;
mod programs;
mod results;
mod rust_blocks;
mod words;

/// Pages whose `rust` blocks are not compiled, for they are about what is not there yet. With each there stands why.
///
/// A page is either here or in `src/book.rs`.
const PENDING: [(&str, &str); 5] = [
    ("embedding/tests.md", "Builder::scripted, Builder::replay, Event::of_result"),
    ("embedding/threads.md", "Overflow"),
    ("embedding/tokio.md", "Stream::into_async, feature tokio"),
    ("kernels.md", "Stream::attachment gives an Option"),
    ("recording.md", "Replay, emit, Stats::skipped"),
];
