// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the enums of a C header: the part of C that kernel headers use in them.
//!
//! # Design
//!
//! A header is input like any other: each step is linear in its length, and none is recursive.

use std::collections::HashMap;

use crate::kernel::c_enum::CEnum;
use crate::text::escape::Escaped;

/// Stands for a directive such as `#if`, which may exclude what follows it.
const CONDITIONAL: &str = "#";

/// Stands for a directive that includes another file, which is not read.
const INCLUDE: &str = "#include";

/// Returns every enum of a header.
///
/// Values are numbers, or a sum or shift of numbers and earlier enumerators. An enumerator with any
/// other value ends its enum, and is named: the values after it would be guesses. The same applies
/// to an enumerator after an `#if` in the enum, and to an `#include` in it.
pub(crate) fn enums(header: &str) -> Vec<CEnum> {
    let header = without_comments(&without_continuations(header));
    let tokens = tokens(&header);
    let mut enums = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some(at) = rest.iter().position(|token| *token == "enum") {
        rest = &rest[at + 1..];
        let (name, body) = match rest {
            ["{", body @ ..] => (None, body),
            [name, "{", body @ ..] if is_identifier(name) => (Some((*name).to_owned()), body),
            // A use, not a declaration.
            _ => continue,
        };
        let end = body.iter().position(|token| *token == "}").unwrap_or(body.len());
        let (values, unread) = enumerators(&body[..end]);
        enums.push(CEnum { name, values, unread });
        rest = &body[end..];
    }
    enums
}

fn enumerators(body: &[&str]) -> (Vec<(String, i64)>, Option<String>) {
    let mut values = Vec::new();
    let mut earlier = HashMap::new();
    let mut next = Some(0);
    for item in body.split(|token| *token == ",") {
        if item.contains(&INCLUDE) {
            return (values, Some(INCLUDE.to_owned()));
        }
        let Some(name) = item.iter().find(|token| **token != CONDITIONAL) else { continue };
        let value = match item {
            _ if !is_identifier(name) || item.contains(&CONDITIONAL) => None,
            [_] => next,
            [_, "=", expression @ ..] => evaluate(expression, &earlier),
            _ => None,
        };
        let Some(value) = value else { return (values, Some(Escaped::value(name).to_string())) };
        values.push(((*name).to_owned(), value));
        earlier.entry(*name).or_insert(value);
        next = value.checked_add(1);
    }
    (values, None)
}

fn evaluate(expression: &[&str], earlier: &HashMap<&str, i64>) -> Option<i64> {
    let mut expression = expression;
    while let ["(", inner @ .., ")"] = expression {
        expression = inner;
    }
    let operand = |token: &str| integer(token).or_else(|| earlier.get(token).copied());
    match expression {
        [one] => operand(one),
        ["-", one] => operand(one)?.checked_neg(),
        [left, "+", right] => operand(left)?.checked_add(operand(right)?),
        [left, "<", "<", right] => shifted(operand(left)?, operand(right)?),
        _ => None,
    }
}

/// Shifts to the left. `None` if an `i64` cannot contain the result.
fn shifted(number: i64, by: i64) -> Option<i64> {
    let by = u32::try_from(by).ok().filter(|by| *by < i64::BITS)?;
    // At most 2^126.
    i64::try_from(i128::from(number) << by).ok()
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(&digits[1..], 8).ok(),
        None => digits.parse().ok(),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_identifier(token: &str) -> bool {
    token.starts_with(|c: char| is_word(c) && !c.is_ascii_digit()) && token.chars().all(is_word)
}

/// Joins each line that ends with a backslash to the next, as the preprocessor does first. Like
/// compilers, it accepts spaces after the backslash.
fn without_continuations(header: &str) -> String {
    let mut text = String::with_capacity(header.len());
    for line in header.split_inclusive('\n') {
        match line.trim_end().strip_suffix('\\') {
            Some(joined) if line.ends_with('\n') => text.push_str(joined),
            _ => text.push_str(line),
        }
    }
    text
}

/// Replaces each comment by a space, as the preprocessor does before it reads its own lines, and
/// each string or character by a quote, which is no value.
fn without_comments(header: &str) -> String {
    let mut text = String::with_capacity(header.len());
    let mut rest = header;
    // The length of the rest after a line with an unpaired quote, such as an `#error` with an
    // apostrophe. The line is not searched again.
    let mut unpaired = usize::MAX;
    while let Some(at) = rest.find(['/', '"', '\'']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, instead) = if let Some(comment) = rest.strip_prefix("/*") {
            (comment.find("*/").map_or(rest.len(), |end| end + 4), " ")
        } else if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), " ")
        } else if rest.starts_with('/') {
            (1, "/")
        } else if unpaired != usize::MAX && rest.len() > unpaired {
            (1, &rest[..1])
        } else {
            match quoted(rest) {
                Ok(length) => (length, "\""),
                Err(line) => {
                    unpaired = rest.len() - line;
                    (1, &rest[..1])
                }
            }
        };
        text.push_str(instead);
        rest = &rest[length..];
    }
    text + rest
}

/// Returns the length of the string or character at the beginning of a text, or the length of the
/// line if the quote is unpaired.
fn quoted(text: &str) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => return Err(at),
            b'\\' if bytes.get(at + 1).is_some_and(|next| *next != b'\n') => at += 2,
            byte if *byte == bytes[0] => return Ok(at + 1),
            _ => at += 1,
        }
    }
    Err(bytes.len())
}

/// Returns words and punctuation, without preprocessor lines. A line that may exclude others is
/// [`CONDITIONAL`], and one that includes a file is [`INCLUDE`].
fn tokens(header: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = header;
    let mut line_start = true;
    while let Some(first) = rest.chars().next() {
        let length = if first == '#' && line_start {
            let line = rest.find('\n').unwrap_or(rest.len());
            let directive = rest[1..line].trim_start();
            if directive.starts_with("if") || directive.starts_with("el") || directive.starts_with("endif") {
                tokens.push(CONDITIONAL);
            } else if directive.starts_with("include") {
                tokens.push(INCLUDE);
            }
            line
        } else if first.is_whitespace() {
            line_start |= first == '\n';
            first.len_utf8()
        } else {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let length = if word > 0 { word } else { first.len_utf8() };
            tokens.push(&rest[..length]);
            line_start = false;
            length
        };
        rest = &rest[length..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn values(header: &str) -> Vec<(String, i64)> {
        enums(header).into_iter().flat_map(|e| e.values).collect()
    }

    #[test]
    fn comments_directives_and_expressions_of_kernel_headers_are_read() {
        let header = "
            #define enum { NOT = 1 \\
                , EITHER }
            /* enum { NEITHER = 2 }; */ // enum { NOR }
            enum first { A, B = 0x10, /* why */ C, D = (1 << 4), E = B, F = E + 2, G = -1, H = 010U, };
            struct s { enum first use; };
            enum {
                I = 7,
            #define I I
                J
            };";
        let enums = enums(header);
        assert_eq!(enums.len(), 2);
        assert_eq!(enums[0].name.as_deref(), Some("first"));
        let expected = [("A", 0), ("B", 16), ("C", 17), ("D", 16), ("E", 16), ("F", 18), ("G", -1), ("H", 8)];
        assert_eq!(enums[0].values, expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(enums[1].values, [("I".to_owned(), 7), ("J".to_owned(), 8)]);
    }

    #[test]
    fn an_unreadable_enumerator_is_named() {
        let read = |header| enums(header).remove(0);
        let big = read("enum { A = 0x7fffffffffffffff, B, C };");
        assert_eq!((big.values.len(), big.unread.as_deref()), (1, Some("B")));
        let expression = read("enum { A, B = BIT(3), C };");
        assert_eq!((expression.values.len(), expression.unread.as_deref()), (1, Some("B")));
        let comment = read("enum { A,\n#define A A /* two\nlines */\nB };");
        assert_eq!((comment.values.len(), comment.unread), (2, None));
        assert_eq!(read("enum { A /* x */ = 1 /* y */ , /**/ B // z\n };").values[1], ("B".to_owned(), 2));
    }

    #[test]
    fn incomplete_enums_are_not_guessed() {
        assert_eq!(values("enum { A, B = sizeof(int), C };"), [("A".to_owned(), 0)]);
        assert_eq!(values("enum { A"), [("A".to_owned(), 0)]);
        assert_eq!(values("/* enum { A };"), []);
        assert_eq!(values("enum"), []);
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_wrapped() {
        for value in [
            "1 << 63",
            "1 << 64",
            "2 << 62",
            "1 << -1",
            "1 << 0x100000000",
            "-0x8000000000000000",
            "-9223372036854775808",
            "9223372036854775807 + 1",
            "-LEAST",
            "LEAST + ONE",
        ] {
            let enums = format!("enum {{ M = -9223372036854775807, ONE = -1, LEAST = M + ONE, B = {value}, C }};");
            let read = self::enums(&enums).remove(0);
            assert_eq!(read.values.last(), Some(&("LEAST".to_owned(), i64::MIN)), "{value}");
            assert_eq!(read.unread.as_deref(), Some("B"), "{value}");
        }
        assert_eq!(values("enum { A = 1 << 62, B = -1 << 63 };"), [("A".to_owned(), 1 << 62)]);
        let read = enums("enum e { TCP_ESTABLISHED = 1 << 63, TCP_SYN_SENT = -TCP_ESTABLISHED };").remove(0);
        assert_eq!((read.values.len(), read.unread.as_deref()), (0, Some("TCP_ESTABLISHED")));
    }

    #[test]
    fn an_enumerator_after_a_condition_is_not_guessed() {
        let read = |header| enums(header).remove(0);
        let between = read("enum { A,\n#ifdef X\nB,\n#endif\nC };");
        assert_eq!((between.values.len(), between.unread.as_deref()), (1, Some("B")));
        let first = read("enum {\n # if X\nA,\n#else\nB\n#endif\n};");
        assert_eq!((first.values.len(), first.unread.as_deref()), (0, Some("A")));
        let around = read("#ifndef X\n#define X\nenum { A, B };\n#endif");
        assert_eq!((around.values.len(), around.unread), (2, None));
        for header in ["enum { A,\n#include \"list.h\"\n};", "enum { A,\n # include <list.h>\nB };"] {
            let included = read(header);
            assert_eq!((included.values.len(), included.unread.as_deref()), (1, Some("#include")), "{header}");
        }
        assert_eq!(read("#include <list.h>\nenum { A };\n#include <list.h>").unread, None);
        let empty = read("enum { A, B,\n#ifdef X\n#endif\n};");
        assert_eq!((empty.values.len(), empty.unread), (2, None));
    }

    #[test]
    fn quotes_and_continuations_are_read_as_in_c() {
        assert_eq!(values("#define A \"/*\"\nenum { B };"), [("B".to_owned(), 0)]);
        assert_eq!(values("char *a = \"enum { A };\"; char b = '\"'; enum { B };"), [("B".to_owned(), 0)]);
        assert_eq!(values("#error don't\nenum { B /* isn't */ };"), [("B".to_owned(), 0)]);
        assert_eq!(values("// a comment \\\n enum { A };\nenum { B = 1\\  \r\n0 };"), [("B".to_owned(), 10)]);
        let character = enums("enum { A = 'a', B };").remove(0);
        assert_eq!((character.values.len(), character.unread.as_deref()), (0, Some("A")));
    }

    #[test]
    fn names_are_printable() {
        for (header, name) in
            [("enum { \x1b }", r"\u{1b}"), ("enum { \u{202e} = 1 }", r"\u{202e}"), ("enum { 7 }", "7")]
        {
            assert_eq!(enums(header)[0].unread.as_deref(), Some(name));
        }
        assert_eq!(enums("enum \u{9b} { A };"), []);
    }

    #[test]
    fn the_work_is_linear() {
        let chain: String = (1..40_000).map(|number| format!("A{number} = A{} + 1,", number - 1)).collect();
        let began = Instant::now();
        let read = enums(&format!("enum {{ A0, {chain} }};")).remove(0);
        assert_eq!((read.values.len(), read.unread), (40_000, None));
        let deep = "(".repeat(200_000) + "7" + &")".repeat(200_000);
        assert_eq!(values(&format!("enum {{ A = {deep} }};")), [("A".to_owned(), 7)]);
        for part in [
            "(",
            "enum ",
            "enum {",
            "enum a { }",
            "/*",
            "//",
            "/",
            "\\\n",
            "'\\'",
            "'\"",
            "#if\n",
            "\n#\\\n",
            "a,",
            "<",
            "\0",
            "é",
        ] {
            for before in ["", "enum { A = ", "enum { A, ", "#define a "] {
                enums(&(before.to_owned() + &part.repeat((1 << 20) / part.len())));
            }
        }
        // Each of them needs minutes if its work is quadratic, and overflows the stack if it is
        // recursive.
        assert!(began.elapsed() < Duration::from_secs(100), "{:?}", began.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_text_is_read(parts in prop::collection::vec(
            prop::sample::select(vec![
                "enum", "enum e", "{", "}", "(", ")", ",", ",", "=", "=", "-", "+", "<<", "<", "A", "B", "C", "0", "1", "63", "64",
                "0x7fffffffffffffff", "9223372036854775807", "-1", "/*", "*/", "//", "\n", "\\\n", "\n#if", "\n#endif", "\"", "'", "\\",
                "é", "\x1b", "\u{202e}", " ",
            ]),
            0..64,
        )) {
            for found in enums(&parts.concat()) {
                let names = found.values.iter().map(|(name, _)| name).chain(&found.name);
                prop_assert!(names.into_iter().all(|name| is_identifier(name)), "{found:?}");
                if let Some(unread) = found.unread {
                    prop_assert!(!unread.contains(char::is_control), "{unread:?}");
                }
            }
        }
    }
}
