// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parses tokens into a [`Table`]. A part that cannot be parsed is reported and left out, and
//! parsing continues.

use std::fmt::Display;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{
    Attribute, Expr, ExprLit, Fields, Generics, Ident, ItemEnum, Lit, LitStr, Meta, Path, Token, Visibility, token,
};

/// All mistakes found so far, so that one compilation reports all of them.
#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn at_span(&mut self, span: Span, message: impl Display) {
        self.push(syn::Error::new(span, message));
    }

    fn push(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the first error and the rest separately, since the fallback uses one error as a
    /// type.
    pub(crate) fn split(self) -> Option<(syn::Error, Option<syn::Error>)> {
        let mut errors = self.0.into_iter();
        let first = errors.next()?;
        let rest = errors.reduce(|mut all, error| {
            all.combine(error);
            all
        });
        Some((first, rest))
    }
}

/// An argument. `Broken` is an argument that was given and cannot be parsed. This has been
/// reported, so the argument must not be reported as missing.
pub(crate) enum Slot<T> {
    Absent,
    Broken,
    Given { name: Ident, value: T },
}

impl<T> Slot<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        match self {
            Slot::Given { value, .. } => Some(value),
            Slot::Absent | Slot::Broken => None,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Slot::Absent)
    }

    /// Marks the argument as broken, since a mistake elsewhere in the list was probably meant to be
    /// this argument.
    fn attempted(&mut self) {
        if self.is_absent() {
            *self = Slot::Broken;
        }
    }

    fn fill(&mut self, arg: &Arg, value: Option<T>, errors: &mut Errors) {
        match self {
            Slot::Absent => {
                *self = value.map_or(Slot::Broken, |value| Slot::Given { name: arg.name.clone(), value });
            }
            Slot::Broken => errors.at(&arg.name, format_args!("duplicate argument `{}`: remove one", arg.name)),
            Slot::Given { name, .. } => {
                errors.at(&arg.name, format_args!("duplicate argument `{}`: remove one", arg.name));
                errors.at(&*name, format_args!("`{name}` is first given here"));
            }
        }
    }
}

/// The enum and its attribute as written, before validation.
pub(crate) struct Table {
    pub(crate) args: TableArgs,
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) enum_token: Token![enum],
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) braces: token::Brace,
    pub(crate) variants: Vec<Variant>,
}

/// The arguments of `#[reason_table(...)]`.
pub(crate) struct TableArgs {
    pub(crate) key: Slot<LitStr>,
    pub(crate) c_prefix: Slot<LitStr>,
    pub(crate) class: Slot<Path>,
    pub(crate) unlisted: Slot<Ident>,
    pub(crate) krate: Slot<Path>,
}

pub(crate) struct Variant {
    /// The attributes other than `#[reason]`.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) ident: Ident,
    pub(crate) fields: Fields,
    pub(crate) number: Option<Expr>,
    /// The doc comment as one line.
    pub(crate) description: String,
    pub(crate) reason: Option<Reason>,
}

/// The arguments of `#[reason(...)]`.
pub(crate) struct Reason {
    pub(crate) attr: Attribute,
    pub(crate) value: Slot<LitStr>,
    pub(crate) c_name: Slot<LitStr>,
    pub(crate) class: Slot<Ident>,
}

/// Parses the attribute and the enum. Returns `None` if the item is not an enum.
pub(crate) fn parse(args: TokenStream, item: TokenStream, errors: &mut Errors) -> Option<Table> {
    let item = match an_enum.parse2(item) {
        Ok(item) => item,
        Err(error) => {
            errors.push(error);
            return None;
        }
    };
    let (again, attrs): (Vec<_>, Vec<_>) = item.attrs.into_iter().partition(is_reason_table);
    for attr in again {
        errors.at(attr, "duplicate `#[reason_table]`: merge them into one");
    }
    Some(Table {
        args: table_args(args, errors),
        attrs,
        vis: item.vis,
        enum_token: item.enum_token,
        ident: item.ident,
        generics: item.generics,
        braces: item.brace_token,
        variants: item.variants.into_iter().map(|variant| self::variant(variant, errors)).collect(),
    })
}

fn an_enum(input: ParseStream<'_>) -> syn::Result<ItemEnum> {
    let ahead = input.fork();
    ahead.call(Attribute::parse_outer)?;
    ahead.parse::<Visibility>()?;
    if !ahead.peek(Token![enum]) {
        return Err(ahead.error("`#[reason_table]` applies to an enum only: `enum Name { ... }`"));
    }
    input.parse()
}

fn is_reason_table(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|segment| segment.ident == "reason_table")
}

fn table_args(tokens: TokenStream, errors: &mut Errors) -> TableArgs {
    const NAMES: &[&str] = &["key", "c_prefix", "class", "unlisted", "crate"];
    let mut args = TableArgs {
        key: Slot::Absent,
        c_prefix: Slot::Absent,
        class: Slot::Absent,
        unlisted: Slot::Absent,
        krate: Slot::Absent,
    };
    let (list, unreadable) = self::args(tokens, "key = \"result\"", errors);
    for arg in list {
        match arg.name.to_string().as_str() {
            "key" => args.key.fill(&arg, arg.string("result", errors), errors),
            "c_prefix" => args.c_prefix.fill(&arg, arg.string("TCP_RETRANS_", errors), errors),
            "class" => args.class.fill(&arg, arg.path("ResultClass", errors), errors),
            "unlisted" => args.unlisted.fill(&arg, arg.variant("Other", errors), errors),
            "crate" => args.krate.fill(&arg, arg.path("path::to::retrans_sdk", errors), errors),
            _ => match unknown_argument(&arg.name, "reason_table", NAMES, errors) {
                Some("key") => args.key.attempted(),
                Some("c_prefix") => args.c_prefix.attempted(),
                Some("class") => args.class.attempted(),
                Some("unlisted") => args.unlisted.attempted(),
                _ => {}
            },
        }
    }
    if unreadable {
        args.key.attempted();
        args.c_prefix.attempted();
        args.class.attempted();
        args.unlisted.attempted();
    }
    args
}

fn variant(variant: syn::Variant, errors: &mut Errors) -> Variant {
    let (reasons, attrs): (Vec<_>, Vec<_>) = variant.attrs.into_iter().partition(|attr| attr.path().is_ident("reason"));
    let mut reasons = reasons.into_iter();
    let first = reasons.next();
    let mut twice = false;
    for attr in reasons {
        errors.at(attr, format_args!("duplicate `#[reason]` on `{}`: merge them into one", variant.ident));
        twice = true;
    }
    if let (Some(attr), true) = (&first, twice) {
        errors.at(attr, "the first `#[reason]` is here");
    }
    Variant {
        description: description(&attrs),
        attrs,
        ident: variant.ident,
        fields: variant.fields,
        number: variant.discriminant.map(|(_, number)| number),
        reason: first.map(|attr| reason(attr, errors)),
    }
}

fn reason(attr: Attribute, errors: &mut Errors) -> Reason {
    const NAMES: &[&str] = &["value", "c_name", "class"];
    let tokens = match &attr.meta {
        Meta::List(list) if matches!(list.delimiter, syn::MacroDelimiter::Paren(_)) => list.tokens.clone(),
        _ => {
            errors.at(&attr, "write `#[reason(value = \"...\")]`");
            return Reason { attr, value: Slot::Broken, c_name: Slot::Broken, class: Slot::Broken };
        }
    };
    let mut reason = Reason { attr, value: Slot::Absent, c_name: Slot::Absent, class: Slot::Absent };
    let (list, unreadable) = args(tokens, "value = \"success\"", errors);
    for arg in list {
        match arg.name.to_string().as_str() {
            "value" => reason.value.fill(&arg, arg.string("success", errors), errors),
            "c_name" => reason.c_name.fill(&arg, arg.string("TCP_RETRANS_SUCCESS", errors), errors),
            "class" => reason.class.fill(&arg, arg.variant("Ok", errors), errors),
            _ => match unknown_argument(&arg.name, "reason", NAMES, errors) {
                Some("value") => reason.value.attempted(),
                Some("c_name") => reason.c_name.attempted(),
                Some("class") => reason.class.attempted(),
                _ => {}
            },
        }
    }
    if unreadable {
        reason.value.attempted();
        reason.c_name.attempted();
        reason.class.attempted();
    }
    reason
}

/// Reports an argument that does not exist, and returns the argument that was probably meant.
fn unknown_argument(
    name: &Ident,
    attribute: &str,
    names: &[&'static str],
    errors: &mut Errors,
) -> Option<&'static str> {
    let text = name.to_string();
    let meant = names.iter().copied().min_by_key(|known| distance(&text, known)).filter(|known| {
        let far = distance(&text, known);
        far <= 2 && far < known.len()
    });
    match meant {
        Some(known) => errors.at(name, format_args!("unknown argument `{name}`: did you mean `{known}`?")),
        None => {
            let (last, others) = names.split_last()?;
            errors.at(
                name,
                format_args!(
                    "unknown argument `{name}`: `#[{attribute}]` accepts `{}` and `{last}`",
                    others.join("`, `")
                ),
            );
        }
    }
    meant
}

/// Returns the edit distance: the number of letters to insert, remove or replace. The SDK's
/// `suggest` counts swaps of neighbours as well.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// An argument `name = value`. The value is not yet parsed, since its kind depends on the name.
struct Arg {
    name: Ident,
    value: TokenStream,
}

/// Returns the arguments, and true if there is anything else among them. A parser of `name = value`
/// pairs would stop at the first mistake, so the tokens are split by hand.
fn args(tokens: TokenStream, example: &str, errors: &mut Errors) -> (Vec<Arg>, bool) {
    let mut args = Vec::new();
    let mut unreadable = false;
    let mut tokens = tokens.into_iter().peekable();
    while tokens.peek().is_some() {
        let mut chunk = Vec::new();
        while let Some(token) = tokens.next() {
            if is_punct(&token, ',') {
                if chunk.is_empty() {
                    errors.at(token, "missing argument before this `,`");
                    continue;
                }
                break;
            }
            chunk.push(token);
            // After `name = value` another `name =` follows: continue as if there were a comma.
            if let (Some(next @ TokenTree::Ident(_)), true) = (tokens.peek(), chunk.len() >= 3) {
                let next = next.clone();
                let mut ahead = tokens.clone().skip(1);
                if ahead.next().is_some_and(|after| is_punct(&after, '=')) {
                    errors.at(next, "missing `,` before this argument");
                    break;
                }
            }
        }
        if chunk.is_empty() {
            continue;
        }
        let chunk: TokenStream = chunk.into_iter().collect();
        if let Ok(arg) = arg.parse2(chunk.clone()) {
            args.push(arg);
        } else {
            errors.at(chunk, format_args!("expected an argument `name = value`, such as `{example}`"));
            unreadable = true;
        }
    }
    (args, unreadable)
}

fn arg(input: ParseStream<'_>) -> syn::Result<Arg> {
    let name = input.call(Ident::parse_any)?;
    input.parse::<Token![=]>()?;
    Ok(Arg { name, value: input.parse()? })
}

fn is_punct(token: &TokenTree, of: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == of)
}

impl Arg {
    fn string(&self, example: &str, errors: &mut Errors) -> Option<LitStr> {
        let example = format!("{example:?}");
        match self.read(Lit::parse, "a string", &example, errors)? {
            Lit::Str(text) if text.suffix().is_empty() => Some(text),
            _ => {
                self.wrong("a string", &example, errors);
                None
            }
        }
    }

    fn path(&self, example: &str, errors: &mut Errors) -> Option<Path> {
        self.read(Path::parse_mod_style, "a path", example, errors)
    }

    fn variant(&self, example: &str, errors: &mut Errors) -> Option<Ident> {
        self.read(Ident::parse, "the name of a variant, without its enum and without quotes", example, errors)
    }

    fn read<T>(
        &self,
        parser: fn(ParseStream<'_>) -> syn::Result<T>,
        what: &str,
        example: &str,
        errors: &mut Errors,
    ) -> Option<T> {
        let value = parser.parse2(self.value.clone());
        if value.is_err() {
            self.wrong(what, example, errors);
        }
        value.ok()
    }

    fn wrong(&self, what: &str, example: &str, errors: &mut Errors) {
        let message = format!("`{0}` expects {what}: `{0} = {example}`", self.name);
        if self.value.is_empty() {
            errors.at(&self.name, message);
        } else {
            errors.at(&self.value, message);
        }
    }
}

/// Returns the lines of the doc comment, joined with spaces; empty without a doc comment.
fn description(attrs: &[Attribute]) -> String {
    let mut words: Vec<String> = Vec::new();
    for text in attrs.iter().filter_map(doc_text) {
        // Only a `/** */` comment contains several lines, and each may start with a star.
        let block = text.contains('\n');
        for line in text.lines().map(str::trim) {
            let line = if block { line.strip_prefix('*').unwrap_or(line).trim() } else { line };
            if !line.is_empty() {
                words.push(line.to_owned());
            }
        }
    }
    words.join(" ")
}

fn doc_text(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attr.meta else { return None };
    match ungrouped(&meta.value) {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if meta.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}

/// Removes the invisible groups around a fragment such as `$number:expr` of a `macro_rules!`.
pub(crate) fn ungrouped(mut expr: &Expr) -> &Expr {
    while let Expr::Group(group) = expr {
        expr = &group.expr;
    }
    expr
}

/// Returns the item without `#[reason]`, which only this macro understands.
pub(crate) fn without_reason(tokens: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if is_reason(&group) && ends_in_hash(&kept) => {
                kept.pop();
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), without_reason(group.stream()));
                inner.set_span(group.span());
                kept.push(inner.into());
            }
            other => kept.push(other),
        }
    }
    kept.into_iter().collect()
}

fn is_reason(group: &Group) -> bool {
    group.delimiter() == Delimiter::Bracket
        && matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(ident)) if ident == "reason")
}

fn ends_in_hash(tokens: &[TokenTree]) -> bool {
    tokens.last().is_some_and(|token| is_punct(token, '#'))
}
