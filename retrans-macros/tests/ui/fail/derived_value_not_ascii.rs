// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(c_prefix = "X_")]
enum T {
    /// One.
    Größe = 1,
    /// Right, with a value and a C name of its own.
    #[reason(value = "width", c_name = "X_WIDTH")]
    Weiß = 2,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
