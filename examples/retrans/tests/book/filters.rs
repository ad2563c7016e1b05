// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that each line of a `filter` block is a filter, of the kind that the fence names.

use retrans_sdk::Filter;

use crate::page::pages;

#[test]
fn each_filter_is_of_the_kind_that_its_fence_names() {
    let mut seen = [0; 4];
    for page in pages() {
        for block in page.blocks_that(|info| info.starts_with("filter")) {
            for line in block.text.lines() {
                let at = format!("{}: `{line}`", page.at(&block));
                let kind = match line.parse::<Filter>() {
                    Err(_) => 3,
                    Ok(filter) => {
                        assert_eq!(filter.to_string(), line, "{at}");
                        let (live, event) = (filter.live_only().count() > 0, filter.event_only().count() > 0);
                        assert!(!(live && event), "{at}: of two kinds");
                        usize::from(live) + 2 * usize::from(event)
                    }
                };
                let infos = ["filter", "filter,live_only", "filter,event_only", "filter,refused"];
                assert_eq!(block.info, infos[kind], "{at}");
                seen[kind] += 1;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 1), "{seen:?}");
}
