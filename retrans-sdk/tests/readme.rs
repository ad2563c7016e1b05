// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the README's table of results is the one that the declaration generates.
//! `UPDATE_README=1 cargo test -p retrans-sdk --test readme` writes it.

use std::env;
use std::fmt::Write as _;
use std::fs;

use retrans_sdk::RetransResult;

const BEGIN: &str = "<!-- results -->\n";
const END: &str = "<!-- /results -->";

fn table() -> String {
    let mut table = String::from("| result | class | number | meaning |\n|---|---|---|---|\n");
    for entry in RetransResult::ALL {
        let own = if entry.variant.is_own() { " (retrans)" } else { "" };
        let class = entry.class.expect("every result has a class");
        writeln!(table, "| `{}` | {class} | {}{own} | {} |", entry.value, entry.number, entry.description)
            .expect("writing to a String cannot fail");
    }
    table
}

#[test]
fn the_readme_has_the_table_of_results() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(path).expect("the README");
    let begin = readme.find(BEGIN).expect("the marker before the table") + BEGIN.len();
    let end = readme.find(END).expect("the marker after the table");
    if env::var_os("UPDATE_README").is_some() {
        fs::write(path, format!("{}{}{}", &readme[..begin], table(), &readme[end..])).expect("the README");
        return;
    }
    assert_eq!(&readme[begin..end], table(), "run UPDATE_README=1 cargo test -p retrans-sdk --test readme");
}
