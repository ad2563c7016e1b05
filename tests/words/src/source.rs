// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the prose in a file: comments, Markdown outside of code blocks, and string literals.
//!
//! # Design
//! proc-macro2 splits Rust, because a short scanner does not handle raw strings and lifetimes.
//! Bytes that no token covers are comments or blanks. C has only literals and two kinds of
//! comments.

use std::ops::Range;

use proc_macro2::{Literal, TokenStream, TokenTree};

/// The kind of a piece of prose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A comment that documents no item.
    Comment,
    /// A doc comment.
    Doc,
    /// A Markdown page.
    Markdown,
    /// A string literal of Rust that holds several words, or a text that a shell script or a
    /// Makefile prints.
    Message,
}

/// A run of consecutive lines of prose of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prose {
    /// The kind of all lines.
    pub kind: Kind,
    /// Line numbers, from 1, and their text without comment signs.
    pub lines: Vec<(usize, String)>,
}

/// A comment of C or Rust, as bytes of the file.
type Comment = Range<usize>;

/// Returns the prose of a file, by the ending of its name. Returns `None` for a file of a kind that
/// is not read.
///
/// # Errors
/// Returns an error if a Rust source cannot be split into tokens.
pub fn prose(name: &str, text: &str) -> Option<Result<Vec<Prose>, String>> {
    let ending = name.rsplit(['/', '.']).next().unwrap_or_default();
    Some(match ending {
        "md" => Ok(vec![markdown(text)]),
        "rs" => rust(text),
        "c" | "h" => Ok(merged(text, &c_comments(text), |_| Kind::Comment)),
        "sh" | "Makefile" | "run" => {
            let messages = (1..).zip(text.lines()).filter_map(|(number, line)| {
                Some(Prose { kind: Kind::Message, lines: vec![(number, printed(line)?.to_owned())] })
            });
            Ok(hash_comments(text).into_iter().chain(messages).collect())
        }
        "toml" | "Dockerfile" | "yaml" | "service" | "list" => Ok(hash_comments(text)),
        _ => return None,
    })
}

fn markdown(text: &str) -> Prose {
    Prose { kind: Kind::Markdown, lines: (1..).zip(text.lines().map(str::to_owned)).collect() }
}

fn hash_comments(text: &str) -> Vec<Prose> {
    let comment = |line: &str| {
        let rest = line.trim_start().strip_prefix('#')?;
        (!rest.starts_with('!')).then(|| rest.to_owned())
    };
    let mut all: Vec<Prose> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(line) = comment(line) {
            push(&mut all, Kind::Comment, number, line);
        }
    }
    all
}

/// Returns the text of several words that a line of a shell script or a Makefile prints.
fn printed(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("echo \"")?;
    let (text, _) = rest.rsplit_once('"')?;
    (!line.trim_start().starts_with('#') && text.contains(' ')).then_some(text)
}

/// Adds a line to the last piece if it continues that, else as a piece of its own.
fn push(all: &mut Vec<Prose>, kind: Kind, number: usize, line: String) {
    match all.last_mut() {
        Some(last) if last.kind == kind && last.lines.last().is_some_and(|(before, _)| before + 1 == number) => {
            last.lines.push((number, line));
        }
        _ => all.push(Prose { kind, lines: vec![(number, line)] }),
    }
}

/// Comments on consecutive lines are one piece.
fn merged(text: &str, comments: &[Comment], kind: impl Fn(&str) -> Kind) -> Vec<Prose> {
    let lines = LineNumbers::of(text);
    let mut all = Vec::new();
    for comment in comments {
        let Some(comment_text) = text.get(comment.clone()) else { continue };
        let of = kind(comment_text);
        for (number, line) in (lines.at(comment.start)..).zip(comment_text.lines()) {
            push(&mut all, of, number, without_signs(line).to_owned());
        }
    }
    all
}

fn without_signs(line: &str) -> &str {
    let line = line.trim();
    let line = line.strip_suffix("*/").unwrap_or(line);
    let signs = ["///", "//!", "//", "/**", "/*!", "/*", "* "];
    signs.iter().find_map(|sign| line.strip_prefix(sign)).unwrap_or(if line == "*" { "" } else { line })
}

struct LineNumbers(Vec<usize>);

impl LineNumbers {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|end| *end < byte) + 1
    }
}

fn rust(text: &str) -> Result<Vec<Prose>, String> {
    let stream: TokenStream = text.parse().map_err(|error| format!("cannot split into tokens: {error}"))?;
    let mut leaves = Vec::new();
    flatten(stream, &mut leaves);
    // proc-macro2 counts positions from the start of the first source of a thread.
    let mut comments: Vec<Comment> = Vec::new();
    let mut messages = Vec::new();
    let mut covered = 0;
    for (range, literal) in leaves {
        let token = text.get(range.clone()).ok_or("a token outside of the file")?;
        comments.extend(comments_between(text, covered..range.start.max(covered)));
        if token.starts_with("//") || token.starts_with("/*") {
            if comments.last() != Some(&range) {
                comments.push(range.clone());
            }
        } else if let Some(message) = literal.and_then(message) {
            messages.push((range.start, message));
        }
        covered = covered.max(range.end);
    }
    comments.extend(comments_between(text, covered..text.len()));
    let is_doc =
        |comment: &str| (comment.starts_with("///") && !comment.starts_with("////")) || comment.starts_with("//!");
    let mut all = merged(text, &comments, |comment| if is_doc(comment) { Kind::Doc } else { Kind::Comment });
    let lines = LineNumbers::of(text);
    for (at, message) in messages {
        let first = lines.at(at);
        let text = (first..).zip(message.lines().map(str::to_owned)).collect();
        all.push(Prose { kind: Kind::Message, lines: text });
    }
    Ok(all)
}

fn flatten(stream: TokenStream, out: &mut Vec<(Range<usize>, Option<Literal>)>) {
    for token in stream {
        match token {
            TokenTree::Group(group) => {
                out.push((group.span_open().byte_range(), None));
                flatten(group.stream(), out);
                out.push((group.span_close().byte_range(), None));
            }
            TokenTree::Literal(literal) => out.push((literal.span().byte_range(), Some(literal))),
            other => out.push((other.span().byte_range(), None)),
        }
    }
}

/// The comments in a part of a file that no token covers.
fn comments_between(text: &str, gap: Range<usize>) -> Vec<Comment> {
    let part = text.get(gap.clone()).unwrap_or_default();
    let within = c_comments(part);
    within.into_iter().map(|comment| gap.start + comment.start..gap.start + comment.end).collect()
}

/// The text of a string literal of several words.
fn message(literal: Literal) -> Option<String> {
    let text = literal.to_string();
    let inside = text.trim_start_matches(['b', 'c', 'r', '#']).strip_prefix('"')?;
    let inside = inside.trim_end_matches('#').strip_suffix('"')?;
    inside.contains(' ').then(|| inside.replace("\\n", " "))
}

/// Returns where the comments of a C source are. A comment that does not end ends with the file.
pub fn c_comments(text: &str) -> Vec<Comment> {
    let mut comments = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, is_comment) = piece(rest);
        if is_comment {
            comments.push(at..at + length);
        }
        at += length;
    }
    comments
}

/// The length of what a C source begins with, and whether that is a comment.
fn piece(rest: &str) -> (usize, bool) {
    if rest.starts_with("//") {
        // A backslash at the end of a line continues the comment.
        let mut end = 0;
        for line in rest.split_inclusive('\n') {
            end += line.len();
            let Some(line) = line.strip_suffix('\n') else { break };
            if !line.ends_with('\\') {
                end -= 1;
                break;
            }
        }
        return (end, true);
    }
    if let Some(inside) = rest.strip_prefix("/*") {
        return (inside.find("*/").map_or(rest.len(), |end| 2 + end + 2), true);
    }
    let mut characters = rest.chars();
    let Some(first) = characters.next() else { return (0, false) };
    if first != '"' && first != '\'' {
        return (first.len_utf8(), false);
    }
    let mut escaped = false;
    let closes = |c: char| {
        let closes = c == first && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    };
    (characters.as_str().find(closes).map_or(rest.len(), |end| 1 + end + 1), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Vec<(Kind, Vec<(usize, String)>)> {
        prose(name, text).unwrap().unwrap().into_iter().map(|prose| (prose.kind, prose.lines)).collect()
    }

    fn line(number: usize, text: &str) -> (usize, String) {
        (number, text.to_owned())
    }

    #[test]
    fn comments_and_messages_of_rust_are_found() {
        let text = "//! Of it.\n//! More.\n\n/// Doc.\nfn f<'a>(x: &'a str) -> char {\n    // Why.\n    g(\"not // a comment\", r#\"raw \"/* text\"#); // after\n    '\"'\n}\n";
        assert_eq!(
            of("a.rs", text),
            [
                (Kind::Doc, vec![line(1, " Of it."), line(2, " More.")]),
                (Kind::Doc, vec![line(4, " Doc.")]),
                (Kind::Comment, vec![line(6, " Why."), line(7, " after")]),
                (Kind::Message, vec![line(7, "not // a comment")]),
                (Kind::Message, vec![line(7, "raw \"/* text")]),
            ]
        );
        // A second source of the same thread has positions of its own.
        assert_eq!(of("b.rs", "// One.\nfn f() {}\n"), [(Kind::Comment, vec![line(1, " One.")])]);
        assert!(prose("a.rs", "fn f( {").unwrap().is_err());
    }

    #[test]
    fn comments_of_c_are_found() {
        let text = "int a; /* one\n * two */\nchar *s = \"/* no \\\" */\"; // three \\\nfour\nchar c = '\"'; // five\n";
        assert_eq!(
            of("a.h", text),
            [(
                Kind::Comment,
                vec![line(1, " one"), line(2, "two "), line(3, " three \\"), line(4, "four"), line(5, " five")]
            )]
        );
        let found: Vec<_> = c_comments(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["/* one\n * two */", "// three \\\nfour", "// five"]);
        assert_eq!(c_comments("/* open").first(), Some(&(0..7)));
    }

    #[test]
    fn other_files_are_read_by_their_names() {
        assert_eq!(of("a.sh", "#!/bin/sh\n# One.\necho # no\n"), [(Kind::Comment, vec![line(2, " One.")])]);
        for name in ["Makefile", "deploy/Dockerfile", ".ci/run", "kernels.list"] {
            assert_eq!(of(name, "# One.\n"), [(Kind::Comment, vec![line(1, " One.")])], "{name}");
        }
        assert_eq!(of("x.md", "One\n"), [(Kind::Markdown, vec![line(1, "One")])]);
        let makefile = "all:\n\t@echo \"one two\"; x\n\t@echo \"one\"\n# echo \"a comment\"\n";
        let comment = (Kind::Comment, vec![line(4, " echo \"a comment\"")]);
        assert_eq!(of("Makefile", makefile), [comment, (Kind::Message, vec![line(2, "one two")])]);
        assert!(prose("a.tsv", "x").is_none());
    }
}
