// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the enums of a C header: the part of C that kernel headers use in them.

use crate::kernel::c_enum::CEnum;

/// Returns every enum of a header.
///
/// Values are numbers, or a sum or shift of numbers and earlier enumerators. An enumerator with any
/// other value ends its enum, and is named: the values after it would be guesses.
pub(crate) fn enums(header: &str) -> Vec<CEnum> {
    let header = without_comments(header);
    let tokens = tokens(&header);
    let mut enums = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some(at) = rest.iter().position(|token| *token == "enum") {
        rest = &rest[at + 1..];
        let (name, body) = match rest {
            ["{", body @ ..] => (None, body),
            [name, "{", body @ ..] => (Some((*name).to_owned()), body),
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
    let mut values: Vec<(String, i64)> = Vec::new();
    let mut next = Some(0);
    for item in body.split(|token| *token == ",") {
        let value = match item {
            [] => continue,
            [_] => next,
            [_, "=", expression @ ..] => evaluate(expression, &values),
            _ => None,
        };
        let Some(value) = value else { return (values, Some(item[0].to_owned())) };
        values.push((item[0].to_owned(), value));
        next = value.checked_add(1);
    }
    (values, None)
}

fn evaluate(expression: &[&str], earlier: &[(String, i64)]) -> Option<i64> {
    match expression {
        ["(", inner @ .., ")"] => evaluate(inner, earlier),
        ["-", operand] => Some(-evaluate(&[operand], earlier)?),
        [one] => integer(one).or_else(|| earlier.iter().find(|(name, _)| name == one).map(|(_, value)| *value)),
        [left, "+", right] => evaluate(&[left], earlier)?.checked_add(evaluate(&[right], earlier)?),
        [left, "<", "<", right] => {
            evaluate(&[left], earlier)?.checked_shl(u32::try_from(evaluate(&[right], earlier)?).ok()?)
        }
        _ => None,
    }
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(&digits[1..], 8).ok(),
        None => digits.parse().ok(),
    }
}

/// Replaces each comment by a space, as the preprocessor does before it reads its own lines.
fn without_comments(header: &str) -> String {
    let mut text = String::with_capacity(header.len());
    let mut rest = header;
    while let Some(at) = rest.find('/') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or(rest.len(), |end| end + 4)
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else {
            text.push('/');
            rest = &rest[1..];
            continue;
        };
        text.push(' ');
        rest = &rest[length..];
    }
    text + rest
}

/// Returns words and punctuation, without preprocessor lines.
fn tokens(header: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = header;
    let mut line_start = true;
    while let Some(first) = rest.chars().next() {
        let length = if first == '#' && line_start {
            directive_length(rest)
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

/// Returns the length of a preprocessor directive with its continuation lines.
fn directive_length(text: &str) -> usize {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        length += line.len();
        if !line.trim_end().ends_with('\\') {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
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
}
