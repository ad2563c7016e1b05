// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts by a key (`StreamBuilder::count_by`) equal the counts of the events with this key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use retrans_lab::observe::{concerns, drain, filter, open, until};
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Family, Outcome, Pair, Refusal, Result, Scenario};
use retrans_sdk::stats::{GroupBy, GroupCount};
use retrans_sdk::stream::Counters;
use retrans_sdk::{ErrorKind, Event, Stream};

/// Attempts and segments by key and result, as they are printed.
type Groups = BTreeMap<(String, String), (u64, u64)>;

fn groups_of(events: &[Event], key: impl Fn(&Event) -> String) -> Groups {
    let mut groups = Groups::new();
    for event in events {
        let count = groups.entry((key(event), event.result.to_string())).or_default();
        count.0 += 1;
        count.1 += u64::from(event.segs);
    }
    groups
}

fn groups(counters: &Counters) -> Groups {
    let counts = counters.stats_reader().groups().expect("requested");
    let result = |count: &GroupCount| count.result.expect("a slot").to_string();
    counts.iter().map(|count| ((count.key.to_string(), result(count)), (count.attempts, count.segs))).collect()
}

/// Returns the sum of the attempts of all groups, and of those that passed the filter.
fn sums(counters: &Counters) -> (u64, u64) {
    let passed = counters.stats().passed;
    (groups(counters).values().map(|count| count.0).sum(), passed.iter().map(|count| count.attempts).sum())
}

/// Returns the lowest address of a prefix.
fn prefix(address: IpAddr, v4: u32, v6: u32) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let bits = address.to_bits() & u32::MAX.checked_shl(32 - v4).unwrap_or(0);
            format!("daddr={}/{v4}", std::net::Ipv4Addr::from_bits(bits))
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits() & u128::MAX.checked_shl(128 - v6).unwrap_or(0);
            format!("daddr={}/{v6}", std::net::Ipv6Addr::from_bits(bits))
        }
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn groups_equal_the_events_with_their_key() -> Result<()> {
    let mut reference = open()?;
    let (pair, other) = (Pair::new()?, Pair::new()?);
    let mut scenarios = vec![
        Scenario::prepare(&pair, Family::V4, Outcome::Rto)?,
        Scenario::prepare(&pair, Family::V4, Outcome::Denied(Refusal::Drop))?,
        Scenario::prepare(&pair, Family::V6, Outcome::Rto)?,
        Scenario::prepare(&pair, Family::Mapped, Outcome::Rto)?,
        // Its socket is a request.
        Scenario::prepare(&other, Family::V6, Outcome::Synack)?,
    ];
    let subjects: Vec<_> = scenarios.iter().map(Scenario::subject).collect();
    let of_pairs = format!("netns={},{}", subjects[0].netns, subjects[4].netns);
    let count_by = |key, capacity| {
        let builder = Stream::builder().filter(filter(&of_pairs)?).count_by(key, capacity);
        builder.open_counters().context("cannot open counters")
    };
    type Key = fn(&Event) -> String;
    let cases: [(Counters, Key); 7] = [
        (count_by(GroupBy::Cgroup, 10)?, |event| {
            event.cgroup.map_or("cgroup=-".to_owned(), |cgroup| format!("cgroup={cgroup}"))
        }),
        (count_by(GroupBy::Netns, 2)?, |event| format!("netns={}", event.netns.expect("a namespace"))),
        (count_by(GroupBy::LocalPort, 100)?, |event| format!("sport={}", event.sport)),
        (count_by(GroupBy::RemotePort, 100)?, |event| format!("dport={}", event.dport)),
        (count_by(GroupBy::RemotePrefix { v4: 32, v6: 128 }, 100)?, |event| prefix(event.daddr, 32, 128)),
        (count_by(GroupBy::RemotePrefix { v4: 8, v6: 7 }, 100)?, |event| prefix(event.daddr, 8, 7)),
        (count_by(GroupBy::RemotePrefix { v4: 0, v6: 0 }, 100)?, |event| prefix(event.daddr, 0, 0)),
    ];
    // One group for several ports: the ports that come second are counted together.
    let full = count_by(GroupBy::LocalPort, 1)?;
    // With a ring buffer, whose events are not read.
    let unread = Stream::builder().filter(filter(&of_pairs)?).count_by(GroupBy::Netns, 2).open();
    let unread = unread.context("cannot open a stream")?;

    scenarios.iter_mut().try_for_each(Scenario::start)?;
    let seen = |events: &[Event], at: usize| events.iter().filter(|event| concerns(&subjects[at], event)).count() > 1;
    let mut events = until(&mut reference, PATIENCE, |events| (0..subjects.len()).all(|at| seen(events, at)))?;
    scenarios.into_iter().try_for_each(Scenario::finish)?;
    drop((pair, other));

    // An attempt may still be in progress when the last scenario ends.
    let netns = [subjects[0].netns, subjects[4].netns];
    let equal = wait_for("the groups to equal the events", PATIENCE, || {
        events.append(&mut drain(&mut reference)?);
        events.retain(|event| event.netns.is_some_and(|of| netns.contains(&of)));
        Ok(cases.iter().all(|(counters, key)| groups(counters) == groups_of(&events, key)).then_some(()))
    });
    for (counters, key) in &cases {
        assert_eq!(groups(counters), groups_of(&events, key));
        let (grouped, passed) = sums(counters);
        assert_eq!((grouped, passed), (events.len() as u64, grouped));
    }
    equal?;

    let (grouped, passed) = sums(&full);
    assert_eq!((grouped, passed), (events.len() as u64, grouped));
    let of_full = groups(&full);
    let keys: Vec<_> = of_full.keys().map(|(key, _)| key.as_str()).filter(|key| *key != "group=other").collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == keys[0]), "{of_full:?}");
    assert!(of_full.keys().any(|(key, _)| key == "group=other"), "{of_full:?}");
    let first = groups_of(&events, |event| format!("sport={}", event.sport));
    assert!(of_full.iter().filter(|((key, _), _)| key == keys[0]).all(|(key, count)| first.get(key) == Some(count)));

    let counts = unread.stats_reader().groups().expect("requested");
    assert_eq!(counts.iter().map(|count| count.attempts).sum::<u64>(), events.len() as u64);
    assert!(reference.stats_reader().groups().is_none(), "not requested");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_grouping_that_cannot_be_is_refused() -> Result<()> {
    let refused = Stream::builder().count_by(GroupBy::Netns, 0).open().expect_err("no capacity");
    assert_eq!(refused.kind(), ErrorKind::Setting);
    let refused = Stream::builder().count_by(GroupBy::RemotePrefix { v4: 33, v6: 0 }, 1).open_counters();
    assert_eq!(refused.expect_err("33 bits").kind(), ErrorKind::Setting);
    // The largest capacity fits into the kernel's memory.
    let counters = Stream::builder().count_by(GroupBy::RemotePort, 1 << 16).open_counters();
    let counters = counters.context("cannot open counters")?;
    assert_eq!(counters.stats_reader().groups(), Some(Vec::new()));
    Ok(())
}
