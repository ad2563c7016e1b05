// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables of any visibility cause no warning, even if hardly used. The items are as visible as the
//! enum.
#![deny(warnings, dead_code, missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]

/// A module.
pub mod outer {
    /// Public.
    #[retrans_sdk::reason_table(key = "public")]
    #[non_exhaustive]
    pub enum Public {
        /// One.
        #[reason(value = "one")]
        One = 1,
    }

    /// Visible in the crate.
    #[retrans_sdk::reason_table(key = "crate", class = Public, unlisted = One)]
    pub(crate) enum Crate {
        /// One.
        #[reason(value = "one", class = One)]
        One = 1,
        /// Two.
        #[reason(value = "two", class = One)]
        Two = 2,
    }

    mod inner {
        /// Visible in the parent module.
        #[retrans_sdk::reason_table(key = "super")]
        pub(super) enum Super {
            /// One.
            #[reason(value = "one")]
            One = 1,
            /// Two.
            #[reason(value = "two")]
            #[deprecated = "use one"]
            Two = 2,
        }
    }

    /// Returns a number of the table above.
    #[must_use]
    pub fn one() -> u32 {
        inner::Super::One.raw()
    }
}

/// Private.
#[retrans_sdk::reason_table(key = "private")]
#[allow(unreachable_pub)]
enum Private {
    /// One.
    #[reason(value = "one")]
    One = 1,
    /// Two.
    #[reason(value = "two")]
    Two = 2,
}

fn main() {
    assert_eq!(Private::One.as_str(), Some("one"));
    assert_eq!(outer::Crate::from_raw(2).as_str(), Some("two"));
    assert_eq!(outer::Public::KEY, "public");
    assert_eq!(outer::one(), 1);
}
