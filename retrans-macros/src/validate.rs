// SPDX-License-Identifier: MIT OR Apache-2.0
//! Validates a [`Table`]. The expansion of the resulting [`Checked`] table cannot fail.

use std::collections::HashMap;
use std::hash::Hash;

use quote::ToTokens;
use syn::ext::IdentExt as _;
use syn::{Expr, ExprLit, Fields, Ident, Lit, LitStr, Path};

use crate::parse::{Errors, Reason, Slot, Table, Variant, ungrouped};

/// The SDK's `MAX_VALUE_LEN`. A macro crate cannot depend on the crate that its expansion uses.
const MAX_LEN: usize = 32;

/// The largest number below the SDK's `UNLISTED_BASE`.
const MAX_NUMBER: u32 = 0xffff;

/// A table without a mistake.
pub(crate) struct Checked<'a> {
    pub(crate) key: String,
    pub(crate) class: Option<Class<'a>>,
    pub(crate) rows: Vec<Row<'a>>,
}

pub(crate) struct Class<'a> {
    pub(crate) table: &'a Path,
    pub(crate) unlisted: &'a Ident,
}

pub(crate) struct Row<'a> {
    pub(crate) variant: &'a Variant,
    pub(crate) value: String,
    pub(crate) c_name: Option<String>,
    pub(crate) number: u32,
    /// The variant of the class. `Some` in every row if the table has a class, else `None`.
    pub(crate) class: Option<&'a Ident>,
}

/// Validates a table. Returns `None` if, and only if, `errors` is not empty afterwards.
pub(crate) fn validate<'a>(table: &'a Table, errors: &mut Errors) -> Option<Checked<'a>> {
    let key = key(table, errors);
    let c_prefix = c_prefix(table, errors);
    shape(table, errors);
    let class = class(table, errors);

    let mut seen = Seen::default();
    let rows: Vec<_> = table
        .variants
        .iter()
        .filter_map(|variant| row(variant, c_prefix.as_deref(), &class, &mut seen, errors))
        .collect();

    if !errors.is_empty() {
        return None;
    }
    let class = match class {
        TableClass::Of(table, Some(unlisted)) => Some(Class { table, unlisted }),
        _ => None,
    };
    Some(Checked { key: key?, class, rows })
}

/// Returns the key as written, or the enum's name in snake case.
fn key(table: &Table, errors: &mut Errors) -> Option<String> {
    match &table.args.key {
        Slot::Absent => derived_word("key", &table.ident, "#[reason_table(key = \"...\")]", errors),
        Slot::Broken => None,
        Slot::Given { value, .. } => word("key", value, errors),
    }
}

/// Returns the prefix of the C names; `None` if they are not derived.
fn c_prefix(table: &Table, errors: &mut Errors) -> Option<String> {
    let literal = table.args.c_prefix.get()?;
    let prefix = literal.value();
    // An empty prefix is valid: the enumerators then have no common prefix.
    if !prefix.is_empty() && !is_c_identifier(&prefix) {
        errors.at(
            literal,
            "not the start of a C identifier: write what the enumerators begin with, e.g. \"TCP_RETRANS_\"",
        );
        return None;
    }
    Some(prefix)
}

fn shape(table: &Table, errors: &mut Errors) {
    if table.generics.lt_token.is_some() {
        errors.at(&table.generics, "a table cannot be generic: remove the parameters");
    }
    if let Some(clause) = &table.generics.where_clause {
        errors.at(clause, "a table cannot have a `where` clause: remove it");
    }
    if table.variants.is_empty() {
        errors.at_span(table.braces.span.join(), "a table requires at least one variant");
    }
}

enum TableClass<'a> {
    None,
    /// The table's class, and the class of an unlisted number if it is given.
    Of(&'a Path, Option<&'a Ident>),
    /// A class that cannot be parsed. This has been reported, and the variants may be correct.
    Unclear,
}

fn class<'a>(table: &'a Table, errors: &mut Errors) -> TableClass<'a> {
    match (&table.args.class, &table.args.unlisted) {
        (Slot::Absent, Slot::Absent) => TableClass::None,
        (Slot::Absent, Slot::Given { name, .. }) => {
            errors.at(name, "`unlisted` requires `class`: add `class = ...`, the enum that contains this variant");
            TableClass::Unclear
        }
        (Slot::Absent | Slot::Broken, _) => TableClass::Unclear,
        (Slot::Given { name, value }, unlisted) => {
            if unlisted.is_absent() {
                errors.at(
                    name,
                    "`class` requires `unlisted`: add `unlisted = ...`, the class of a number that no variant declares",
                );
            }
            TableClass::Of(value, unlisted.get())
        }
    }
}

#[derive(Default)]
struct Seen<'a> {
    idents: Firsts<'a, String>,
    values: Firsts<'a, String>,
    numbers: Firsts<'a, u32>,
    c_names: Firsts<'a, String>,
}

/// The first use of each key, and true if that use has been reported.
struct Firsts<'a, K>(HashMap<K, (&'a dyn ToTokens, bool)>);

impl<K> Default for Firsts<'_, K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<'a, K: Eq + Hash> Firsts<'a, K> {
    fn check(&mut self, key: K, here: &'a dyn ToTokens, what: &str, errors: &mut Errors) {
        let (first, noted) = match self.0.entry(key) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert((here, false));
                return;
            }
            std::collections::hash_map::Entry::Occupied(used) => used.into_mut(),
        };
        errors.at(here, format_args!("duplicate {what}: each variant requires its own"));
        if !std::mem::replace(noted, true) {
            errors.at(*first, format_args!("first use of the {what}"));
        }
    }
}

fn row<'a>(
    variant: &'a Variant,
    c_prefix: Option<&str>,
    class: &TableClass<'_>,
    seen: &mut Seen<'a>,
    errors: &mut Errors,
) -> Option<Row<'a>> {
    let ident = &variant.ident;
    if ident == "Unlisted" {
        errors.at(
            ident,
            "the name `Unlisted` is reserved for the generated variant, which carries the numbers that no variant \
             declares: choose another name",
        );
    }
    seen.idents.check(ident.to_string(), ident, &format!("name `{ident}`"), errors);
    for attr in variant.attrs.iter().filter(|attr| attr.path().is_ident("cfg")) {
        errors.at(
            attr,
            "`#[cfg]` is not allowed on a variant: every build must parse what another build prints; put it on the enum",
        );
    }
    if !matches!(variant.fields, Fields::Unit) {
        errors.at(&variant.fields, format_args!("a variant of a table cannot have fields: write `{ident}`"));
    }
    if variant.description.is_empty() {
        errors
            .at(ident, format_args!("missing doc comment on `{ident}`: add `/// ...`, which becomes its description"));
    }
    let number = number(variant, seen, errors);

    let value = value(variant, c_prefix, seen, errors);
    let c_name = c_name(variant, c_prefix, seen, errors);
    let class = class_of(variant, class, errors);
    Some(Row { variant, value: value?, c_name, number: number?, class })
}

fn number<'a>(variant: &'a Variant, seen: &mut Seen<'a>, errors: &mut Errors) -> Option<u32> {
    let ident = &variant.ident;
    let Some(expr) = &variant.number else {
        errors.at(
            ident,
            format_args!("missing number for `{ident}`: write `{ident} = N`, with N from 0 to {MAX_NUMBER:#x}"),
        );
        return None;
    };
    let Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) = ungrouped(expr) else {
        errors.at(expr, format_args!("expected an integer literal from 0 to {MAX_NUMBER:#x}"));
        return None;
    };
    if !literal.suffix().is_empty() {
        errors.at(expr, format_args!("a number cannot have a suffix: write `{}`", literal.base10_digits()));
        return None;
    }
    // A number that overflows is reported as too large.
    let Some(number) = literal.base10_parse().ok().filter(|number| *number <= MAX_NUMBER) else {
        errors.at(
            expr,
            format_args!(
                "a number is at most {MAX_NUMBER:#x}: larger ones are reserved for numbers that no variant declares"
            ),
        );
        return None;
    };
    seen.numbers.check(number, expr, &format!("number {number}"), errors);
    Some(number)
}

/// Returns the value as written, or the variant's name in snake case.
fn value<'a>(variant: &'a Variant, c_prefix: Option<&str>, seen: &mut Seen<'a>, errors: &mut Errors) -> Option<String> {
    const REMEDY: &str = "#[reason(value = \"...\")]";
    let ident = &variant.ident;
    let (value, at): (_, &'a dyn ToTokens) = match variant.reason.as_ref().map(|reason| &reason.value) {
        None | Some(Slot::Absent) => (derived_word("value", ident, REMEDY, errors)?, ident),
        Some(Slot::Broken) => return None,
        Some(Slot::Given { value, .. }) if is_name_in_c(&value.value(), variant, c_prefix) => (value.value(), value),
        Some(Slot::Given { value, .. }) => (word("value", value, errors)?, value),
    };
    if let Some(number) = value.strip_prefix('k').filter(|rest| is_digits(rest)) {
        let reserved = format!("the value `{value}` is reserved: number {number} prints so if no variant declares it");
        match &variant.reason {
            Some(Reason { value: Slot::Given { .. }, .. }) => {
                errors.at(at, format_args!("{reserved}; choose another value"));
            }
            _ => errors.at(at, format_args!("{reserved}; it derives from `{ident}`, set another with `{REMEDY}`")),
        }
        return None;
    }
    seen.values.check(value.clone(), at, &format!("value `{value}`"), errors);
    Some(value)
}

/// Returns true if a value is the C name of its variant, with or without the table's prefix. Such a
/// value is in upper case.
fn is_name_in_c(value: &str, variant: &Variant, c_prefix: Option<&str>) -> bool {
    let is_upper = |c: char| matches!(c, 'A'..='Z' | '0'..='9' | '_');
    if value.len() > MAX_LEN || !value.starts_with(|c: char| c.is_ascii_uppercase()) || !value.chars().all(is_upper) {
        return false;
    }
    let name = match variant.reason.as_ref().map(|reason| &reason.c_name) {
        Some(Slot::Given { value, .. }) => value.value(),
        Some(Slot::Broken) => return false,
        None | Some(Slot::Absent) => match (c_prefix, snake_case(&variant.ident)) {
            (Some(prefix), Some(snake)) => format!("{prefix}{}", snake.to_ascii_uppercase()),
            _ => return false,
        },
    };
    name == value || c_prefix.is_some_and(|prefix| name.strip_prefix(prefix) == Some(value))
}

/// Returns the C name as written, or the prefix followed by the variant's name in upper case.
fn c_name<'a>(
    variant: &'a Variant,
    c_prefix: Option<&str>,
    seen: &mut Seen<'a>,
    errors: &mut Errors,
) -> Option<String> {
    let (name, at): (_, &'a dyn ToTokens) = match variant.reason.as_ref().map(|reason| &reason.c_name) {
        Some(Slot::Given { value, .. }) => (value.value(), value),
        Some(Slot::Broken) => return None,
        None | Some(Slot::Absent) => {
            // A name that is not ASCII has no derived value. `value` reports that.
            let upper = snake_case(&variant.ident)?.to_ascii_uppercase();
            (format!("{}{upper}", c_prefix?), &variant.ident)
        }
    };
    if !is_c_identifier(&name) {
        errors.at(at, "not a C identifier: write the enumerator's name as in the header, e.g. \"TCP_RETRANS_SUCCESS\"");
        return None;
    }
    seen.c_names.check(name.clone(), at, &format!("C name `{name}`"), errors);
    Some(name)
}

fn is_c_identifier(name: &str) -> bool {
    let of_c = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(of_c)
}

fn class_of<'a>(variant: &'a Variant, class: &TableClass<'_>, errors: &mut Errors) -> Option<&'a Ident> {
    let ident = &variant.ident;
    match (class, variant.reason.as_ref().map(|reason| (reason, &reason.class))) {
        (TableClass::Of(table, _), None) => {
            let table = last_name(table);
            errors.at(
                ident,
                format_args!("missing class for `{ident}`: add `#[reason(class = ...)]`, a variant of `{table}`"),
            );
        }
        (TableClass::Of(table, _), Some((reason, Slot::Absent))) => {
            let table = last_name(table);
            errors.at(
                &reason.attr,
                format_args!("missing class for `{ident}`: add `class = ...`, a variant of `{table}`"),
            );
        }
        (TableClass::None, Some((_, Slot::Given { name, .. }))) => errors
            .at(name, "the table has no class: remove this, or add `class = ..., unlisted = ...` to `#[reason_table]`"),
        _ => {}
    }
    variant.reason.as_ref()?.class.get()
}

fn last_name(path: &Path) -> String {
    path.segments.last().map_or_else(String::new, |segment| segment.ident.to_string())
}

/// Derives a key or a value from a name.
fn derived_word(what: &str, ident: &Ident, remedy: &str, errors: &mut Errors) -> Option<String> {
    let Some(derived) = snake_case(ident) else {
        errors.at(
            ident,
            format_args!("cannot derive a {what} from `{ident}`, which is not ASCII: set it with `{remedy}`"),
        );
        return None;
    };
    if let Some(mistake) = mistake(what, &derived) {
        errors.at(
            ident,
            format_args!("cannot derive a {what} from `{ident}`: {mistake} (`{derived}`); set it with `{remedy}`"),
        );
        return None;
    }
    Some(derived)
}

/// Checks the rules that keys and values share.
fn word(what: &str, literal: &LitStr, errors: &mut Errors) -> Option<String> {
    let text = literal.value();
    if let Some(mistake) = mistake(what, &text) {
        errors.at(literal, mistake);
        return None;
    }
    Some(text)
}

fn mistake(what: &str, text: &str) -> Option<String> {
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '_');
    let first = text.chars().next();
    if let Some(bad) = text.chars().find(|c| !allowed(c)) {
        let instead = suggestion(text).map_or_else(String::new, |instead| format!(": write {instead:?}"));
        return Some(format!("a {what} contains only a-z, 0-9 and `_`, not {bad:?}{instead}"));
    }
    match first {
        None => Some(format!("a {what} cannot be empty")),
        Some('a'..='z') if text.len() > MAX_LEN => {
            Some(format!("a {what} has at most {MAX_LEN} characters, but this one has {}", text.len()))
        }
        Some('a'..='z') => None,
        Some(other) => Some(format!("a {what} starts with a letter a-z, not {other:?}")),
    }
}

/// Returns the nearest text that is allowed; `None` if there is no such text.
fn suggestion(text: &str) -> Option<String> {
    let words: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let snake = snake(&words);
    let snake = snake.trim_matches('_');
    (text.is_ascii() && mistake("", snake).is_none()).then(|| snake.to_owned())
}

/// Returns a name in snake case, as it is printed: `not_specified` for `NotSpecified`. `None` if
/// the name is not ASCII.
///
/// The SDK's generator of tables uses the same rule.
pub(crate) fn snake_case(ident: &Ident) -> Option<String> {
    let name = ident.unraw().to_string();
    name.is_ascii().then(|| snake(&name))
}

/// Inserts a `_` before an upper-case letter that follows a lower-case letter or a digit, and
/// before the last upper-case letter of a run that a lower-case letter follows. Therefore a digit
/// belongs to the word before it: `Tcp3Way` is `tcp3_way`, `FinWait1` is `fin_wait1`, and
/// `TCPFlags` is `tcp_flags`.
fn snake(name: &str) -> String {
    let letters = name.as_bytes();
    let mut snake = String::with_capacity(name.len() + 8);
    for (at, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            let before = letters[at - 1];
            let ends_acronym =
                before.is_ascii_uppercase() && letters.get(at + 1).is_some_and(|next| next.is_ascii_lowercase());
            if before.is_ascii_lowercase() || before.is_ascii_digit() || ends_acronym {
                snake.push('_');
            }
        }
        snake.push(char::from(letter.to_ascii_lowercase()));
    }
    snake
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
