// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table, and the table of its classes, inside a function.
#![deny(warnings, dead_code, missing_docs)]

fn main() {
    /// The table, declared before its class.
    #[retrans_sdk::reason_table(key = "way", class = Speed, unlisted = Slow)]
    enum Way {
        /// A train.
        #[reason(value = "train", class = Fast)]
        Train = 1,
        /// On foot.
        #[reason(value = "foot", class = Slow)]
        Foot = 2,
    }

    /// The class.
    #[retrans_sdk::reason_table(key = "speed")]
    enum Speed {
        /// Fast.
        #[reason(value = "fast")]
        Fast = 1,
        /// Slow.
        #[reason(value = "slow")]
        Slow = 2,
    }

    let way: Way = "foot".parse().unwrap();
    assert_eq!(format!("{} {}", way.key_val(), way.class().key_val()), "way=foot speed=slow");
}
