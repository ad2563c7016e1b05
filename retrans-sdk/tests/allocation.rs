// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decoding, filtering, printing and parsing an event allocate no heap memory.
#![cfg(feature = "test-util")]

use std::hint::black_box;

use allocation_counter::measure;
use retrans_sdk::format::LineBuffer;
use retrans_sdk::harness::{empty_record, event_of, place_of, read_into};
use retrans_sdk::{Event, FieldSet, Filter};

/// Lines with addresses of each family, and with encoded texts.
const LINES: [&str; 3] = [
    "ts=1795455390.141776186 result=route_fail err=-113 kind=rto family=inet saddr=10.9.136.1 sport=39919 daddr=10.9.136.2 \
     dport=34959 state=established segs=1 class=route mapped=yes cookie=18446744073709551615 seq=4294967295 tcp_flags=0x018 \
     ca_state=loss ca_name=reno",
    "ts=0.000000001 result=k17 err=- kind=unknown family=inet6 saddr=fd00::1 sport=0 daddr=2001:db8:0:1::2 dport=65535 \
     state=k99 segs=4294967295 class=other comm=a%20b%FF sk_err_soft=-1",
    // Keys in another order.
    "result=success ts=1.000000000 err=0 kind=tlp family=inet saddr=0.0.0.0 sport=1 daddr=255.255.255.255 dport=2 segs=0 \
     state=close",
];

fn assert_no_allocation(what: &str, work: impl FnMut()) {
    let mut work = work;
    // A first call excludes one-time initialization.
    work();
    let allocated = measure(work);
    assert_eq!((allocated.count_total, allocated.bytes_total), (0, 0), "{what}");
}

#[test]
fn the_allocation_counter_counts() {
    assert_eq!(measure(|| drop(black_box(vec![1u8; 100]))).bytes_total, 100);
}

#[test]
fn lines_do_not_allocate() {
    let mut buffer = LineBuffer::new();
    for line in LINES {
        let event: Event = line.parse().unwrap();
        assert_no_allocation(line, || drop(black_box(black_box(line).parse::<Event>())));
        assert_no_allocation(line, || {
            black_box(buffer.line(black_box(&event)));
        });
    }
}

#[test]
fn filters_do_not_allocate() {
    let events = LINES.map(|line| line.parse::<Event>().unwrap());
    for text in [
        "result!=success dport=443,34959 sport=32768..60999 --or class=drop",
        "daddr=10.0.0.0/8,fd00::/8 saddr!=fd00::1 cookie=- --or ca_name=reno,cubic tcp_flags=0x018",
        "cgroup=34/ --or cookie=mine --or ts=1..2",
    ] {
        let filter: Filter = text.parse().unwrap();
        assert_no_allocation(text, || {
            for event in &events {
                black_box(filter.matches(black_box(event)));
            }
        });
    }
}

#[test]
fn records_do_not_allocate() {
    let mut record = empty_record();
    record[place_of("present")].copy_from_slice(&u64::MAX.to_ne_bytes());
    record[place_of("family")].copy_from_slice(&[10]);
    assert_no_allocation("a record", || {
        black_box(event_of(black_box(&record)));
    });
    // A stream decodes records of any length in place.
    let mut event = event_of(&record);
    record.resize(FieldSet::all().record_length(), 0);
    for fields in [FieldSet::none(), "cookie,seq".parse().unwrap(), FieldSet::default(), FieldSet::all()] {
        let mut record = record[..fields.record_length()].to_vec();
        record[..2].copy_from_slice(&(fields.record_length() as u16).to_ne_bytes());
        assert_no_allocation("a record in place", || read_into(black_box(&mut event), black_box(&record)));
    }
}
