// SPDX-License-Identifier: MIT OR Apache-2.0
//! A `watch` with a filter prints exactly the lines of an unfiltered one that match the filter.

use crate::running::{finish, ready, reference, socket_of, sockets, traffic, wait_until};
use retrans_lab::{Discard, Hold, Outcome, Refusal, RouteFault};
use retrans_sdk::{Event, Filter};

/// Returns the line without the time, because each stream has its own offset to the epoch.
fn without_time(event: &Event) -> String {
    let line = event.to_string();
    line.split_once(' ').expect("more than a time").1.to_owned()
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn only_matching_attempts_are_printed() {
    let filters = [
        "result=in_host_queue,route_fail",
        "result!=success",
        "class=drop",
        "class!=drop,busy family=inet",
        "family=inet6",
        "kind=rto mapped=yes",
        "state=syn_sent --or result=xmit_drop family=inet",
        "sport=1..40000",
        "sport!=1..40000 dport!=1..40000",
        "err=-200..-1 snd_cwnd=1",
        "saddr=10.0.0.0/8 result=success",
        "saddr=fd00::/16 --or class=window",
        "sk_err_soft!=0",
        "uid=0 kind!=syn ca_name=reno srtt_us=0..10000000 --or kind=synack uid=0",
        "result=k17",
    ];
    let everything = ready(&[]);
    let filtered = filters.map(|filter| ready(&filter.split(' ').collect::<Vec<_>>()));
    let mut reference = reference();
    let traffic = traffic(&[
        Outcome::Rto,
        Outcome::Syn,
        Outcome::Synack,
        Outcome::InHostQueue(Hold::Qdisc),
        Outcome::RouteFail(RouteFault::Prohibit),
        Outcome::Denied(Refusal::Drop),
        Outcome::XmitDrop(Discard::Qdisc),
    ]);
    let sockets = sockets(&traffic);
    let parsed = filters.map(|filter| filter.parse::<Filter>().expect(filter));
    wait_until(&mut reference, &sockets, |events| {
        let passes = |filter: &Filter| events.iter().filter(|event| filter.matches(event)).count();
        let has_both = |(text, filter)| passes(filter) < events.len() && (text == "result=k17" || passes(filter) > 0);
        filters.into_iter().zip(&parsed).all(has_both)
    });
    finish(traffic);

    let ours = |events: Vec<Event>| -> Vec<Event> {
        events.into_iter().filter(|event| sockets.contains(&socket_of(event))).collect()
    };
    // Sorted, because two ring buffers can have different orders across CPUs.
    let lines = |events: Vec<Event>| {
        let mut lines: Vec<_> = events.iter().map(without_time).collect();
        lines.sort_unstable();
        lines
    };
    let everything = ours(everything.interrupt().events());
    for (text, watch) in filters.iter().zip(filtered) {
        let filter: Filter = text.parse().expect(text);
        let expected: Vec<_> = everything.iter().filter(|event| filter.matches(event)).copied().collect();
        let impossible = *text == "result=k17";
        assert_eq!(expected.is_empty(), impossible, "{text}: the traffic must have both kinds");
        assert!(expected.len() < everything.len(), "{text}: the traffic must have both kinds");

        let ended = watch.interrupt();
        assert!(ended.status.success());
        let stats = ended.stats();
        let (actual, expected) = (lines(ours(ended.events())), lines(expected));
        assert!(
            actual == expected,
            "{text}: {} lines instead of {}; the first that differs: {:?}",
            actual.len(),
            expected.len(),
            actual.iter().zip(&expected).find(|(actual, expected)| actual != expected)
        );
        assert!(stats["filtered"] > 0, "{text}");
        assert_eq!(stats["seen"], stats["filtered"] + stats["limited"] + stats["lost"] + stats["submitted"], "{text}");
        assert_eq!(stats["submitted"], stats["rejected"] + stats["dropped"] + stats["delivered"], "{text}");
    }
}
