// SPDX-License-Identifier: MIT OR Apache-2.0
//! Generates the source of a table from an enum of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::{CEnum, enums_as_written};
use crate::error::{Error, ErrorKind};
use crate::kernel;
use crate::text::escape::Escaped;
use crate::text::reason_table::{MAX_VALUE_LEN, UNLISTED_BASE, snake_case};
use crate::text::suggest::did_you_mean;

/// The source that [`generate_table`] reads an enum from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum EnumSource<'a> {
    /// The BTF of the running kernel, without its modules.
    RunningKernel,
    /// The BTF in a file: BTF of another kernel, or an object with BTF.
    Btf(&'a Path),
    /// The bytes of an object with BTF.
    Object(&'a [u8]),
    /// A C header.
    Header(&'a Path),
}

impl EnumSource<'_> {
    fn enums(self) -> Result<Vec<CEnum>, Error> {
        match self {
            Self::RunningKernel => Self::Btf(Path::new(kernel::VMLINUX)).enums(),
            Self::Btf(path) => kernel::enums(&kernel::read_btf(path)?),
            Self::Object(bytes) => kernel::enums_of_object(bytes),
            Self::Header(path) => enums_as_written(path),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::RunningKernel => "the running kernel's BTF".to_owned(),
            Self::Btf(path) => format!("the BTF in {}", Escaped::path(path)),
            Self::Object(_) => "an object's BTF".to_owned(),
            Self::Header(path) => Escaped::path(path).to_string(),
        }
    }
}

/// Generates the Rust source of a table from an enum of the kernel: an enum with
/// [`reason_table`](macro@crate::reason_table).
///
/// The source compiles as it is, and the table passes
/// [`table_in_running_kernel`](super::table_in_running_kernel) against the same kernel. Every doc
/// comment is a placeholder that names the enumerator: write the descriptions, and delete what the
/// application does not use.
///
/// `name` is the name of the enum in C, such as `skb_drop_reason`. `c_prefix` is the prefix of the
/// wanted enumerators. `None` derives it: the name of the enum in upper case if any enumerator
/// begins with it, otherwise the longest common prefix of whole words. A leading comment lists what
/// is left out: end markers such as `…_MAX`, enumerators without the prefix, a second name of a
/// number, and numbers that a table cannot contain.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::check::{self, EnumSource};
///
/// println!("{}", check::generate_table(EnumSource::RunningKernel, "skb_drop_reason", None)?);
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
///
/// # Errors
///
/// - [`ErrorKind::NoBtf`] if there is no BTF
/// - [`ErrorKind::System`] if the source cannot be read, is invalid or has no such enum, or if no
///   enumerator with the prefix can be in a table
pub fn generate_table(source: EnumSource<'_>, name: &str, c_prefix: Option<&str>) -> Result<String, Error> {
    let enums = source.enums()?;
    let from = source.describe();
    // In BTF a declared enum without a definition has no enumerators.
    let has_name = |found: &&CEnum| found.name.as_deref() == Some(name) && !found.values.is_empty();
    let Some(found) = enums.iter().find(has_name) else {
        let near = did_you_mean(name, enums.iter().filter_map(|found| found.name.as_deref()));
        let name = Escaped::value(name);
        return Err(Error::new(ErrorKind::System, format!("no enum {name} with enumerators in {from}{near}")));
    };
    if !is_identifier(name) {
        let message = format!("enum {} in {from} has a name that is not a C identifier", Escaped::value(name));
        return Err(Error::new(ErrorKind::System, message));
    }
    let prefix = c_prefix.map_or_else(|| prefix_of(found, name), str::to_owned);
    let table = Table::of(found, &prefix);
    if table.rows.is_empty() {
        let message = format!("no enumerator of enum {name} in {from} begins with {prefix:?} and can be in a table");
        return Err(Error::new(ErrorKind::System, message));
    }
    Ok(table.source(name, &prefix, &from))
}

/// Returns the prefix that is derived from the enumerators of an enum.
fn prefix_of(found: &CEnum, name: &str) -> String {
    let own = format!("{}_", name.to_ascii_uppercase());
    // Names such as `__BPF_FUNC_MAX_ID` mark an end.
    let mut names = found.values.iter().map(|(c_name, _)| c_name.as_str()).filter(|c_name| !c_name.starts_with('_'));
    if names.clone().any(|c_name| c_name.starts_with(&own)) {
        return own;
    }
    let first = names.next().unwrap_or_default();
    let common = names.fold(first, |common, c_name| {
        let length = common.bytes().zip(c_name.bytes()).take_while(|(a, b)| a == b).count();
        common.get(..length).unwrap_or_default()
    });
    // Whole words. The enumerator itself is not a prefix, so an enum of one enumerator has the text
    // before its last word.
    common.rfind('_').map_or_else(String::new, |end| common[..=end].to_owned())
}

/// A variant of the generated table.
struct Row {
    variant: String,
    value: String,
    c_name: String,
    number: u32,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// The enumerators of the rows, by number.
    by_number: BTreeMap<u32, String>,
    /// The enumerators that are left out, each with the reason.
    left_out: Vec<String>,
}

impl Table {
    fn of(found: &CEnum, prefix: &str) -> Self {
        let mut table = Self::default();
        // An end marker has the largest number that a table could contain. Masks have larger ones.
        let fits = |(c_name, number): &&(String, i64)| {
            c_name.starts_with(prefix) && table_number(*number).is_some() && !is_mask(c_name)
        };
        let greatest = found.values.iter().filter(fits).map(|(_, number)| *number).max().unwrap_or_default();
        let (mut variants, mut values) = (BTreeSet::new(), BTreeSet::new());
        for (c_name, number) in &found.values {
            match table.number(c_name, *number, prefix, greatest) {
                Ok(number) => {
                    let mut row = row(c_name, prefix, number);
                    // In C such names differ by an underscore only.
                    if !variants.insert(row.variant.clone()) {
                        row.variant = format!("{}N{number}", row.variant);
                        variants.insert(row.variant.clone());
                    }
                    if !values.insert(row.value.clone()) {
                        row.value = format!("reason_{number}");
                        values.insert(row.value.clone());
                    }
                    table.by_number.insert(number, row.c_name.clone());
                    table.rows.push(row);
                }
                Err(why) => table.left_out.push(format!("{c_name} = {number}: {why}")),
            }
        }
        if let Some(c_name) = &found.unread {
            table.left_out.push(format!("{c_name} and those after it: their values cannot be read from the header"));
        }
        table
    }

    /// Returns the number of an enumerator if it can be in the table, and otherwise the reason that
    /// it cannot.
    fn number(&self, c_name: &str, number: i64, prefix: &str, greatest: i64) -> Result<u32, String> {
        let Some(rest) = c_name.strip_prefix(prefix).filter(|rest| !rest.is_empty()) else {
            return Err(format!("does not begin with {}", Escaped::value(prefix)));
        };
        let is_end = rest == "MAX"
            || (number == greatest && rest.split('_').any(|word| ["MAX", "LAST", "NUM", "COUNT"].contains(&word)));
        if is_end || rest.starts_with('_') || is_mask(c_name) {
            return Err("marks the end or a part of the enum".to_owned());
        }
        if !is_identifier(c_name) {
            return Err("is not a C identifier".to_owned());
        }
        let number =
            table_number(number).ok_or_else(|| format!("its number is not within 0..{:#x}", UNLISTED_BASE - 1))?;
        match self.by_number.get(&number) {
            Some(first) => Err(format!("another name of {first}")),
            None => Ok(number),
        }
    }

    fn source(&self, name: &str, prefix: &str, from: &str) -> String {
        let mut out = format!("// Generated by `retrans check --generate {name}` from {from}.\n");
        for left_out in &self.left_out {
            line(&mut out, format_args!("// Left out: {left_out}"));
        }
        let enum_name = camel_case(name);
        let key = snake_case(&enum_name);
        let key = if is_word(&key) { String::new() } else { format!("key = {:?}, ", shortened(&key, "reason")) };
        line(&mut out, format_args!("\n/// `enum {name}` of the kernel."));
        line(&mut out, format_args!("#[retrans_sdk::reason_table({key}c_prefix = {prefix:?})]"));
        line(&mut out, format_args!("#[non_exhaustive]\npub enum {enum_name} {{"));
        for Row { variant, value, c_name, number } in &self.rows {
            line(&mut out, format_args!("    /// `{c_name}`."));
            let derived = snake_case(variant);
            let mut arguments = Vec::new();
            if *value != derived {
                arguments.push(format!("value = {value:?}"));
            }
            if *c_name != format!("{prefix}{}", derived.to_ascii_uppercase()) {
                arguments.push(format!("c_name = {c_name:?}"));
            }
            if !arguments.is_empty() {
                line(&mut out, format_args!("    #[reason({})]", arguments.join(", ")));
            }
            line(&mut out, format_args!("    {variant} = {number},"));
        }
        out.push_str("}\n");
        out
    }
}

/// Returns a number if a table can contain it.
fn table_number(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number < UNLISTED_BASE)
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_mask(c_name: &str) -> bool {
    c_name.ends_with("_MASK")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn row(c_name: &str, prefix: &str, number: u32) -> Row {
    let rest = c_name.strip_prefix(prefix).unwrap_or(c_name);
    let mut variant = camel_case(rest);
    // `Self` is a keyword that cannot be raw, and `Unlisted` is the generated variant.
    if ["Self", "Unlisted"].contains(&variant.as_str()) {
        variant.push_str("Reason");
    }
    let value = rest.to_ascii_lowercase();
    let is_reserved = value.strip_prefix('k').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    let value = if is_word(&value) && !is_reserved { value } else { shortened(&value, &format!("reason_{number}")) };
    Row { variant, value, c_name: c_name.to_owned(), number }
}

/// Returns whether a table accepts a key or value.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= MAX_VALUE_LEN
}

/// Returns as much of a word as a table accepts, or `other` if it accepts nothing of it.
fn shortened(word: &str, other: &str) -> String {
    let short = word.get(..MAX_VALUE_LEN).unwrap_or_default().trim_end_matches('_');
    if is_word(short) { short.to_owned() } else { other.to_owned() }
}

/// Converts a C name to the name of a type or variant: `NOT_SPECIFIED` becomes `NotSpecified`.
fn camel_case(c_name: &str) -> String {
    let mut camel = String::with_capacity(c_name.len());
    for word in c_name.split('_') {
        let (first, rest) = word.split_at(usize::from(!word.is_empty()));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(&rest.to_ascii_lowercase());
    }
    if camel.starts_with(|c: char| c.is_ascii_digit()) { format!("N{camel}") } else { camel }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Made;

    fn generated(header: &str, name: &str, prefix: Option<&str>) -> Result<String, String> {
        let header = Made::header(header);
        let text = generate_table(EnumSource::Header(header.as_path()), name, prefix);
        text.map(|text| text.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_enum_becomes_a_table() {
        let header = "enum rain_reason { RAIN_FRONT = 1, RAIN_HEAVY_STORM, RAIN_MAX };";
        let expected = "// Left out: RAIN_MAX = 3: marks the end or a part of the enum

/// `enum rain_reason` of the kernel.
#[retrans_sdk::reason_table(c_prefix = \"RAIN_\")]
#[non_exhaustive]
pub enum RainReason {
    /// `RAIN_FRONT`.
    Front = 1,
    /// `RAIN_HEAVY_STORM`.
    HeavyStorm = 2,
}
";
        for prefix in [None, Some("RAIN_")] {
            assert_eq!(generated(header, "rain_reason", prefix).expect("it is there"), expected);
        }
    }

    #[test]
    fn the_prefix_is_the_name_of_the_enum_or_the_common_words() {
        let prefix = |values: &[&str]| {
            let values = values.iter().zip(0..).map(|(name, number)| ((*name).to_owned(), number)).collect();
            prefix_of(&CEnum { name: Some("skb_drop_reason".to_owned()), values, unread: None }, "skb_drop_reason")
        };
        assert_eq!(prefix(&["SKB_NOT_DROPPED_YET", "SKB_CONSUMED", "SKB_DROP_REASON_X"]), "SKB_DROP_REASON_");
        assert_eq!(prefix(&["TCP_CA_Open", "TCP_CA_Disorder"]), "TCP_CA_");
        assert_eq!(prefix(&["TCP_CA_LOSS", "TCP_CA_LOSING"]), "TCP_CA_");
        assert_eq!(prefix(&["BPF_FUNC_a", "BPF_FUNC_b", "__BPF_FUNC_MAX_ID"]), "BPF_FUNC_");
        assert_eq!(prefix(&["ONE", "TWO"]), "");
        assert_eq!(prefix(&["ONE_TWO"]), "ONE_");
        assert_eq!(prefix(&[]), "");
    }

    #[test]
    fn a_name_that_is_no_identifier_is_an_error() {
        for name in ["é", "a\x1b[2J", ""] {
            let error =
                generated("enum rain_reason { RAIN_FRONT }; enum é { A };", name, None).expect_err("no identifier");
            assert!(error.starts_with("no enum ") && !error.contains('\x1b'), "{error:?}");
        }
        let prefix = generated("enum rain_reason { RAIN_FRONT };", "rain_reason", Some("é\x1b\n")).expect_err("none");
        assert!(prefix.contains("begins with \"é\\u{1b}\\n\""), "{prefix:?}");
    }

    #[test]
    fn a_table_of_any_number_of_enumerators_is_generated() {
        let names: String = (0..100_000).map(|number| format!("RAIN_{number} = {},", number % 65_000)).collect();
        let table = generated(&format!("enum rain_reason {{ {names} }};"), "rain_reason", None).expect("a table");
        assert!(table.contains("// Left out: RAIN_99999 = 34999: another name of RAIN_34999\n"), "a second name");
        assert!(table.contains("    N64999 = 64999,\n"), "the last row");
    }

    #[test]
    fn an_unknown_enum_or_prefix_is_an_error() {
        let header = "enum rain_reason { RAIN_FRONT = 1, RAIN_STORM };";
        for (name, prefix, expected) in [
            ("rain_raeson", None, "no enum rain_raeson with enumerators in /tmp/"),
            ("rain_raeson", None, "; did you mean `rain_reason`?"),
            ("snow", None, "no enum snow with enumerators"),
            ("rain_reason", Some("SNOW_"), "begins with \"SNOW_\""),
        ] {
            let error = generated(header, name, prefix).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
