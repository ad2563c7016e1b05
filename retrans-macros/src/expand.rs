// SPDX-License-Identifier: MIT OR Apache-2.0
//! Expands a [`Checked`] table to code, and a wrong table to its errors and stubs.
//!
//! # Design
//!
//! Both use [`items`], so that a stub has the same signature as the item that it replaces.
//!
//! All paths are absolute, including `::core::primitive::str`, so the user's names cannot collide
//! with them. Local names start with `__`, because a constant of the same name would turn a binding
//! into a pattern. The only exception is `raw`, which the documentation shows.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::punctuated::Punctuated;
use syn::{Attribute, Fields, Ident, Path, Token, parse_quote};

use crate::parse::{Errors, Table, Variant, parse, without_reason};
use crate::validate::{Checked, Row, snake_case, validate};

pub(crate) fn reason_table(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Some(table) = parse(args, item.clone(), &mut errors) else {
        let error = errors.split().map(|(error, _)| error.into_compile_error());
        let item = without_reason(item);
        return quote!(#error #item);
    };
    match validate(&table, &mut errors) {
        Some(checked) => expand(&table, &checked),
        None => fallback(&table, errors),
    }
}

fn expand(table: &Table, checked: &Checked<'_>) -> TokenStream {
    let variants = checked.rows.iter().map(|row| {
        let Variant { attrs, ident, .. } = row.variant;
        let summary = summary(row);
        // The empty line starts a new paragraph.
        quote!(#(#attrs)* #[doc = ""] #[doc = #summary] #ident)
    });
    let bodies = bodies(table, checked);
    items(table, &variants.collect::<Vec<_>>(), true, &bodies)
}

/// Returns a line for the documentation of a variant, which therefore cannot differ from the table.
fn summary(row: &Row<'_>) -> String {
    let mut line = format!("`{}`, {}", row.value, row.number);
    if let Some(c_name) = &row.c_name {
        line += &format!(", `{c_name}`");
    }
    line
}

/// The parts in which a table and its stub differ.
struct Bodies {
    key: String,
    all: TokenStream,
    as_str: TokenStream,
    c_name: TokenStream,
    description: TokenStream,
    raw: TokenStream,
    entry: TokenStream,
    known: TokenStream,
    unlisted: TokenStream,
    class: Option<ClassBody>,
}

struct ClassBody {
    ty: TokenStream,
    doc: String,
    body: TokenStream,
}

fn bodies(table: &Table, checked: &Checked<'_>) -> Bodies {
    let krate = krate(table);
    let rows = &checked.rows;
    let idents: Vec<_> = rows.iter().map(|row| &row.variant.ident).collect();
    let numbers: Vec<_> = rows.iter().map(|row| Literal::u32_unsuffixed(row.number)).collect();
    let indices = (0..rows.len()).map(Literal::usize_unsuffixed);
    let values: Vec<_> = rows.iter().map(|row| &row.value).collect();
    let c_names: Vec<_> = rows.iter().map(|row| option(row.c_name.as_ref())).collect();
    let descriptions: Vec<_> = rows.iter().map(|row| &row.variant.description).collect();

    // One function uses the class as a table, so that a class that is not a table is reported once,
    // at its name.
    let class_value = checked.class.as_ref().map(|class| {
        let ty = class.table;
        let span = ty.segments.last().map_or_else(Span::call_site, |segment| segment.ident.span());
        let value = Ident::new("__reason_table_value", Span::call_site().located_at(span));
        quote! {
            const fn __value(__class: #ty) -> ::core::option::Option<&'static ::core::primitive::str> {
                __class.#value()
            }
        }
    });
    let class_values = idents.iter().map(|ident| match class_value {
        Some(_) => quote!(__value(Self::#ident.class())),
        None => option(None::<&str>),
    });
    let class = checked.class.as_ref().map(|class| {
        let (ty, unlisted) = (class.table, class.unlisted);
        let classes = rows.iter().map(|row| row.class);
        ClassBody {
            ty: quote!(#ty),
            doc: format!("Returns the class; `{unlisted}` for an unlisted number."),
            // With `<>` the compiler reports a missing type in the same words as in the signature,
            // and therefore only once.
            body: quote! {
                match self {
                    #(Self::#idents => <#ty>::#classes,)*
                    Self::Unlisted(_) => <#ty>::#unlisted,
                }
            },
        }
    });

    Bodies {
        key: checked.key.clone(),
        all: quote! {{
            #class_value
            &[#(#krate::reason_table::Entry::__new(
                Self::#idents, #values, #c_names, #numbers, #class_values, #descriptions,
            ),)*]
        }},
        as_str: quote! {
            match self {
                #(Self::#idents => ::core::option::Option::Some(#values),)*
                Self::Unlisted(_) => ::core::option::Option::None,
            }
        },
        c_name: quote! {
            match self {
                #(Self::#idents => #c_names,)*
                Self::Unlisted(_) => ::core::option::Option::None,
            }
        },
        description: quote! {
            match self {
                #(Self::#idents => #descriptions,)*
                Self::Unlisted(_) => "no variant has this number",
            }
        },
        raw: quote! {
            match self {
                #(Self::#idents => #numbers,)*
                Self::Unlisted(__unlisted) => __unlisted.raw(),
            }
        },
        entry: quote! {
            let __row: ::core::primitive::usize = match self {
                #(Self::#idents => #indices,)*
                Self::Unlisted(_) => return ::core::option::Option::None,
            };
            <Self as #krate::reason_table::ReasonTable>::ALL.get(__row)
        },
        known: quote! {
            match __number {
                #(#numbers => ::core::option::Option::Some(Self::#idents),)*
                _ => ::core::option::Option::None,
            }
        },
        unlisted: quote!(Self::Unlisted(__unlisted)),
        class,
    }
}

fn option(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// Returns the errors, and stubs of all items of a table, so that code that uses the table causes
/// no further errors.
fn fallback(table: &Table, errors: Errors) -> TokenStream {
    let Some((first, rest)) = errors.split() else { return TokenStream::new() };
    let first = first.into_compile_error();
    let rest = rest.map(syn::Error::into_compile_error);

    // The compiler accepts a type that contains an error as any other type, without another error.
    // It replaces a type of the user's that is unclear. It is also in the bodies, so that the
    // compiler does not evaluate them in constants.
    let wrong = format_ident!("__WrongTable{}", table.ident);
    let wrong_type = quote! {
        #[doc(hidden)]
        type #wrong = [(); #first];
    };

    let mut idents = Vec::new();
    let variants = table.variants.iter().filter_map(|variant| {
        if idents.contains(&&variant.ident) {
            return None;
        }
        idents.push(&variant.ident);
        let ident = &variant.ident;
        let attrs = variant.attrs.iter().filter(|attr| !attr.path().is_ident("cfg"));
        let fields = match &variant.fields {
            Fields::Unit => None,
            Fields::Unnamed(fields) => {
                let types = fields.unnamed.iter().map(|_| &wrong);
                Some(quote!((#(#types),*)))
            }
            Fields::Named(fields) => {
                let names = fields.named.iter().map(|field| &field.ident);
                Some(quote!({ #(#names: #wrong),* }))
            }
        };
        Some(quote!(#(#attrs)* #ident #fields))
    });
    let variants: Vec<_> = variants.collect();
    let own_unlisted = idents.iter().any(|ident| *ident == "Unlisted");

    let body = quote! {
        let _: #wrong = ();
        ::core::unreachable!()
    };
    let args = &table.args;
    let class_meant = !args.class.is_absent()
        || !args.unlisted.is_absent()
        || table.variants.iter().filter_map(|variant| variant.reason.as_ref()).any(|reason| !reason.class.is_absent());
    let class = class_meant.then(|| ClassBody {
        ty: args.class.get().map_or_else(|| quote!(#wrong), ToTokens::to_token_stream),
        doc: "Returns the class.".to_owned(),
        body: body.clone(),
    });
    let bodies = Bodies {
        key: args.key.get().map(syn::LitStr::value).or_else(|| snake_case(&table.ident)).unwrap_or_default(),
        all: quote!(&[]),
        as_str: body.clone(),
        c_name: body.clone(),
        description: body.clone(),
        raw: body.clone(),
        entry: body.clone(),
        known: body.clone(),
        unlisted: body,
        class,
    };
    let items = items(table, &variants, !own_unlisted, &bodies);
    quote!(#wrong_type #rest #items)
}

/// Returns the enum with all its items. Adds the variant `Unlisted` if `unlisted` is true.
fn items(table: &Table, variants: &[TokenStream], unlisted: bool, bodies: &Bodies) -> TokenStream {
    let Table { attrs, vis, enum_token, ident, .. } = table;
    let krate = krate(table);
    let derives = derives(attrs);
    // An empty derive causes a warning.
    let derive = (!derives.is_empty()).then(|| quote!(#[derive(#(#derives),*)]));
    let unlisted = unlisted.then(|| {
        quote! {
            /// A number that no variant declares.
            Unlisted(#krate::reason_table::Unlisted<Self>),
        }
    });
    // Built from the user's tokens, so that messages about the enum point at them.
    let mut body = TokenStream::new();
    table.braces.surround(&mut body, |body| body.extend(quote!(#(#variants,)* #unlisted)));
    let inherent = inherent(vis, &krate, bodies);
    let Bodies { key, all, entry, known, unlisted: make_unlisted, .. } = bodies;

    quote! {
        #(#attrs)*
        #derive
        #vis #enum_token #ident #body

        // The user cannot avoid unused functions, uses of deprecated variants, and long paths. A
        // `vis` that is too wide is reported at the enum.
        #[automatically_derived]
        #[allow(dead_code, deprecated, unreachable_pub, unused_qualifications)]
        impl #ident {
            #inherent
        }

        #[automatically_derived]
        #[allow(deprecated, unused_qualifications)]
        impl #krate::reason_table::ReasonTable for #ident {
            const KEY: &'static ::core::primitive::str = #key;

            const ALL: &'static [#krate::reason_table::Entry<Self>] = #all;

            fn entry(self) -> ::core::option::Option<&'static #krate::reason_table::Entry<Self>> {
                #entry
            }

            fn raw(self) -> ::core::primitive::u32 {
                // The inherent function has precedence.
                self.raw()
            }

            fn __known(__number: ::core::primitive::u32) -> ::core::option::Option<Self> {
                #known
            }

            fn __unlisted(__unlisted: #krate::reason_table::Unlisted<Self>) -> Self {
                #make_unlisted
            }
        }

        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::core::fmt::Display for #ident {
            fn fmt(&self, __formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(&<Self as #krate::reason_table::ReasonTable>::name(*self), __formatter)
            }
        }

        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::core::str::FromStr for #ident {
            type Err = #krate::reason_table::ParseReasonError;

            // `Self::Err` may be a variant.
            fn from_str(
                __text: &::core::primitive::str,
            ) -> ::core::result::Result<Self, #krate::reason_table::ParseReasonError> {
                <Self as #krate::reason_table::ReasonTable>::__parse(__text)
            }
        }
    }
}

fn inherent(vis: &syn::Visibility, krate: &Path, bodies: &Bodies) -> TokenStream {
    let Bodies { key, as_str, c_name, description, raw, class, .. } = bodies;
    let key_doc = format!("The key in `key=value`: `{key}`.");
    let class = class.as_ref().map(|ClassBody { ty, doc, body }| {
        quote! {
            #[doc = #doc]
            #[must_use]
            #vis const fn class(self) -> #ty {
                #body
            }
        }
    });
    quote! {
        #[doc = #key_doc]
        #vis const KEY: &'static ::core::primitive::str = #key;

        /// All declared variants, in the order of the declaration, without the unlisted one.
        #vis const ALL: &'static [#krate::reason_table::Entry<Self>] = <Self as #krate::reason_table::ReasonTable>::ALL;

        /// Returns the text that is printed and parsed; `None` for an unlisted number.
        #[must_use]
        #vis const fn as_str(self) -> ::core::option::Option<&'static ::core::primitive::str> {
            #as_str
        }

        /// Returns the enumerator in a C header; `None` if the variant has no C name, and for an
        /// unlisted number.
        #[must_use]
        #vis const fn c_name(self) -> ::core::option::Option<&'static ::core::primitive::str> {
            #c_name
        }

        /// Returns the doc comment of the variant, in one line: its meaning.
        #[must_use]
        #vis const fn description(self) -> &'static ::core::primitive::str {
            #description
        }

        /// Returns the number. An unlisted number is returned as records contain it, with `0x10000`
        /// set.
        #[must_use]
        #vis const fn raw(self) -> ::core::primitive::u32 {
            #raw
        }

        /// Returns the variant with this number, or the unlisted variant that contains the number.
        /// It never fails.
        #[must_use]
        #vis fn from_raw(raw: ::core::primitive::u32) -> Self {
            <Self as #krate::reason_table::ReasonTable>::from_raw(raw)
        }

        /// Returns a pair that prints as `key=value`.
        #[must_use]
        #vis fn key_val(self) -> #krate::reason_table::KeyVal<#krate::reason_table::Name> {
            <Self as #krate::reason_table::ReasonTable>::key_val(self)
        }

        #class

        // Called by a table that uses this one as its class. The name is unique, so that the
        // message about a class that is not a table names it, and does not depend on the traits in
        // scope.
        #[doc(hidden)]
        #[must_use]
        #vis const fn __reason_table_value(self) -> ::core::option::Option<&'static ::core::primitive::str> {
            self.as_str()
        }
    }
}

fn krate(table: &Table) -> Path {
    table.args.krate.get().cloned().unwrap_or_else(|| parse_quote!(::retrans_sdk))
}

/// Returns the traits that every table derives, without the ones that the user derives.
fn derives(attrs: &[Attribute]) -> Vec<Path> {
    let all: [Path; 8] = [
        parse_quote!(::core::fmt::Debug),
        parse_quote!(::core::clone::Clone),
        parse_quote!(::core::marker::Copy),
        parse_quote!(::core::cmp::PartialEq),
        parse_quote!(::core::cmp::Eq),
        parse_quote!(::core::cmp::PartialOrd),
        parse_quote!(::core::cmp::Ord),
        parse_quote!(::core::hash::Hash),
    ];
    let derived: Vec<Path> = attrs
        .iter()
        .filter(|attr| attr.path().is_ident("derive"))
        .filter_map(|attr| attr.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok())
        .flatten()
        .collect();
    let last = |path: &Path| path.segments.last().map(|segment| segment.ident.clone());
    all.into_iter().filter(|path| !derived.iter().any(|other| last(other) == last(path))).collect()
}
