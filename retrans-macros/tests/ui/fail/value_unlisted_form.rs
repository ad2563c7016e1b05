// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t")]
enum T {
    /// One.
    #[reason(value = "k17")]
    One = 1,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
