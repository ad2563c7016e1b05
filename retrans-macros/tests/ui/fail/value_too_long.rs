// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t")]
enum T {
    /// One.
    #[reason(value = "a_value_of_thirty_three_bytes_xyz")]
    One = 1,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
