// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that each link inside the project leads to a file and to a heading of it, and that the
//! table of contents links each page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::page::{pages, root};

/// Returns the targets of the links in a text.
fn targets(text: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("](") {
        let Some((target, left)) = after.split_once(')') else { break };
        targets.push(target);
        rest = left;
    }
    targets
}

/// Returns the anchors of a page's headings, as GitHub forms them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// Returns the path without `..`, for comparisons.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part.as_os_str().to_str() {
            Some("..") => drop(plain.pop()),
            _ => plain.push(part),
        }
    }
    plain
}

#[test]
fn each_link_leads_somewhere() {
    let root = root();
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name));
    let all = pages().into_iter().map(|page| page.path).chain(others);
    let mut count = 0;
    for path in all {
        let text = fs::read_to_string(&path).expect("a page");
        for target in targets(&text).into_iter().filter(|target| !target.starts_with("https://")) {
            let at = format!("{}: {target}", path.display());
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let leads_to = match file {
                "" => path.clone(),
                _ => plain(&path.parent().expect("a folder").join(file)),
            };
            count += 1;
            assert!(leads_to.exists(), "{at}: nothing there");
            if let Some(anchor) = anchor {
                let text = fs::read_to_string(&leads_to).expect("a page");
                assert!(anchors(&text).contains(anchor), "{at}: no such heading; there are {:?}", anchors(&text));
            }
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn each_page_is_in_the_table_of_contents() {
    let contents = root().join("docs/README.md");
    let text = fs::read_to_string(&contents).expect("the table of contents");
    let linked: BTreeSet<_> =
        targets(&text).into_iter().map(|target| plain(&root().join("docs").join(target))).collect();
    for page in pages() {
        assert!(page.path == contents || linked.contains(&page.path), "{} is not in docs/README.md", page.name);
    }
}

#[test]
fn anchors_are_formed_as_github_forms_them() {
    assert!(anchors("# A\n## What it needs, and `x_y`!\n").contains("what-it-needs-and-x_y"));
}
