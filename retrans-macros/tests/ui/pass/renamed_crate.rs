// SPDX-License-Identifier: MIT OR Apache-2.0
//! The SDK is used by another path.
#![deny(warnings)]

mod vendored {
    pub mod deep {
        pub use retrans_sdk as sdk;
    }
}
extern crate retrans_sdk as other;

mod tables {
    /// A table with a path from the root.
    #[retrans_sdk::reason_table(key = "one", crate = crate::vendored::deep::sdk)]
    pub enum One {
        /// One.
        #[reason(value = "one")]
        One = 1,
    }

    /// A table with another name of the crate, and with a class.
    #[retrans_sdk::reason_table(crate = ::other, key = "two", unlisted = One, class = self::One)]
    pub enum Two {
        /// Two.
        #[reason(value = "two", class = One)]
        Two = 1,
    }
}

fn main() {
    assert_eq!(tables::Two::Two.class().key_val().to_string(), "one=one");
}
