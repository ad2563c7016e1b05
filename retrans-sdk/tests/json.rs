// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON contains the keys of the key=value line. 64-bit ids and `ts` are strings.
#![cfg(feature = "serde")]

use retrans_sdk::Event;
use serde_json::{Value, json};

#[test]
fn json_contains_the_keys_of_the_line() {
    let event: Event = "ts=1.000000002 result=k17 err=- kind=syn family=inet saddr=10.0.0.1 sport=1 daddr=10.0.0.2 dport=2 \
        state=syn_sent segs=1 class=other mapped=yes cookie=18446744073709551615 netns=4026532177 cgroup=5 uid=1000 tcp_flags=0x002 \
        ca_name=a%22%5C%20"
        .replace("%5C", "\\")
        .parse()
        .expect("a line");
    let text = serde_json::to_string(&event).expect("JSON");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        value,
        json!({
            "ts": "1.000000002", "result": "k17", "err": null, "kind": "syn", "family": "inet", "saddr": "10.0.0.1",
            "sport": 1, "daddr": "10.0.0.2", "dport": 2, "state": "syn_sent", "segs": 1, "class": "other", "mapped": true,
            "cookie": "18446744073709551615", "netns": 4026532177u32, "cgroup": "5", "uid": 1000, "tcp_flags": "0x002",
            "ca_name": "a%22\\%20",
        })
    );
    // The order is the same as in the line.
    assert!(text.starts_with(r#"{"ts":"1.000000002","result":"k17","err":null,"kind":"syn","family""#), "{text}");
}
