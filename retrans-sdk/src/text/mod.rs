// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writers and scanners for the values of a key=value line, escaping, and tables of named values.
//! Independent of events.

pub(crate) mod escape;
pub mod reason_table;
pub(crate) mod scanner;
pub(crate) mod suggest;
pub(crate) mod writer;
