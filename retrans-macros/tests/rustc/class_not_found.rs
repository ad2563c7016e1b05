// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t", class = Class, unlisted = Other)]
enum T {
    /// One.
    #[reason(value = "one", class = Ok)]
    One = 1,
    /// Two.
    #[reason(value = "two", class = Other)]
    Two = 2,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
