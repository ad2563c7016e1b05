// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the table at the beginning of a result's page.

use std::collections::BTreeMap;
use std::fs;

use nix::errno::Errno;
use retrans_lab::{Outcome, Probes};
use retrans_sdk::RetransResult;
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::Transmit;

use crate::page::{Page, pages};

/// The second cell of each row, by the first.
pub(crate) struct Facts<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Facts<'a> {
    pub(crate) fn of(page: &'a Page) -> Self {
        let head = page.rows().skip(2).take_while(|row| row.len() == 2);
        Self(head.map(|row| (row[0], row[1])).collect())
    }

    pub(crate) fn get(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or_else(|| panic!("no row `{name}` in {:?}", self.0))
    }

    /// Returns the attach methods that report the result.
    pub(crate) fn reported_by(&self) -> Vec<AttachMethod> {
        let names = self.get("reported by").split(", ").map(|name| name.trim_matches('`'));
        names.map(|name| name.parse().unwrap_or_else(|_| panic!("no attach method {name}"))).collect()
    }

    /// Returns `err`, if the result has only one.
    pub(crate) fn err(&self) -> Option<i32> {
        self.get("err").split(' ').next().and_then(|number| number.parse().ok())
    }

    fn transmits(&self) -> Vec<Transmit> {
        let names = self.get("transmit").split('`').skip(1).step_by(2);
        names.map(|name| name.parse().expect("a value of transmit")).collect()
    }
}

/// Returns the page of a result.
pub(crate) fn page_of(result: RetransResult) -> Page {
    let name = format!("results/{result}.md");
    pages().into_iter().find(|page| page.name == name).unwrap_or_else(|| panic!("{result} has no page"))
}

#[test]
fn each_page_has_the_values_of_the_table() {
    for entry in RetransResult::ALL {
        let page = page_of(entry.variant);
        let facts = Facts::of(&page);
        assert_eq!(facts.get("result"), format!("`{}`", entry.value));
        assert_eq!(Some(facts.get("class")), entry.class.map(|class| format!("`{class}`")).as_deref(), "{}", page.name);
        assert_eq!(facts.get("number"), entry.number.to_string(), "{}", page.name);
        assert_eq!(Some(facts.get("enumerator")), entry.c_name, "{}", page.name);
    }
}

#[test]
fn err_has_its_name_and_is_the_one_that_the_lab_expects() {
    let lab = || Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Canceled);
    for entry in RetransResult::ALL {
        let page = page_of(entry.variant);
        let facts = Facts::of(&page);
        let expected = match facts.err() {
            None => "any other".to_owned(),
            Some(0) => "0".to_owned(),
            Some(1) => "1 NET_XMIT_DROP".to_owned(),
            Some(err) => format!("{err} {:?}", Errno::from_raw(-err)),
        };
        assert_eq!(facts.get("err"), expected, "{}", page.name);
        for outcome in lab() {
            let expected = outcome.expected(outcome.defining_attempt(Probes::Off), Probes::Off);
            if expected.result == entry.variant {
                assert!(facts.err().is_none_or(|err| err == expected.err), "{}: {outcome}", page.name);
            }
        }
    }
}

#[test]
fn counters_follow_from_the_transmit_step() {
    for entry in RetransResult::ALL {
        let page = page_of(entry.variant);
        let facts = Facts::of(&page);
        let by_segs = match *facts.transmits() {
            [Transmit::Yes] => "by `segs`",
            [Transmit::No] => "unchanged",
            _ => "by `segs`, if `transmit` is `yes`",
        };
        assert_eq!(facts.get("RetransSegs"), by_segs, "{}", page.name);
        let is_success = entry.variant == RetransResult::Success;
        assert_eq!(facts.get("TCPRetransFail"), if is_success { "unchanged" } else { by_segs }, "{}", page.name);
    }
}

#[test]
fn only_success_is_reported_by_every_attach_method() {
    for entry in RetransResult::ALL {
        let page = page_of(entry.variant);
        let reported_by = Facts::of(&page).reported_by();
        let is_success = entry.variant == RetransResult::Success;
        assert_eq!(reported_by.contains(&AttachMethod::TpSuccess), is_success, "{}", page.name);
        assert!(reported_by.contains(&AttachMethod::TpEnum), "{}", page.name);
    }
}

/// The table of `kernels.md` has a column for each of these after the result.
#[test]
fn the_page_of_kernels_lists_the_same_attach_methods() {
    use AttachMethod::{Fexit, Kretprobe, TpEnum, TpErr, TpSuccess};
    const COLUMNS: [AttachMethod; 7] = [TpEnum, TpEnum, TpErr, TpErr, Fexit, Kretprobe, TpSuccess];
    let kernels = pages().into_iter().find(|page| page.name == "kernels.md").expect("the page");
    let mut seen = 0;
    for row in kernels.rows().filter(|row| row.len() == 8 && row[0].starts_with("[`")) {
        let name = row[0].split('`').nth(1).expect("a name");
        let result: RetransResult = name.parse().expect("a result");
        let page = page_of(result);
        let reported_by = Facts::of(&page).reported_by();
        for method in [TpEnum, TpErr, Fexit, Kretprobe, TpSuccess] {
            let cells = COLUMNS.iter().zip(&row[1..]).filter(|(column, _)| **column == method);
            let is_reported = cells.into_iter().any(|(_, cell)| *cell == "yes");
            assert_eq!(is_reported, reported_by.contains(&method), "{name}: {method}");
        }
        seen += 1;
    }
    // `err_default` and `nomem` have no row: they stand for results that were not distinguished.
    assert_eq!(seen, RetransResult::ALL.len() - 2);
}

#[test]
fn each_named_counter_exists() {
    let counted =
        ["/proc/net/snmp", "/proc/net/netstat"].map(|path| fs::read_to_string(path).expect("counters")).concat();
    let counters: Vec<_> = counted.split_ascii_whitespace().collect();
    let mut seen = 0;
    for page in pages() {
        for word in page.prose().flat_map(|line| line.split(|c: char| !c.is_alphanumeric())) {
            let is_one = word.strip_prefix("TCP").is_some_and(|rest| {
                rest.starts_with(|c: char| c.is_uppercase()) && rest.contains(|c: char| c.is_lowercase())
            });
            if is_one || word == "RetransSegs" {
                assert!(counters.contains(&word), "{}: the kernel has no counter {word}", page.name);
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen}");
}
