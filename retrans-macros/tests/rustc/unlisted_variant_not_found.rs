// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// The class.
#[reason_table(key = "class")]
enum Class {
    /// Fine.
    #[reason(value = "ok")]
    Ok = 0,
    /// Not fine.
    #[reason(value = "other")]
    Other = 1,
}

/// A table.
#[reason_table(key = "t", class = Class, unlisted = Missing)]
enum T {
    /// One.
    #[reason(value = "one", class = Ok)]
    One = 1,
}

fn main() {
    let _ = T::from_raw(1).class() == Class::Ok;
}
