// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters match the right events.

use retrans_sdk::{Event, Filter, RetransResult};

const EVENT: &str = "ts=100.500000000 result=denied err=-1 kind=rto family=inet saddr=10.1.2.3 sport=40000 daddr=192.0.2.7 dport=443 \
    state=established segs=2 mapped=yes cookie=18446744073709551615 cgroup=34 uid=1000 tcp_flags=0x018 snd_cwnd=10 ca_state=loss ca_name=cubic";

#[test]
fn each_term_matches_the_right_values() {
    let event: Event = EVENT.parse().expect("a line");
    for (filter, holds) in [
        ("", true),
        ("result=denied", true),
        ("result!=denied", false),
        ("result=success,denied", true),
        ("result!=success,denied", false),
        ("result=k17", false),
        ("class=drop", true),
        ("class!=drop", false),
        ("kind=rto state=established ca_state=loss", true),
        ("kind=rto state=close", false),
        ("kind=tlp --or state=established", true),
        ("kind=tlp --or state=close", false),
        ("family=inet mapped=yes", true),
        ("mapped=-", false),
        ("dport=443,8443", true),
        ("dport=442", false),
        ("sport=32768..60999", true),
        ("sport=40000..40000", true),
        ("sport=40001..60999", false),
        ("sport!=1..39999,40001..65535", true),
        ("err=-1", true),
        ("err=-200..-1", true),
        ("err=-", false),
        ("err!=-", true),
        ("saddr=10.0.0.0/8", true),
        ("saddr=10.1.2.3", true),
        ("saddr!=10.0.0.0/8", false),
        ("saddr=0.0.0.0/0", true),
        // The widest prefix does not match the other family.
        ("saddr=::/0", false),
        ("saddr!=::/0", true),
        // An IPv4-mapped IPv6 address matches the IPv4 address that the line prints.
        ("saddr=::ffff:10.1.2.3", true),
        ("saddr=::ffff:10.0.0.0/104", true),
        ("saddr=::ffff:11.0.0.0/104", false),
        ("cookie=18446744073709551615", true),
        ("cookie=0..18446744073709551614", false),
        ("uid=1000", true),
        ("uid=0..999", false),
        ("cgroup=34,35", true),
        // A line contains neither the parents of the cgroup nor the set of own sockets.
        ("cgroup=34/", true),
        ("cgroup!=34/", false),
        ("cgroup=1/", false),
        ("cgroup!=1/", false),
        ("cgroup=1/,34", true),
        ("cgroup!=1/,34", false),
        ("cookie=mine", false),
        ("cookie!=mine", false),
        ("cookie=mine,18446744073709551615", true),
        ("tcp_flags=0x018,0x010", true),
        ("tcp_flags!=0x018", false),
        ("ts=100..101", true),
        ("ts=100.500000000", true),
        ("ts=100.500000001..200", false),
        ("ca_name=cubic,bbr", true),
        ("ca_name!=cubic", false),
        ("snd_cwnd=1..10", true),
        // An absent value matches `-` only.
        ("srtt_us=0..4294967295", false),
        ("srtt_us!=0", false),
        ("srtt_us=-", true),
        ("srtt_us=-,5", true),
        ("srtt_us!=-", false),
        ("srtt_us!=-,5", false),
        ("snd_cwnd=-,10", true),
        ("snd_cwnd!=-", true),
        ("snd_cwnd!=-,10", false),
    ] {
        let parsed: Filter = filter.parse().expect(filter);
        assert_eq!(parsed.matches(&event), holds, "{filter}");
        // The printed filter has the same result.
        assert_eq!(parsed.to_string().parse::<Filter>().expect(filter).matches(&event), holds, "{filter}");
    }
}

#[test]
fn terms_that_require_more_than_the_event_are_listed() {
    let filter: Filter = "cgroup!=34/,7 dport=1 --or cookie=5,mine cgroup=7 --or sport=1".parse().expect("a filter");
    assert_eq!(filter.live_only().collect::<Vec<_>>(), ["cgroup!=34/,7", "cookie=5,mine"]);
    assert_eq!(Filter::default().live_only().count(), 0);
}

#[test]
fn a_flag_that_is_not_set_is_absent() {
    use retrans_sdk::filter::key;
    let texts = [key::mapped().ne(true), key::mapped().eq(false), key::mapped().ne(false), key::mapped().eq(true)]
        .map(|condition| condition.build().expect("a filter").to_string());
    assert_eq!(texts, ["mapped=-", "mapped=-", "mapped!=-", "mapped=yes"]);
    let mut event = Event::sample(RetransResult::Success);
    assert!(key::mapped().ne(true).build().expect("a filter").matches(&event));
    event.mapped = true;
    assert!(!key::mapped().ne(true).build().expect("a filter").matches(&event));
}
