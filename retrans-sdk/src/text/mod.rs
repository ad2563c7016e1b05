// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes and scans the values of a key=value line, and defines tables of named values. Independent
//! of events.

pub mod reason_table;
pub(crate) mod scanner;
pub(crate) mod suggest;
pub(crate) mod writer;
