// SPDX-License-Identifier: MIT OR Apache-2.0
#![doc = include_str!("../README.md")]

mod expand;
mod parse;
mod validate;

use proc_macro::TokenStream;

/// Defines a table of named numbers from an enum: its strings, numbers, formatter and parser.
///
/// # Examples
///
/// ```
/// use retrans_sdk::reason_table;
///
/// /// Why a packet was dropped.
/// #[reason_table(key = "drop", c_prefix = "SKB_DROP_REASON_")]
/// pub enum DropReason {
///     /// No reason was given.
///     NotSpecified = 2,
///     /// No socket matches the packet.
///     NoSocket = 3,
///     /// The socket's receive buffer is full.
///     #[reason(value = "rcvbuf", c_name = "SKB_DROP_REASON_SOCKET_RCVBUFF")]
///     ReceiveBuffer = 6,
/// }
///
/// let reason = DropReason::from_raw(3);
/// assert_eq!(reason, DropReason::NoSocket);
/// assert_eq!(reason.to_string(), "no_socket");
/// assert_eq!(reason.c_name(), Some("SKB_DROP_REASON_NO_SOCKET"));
/// assert_eq!(reason.description(), "No socket matches the packet.");
/// assert_eq!(DropReason::ReceiveBuffer.key_val().to_string(), "drop=rcvbuf");
/// assert_eq!("not_specified".parse(), Ok(DropReason::NotSpecified));
///
/// // A number that no variant declares is kept when it is printed and parsed.
/// let newer = DropReason::from_raw(99);
/// assert_eq!(newer.to_string(), "k99");
/// assert_eq!("k99".parse(), Ok(newer));
/// ```
///
/// A table can have a coarser table as its class:
///
/// ```
/// use retrans_sdk::reason_table;
///
/// /// The coarse result.
/// #[reason_table(key = "class")]
/// pub enum ResultClass {
///     /// It was sent.
///     Ok = 0,
///     /// An allocation failed.
///     Nomem = 1,
///     /// Any other result.
///     Other = 2,
/// }
///
/// /// The result of a retransmission.
/// #[reason_table(key = "result", c_prefix = "TCP_RETRANS_", class = ResultClass, unlisted = Other)]
/// #[non_exhaustive]
/// pub enum RetransResult {
///     /// Passed to the IP layer.
///     #[reason(class = Ok)]
///     Success = 1,
///     /// No memory
///     /// to split the segment.
///     #[reason(class = Nomem)]
///     FragNomem = 6,
/// }
///
/// assert_eq!(RetransResult::FragNomem.class(), ResultClass::Nomem);
/// assert_eq!(RetransResult::FragNomem.description(), "No memory to split the segment.");
/// assert_eq!(RetransResult::from_raw(17).class(), ResultClass::Other);
/// ```
///
/// # Arguments
///
/// `#[reason_table(...)]`, on the enum:
///
/// | argument | | |
/// |---|---|---|
/// | `key = "result"` | optional | The key in `key=value`, in filters and in JSON. By default the enum's name in snake case. |
/// | `c_prefix = "TCP_RETRANS_"` | optional | The common prefix of the enumerators in the C header. Every variant then has a C name. |
/// | `class = ResultClass` | optional | The path of another, coarser table. Every variant then names a variant of that table. |
/// | `unlisted = Other` | if there is a `class` | The class of a number that no variant declares. |
/// | `crate = path::to::retrans_sdk` | optional | The path of the SDK, if it is not `::retrans_sdk`. |
///
/// `#[reason(...)]`, on a variant:
///
/// | argument | | |
/// |---|---|---|
/// | `value = "success"` | optional | The text that is printed and parsed. By default the variant's name in snake case. |
/// | `c_name = "TCP_RETRANS_SUCCESS"` | optional | The enumerator in a C header. By default the `c_prefix` and the variant's name in upper case. Without a `c_prefix` there is no C name by default. |
/// | `class = Ok` | if the table has a `class` | The variant of the class, by its name alone. |
///
/// The number of a variant is its discriminant. Its description is its doc comment, with the lines
/// trimmed and joined with a space.
///
/// # Derived names
///
/// A name is converted to snake case by one rule: a `_` is inserted before an upper-case letter
/// that follows a lower-case letter or a digit, and before the last upper-case letter of a run that
/// a lower-case letter follows. A digit belongs to the word before it. The C name consists of the
/// same words in upper case.
///
/// | variant | value | C name, with `c_prefix = "X_"` |
/// |---|---|---|
/// | `NotSpecified` | `not_specified` | `X_NOT_SPECIFIED` |
/// | `FinWait1` | `fin_wait1` | `X_FIN_WAIT1` |
/// | `Tcp3Way` | `tcp3_way` | `X_TCP3_WAY` |
/// | `Ipv6Ndisc` | `ipv6_ndisc` | `X_IPV6_NDISC` |
/// | `TCPFlags` | `tcp_flags` | `X_TCP_FLAGS` |
///
/// Set the `c_name` if the header splits the words otherwise (`X_TCP_3WAY`). An explicit `value`
/// does not change the C name, which derives from the variant.
///
/// Other attributes of the enum and of its variants are kept. Write `#[reason_table]` above the
/// derives: a derive above it sees the enum as written, without the variant `Unlisted`.
///
/// # Rules
///
/// A table that violates a rule does not compile. All mistakes in a table are reported in one
/// compilation, each at the wrong token. A wrong table causes no errors where it is used. The rules
/// also apply to derived keys, values and C names. Such a mistake is reported at the name from
/// which they derive.
///
/// - The item is an enum without generics and with at least one variant.
/// - Variants have unique names and no fields. The name `Unlisted` is reserved. `#[cfg]` is not
///   allowed on a variant, since every build must parse the output of every other build.
/// - A key and a value are `[a-z][a-z0-9_]*`, at most 32 characters, so that they never need
///   quotes. A `value` may instead be the C name of its variant in upper case, with or without the
///   `c_prefix`.
/// - A value is unique, and not of the form `k[0-9]+`, in which a number without a variant prints.
/// - A number is unique, and written as an integer literal without a suffix, from 0 to `0xffff`.
///   Numbers from `0x10000` are reserved for numbers without a variant.
/// - A C name is a C identifier, and unique.
/// - Every variant has a doc comment, and a `class` if, and only if, the table has a `class`.
/// - Every argument is given once, with the kind of value shown above.
///
/// If a class or a variant of it does not exist, the compiler reports the error at that name.
///
/// # What is generated
///
/// The macro generates the enum with the additional variant `Unlisted`, which contains a number.
/// The enum therefore has no discriminants. The documentation of each variant ends with its value,
/// number and C name. For `RetransResult` in the example above the macro generates:
///
/// ```text
/// /// The result of a retransmission.
/// #[non_exhaustive]
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]  // unless the user derives them
/// pub enum RetransResult {
///     /// Passed to the IP layer.
///     ///
///     /// `success`, 1, `TCP_RETRANS_SUCCESS`
///     Success,
///     /// No memory
///     /// to split the segment.
///     ///
///     /// `frag_nomem`, 6, `TCP_RETRANS_FRAG_NOMEM`
///     FragNomem,
///     /// A number that no variant declares.
///     Unlisted(retrans_sdk::reason_table::Unlisted<Self>),
/// }
///
/// impl RetransResult {                                   // as visible as the enum
///     pub const KEY: &'static str = "result";
///     pub const ALL: &'static [Entry<Self>];             // a row for each variant except `Unlisted`
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
/// For an unlisted number `as_str` and `c_name` return `None`, and `description` returns "no
/// variant has this number". `raw` returns the number with `0x10000` set; a larger number is
/// returned unchanged. Variants compare in the order of their declaration, and unlisted ones
/// compare greater.
#[proc_macro_attribute]
pub fn reason_table(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::reason_table(args.into(), item.into()).into()
}
