// SPDX-License-Identifier: MIT OR Apache-2.0
//! Splits a command line into programs and words, as far as a shell does.

/// One program and its arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Simple {
    pub(crate) is_root: bool,
    pub(crate) words: Vec<String>,
}

/// Returns the commands of a block. Lines that a backslash continues are one command.
pub(crate) fn lines(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    joined.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Returns the programs of a line: those of a pipeline, or of a sequence. Files that output is
/// redirected to are left out.
pub(crate) fn programs(line: &str) -> Vec<Simple> {
    let mut programs = vec![Vec::new()];
    let mut is_redirected = false;
    for word in words(line) {
        match &*word {
            "|" | "&&" | ";" => programs.push(Vec::new()),
            ">" => is_redirected = true,
            _ if is_redirected => is_redirected = false,
            _ => programs.last_mut().expect("there is always one").push(word),
        }
    }
    programs.into_iter().map(simple).collect()
}

fn simple(mut words: Vec<String>) -> Simple {
    let is_root = words.first().is_some_and(|word| word == "sudo");
    if is_root {
        words.remove(0);
    }
    assert!(!words.is_empty(), "no program");
    Simple { is_root, words }
}

/// Removes quotes, and expands nothing.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "an open quote: {line}");
    words.extend(word);
    words
}

#[test]
fn a_line_is_split_into_programs_and_words() {
    let simple =
        |is_root, words: &[&str]| Simple { is_root, words: words.iter().map(|&word| word.to_owned()).collect() };
    let taken = programs("sudo a -b 'c | d' > e && f \"$g\" | h");
    assert_eq!(taken, [simple(true, &["a", "-b", "c | d"]), simple(false, &["f", "$g"]), simple(false, &["h"])]);
    assert_eq!(lines("a \\\n  b\n# no\n\nc\n"), ["a    b", "c"]);
}
