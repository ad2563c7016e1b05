// SPDX-License-Identifier: MIT OR Apache-2.0
//! KernelStr as a key=value line has it: writing and scanning values, and tables of named values. Knows no event.

pub mod reason_table;
pub(crate) mod scanner;
pub(crate) mod suggest;
pub(crate) mod writer;
