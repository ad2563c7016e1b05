// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the list of words (`words.tsv`) and of exceptions (`allowed.tsv`).

/// The permitted frequency of a phrase in 10,000 words of comments and Markdown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Never, and in no message either.
    Never,
    /// At most this many times.
    AtMost(f64),
    /// At least this many times.
    AtLeast(f64),
}

/// A word or phrase with its limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The words of the phrase, in lower case.
    pub words: Vec<String>,
    /// The permitted frequency.
    pub limit: Limit,
    /// The replacement.
    pub instead: String,
}

impl Entry {
    /// Returns the words, separated by spaces.
    pub fn phrase(&self) -> String {
        self.words.join(" ")
    }
}

/// A phrase that one file may contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The file, relative to the top of the tree.
    pub file: String,
    /// The phrase of the list.
    pub phrase: String,
}

/// Parses `words.tsv`.
///
/// # Errors
/// Returns an error that names the line if it does not have three columns, or no valid limit.
pub fn entries(text: &str) -> Result<Vec<Entry>, String> {
    rows(text)
        .map(|row| entry(row).ok_or_else(|| format!("words.tsv: not a word, a limit and a replacement: {row}")))
        .collect()
}

/// Parses `allowed.tsv`.
///
/// # Errors
/// Returns an error that names the line if it does not have three columns.
pub fn allowed(text: &str) -> Result<Vec<Allowed>, String> {
    let one = |row: &str| match row.split('\t').collect::<Vec<_>>()[..] {
        [file, phrase, reason] if !reason.is_empty() => Some(Allowed { file: file.into(), phrase: phrase.into() }),
        _ => None,
    };
    rows(text)
        .map(|row| one(row).ok_or_else(|| format!("allowed.tsv: not a file, a word and a reason: {row}")))
        .collect()
}

fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn entry(row: &str) -> Option<Entry> {
    let [words, limit, instead] = row.split('\t').collect::<Vec<_>>()[..] else { return None };
    let limit = match limit.strip_prefix(">=") {
        Some(least) => Limit::AtLeast(least.parse().ok()?),
        None if limit == "0" => Limit::Never,
        None => Limit::AtMost(limit.parse().ok()?),
    };
    let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
    let is_plain = words.iter().all(|word| !word.is_empty() && *word == word.to_lowercase());
    (is_plain && !instead.is_empty()).then(|| Entry { words, limit, instead: instead.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_parsed_and_malformed_ones_are_errors() {
        let parsed = entries("# words\nis none\t0\tnot a\ntakes\t4\trequires\nreturns\t>=8\t(gives)\n").unwrap();
        assert_eq!(
            parsed.iter().map(|entry| entry.limit).collect::<Vec<_>>(),
            [Limit::Never, Limit::AtMost(4.0), Limit::AtLeast(8.0)]
        );
        assert_eq!(parsed[0].phrase(), "is none");
        for malformed in ["shall\t0\t", "shall\tnone\tmust", "shall must", "Shall\t0\tmust", "a  b\t0\tmust"] {
            assert!(entries(malformed).is_err(), "{malformed}");
        }
        assert!(allowed("a.rs\tshall\t").is_err());
        assert_eq!(allowed("a.rs\tshall\tquoted").unwrap().len(), 1);
    }

    #[test]
    fn the_lists_of_this_tree_are_valid() {
        assert!(entries(include_str!("../words.tsv")).unwrap().len() > 20);
        allowed(include_str!("../allowed.tsv")).unwrap();
    }
}
