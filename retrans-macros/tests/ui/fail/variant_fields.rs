// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t")]
enum T {
    /// One.
    #[reason(value = "one")]
    One(u32, String) = 1,
    /// Two.
    #[reason(value = "two")]
    Two { x: u8 } = 2,
}

fn main() {
    let one = T::One(1, String::new());
    if let T::Two { x: 3 } = one {}
}
