// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(c_prefix = "8021Q_")]
enum T {
    /// One.
    One = 1,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
