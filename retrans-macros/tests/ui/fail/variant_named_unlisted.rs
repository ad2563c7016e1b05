// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t")]
enum T {
    /// One.
    #[reason(value = "unlisted")]
    Unlisted = 1,
}

fn main() {
    assert_eq!(T::from_raw(1), T::Unlisted);
}
