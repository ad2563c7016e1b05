// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the kernel supports something, found out by trying it.

/// Whether something is to be had, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Availability {
    /// It is, for it was tried.
    Yes,
    /// It is not.
    No {
        /// For this reason.
        why: String,
    },
}

impl Availability {
    /// Whether it is.
    #[must_use]
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }

    pub(crate) fn of<T>(tried: Result<T, String>) -> Self {
        match tried {
            Ok(_) => Self::Yes,
            Err(why) => Self::No { why },
        }
    }
}
