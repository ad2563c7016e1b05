// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attributes of the enum and of its variants are kept.
#![deny(warnings)]

/// Derives some traits of a table, and others.
#[retrans_sdk::reason_table(key = "kept")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, std::hash::Hash)]
#[must_use]
#[repr(u8)]
enum Kept {
    /// One.
    #[default]
    #[reason(value = "one")]
    One = 1,
    /// Two.
    #[allow(non_camel_case_types)]
    #[doc(alias = "second")]
    #[reason(value = "two")]
    two = 0x2,
}

/// Derives all traits of a table.
#[retrans_sdk::reason_table(key = "all")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum All {
    /// One.
    #[reason(value = "one")]
    One = 1,
}

/// A whole table may depend on the configuration.
#[retrans_sdk::reason_table(key = "absent")]
#[cfg(any())]
enum Absent {
    /// One.
    #[reason(value = "one")]
    One = 1,
}

fn main() {
    assert_eq!(Kept::default(), Kept::One);
    assert_eq!(Kept::two.raw(), 2);
    assert_eq!(All::from_raw(1), All::One);
    assert!(Kept::One < Kept::two);
}
