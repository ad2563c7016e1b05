// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the intended word of a misspelt one.

/// The maximum length of a word that is compared, in bytes. It bounds the work for any input.
const LONGEST: usize = 64;

/// The maximum number of edits between a word and a suggestion.
const MOST_EDITS: usize = 3;

/// Returns the candidate that is nearest to a word. `None` if more edits are needed than one for
/// each three letters, at least one and at most three. The case of letters is ignored.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let near = |candidate: &&'a str| {
        // The lengths differ by more edits than are allowed.
        if candidate.len() > LONGEST + MOST_EDITS {
            return None;
        }
        let edits = distance(word.as_bytes(), candidate.as_bytes());
        let allowed = (word.len().max(candidate.len()) / 3).clamp(1, MOST_EDITS);
        (edits <= allowed && edits < candidate.len()).then_some(edits)
    };
    let near = candidates.into_iter().filter_map(|candidate| Some((near(&candidate)?, candidate)));
    near.min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// Formats a suggestion for the end of a message; empty if no candidate is near.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Returns the edit distance: insertions, deletions and replacements of bytes, and swaps of
/// neighbours.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = Vec::with_capacity(to.len() + 1);
        row.push(i + 1);
        for (j, b) in to.iter().enumerate() {
            let mut edits = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                edits = edits.min(before[j - 1] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("same", "same", 0),
            ("sucess", "success", 1),
            ("restul", "result", 2),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from.as_bytes(), to.as_bytes()), edits, "{from} {to}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let words = ["result", "rto", "syn", "dport", "sport", "ts"];
        for (word, near) in [
            ("restul", Some("result")),
            ("RESULT", Some("result")),
            ("rsult", Some("result")),
            ("sny", Some("syn")),
            ("dprot", Some("dport")),
            ("port", Some("dport")),
            ("foo", None),
            ("x", None),
            ("", None),
            ("something", None),
        ] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
        assert_eq!(nearest(&"r".repeat(10_000), words), None);
    }
}
