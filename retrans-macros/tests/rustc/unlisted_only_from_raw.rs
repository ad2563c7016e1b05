// SPDX-License-Identifier: MIT OR Apache-2.0
use retrans_sdk::reason_table;

/// A table.
#[reason_table(key = "t")]
enum T {
    /// One.
    #[reason(value = "one")]
    One = 1,
}

fn main() {
    let _ = T::Unlisted(retrans_sdk::reason_table::Unlisted { raw: 1, table: std::marker::PhantomData });
}
