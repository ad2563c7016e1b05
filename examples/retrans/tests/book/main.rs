// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks everything in the book (`docs/`). `rust` blocks are documentation tests of
//! `examples/basics` (`src/book.rs`). Every other kind of block has a file here.

mod commands;
mod console;
mod deploy;
mod facts;
mod filters;
mod keys;
mod lab_lines;
mod languages;
mod links;
mod live_sessions;
mod manifests;
mod matrix;
mod page;
mod programs;
mod readme;
mod results;
mod rust_blocks;
mod words;
