// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rate limit of each result.

/// As the kernel side has it: both in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// How long a token takes to come.
    pub(crate) interval: u64,
    /// How long it takes an empty bucket to be full.
    pub(crate) burst: u64,
}
