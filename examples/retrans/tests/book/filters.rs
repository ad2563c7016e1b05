// SPDX-License-Identifier: MIT OR Apache-2.0
//! `filter` blocks are filters, a line each, and of the sort that their fence says.

use retrans_sdk::Filter;

use crate::page::pages;

#[test]
fn a_filter_is_what_it_is_said_to_be() {
    let mut seen = [0; 4];
    for page in pages() {
        for block in page.blocks_that(|info| info.starts_with("filter")) {
            for line in block.text.lines() {
                let at = format!("{}: `{line}`", page.at(&block));
                let sort = match line.parse::<Filter>() {
                    Err(_) => 3,
                    Ok(filter) => {
                        assert_eq!(filter.to_string(), line, "{at}");
                        let (live, event) = (filter.live_only().count() > 0, filter.event_only().count() > 0);
                        assert!(!(live && event), "{at}: of two sorts");
                        usize::from(live) + 2 * usize::from(event)
                    }
                };
                let said = ["filter", "filter,live_only", "filter,event_only", "filter,refused"];
                assert_eq!(block.info, said[sort], "{at}");
                seen[sort] += 1;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 1), "{seen:?}");
}
