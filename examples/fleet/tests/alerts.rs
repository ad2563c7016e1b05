// SPDX-License-Identifier: MIT OR Apache-2.0
//! The alert rules, as far as they can be checked without Prometheus. `make fleet-test` runs their
//! tests with promtool.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of this package")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("retrans_")).collect()
}

#[test]
fn each_rule_has_a_page_and_a_test() {
    let (rules, tests) = (read("alerts.yml"), read("alerts_test.yml"));
    let names: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(names.len(), 11, "{names:?}");
    for name in &names {
        assert!(tests.contains(&format!("ALERTS{{alertname=\"{name}\",")), "{name} has no test");
    }
    let pages: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("page: ")).collect();
    assert_eq!(pages.len(), names.len(), "{pages:?}");
    for page in pages {
        assert!(root().join(page).is_file(), "no page {page}");
    }
}

/// A live test of `hosts.rs` compares the table of the page with what the agent exports.
#[test]
fn the_rules_use_documented_metrics() {
    let (rules, page) = (read("alerts.yml"), fs::read_to_string(root().join("docs/fleet.md")).expect("a page"));
    let documented = metrics(&page);
    let used = metrics(&rules);
    assert!(used.len() >= 5, "{used:?}");
    for metric in used {
        assert!(documented.contains(metric), "docs/fleet.md does not describe {metric}");
    }
}
