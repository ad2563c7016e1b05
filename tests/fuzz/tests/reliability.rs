// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each test that docs/reliability.md names exists, and each fuzz target is in its table.

use std::fs;
use std::path::Path;

use retrans_fuzz::TARGETS;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Appends the text of all Rust files in a folder.
fn append_sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of the checkout") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            append_sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *all += &fs::read_to_string(&path).expect("a source file");
        }
    }
}

#[test]
fn each_named_test_and_each_target_exists() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/reliability.md")).expect("the page");
    let mut sources = String::new();
    for folder in ["retrans-sdk", "examples", "tests"] {
        append_sources(&Path::new(ROOT).join(folder), &mut sources);
    }
    let words = page.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| {
        word.matches('_').count() >= 2 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let named: Vec<_> = words.filter(is_test).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "docs/reliability.md names {name}, which does not exist");
    }
    for target in TARGETS {
        assert!(page.contains(&format!("\n| {} |", target.name)), "{} is not in the table", target.name);
    }
}
