// SPDX-License-Identifier: MIT OR Apache-2.0
#![doc = include_str!("../README.md")]

mod expand;
mod parse;
mod validate;

use proc_macro::TokenStream;

/// Makes a table of named numbers of an enum: its strings, its numbers, its formatter and its parser.
///
/// ```
/// use retrans_sdk::reason_table;
///
/// /// The coarse answer.
/// #[reason_table(key = "class")]
/// pub enum ResultClass {
///     /// It was sent.
///     #[reason(value = "ok")]
///     Ok = 0,
///     /// An allocation failed.
///     #[reason(value = "nomem")]
///     Nomem = 1,
///     /// None of the others.
///     #[reason(value = "other")]
///     Other = 2,
/// }
///
/// /// What came of a retransmission.
/// #[reason_table(key = "result", class = ResultClass, unknown = Other)]
/// #[non_exhaustive]
/// pub enum RetransResult {
///     /// Handed down to the IP layer.
///     #[reason(value = "success", c_name = "TCP_RETRANS_SUCCESS", class = Ok)]
///     Success = 1,
///     /// No memory
///     /// to split the segment.
///     #[reason(value = "frag_nomem", c_name = "TCP_RETRANS_FRAG_NOMEM", class = Nomem)]
///     FragNomem = 6,
/// }
///
/// let result = RetransResult::from_raw(6);
/// assert_eq!(result, RetransResult::FragNomem);
/// assert_eq!(result.to_string(), "frag_nomem");
/// assert_eq!(result.key_val().to_string(), "result=frag_nomem");
/// assert_eq!(result.c_name(), Some("TCP_RETRANS_FRAG_NOMEM"));
/// assert_eq!(result.description(), "No memory to split the segment.");
/// assert_eq!(result.class(), ResultClass::Nomem);
/// assert_eq!("success".parse(), Ok(RetransResult::Success));
///
/// // A number that no variant has survives, in print and in parse.
/// let newer = RetransResult::from_raw(17);
/// assert_eq!(newer.to_string(), "k17");
/// assert_eq!("k17".parse(), Ok(newer));
/// assert_eq!(newer.class(), ResultClass::Other);
/// ```
///
/// # Arguments
///
/// Of the table, `#[reason_table(...)]`:
///
/// | argument | | |
/// |---|---|---|
/// | `key = "result"` | required | The key in `key=value`, in filters and in JSON. |
/// | `class = ResultClass` | optional | The path of another table, a coarser one. Every variant then names a variant of that. |
/// | `unknown = Other` | if there is a `class` | The class of a number that no variant has. |
/// | `crate = path::to::retrans_sdk` | optional | Where the SDK is, if not at `::retrans_sdk`. |
///
/// Of each variant, `#[reason(...)]`:
///
/// | argument | | |
/// |---|---|---|
/// | `value = "success"` | required | What is printed and parsed. |
/// | `c_name = "TCP_RETRANS_SUCCESS"` | optional | The enumerator in a C header, as the kernel's. |
/// | `class = Ok` | if the table has a `class` | The variant of the class, by its name alone. |
///
/// The number of a variant is its discriminant, and its description is its doc comment: the lines are trimmed and
/// joined with a space.
///
/// Other attributes of the enum and of its variants are kept. `#[reason_table]` stands above the derives: one that is
/// above it sees the enum as written, without the variant `Unknown`.
///
/// # Rules
///
/// Anything else does not compile. Every mistake in a table is reported in one go, at the token that is wrong, and a
/// wrong table causes no errors where it is used.
///
/// - The item is an enum without generics and with at least one variant. Variants have no fields, no `#[cfg]` (what one
///   build prints, another must be able to parse), names of their own, and none is called `Unknown`.
/// - A key and a value are `[a-z][a-z0-9_]*`, at most 32 characters, so that they need no quotes anywhere.
/// - A value is not of the form `k[0-9]+`: so prints a number without a variant. No two variants have the same.
/// - A number is written as an integer literal without a suffix, from 0 to `0xffff`: those from `0x10000` up stand for
///   numbers without a variant. No two variants have the same.
/// - A C name is an identifier of C. No two variants have the same.
/// - Every variant has a doc comment and one `#[reason]` with a `value`; with a `class` if, and only if, the table has
///   one.
/// - Every argument is given once, with the kind of value shown above.
///
/// That a class, or a variant of it, does not exist is for the compiler to say: it does so at that name.
///
/// # What is generated
///
/// The enum with one variant more, and without its discriminants, as that variant carries a number. The documentation
/// of each variant ends with its value, number and C name. Of the table in the example above:
///
/// ```text
/// /// What came of a retransmission.
/// #[non_exhaustive]
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]  // less what the user derives already
/// pub enum RetransResult {
///     /// Handed down to the IP layer.
///     ///
///     /// `success`, 1, `TCP_RETRANS_SUCCESS`
///     Success,
///     /// No memory
///     /// to split the segment.
///     ///
///     /// `frag_nomem`, 6, `TCP_RETRANS_FRAG_NOMEM`
///     FragNomem,
///     /// A number for which there is no variant.
///     Unknown(retrans_sdk::reason_table::Unknown<Self>),
/// }
///
/// impl RetransResult {                                   // as visible as the enum
///     pub const KEY: &'static str = "result";
///     pub const ALL: &'static [Entry<Self>];             // a row for each variant but `Unknown`
///     pub const fn as_str(self) -> Option<&'static str>;
///     pub const fn c_name(self) -> Option<&'static str>;
///     pub const fn description(self) -> &'static str;
///     pub const fn raw(self) -> u32;
///     pub fn from_raw(raw: u32) -> Self;
///     pub fn key_val(self) -> KeyVal<Name>;
///     pub const fn class(self) -> ResultClass;           // only if the table has a class
/// }
///
/// impl retrans_sdk::reason_table::ReasonTable for RetransResult;
/// impl std::fmt::Display for RetransResult;              // `success`, or `k17`
/// impl std::str::FromStr for RetransResult;              // Err = retrans_sdk::reason_table::ParseReasonError
/// ```
///
/// Of an unknown number `as_str` and `c_name` are `None`, `description` is "no variant has this number", and `raw` is the
/// number with `0x10000` set, unless it is larger anyway. Variants compare in the order of their declaration, the unknown
/// ones after them.
#[proc_macro_attribute]
pub fn reason_table(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::reason_table(args.into(), item.into()).into()
}
