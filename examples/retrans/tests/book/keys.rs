// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of keys is so: which eleven come first, and which of all are tables.

use std::collections::BTreeSet;

use retrans_sdk::attach::{AttachMethod, Unobservable};
use retrans_sdk::event::{CaState, Family, OwnerSource, TcpState, Transmit};
use retrans_sdk::{ResultClass, RetransKind, RetransResult};

use crate::page::{Page, pages};

fn page(name: &str) -> Page {
    pages().into_iter().find(|page| page.name == name).expect("a page")
}

#[test]
fn the_first_eleven_are_in_their_order() {
    let page = page("recording.md");
    let rows = page.rows().skip_while(|row| *row != ["key", "value"]).skip(2).take(11);
    let named: Vec<_> = rows.map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(named, retrans_sdk::event::keys().take(11).collect::<Vec<_>>());
}

#[test]
fn the_tables_whose_values_stay_are_all_there_are() {
    let page = page("stability.md");
    let mut behind = page.prose().skip_while(|line| *line != "## The tables").skip(1);
    let line = behind.find(|line| !line.is_empty()).expect("the list");
    let named: BTreeSet<_> = line.split('`').skip(1).step_by(2).collect();
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
