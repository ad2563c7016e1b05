// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks which eleven keys the book lists as the first, and which keys it lists as tables.

use std::collections::BTreeSet;
use std::iter;

use retrans_sdk::attach::{AttachMethod, Unobservable};
use retrans_sdk::event::{CaState, Family, OwnerSource, TcpState, Transmit};
use retrans_sdk::{ResultClass, RetransKind, RetransResult};

use crate::page::{Page, pages};

fn page(name: &str) -> Page {
    pages().into_iter().find(|page| page.name == name).expect("a page")
}

/// The eleven keys are in a table of `recording.md`, and in a list of `quick-start.md`.
#[test]
fn the_first_eleven_are_in_their_order() {
    let list = retrans_sdk::event::keys().take(11).collect::<Vec<_>>().join(" ");
    assert!(page("quick-start.md").text.contains(&format!("`{list}`")), "quick-start.md does not list {list}");
    let page = page("recording.md");
    let rows = page.rows().skip_while(|row| *row != ["key", "value"]).skip(2).take(11);
    let named: Vec<_> = rows.map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(named, retrans_sdk::event::keys().take(11).collect::<Vec<_>>());
}

#[test]
fn the_stability_page_lists_every_table() {
    let page = page("stability.md");
    let mut after = page.prose().skip_while(|line| *line != "## The named values").skip(1);
    let first = after.find(|line| !line.is_empty()).expect("the list");
    let paragraph = iter::once(first).chain(after.take_while(|line| !line.is_empty())).collect::<Vec<_>>().join(" ");
    let named: BTreeSet<_> = paragraph.split('`').skip(1).step_by(2).collect();
    let all = [
        AttachMethod::KEY,
        CaState::KEY,
        Family::KEY,
        OwnerSource::KEY,
        ResultClass::KEY,
        RetransKind::KEY,
        RetransResult::KEY,
        TcpState::KEY,
        Transmit::KEY,
        Unobservable::KEY,
    ];
    assert_eq!(named, all.into());
}
