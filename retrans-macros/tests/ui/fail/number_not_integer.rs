// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t")]
enum T {
    /// One.
    #[reason(value = "one")]
    One = 1.0,
    /// Two.
    #[reason(value = "two")]
    Two = '2',
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
