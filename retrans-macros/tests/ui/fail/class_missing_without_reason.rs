// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// The class.
#[reason_table(key = "class")]
enum Class {
    /// Fine.
    Ok = 0,
}

/// A table.
#[reason_table(key = "t", class = Class, unlisted = Ok)]
enum T {
    /// One.
    One = 1,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
