// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table]
enum T {
    /// One.
    #[reason(value = "route_fail")]
    One = 1,
    /// Two.
    RouteFail = 2,
    /// Three.
    Route_Fail = 3,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
