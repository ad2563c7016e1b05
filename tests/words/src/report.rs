// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the prose of files with the list, and counts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::list::{Allowed, Entry, Limit};
use crate::source::{Kind, Prose, prose};
use crate::token::{Token, tokens};

/// The maximum width of a line of a comment or of Markdown, in characters.
pub const WIDTH: usize = 100;

/// With these a doc comment does not begin: its first word is a verb or a noun.
const CLAUSE_WORDS: [&str; 12] =
    ["what", "whether", "of", "by", "how", "that", "whose", "so", "where", "if", "which", "who"];

/// The findings of all files, and the counts of the words with a limit.
pub struct Report<'a> {
    entries: &'a [Entry],
    allowed: &'a [Allowed],
    used: BTreeSet<usize>,
    counts: Vec<usize>,
    /// Words of comments and Markdown.
    pub words: usize,
    /// Files that were read.
    pub files: usize,
    /// One line each.
    pub findings: Vec<String>,
}

impl<'a> Report<'a> {
    /// Returns an empty report.
    pub fn new(entries: &'a [Entry], allowed: &'a [Allowed]) -> Self {
        let counts = vec![0; entries.len()];
        Self { entries, allowed, used: BTreeSet::new(), counts, words: 0, files: 0, findings: Vec::new() }
    }

    /// Reads one file, if it is of a kind that has prose.
    pub fn read(&mut self, name: &str, text: &str) {
        match prose(name, text) {
            None => return,
            Some(Err(error)) => self.findings.push(format!("{name}: {error}")),
            Some(Ok(all)) => all.iter().for_each(|piece| self.read_piece(name, text, piece)),
        }
        self.files += 1;
    }

    fn read_piece(&mut self, name: &str, text: &str, piece: &Prose) {
        let tokens = tokens(piece);
        let is_counted = piece.kind != Kind::Message;
        if is_counted {
            self.words += tokens.iter().filter(|token| !token.word.is_empty()).count();
            self.check_width(name, text, piece);
        }
        for (index, entry) in self.entries.iter().enumerate() {
            for line in occurrences(&tokens, &entry.words) {
                if is_counted {
                    self.counts[index] += 1;
                }
                if entry.limit == Limit::Never && !self.is_allowed(name, &entry.phrase()) {
                    let phrase = entry.phrase();
                    self.findings.push(format!("{name}:{line}: `{phrase}`: write {}", entry.instead));
                }
            }
        }
        if piece.kind == Kind::Doc
            && let Some(first) = tokens.first()
            && CLAUSE_WORDS.contains(&&*first.word)
        {
            self.findings
                .push(format!("{name}:{}: begins with `{}`: begin with a verb or a noun", first.line, first.word));
        }
    }

    fn is_allowed(&mut self, name: &str, phrase: &str) -> bool {
        let found = self.allowed.iter().position(|allowed| allowed.file == name && allowed.phrase == phrase);
        self.used.extend(found);
        found.is_some()
    }

    fn check_width(&mut self, name: &str, text: &str, piece: &Prose) {
        let whole: Vec<&str> = text.lines().collect();
        let mut is_code = false;
        for (number, line) in &piece.lines {
            let whole = whole.get(number - 1).copied().unwrap_or_default();
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            }
            // A comment after code follows the width of code; a table and a link cannot be wrapped.
            let is_after_code = piece.kind != Kind::Markdown && !starts_as_comment(whole);
            let is_whole = is_code || is_after_code || line.trim_start().starts_with('|') || is_one_word(line);
            let width = whole.replace('\t', "        ").chars().count();
            if width > WIDTH && !is_whole && !self.is_allowed(name, "columns") {
                self.findings.push(format!("{name}:{number}: {width} columns: wrap at {WIDTH}"));
            }
        }
    }

    /// Adds the findings about all files together: frequencies, and exceptions that are not needed.
    pub fn finish(&mut self) {
        for (index, entry) in self.entries.iter().enumerate() {
            let rate = self.rate(index);
            let (holds, limit) = match entry.limit {
                Limit::Never => (true, String::new()),
                Limit::AtMost(most) => (rate <= most, format!("at most {most}")),
                Limit::AtLeast(least) => (rate >= least, format!("at least {least}")),
            };
            if !holds {
                let phrase = entry.phrase();
                self.findings.push(format!("`{phrase}`: {rate:.1} in 10,000 words, {limit}: {}", entry.instead));
            }
        }
        for (index, allowed) in self.allowed.iter().enumerate() {
            if !self.used.contains(&index) {
                self.findings.push(format!("allowed.tsv: {} does not contain `{}`", allowed.file, allowed.phrase));
            }
        }
    }

    fn rate(&self, index: usize) -> f64 {
        self.counts[index] as f64 * 10_000.0 / self.words.max(1) as f64
    }

    /// Returns the counts of the listed words, one a line.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let (phrase, count, rate) = (entry.phrase(), self.counts[index], self.rate(index));
            let _ = writeln!(table, "{phrase:<16} {count:>6} {rate:>6.1} in 10,000");
        }
        table
    }
}

fn starts_as_comment(line: &str) -> bool {
    ["//", "/*", "*", "#"].iter().any(|sign| line.trim_start().starts_with(sign))
}

/// A long address or path.
fn is_one_word(line: &str) -> bool {
    line.trim_start_matches(['-', ' ', '<', '[']).split(' ').any(|word| word.chars().count() > WIDTH / 2)
}

/// The lines at which a phrase begins.
fn occurrences<'t>(tokens: &'t [Token], phrase: &'t [String]) -> impl Iterator<Item = usize> + 't {
    tokens
        .windows(phrase.len())
        .filter(move |window| window.iter().zip(phrase).all(|(token, word)| token.word == *word))
        .filter_map(|window| window.first().map(|token| token.line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{allowed, entries};

    fn findings(name: &str, text: &str) -> Vec<String> {
        let entries = entries("is none\t0\tnot a\nshall\t0\tmust\ntakes\t4\trequires\n").unwrap();
        let allowed = allowed("quoted.md\tshall\ta quotation\n").unwrap();
        let mut report = Report::new(&entries, &allowed);
        report.read("quoted.md", "It shall.\n");
        report.read(name, text);
        report.finish();
        report.findings
    }

    #[test]
    fn listed_words_are_found_in_prose_and_messages() {
        assert_eq!(findings("a.md", "one is\nnone `shall`"), ["a.md:1: `is none`: write not a"]);
        assert_eq!(findings("a.md", "It is. None."), [""; 0]);
        assert_eq!(findings("a.rs", "const A: &str = \"it shall be\";"), ["a.rs:1: `shall`: write must"]);
        assert_eq!(findings("a.c", "int shall; /* shall */"), ["a.c:1: `shall`: write must"]);
        assert_eq!(findings("Makefile", "# shall\n"), ["Makefile:1: `shall`: write must"]);
        assert_eq!(findings("a.txt", "shall"), [""; 0]);
    }

    #[test]
    fn a_word_that_is_too_frequent_and_an_unused_exception_are_found() {
        assert_eq!(findings("a.md", "it takes one"), ["`takes`: 2000.0 in 10,000 words, at most 4: requires"]);
        let allowed = allowed("a.md\tshall\ta quotation\n").unwrap();
        let mut report = Report::new(&[], &allowed);
        report.finish();
        assert_eq!(report.findings, ["allowed.tsv: a.md does not contain `shall`"]);
    }

    #[test]
    fn long_lines_and_first_words_are_found() {
        let words = "word ".repeat(21);
        assert_eq!(findings("a.md", &words), ["a.md:1: 105 columns: wrap at 100"]);
        assert_eq!(findings("a.md", &format!("| {words} |")), [""; 0]);
        assert_eq!(findings("a.md", &format!("```\n{words}\n```")), [""; 0]);
        assert_eq!(findings("a.rs", &format!("// {words}")), ["a.rs:1: 108 columns: wrap at 100"]);
        assert_eq!(
            findings("a.rs", "/// Whether it is.\nfn f() {}"),
            ["a.rs:1: begins with `whether`: begin with a verb or a noun"]
        );
        assert_eq!(findings("a.rs", "/// Returns it.\nfn f() {}"), [""; 0]);
    }
}
