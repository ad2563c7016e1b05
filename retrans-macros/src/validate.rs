// SPDX-License-Identifier: MIT OR Apache-2.0
//! A [`Table`] to a [`Checked`] one, from which the expansion cannot fail.

use std::collections::HashMap;
use std::hash::Hash;

use proc_macro2::Span;
use quote::ToTokens;
use syn::{Expr, ExprLit, Fields, Ident, Lit, LitStr, Path};

use crate::parse::{Errors, Reason, Slot, Table, Variant, ungrouped};

/// The SDK's `MAX_VALUE_LEN`; a macro cannot depend on the crate it expands to.
const MAX_LEN: usize = 32;

/// The largest number below the SDK's `UNKNOWN_BASE`.
const MAX_NUMBER: u32 = 0xffff;

/// A table without a mistake.
pub(crate) struct Checked<'a> {
    pub(crate) key: String,
    pub(crate) class: Option<Class<'a>>,
    pub(crate) rows: Vec<Row<'a>>,
}

pub(crate) struct Class<'a> {
    pub(crate) table: &'a Path,
    pub(crate) unknown: &'a Ident,
}

pub(crate) struct Row<'a> {
    pub(crate) variant: &'a Variant,
    pub(crate) value: String,
    pub(crate) c_name: Option<String>,
    pub(crate) number: u32,
    /// `Some` in every row iff the table has a class.
    pub(crate) class: Option<&'a Ident>,
}

/// `None` iff `errors` holds something afterwards.
pub(crate) fn validate<'a>(table: &'a Table, errors: &mut Errors) -> Option<Checked<'a>> {
    let key = key(table, errors);
    shape(table, errors);
    let class = class(table, errors);

    let mut seen = Seen::default();
    let rows: Vec<_> = table.variants.iter().filter_map(|variant| row(variant, &class, &mut seen, errors)).collect();

    if !errors.is_empty() {
        return None;
    }
    let class = match class {
        TableClass::Of(table, Some(unknown)) => Some(Class { table, unknown }),
        _ => None,
    };
    Some(Checked { key: key?, class, rows })
}

fn key(table: &Table, errors: &mut Errors) -> Option<String> {
    match &table.args.key {
        // There is no token to point at but the attribute itself.
        Slot::Absent => {
            errors.at_span(Span::call_site(), "the table has no key: write `#[reason_table(key = \"...\")]`");
            None
        }
        Slot::Broken => None,
        Slot::Given { value, .. } => word("key", value, errors),
    }
}

fn shape(table: &Table, errors: &mut Errors) {
    if table.generics.lt_token.is_some() {
        errors.at(&table.generics, "a table cannot be generic: remove the parameters");
    }
    if let Some(clause) = &table.generics.where_clause {
        errors.at(clause, "a table cannot have a `where` clause: remove it");
    }
    if table.variants.is_empty() {
        errors.at_span(table.braces.span.join(), "a table has at least one variant");
    }
}

enum TableClass<'a> {
    None,
    /// The table's class, and that of an unknown number where it can be told.
    Of(&'a Path, Option<&'a Ident>),
    /// A class was meant, but not which: that has been reported, and the variants may be right.
    Unclear,
}

fn class<'a>(table: &'a Table, errors: &mut Errors) -> TableClass<'a> {
    match (&table.args.class, &table.args.unknown) {
        (Slot::Absent, Slot::Absent) => TableClass::None,
        (Slot::Absent, Slot::Given { name, .. }) => {
            errors.at(name, "`unknown` without `class`: add `class = ...`, the enum that this is a variant of");
            TableClass::Unclear
        }
        (Slot::Absent | Slot::Broken, _) => TableClass::Unclear,
        (Slot::Given { name, value }, unknown) => {
            if unknown.is_absent() {
                errors.at(
                    name,
                    "`class` without `unknown`: add `unknown = ...`, the class of a number without a variant",
                );
            }
            TableClass::Of(value, unknown.get())
        }
    }
}

#[derive(Default)]
struct Seen<'a> {
    idents: Firsts<'a, String, Ident>,
    values: Firsts<'a, String, LitStr>,
    numbers: Firsts<'a, u32, Expr>,
    c_names: Firsts<'a, String, LitStr>,
}

/// Where each thing was used first, and whether that has been pointed out.
struct Firsts<'a, K, T>(HashMap<K, (&'a T, bool)>);

impl<K, T> Default for Firsts<'_, K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<'a, K: Eq + Hash, T: ToTokens> Firsts<'a, K, T> {
    fn check(&mut self, key: K, here: &'a T, what: &str, errors: &mut Errors) {
        let (first, noted) = match self.0.entry(key) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert((here, false));
                return;
            }
            std::collections::hash_map::Entry::Occupied(used) => used.into_mut(),
        };
        errors.at(here, format_args!("{what} is used twice: each variant has its own"));
        if !std::mem::replace(noted, true) {
            errors.at(first, format_args!("{what} is first used here"));
        }
    }
}

fn row<'a>(variant: &'a Variant, class: &TableClass<'_>, seen: &mut Seen<'a>, errors: &mut Errors) -> Option<Row<'a>> {
    let ident = &variant.ident;
    if ident == "Unknown" {
        errors.at(ident, "`Unknown` is generated, for a number without a variant: name this one otherwise");
    }
    seen.idents.check(ident.to_string(), ident, &format!("the name `{ident}`"), errors);
    for attr in variant.attrs.iter().filter(|attr| attr.path().is_ident("cfg")) {
        errors.at(
            attr,
            "a variant cannot depend on `#[cfg]`: what one build prints, another must parse; put it on the enum",
        );
    }
    if !matches!(variant.fields, Fields::Unit) {
        errors.at(&variant.fields, format_args!("a variant of a table has no fields: write `{ident}`"));
    }
    if variant.description.is_empty() {
        errors.at(ident, format_args!("`{ident}` has no doc comment: write `/// ...`, its description in the table"));
    }
    let number = number(variant, seen, errors);

    let Some(reason) = &variant.reason else {
        let value = suggestion(&ident.to_string()).unwrap_or_else(|| "...".to_owned());
        errors.at(ident, format_args!("`{ident}` has no `#[reason]`: add `#[reason(value = {value:?})]`"));
        return None;
    };
    let value = value(variant, reason, seen, errors);
    let c_name = c_name(reason, seen, errors);
    let class = class_of(variant, reason, class, errors);
    Some(Row { variant, value: value?, c_name, number: number?, class })
}

fn number<'a>(variant: &'a Variant, seen: &mut Seen<'a>, errors: &mut Errors) -> Option<u32> {
    let ident = &variant.ident;
    let Some(expr) = &variant.number else {
        errors
            .at(ident, format_args!("`{ident}` has no number: write `{ident} = N`, with N from 0 to {MAX_NUMBER:#x}"));
        return None;
    };
    let Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) = ungrouped(expr) else {
        errors.at(expr, format_args!("a number is written as an integer literal from 0 to {MAX_NUMBER:#x}"));
        return None;
    };
    if !literal.suffix().is_empty() {
        errors.at(expr, format_args!("a number has no suffix: write `{}`", literal.base10_digits()));
        return None;
    }
    // What does not even fit is too large as well.
    let Some(number) = literal.base10_parse().ok().filter(|number| *number <= MAX_NUMBER) else {
        errors.at(
            expr,
            format_args!("a number is at most {MAX_NUMBER:#x}: those above are kept for numbers without a variant"),
        );
        return None;
    };
    seen.numbers.check(number, expr, &format!("the number {number}"), errors);
    Some(number)
}

fn value<'a>(variant: &Variant, reason: &'a Reason, seen: &mut Seen<'a>, errors: &mut Errors) -> Option<String> {
    let literal = match &reason.value {
        Slot::Absent => {
            let value = suggestion(&variant.ident.to_string()).unwrap_or_else(|| "...".to_owned());
            errors.at(&reason.attr, format_args!("`{}` has no value: add `value = {value:?}`", variant.ident));
            return None;
        }
        Slot::Broken => return None,
        Slot::Given { value, .. } => value,
    };
    let value = word("value", literal, errors)?;
    if let Some(number) = value.strip_prefix('k').filter(|rest| is_digits(rest)) {
        errors.at(
            literal,
            format_args!("`{value}` is how the number {number} prints when it has no variant: choose another value"),
        );
        return None;
    }
    seen.values.check(value.clone(), literal, &format!("the value `{value}`"), errors);
    Some(value)
}

fn c_name<'a>(reason: &'a Reason, seen: &mut Seen<'a>, errors: &mut Errors) -> Option<String> {
    let literal = reason.c_name.get()?;
    let name = literal.value();
    let of_c = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(of_c) {
        errors.at(
            literal,
            "this is not a C identifier: write the enumerator's name as in the header, e.g. \"TCP_RETRANS_SUCCESS\"",
        );
        return None;
    }
    seen.c_names.check(name.clone(), literal, &format!("the C name `{name}`"), errors);
    Some(name)
}

fn class_of<'a>(
    variant: &Variant,
    reason: &'a Reason,
    class: &TableClass<'_>,
    errors: &mut Errors,
) -> Option<&'a Ident> {
    match (class, &reason.class) {
        (TableClass::Of(table, _), Slot::Absent) => {
            let table = table.segments.last().map_or_else(String::new, |segment| segment.ident.to_string());
            errors.at(
                &reason.attr,
                format_args!("`{}` has no class: add `class = ...`, a variant of `{table}`", variant.ident),
            );
        }
        (TableClass::None, Slot::Given { name, .. }) => errors
            .at(name, "the table has no class: remove this, or add `class = ..., unknown = ...` to `#[reason_table]`"),
        _ => {}
    }
    reason.class.get()
}

/// Checks what a key and a value have in common.
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
        return Some(format!("a {what} holds only a-z, 0-9 and `_`, and not {bad:?}{instead}"));
    }
    match first {
        None => Some(format!("a {what} cannot be empty")),
        Some('a'..='z') if text.len() > MAX_LEN => {
            Some(format!("a {what} has at most {MAX_LEN} characters, and this has {}: shorten it", text.len()))
        }
        Some('a'..='z') => None,
        Some(other) => Some(format!("a {what} starts with a letter a-z, and not with {other:?}")),
    }
}

/// The nearest text that would do, if there is one.
fn suggestion(text: &str) -> Option<String> {
    if !text.is_ascii() {
        return None;
    }
    let mut snake = String::new();
    let mut after_small = false;
    for c in text.chars() {
        if c.is_ascii_uppercase() && after_small {
            snake.push('_');
        }
        after_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        snake.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    let snake = snake.trim_matches('_');
    mistake("", snake).is_none().then(|| snake.to_owned())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
