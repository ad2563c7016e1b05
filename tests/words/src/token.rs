// SPDX-License-Identifier: MIT OR Apache-2.0
//! Splits prose into words, without code.

use crate::source::{Kind, Prose};

/// A word in lower case, or an empty one where a phrase cannot continue: at punctuation, code or a
/// blank line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The word.
    pub word: String,
    /// The line number, from 1.
    pub line: usize,
}

/// Returns the words of a piece of prose. Code blocks, code spans, and the targets of links are
/// left out.
pub fn tokens(prose: &Prose) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut is_code = false;
    let mut is_span = false;
    for (line, text) in &prose.lines {
        if text.trim_start().starts_with("```") && prose.kind != Kind::Message {
            is_code = !is_code;
            continue;
        }
        if is_code || text.trim().is_empty() {
            is_span = false;
            tokens.push(Token { word: String::new(), line: *line });
            continue;
        }
        add(text, *line, &mut is_span, &mut tokens);
    }
    tokens
}

fn add(text: &str, line: usize, is_span: &mut bool, tokens: &mut Vec<Token>) {
    let text = without_targets(text);
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            tokens.push(Token { word: std::mem::take(word), line });
        }
    };
    let mut breaks = Vec::new();
    for c in text.chars() {
        match c {
            '`' => {
                end(&mut word);
                *is_span = !*is_span;
                breaks.push(());
            }
            _ if *is_span => {}
            c if c.is_alphanumeric() || c == '\'' || c == '_' => word.extend(c.to_lowercase()),
            '-' | ' ' | '*' | '\t' => end(&mut word),
            _ => {
                end(&mut word);
                breaks.push(());
            }
        }
        if breaks.pop().is_some() {
            // As a word of its own, so that no phrase continues over it.
            word.push('\u{0}');
            end(&mut word);
        }
    }
    end(&mut word);
    for token in tokens.iter_mut().filter(|token| token.word == "\u{0}") {
        token.word.clear();
    }
}

/// Removes `(target)` after `]`.
fn without_targets(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::with_capacity(text.len());
    while let Some(at) = rest.find("](") {
        kept.push_str(&rest[..=at]);
        let target = &rest[at + 1..];
        rest = target.find(')').map_or("", |end| &target[end + 1..]);
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let lines = (1..).zip(text.lines().map(str::to_owned)).collect();
        tokens(&Prose { kind: Kind::Markdown, lines }).into_iter().map(|token| token.word).collect()
    }

    #[test]
    fn code_and_targets_are_left_out() {
        assert_eq!(words("Is *none* `shall`, the kernel-side"), ["is", "none", "", "", "", "the", "kernel", "side"]);
        assert_eq!(words("see [that page](beside.md) now"), ["see", "", "that", "page", "", "now"]);
        assert_eq!(words("one\n```sh\nshall\n```\ntwo"), ["one", "", "two"]);
        assert_eq!(words("a `span over\ntwo lines` b"), ["a", "", "", "b"]);
        assert_eq!(words("an open `span\n\nafter it"), ["an", "open", "", "", "after", "it"]);
    }
}
