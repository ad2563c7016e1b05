// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the lines of `text` blocks are in the lab's recording, byte for byte, or are
//! verdicts, and that `json` blocks are such lines as JSON.

use std::collections::BTreeSet;
use std::fs;

use retrans_sdk::event::Verdict;
use retrans_sdk::format::Line;

use crate::page::{pages, root};

/// Returns the lines of the recording.
pub(crate) fn recorded() -> BTreeSet<String> {
    let recording = root().join("examples/retrans/recordings/lab.kv");
    fs::read_to_string(recording).expect("the recording").lines().map(str::to_owned).collect()
}

#[test]
fn each_line_of_text_is_in_the_recording() {
    let recorded = recorded();
    let mut count = 0;
    for page in pages() {
        for block in page.blocks_that(|info| info == "text") {
            for line in block.text.lines() {
                let at = page.at(&block);
                // The recording contains attempts only.
                if line.starts_with("what=verdict ") {
                    assert!(line.parse::<Verdict>().is_ok_and(|parsed| parsed.to_string() == line), "{at}: not a line");
                    continue;
                }
                assert!(line.parse::<Line>().is_ok_and(|parsed| parsed.to_string() == line), "{at}: not a line");
                assert!(recorded.contains(line), "{at}: the recording has no such line");
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn each_json_object_is_in_the_recording() {
    let events = recorded().into_iter().map(|line| line.parse::<Line>().expect("a line").event);
    let objects: BTreeSet<_> = events.map(|event| serde_json::to_string(&event).expect("JSON")).collect();
    let pages = pages();
    let blocks = pages
        .iter()
        .flat_map(|page| page.blocks_that(|info| info == "json").map(|block| (page.at(&block), block.text)));
    let lines: Vec<_> = blocks.flat_map(|(at, text)| text.lines().map(move |line| (at.clone(), line))).collect();
    assert!(!lines.is_empty());
    for (at, line) in lines {
        assert!(objects.contains(line), "{at}: the recording has no such event");
    }
}
