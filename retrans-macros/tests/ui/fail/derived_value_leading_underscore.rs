// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table]
enum T {
    /// One.
    _Hidden = 1,
}

fn main() {
    let _ = T::from_raw(1).as_str();
}
