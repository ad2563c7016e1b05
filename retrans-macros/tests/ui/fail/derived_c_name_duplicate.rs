// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(c_prefix = "X_")]
enum T {
    /// One.
    #[reason(c_name = "X_ROUTE_FAIL")]
    One = 1,
    /// Two.
    RouteFail = 2,
    /// Three: the value does not change the C name.
    #[reason(value = "three")]
    ROUTEFail = 3,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
