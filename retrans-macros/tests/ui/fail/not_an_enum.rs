// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t")]
struct T {
    /// One.
    #[reason(value = "one")]
    one: u32,
}

fn main() {
    let _ = T { one: 1 }.one;
}
