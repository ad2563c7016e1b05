// SPDX-License-Identifier: MIT OR Apache-2.0
//! The behaviour of a table at run time.

use std::str::FromStr;

use retrans_sdk::reason_table;
use retrans_sdk::reason_table::{
    Entry, KeyVal, MAX_VALUE_LEN, Name, ParseReasonError, ReasonTable, UNLISTED_BASE, Unlisted,
};

/// The coarse table.
#[reason_table(key = "class")]
enum Class {
    /// Sent.
    #[reason(value = "ok")]
    Ok = 0,
    /// No memory.
    #[reason(value = "nomem")]
    Nomem = 1,
    /// Any other result.
    #[reason(value = "other")]
    Other = 2,
}

/// The fine table.
#[reason_table(key = "result", class = Class, unlisted = Other)]
#[derive(Default)]
enum Outcome {
    /// Left the   host,
    /// as far as TCP knows.
    ///
    /// 	A second paragraph.
    #[reason(value = "success", c_name = "TCP_RETRANS_SUCCESS", class = Ok)]
    #[default]
    Success = 1,
    /** In
     *  a block,
     *
     *  with stars.
     */
    #[reason(value = "clone_nomem", c_name = "TCP_RETRANS_CLONE_NOMEM", class = Nomem)]
    CloneNomem = 0x10,
    /// The longest value, the largest number, declared before a smaller one.
    #[reason(class = Nomem, value = "a1234567890_1234567890_123456789")]
    Longest = 0xffff,
    /// Looks like an unlisted one, almost.
    #[reason(value = "k1_", class = Other)]
    AlmostUnknown = 0,
}

const ALL: [Outcome; 4] = [Outcome::Success, Outcome::CloneNomem, Outcome::Longest, Outcome::AlmostUnknown];

fn roundtrip<T: ReasonTable>() {
    for entry in T::ALL {
        let variant = entry.variant;
        assert_eq!(variant.to_string(), entry.value);
        assert_eq!(entry.value.parse::<T>().unwrap(), variant);
        assert_eq!(variant.raw(), entry.number);
        assert_eq!(T::from_raw(entry.number), variant);
        assert_eq!(variant.entry(), Some(entry));
        assert_eq!(variant.key_val().to_string(), format!("{}={}", T::KEY, entry.value));
    }
}

#[test]
fn every_row_roundtrips() {
    roundtrip::<Class>();
    roundtrip::<Outcome>();
}

#[test]
fn all_is_in_the_order_of_the_declaration() {
    assert!(Outcome::ALL.iter().map(|entry| entry.variant).eq(ALL));
    assert_eq!(Outcome::ALL, <Outcome as ReasonTable>::ALL);
    let of = |get: fn(&Entry<Outcome>) -> u32| Outcome::ALL.iter().map(get).collect::<Vec<_>>();
    assert_eq!(of(|entry| entry.number), [1, 16, 65535, 0]);
}

#[test]
fn rows_and_functions_return_the_same() {
    for entry in Outcome::ALL {
        let variant = entry.variant;
        assert_eq!(variant.as_str(), Some(entry.value));
        assert_eq!(variant.c_name(), entry.c_name);
        assert_eq!(variant.description(), entry.description);
        assert_eq!(variant.raw(), entry.number);
        assert_eq!(variant.class().as_str(), entry.class);
    }
    assert!(Class::ALL.iter().all(|entry| entry.class.is_none()));
}

#[test]
fn a_row_contains_the_declared_values() {
    let entry = Outcome::CloneNomem.entry().unwrap();
    assert_eq!(entry.variant, Outcome::CloneNomem);
    assert_eq!(entry.value, "clone_nomem");
    assert_eq!(entry.c_name, Some("TCP_RETRANS_CLONE_NOMEM"));
    assert_eq!(entry.number, 16);
    assert_eq!(entry.class, Some("nomem"));
    assert_eq!(Outcome::Longest.c_name(), None);
}

#[test]
fn each_variant_has_its_class() {
    assert_eq!(ALL.map(Outcome::class), [Class::Ok, Class::Nomem, Class::Nomem, Class::Other]);
    assert_eq!(Outcome::from_raw(17).class(), Class::Other);
}

#[test]
fn a_description_is_one_line() {
    assert_eq!(Outcome::Success.description(), "Left the   host, as far as TCP knows. A second paragraph.");
    assert_eq!(Outcome::CloneNomem.description(), "In a block, with stars.");
    assert_eq!(Outcome::from_raw(17).description(), "no variant has this number");
}

#[test]
fn values_print_with_their_key() {
    assert_eq!(Outcome::KEY, "result");
    assert_eq!(Outcome::Success.key_val().to_string(), "result=success");
    assert_eq!(Outcome::Success.class().key_val().to_string(), "class=ok");
    assert_eq!(Outcome::from_raw(17).key_val().to_string(), "result=k17");
}

#[test]
fn an_unlisted_number_survives() {
    let unlisted = Outcome::from_raw(17);
    assert_eq!(unlisted, Outcome::from_raw(0x1_0011));
    assert!(matches!(unlisted, Outcome::Unlisted(number) if number.number() == 17 && number.raw() == 0x1_0011));
    assert_eq!(unlisted.raw(), UNLISTED_BASE | 17);
    assert_eq!(unlisted.to_string(), "k17");
    assert_eq!("k17".parse(), Ok(unlisted));
    assert_eq!(format!("{unlisted:?}"), "Unlisted(k17)");
    assert_eq!((unlisted.as_str(), unlisted.c_name(), unlisted.entry()), (None, None, None));
    for raw in [2, 15, 0xfffe, UNLISTED_BASE, UNLISTED_BASE | 2, 0x1_ffff, 0x2_0000, u32::MAX] {
        let unlisted = Outcome::from_raw(raw);
        assert_eq!(unlisted.to_string().parse(), Ok(unlisted), "{raw:#x}");
        assert_eq!(Outcome::from_raw(unlisted.raw()), unlisted, "{raw:#x}");
    }
}

#[test]
fn an_unlisted_enumerator_is_never_a_variant() {
    // 1 is `Success`; 0x10001 is an unknown enumerator of the kernel with the same number.
    let kernel = Outcome::from_raw(UNLISTED_BASE | 1);
    assert_ne!(kernel, Outcome::Success);
    assert_eq!(kernel.to_string(), "k1");
    assert_eq!("k1".parse(), Ok(kernel));
}

#[test]
fn only_the_printed_form_parses() {
    let wrong = [
        "",
        "k",
        "k017",
        "k+1",
        "k-1",
        "k 1",
        "k1 ",
        "K17",
        "k65553",
        "k131071",
        "k4294967296",
        "k99999999999",
        "Success",
        "success ",
        "SUCCESS",
        "succes",
        "1",
        "ok",
        "unknown",
    ];
    for text in wrong {
        let error = text.parse::<Outcome>().expect_err(text);
        assert_eq!(error.key(), "result");
    }
    assert_eq!("k0".parse(), Ok(Outcome::from_raw(UNLISTED_BASE)));
    assert_eq!("k65535".parse(), Ok(Outcome::from_raw(0x1_ffff)));
    assert_eq!("k131072".parse(), Ok(Outcome::from_raw(0x2_0000)));
}

#[test]
fn the_macro_and_the_sdk_have_the_same_limits() {
    assert_eq!(Outcome::Longest.as_str().map(str::len), Some(MAX_VALUE_LEN));
    assert_eq!(Outcome::Longest.raw(), UNLISTED_BASE - 1);
}

#[test]
fn variants_sort_by_declaration_and_unlisted_ones_last() {
    let mut all = [Outcome::from_raw(18), Outcome::AlmostUnknown, Outcome::from_raw(17), Outcome::Success];
    all.sort();
    assert_eq!(all, [Outcome::Success, Outcome::AlmostUnknown, Outcome::from_raw(17), Outcome::from_raw(18)]);
}

#[test]
fn the_users_derives_are_kept() {
    assert_eq!(Outcome::default(), Outcome::Success);
}

#[test]
fn functions_are_const() {
    const NAME: Option<&str> = Outcome::Success.as_str();
    const CLASS: Class = Outcome::Success.class();
    const NUMBER: u32 = Outcome::Longest.raw();
    assert_eq!((NAME, CLASS, NUMBER), (Some("success"), Class::Ok, 0xffff));
}

#[test]
fn signatures_are_as_documented() {
    let _: &'static str = Outcome::KEY;
    let _: &'static [Entry<Outcome>] = Outcome::ALL;
    let _: fn(Outcome) -> Option<&'static str> = Outcome::as_str;
    let _: fn(Outcome) -> Option<&'static str> = Outcome::c_name;
    let _: fn(Outcome) -> &'static str = Outcome::description;
    let _: fn(Outcome) -> u32 = Outcome::raw;
    let _: fn(u32) -> Outcome = Outcome::from_raw;
    let _: fn(Outcome) -> KeyVal<Name> = Outcome::key_val;
    let _: fn(Outcome) -> Class = Outcome::class;
    let _: fn(Unlisted<Outcome>) -> Outcome = Outcome::Unlisted;
    let _: fn(&str) -> Result<Outcome, ParseReasonError> = Outcome::from_str;
}

#[test]
fn display_honours_width_and_alignment() {
    assert_eq!(format!("[{:>9}|{:<5}]", Outcome::Success, Outcome::from_raw(17)), "[  success|k17  ]");
}

/// A fragment of a `macro_rules!` arrives in an invisible group.
#[test]
fn a_table_from_macro_rules() {
    macro_rules! table {
        ($name:ident, $key:literal, $class:path, $unlisted:ident: $($(#[$doc:meta])* $variant:ident $value:literal $number:expr, $of:ident;)*) => {
            #[reason_table(key = $key, class = $class, unlisted = $unlisted,)]
            enum $name {
                $($(#[$doc])* #[reason(value = $value, class = $of,)] $variant = $number,)*
            }
        };
    }
    table! { Made, "made", self::Class, Other:
        /// One.
        One "one" 1, Ok;
        #[doc = "Two."]
        Two "two" 2, Nomem;
    }
    assert_eq!(Made::Two.description(), "Two.");
    assert_eq!(Made::from_raw(1).key_val().to_string(), "made=one");
    assert_eq!(Made::Two.class(), Class::Nomem);
}

/// A table whose values are names in C, with and without the prefix.
#[reason_table(key = "drop", c_prefix = "SKB_DROP_REASON_")]
enum Named {
    /// A rule dropped the packet.
    #[reason(value = "NETFILTER_DROP")]
    NetfilterDrop = 12,
    /// A queue dropped the packet.
    #[reason(value = "QDISC_DROP_GENERIC", c_name = "QDISC_DROP_GENERIC")]
    QdiscDropGeneric = 13,
}

#[test]
fn a_value_may_be_the_name_in_c() {
    assert_eq!(Named::NetfilterDrop.to_string(), "NETFILTER_DROP");
    assert_eq!("QDISC_DROP_GENERIC".parse(), Ok(Named::QdiscDropGeneric));
    assert!("netfilter_drop".parse::<Named>().is_err());
    let names: Vec<_> = Named::ALL.iter().filter_map(|entry| entry.c_name).collect();
    assert_eq!(names, ["SKB_DROP_REASON_NETFILTER_DROP", "QDISC_DROP_GENERIC"]);
}
