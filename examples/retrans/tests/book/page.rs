// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of the book, and their blocks, prose and tables.

use std::fs;
use std::path::{Path, PathBuf};

/// A page.
pub(crate) struct Page {
    /// The path relative to `docs/`, such as `results/denied.md`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// The text between two fences.
pub(crate) struct Block<'a> {
    /// The info string of the first fence.
    pub(crate) info: &'a str,
    pub(crate) text: &'a str,
    /// The line number of the first fence, for error messages.
    pub(crate) line: usize,
}

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a workspace").to_owned()
}

/// Returns all pages, in the order of their names.
pub(crate) fn pages() -> Vec<Page> {
    let docs = root().join("docs");
    let mut pages = Vec::new();
    collect(&docs, &docs, &mut pages);
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(pages.len() > 30, "where is the book?");
    pages
}

fn collect(docs: &Path, folder: &Path, pages: &mut Vec<Page>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(docs, &path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.strip_prefix(docs).expect("in docs/").to_str().expect("text").to_owned();
            let text = fs::read_to_string(&path).expect("a page");
            pages.push(Page { name, path, text });
        }
    }
}

impl Page {
    /// Returns every block.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<(&str, usize, usize)> = None;
        let mut offset = 0;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            let at = format!("{}:{}", self.name, index + 1);
            match (line.trim_end().strip_prefix("```"), open) {
                (Some(info), None) => open = Some((info, offset + line.len(), index + 1)),
                (Some(""), Some((info, start, line))) => {
                    blocks.push(Block { info, text: &self.text[start..offset], line });
                    open = None;
                }
                (Some(_), Some(_)) => panic!("{at}: a fence inside a block"),
                (None, _) => {
                    assert!(open.is_some() || !line.trim_start().starts_with("```"), "{at}: an indented fence")
                }
            }
            offset += line.len();
        }
        assert!(open.is_none(), "{}: a block without an end", self.name);
        blocks
    }

    /// Returns the blocks whose info string `is` accepts.
    pub(crate) fn blocks_that<'a>(&'a self, is: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = Block<'a>> {
        self.blocks().into_iter().filter(move |block| is(block.info))
    }

    /// Returns the lines outside of blocks.
    pub(crate) fn prose(&self) -> impl Iterator<Item = &str> {
        let mut in_block = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.starts_with("```");
            in_block ^= is_fence;
            !in_block && !is_fence
        })
    }

    /// Returns the cells of each row of the tables.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.prose().filter_map(|line| {
            let row = line.strip_prefix('|')?.strip_suffix('|')?;
            Some(row.split('|').map(str::trim).collect())
        })
    }

    /// Returns the location of a block, for error messages.
    pub(crate) fn at(&self, block: &Block<'_>) -> String {
        format!("docs/{}:{}", self.name, block.line)
    }
}
