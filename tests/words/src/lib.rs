// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the words and the line widths of what a person reads: comments, Markdown, messages, help.

pub mod list;
pub mod report;
pub mod source;
pub mod token;
