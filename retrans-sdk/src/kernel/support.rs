// SPDX-License-Identifier: MIT OR Apache-2.0
//! The support of the kernel for a feature.

/// The support of the kernel and this process for a feature, determined by trying it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// Available; verified by trying it.
    Available,
    /// Not available.
    Unavailable {
        /// The reason.
        reason: String,
    },
}

impl Support {
    /// Returns true if it is available.
    #[must_use]
    pub const fn is_available(&self) -> bool {
        matches!(self, Self::Available)
    }

    pub(crate) fn of<T>(tried: Result<T, String>) -> Self {
        match tried {
            Ok(_) => Self::Available,
            Err(reason) => Self::Unavailable { reason },
        }
    }
}
