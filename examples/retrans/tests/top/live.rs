// SPDX-License-Identifier: MIT OR Apache-2.0
//! Live tests of `top`, with attempts that the lab causes.

use retrans_lab::{Discard, Family, Outcome, Pair, Probes, Refusal, Scenario};

use crate::screen::Screen;

/// The outcomes, each over all families, in a pair of its own.
const OUTCOMES: [Outcome; 3] = [Outcome::Rto, Outcome::Denied(Refusal::Drop), Outcome::XmitDrop(Discard::Qdisc)];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
#[ignore = "live: needs root, run by make test"]
fn results_and_addresses_are_the_traffics() {
    let wanted: Vec<_> = OUTCOMES.into_iter().flat_map(|outcome| FAMILIES.map(|family| (outcome, family))).collect();
    let pairs: Vec<_> = wanted.iter().map(|_| Pair::new().expect("a pair of namespaces")).collect();
    // The filter excludes all other attempts of this host.
    let namespaces: Vec<_> = pairs.iter().map(|pair| pair.client().inode().to_string()).collect();
    let mut screen = Screen::of(130, 40, &[&format!("netns={}", namespaces.join(","))]);
    screen.wait_for("failures=observed");
    let scenarios: Vec<_> = wanted
        .into_iter()
        .zip(&pairs)
        .map(|((outcome, family), pair)| Scenario::run(pair, family, outcome).expect("a scenario"))
        .collect();
    for result in ["success", "denied", "xmit_drop"] {
        screen.wait_for(result);
    }
    for scenario in &scenarios {
        let address = scenario.subject().remote.ip().to_canonical().to_string();
        let result = scenario.outcome().expected(0, Probes::Off).result.to_string();
        screen.wait_until(&address, |text| {
            text.lines().find(|line| line.contains(&address) && line.contains(&result)).map(drop)
        });
    }
    // Sorted by failures, an address that was reached is below one that was not.
    let text = screen.text();
    let row = |scenario: &Scenario| {
        let address = format!("│{} ", scenario.subject().remote.ip().to_canonical());
        text.lines().position(|line| line.starts_with(&address)).expect("a row")
    };
    assert!(row(&scenarios[2]) < row(&scenarios[0]), "{text}");

    // Another filter replaces the first one. The counters show how many attempts it excludes.
    let wanted = scenarios[4].subject();
    screen.type_in(&format!("f\u{15}result=xmit_drop netns={}\r", wanted.netns));
    screen.wait_for(&format!("filter: result=xmit_drop netns={}", wanted.netns));
    screen.wait_for("remote addresses, 1");
    screen.wait_until("what was left out", |text| {
        let counters = text.lines().find(|line| line.contains("seen="))?;
        (!counters.contains("filtered=0 ") && !counters.contains("delivered=0 ")).then_some(())
    });
    assert!(!screen.text().contains("│success "), "{}", screen.text());

    screen.type_in("q");
    for scenario in scenarios {
        scenario.finish().expect("an end to the scenario");
    }
    let ended = screen.end();
    assert!(ended.status.success() && ended.restored, "{}", ended.text);
    assert!(
        ended.text.contains("stats seen=") && ended.text.contains("seen result=xmit_drop kind=rto"),
        "{}",
        ended.text
    );
}
