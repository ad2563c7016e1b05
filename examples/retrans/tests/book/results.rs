// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that each result has a page, and that each page shows a line of the result, or states
//! that the recording has none and names the runs that have one.

use std::collections::BTreeSet;

use retrans_sdk::RetransResult;
use retrans_sdk::format::Line;

use crate::facts::{Facts, page_of};
use crate::lab_lines::recorded;
use crate::page::{Page, pages};

const SECTIONS: [&str; 3] = ["## What the kernel did", "## A line from the lab", "## What to look at next"];

/// Returns the lines that a page shows.
fn shown(page: &Page) -> Vec<Line> {
    let blocks = page.blocks_that(|info| info == "text");
    blocks.flat_map(|block| block.text.lines().map(|line| line.parse().expect("a line"))).collect()
}

#[test]
fn each_result_has_a_page_and_there_is_no_other() {
    let pages: BTreeSet<_> =
        pages().into_iter().map(|page| page.name).filter(|name| name.starts_with("results/")).collect();
    let of_results = RetransResult::ALL.iter().map(|entry| format!("results/{}.md", entry.value));
    assert_eq!(pages, of_results.chain(["results/README.md".to_owned()]).collect());
}

#[test]
fn each_page_has_the_same_parts() {
    for entry in RetransResult::ALL {
        let page = page_of(entry.variant);
        let headings: Vec<_> = page.prose().filter(|line| line.starts_with('#')).collect();
        assert_eq!(headings[0], format!("# `{}`", entry.value));
        assert_eq!(headings[1..], SECTIONS, "{}", page.name);
        let (_, next) = page.text.split_once(SECTIONS[2]).expect("it has");
        assert!(next.contains("```sh\n"), "{} has no command to run next", page.name);
    }
}

#[test]
fn the_lines_are_of_the_result() {
    for entry in RetransResult::ALL {
        let page = page_of(entry.variant);
        let facts = Facts::of(&page);
        for line in shown(&page) {
            assert_eq!(line.event.result, entry.variant, "{}", page.name);
            assert!(facts.err().is_none_or(|err| line.event.err == Some(err)), "{}: {line}", page.name);
            let transmit = line.event.transmit.expect("recorded").to_string();
            assert_eq!(facts.get("transmit"), format!("`{transmit}`"), "{}: {line}", page.name);
        }
    }
}

#[test]
fn a_page_without_a_line_states_it() {
    let recorded: BTreeSet<_> =
        recorded().iter().map(|line| line.parse::<Line>().expect("a line").event.result).collect();
    for entry in RetransResult::ALL {
        let page = page_of(entry.variant);
        let is_recorded = recorded.contains(&entry.variant);
        assert_eq!(!shown(&page).is_empty(), is_recorded, "{}", page.name);
        assert_eq!(page.text.contains("The lab's recording has none"), !is_recorded, "{}", page.name);
        assert_eq!(crate::matrix::rows(&page).is_empty(), is_recorded, "{}", page.name);
    }
}
