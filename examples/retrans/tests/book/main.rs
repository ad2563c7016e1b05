// SPDX-License-Identifier: MIT OR Apache-2.0
//! The book (`docs/`): nothing in it is left unchecked. `rust` blocks are documentation tests of
//! `examples/basics` (`src/book.rs`); what every other sort of block must be is here, a file each.

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
