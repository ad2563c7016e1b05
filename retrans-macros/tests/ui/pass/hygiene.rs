// SPDX-License-Identifier: MIT OR Apache-2.0
//! The expansion compiles with any names in scope, and with any names of variants.
#![deny(warnings)]
#![allow(dead_code, non_camel_case_types, non_upper_case_globals)]

mod table {
    pub struct Option;
    pub struct Result;
    pub struct Entry;
    pub struct str;
    pub struct u32;
    pub struct usize;
    pub trait Copy {}
    pub trait Clone {}
    pub trait Debug {}
    pub trait Display {}
    pub trait FromStr {}
    pub trait ReasonTable {
        fn raw(self) -> u32;
        fn name(self) -> str;
        fn class(self) -> str;
    }
    impl<T> ReasonTable for T {
        fn raw(self) -> u32 {
            u32
        }
        fn name(self) -> str {
            str
        }
        fn class(self) -> str {
            str
        }
    }
    pub const Some: i8 = 1;
    pub const None: i8 = 2;
    pub const Ok: i8 = 3;
    pub const Err: i8 = 4;
    pub const f: i8 = 5;
    pub const number: i8 = 6;
    pub const row: i8 = 7;
    pub const text: i8 = 8;
    pub const unknown: i8 = 9;
    pub const formatter: i8 = 10;

    /// A class.
    #[retrans_sdk::reason_table(key = "class")]
    pub enum Class {
        /// As in `Result`.
        #[reason(value = "ok")]
        Ok = 0,
        /// As in `Result`.
        #[reason(value = "err")]
        Err = 1,
        /// As in `Option`.
        #[reason(value = "some")]
        Some = 2,
        /// As in `Option`.
        #[reason(value = "none")]
        None = 3,
    }

    /// A table.
    #[retrans_sdk::reason_table(key = "name", class = Class, unlisted = None)]
    pub enum Name {
        /// As in `Result`.
        #[reason(value = "ok", class = Ok)]
        Ok = 0,
        /// As in `Result`.
        #[reason(value = "err", class = Err)]
        Err = 1,
        /// As in `Option`.
        #[reason(value = "some", class = Some)]
        Some = 2,
        /// As in `Option`.
        #[reason(value = "none", class = None)]
        None = 3,
        /// A trait.
        #[reason(value = "copy", class = None)]
        Copy = 4,
        /// A trait.
        #[reason(value = "reason_table", class = None)]
        ReasonTable = 5,
        /// A constant of the table.
        #[reason(value = "all", class = None)]
        ALL = 6,
        /// A constant of the table.
        #[reason(value = "key", class = None)]
        KEY = 7,
        /// Written raw.
        #[reason(value = "type", class = None)]
        r#type = 8,
    }
}

fn main() {
    use table::{Class, Name};
    assert_eq!(Name::Ok.to_string(), "ok");
    assert_eq!("none".parse(), Ok(Name::None));
    assert_eq!(Name::Some.as_str(), Some("some"));
    assert_eq!(Name::from_raw(1), Name::Err);
    assert_eq!(Name::Err.class(), Class::Err);
    assert_eq!(Name::from_raw(100).class(), Class::None);
    assert_eq!(Name::r#type.key_val().to_string(), "name=type");
    assert_eq!(<Name as retrans_sdk::reason_table::ReasonTable>::ALL.len(), 9);
}
