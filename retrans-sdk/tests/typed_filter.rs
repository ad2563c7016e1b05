// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters built in Rust are the same as filters parsed from text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use retrans_sdk::event::{CaState, Family, KernelStr, OwnerSource, TcpFlags, TcpState, Timestamp, Transmit};
use retrans_sdk::filter::{CgroupId, Condition, CookieId, Filter, Values, key};
use retrans_sdk::{Event, ResultClass, RetransKind, RetransResult};

fn text(condition: Condition) -> String {
    let filter = condition.build().expect("a filter");
    filter.to_string()
}

#[test]
fn each_type_of_value_prints_in_the_grammar() {
    let private: IpNet = "10.1.2.3/8".parse().expect("a prefix");
    for (condition, expected) in [
        (key::ts().eq(Timestamp::from_nanos(1_500_000_000)), "ts=1.500000000"),
        (key::ts().eq(Timestamp::from_nanos(0)..), "ts=0.000000000..18446744073.709551615"),
        (key::result().eq(RetransResult::Success), "result=success"),
        (key::result().ne([RetransResult::Denied, RetransResult::from_raw(17)]), "result!=denied,k17"),
        (key::class().eq(ResultClass::Drop), "class=drop"),
        (key::kind().eq(RetransKind::Unknown), "kind=unknown"),
        (key::err().eq(-1), "err=-1"),
        (key::err().ne(..=-1), "err!=-2147483648..-1"),
        (key::err().is_absent(), "err=-"),
        (key::family().eq(Family::Inet6), "family=inet6"),
        (key::saddr().eq(Ipv4Addr::LOCALHOST), "saddr=127.0.0.1"),
        (key::saddr().eq([Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED]), "saddr=::1,::"),
        (key::saddr().eq(IpAddr::from(Ipv4Addr::LOCALHOST)), "saddr=127.0.0.1"),
        (key::daddr().ne(private), "daddr!=10.0.0.0/8"),
        (key::sport().eq(32768..=60999), "sport=32768..60999"),
        (key::dport().eq(1024..), "dport=1024..65535"),
        (key::dport().eq([443, 8443]), "dport=443,8443"),
        (key::dport().eq(&[443, 8443][..]), "dport=443,8443"),
        (key::dport().eq((1..4).collect::<Values<_>>()), "dport=1,2,3"),
        (key::dport().eq(Values::from(22).or(80..=89).or([443, 8443])), "dport=22,80..89,443,8443"),
        (key::state().ne(TcpState::Established), "state!=established"),
        (key::transmit().eq(Transmit::Unknown), "transmit=unknown"),
        (key::mapped().eq(true), "mapped=yes"),
        (key::mapped().eq(false), "mapped=-"),
        (key::cookie().eq(7), "cookie=7"),
        (key::cookie().eq([7, 8]), "cookie=7,8"),
        (key::cookie().eq(CookieId::OwnSockets), "cookie=mine"),
        (key::cookie().eq(Values::absent().or(7)), "cookie=-,7"),
        (key::cgroup().eq(34), "cgroup=34"),
        (key::cgroup().ne([CgroupId::Subtree(34), CgroupId::One(7)]), "cgroup!=34/,7"),
        (key::netns_cookie().eq(5..=9), "netns_cookie=5..9"),
        (key::bound_dev_if().is_present(), "bound_dev_if!=-"),
        (key::owner().eq(OwnerSource::ALL[0].variant), &format!("owner={}", OwnerSource::ALL[0].value)),
        (key::comm().eq(KernelStr::new(b"my app").expect("it fits")), "comm=my%20app"),
        (key::comm().eq(KernelStr::new(b"<idle>").expect("it fits")), "comm=<idle>"),
        (key::tcp_flags().eq(TcpFlags::SYN), "tcp_flags=0x002"),
        (key::ca_state().eq(CaState::Loss), "ca_state=loss"),
        (key::backoff().eq(3..), "backoff=3..255"),
    ] {
        assert_eq!(condition.to_string(), expected);
        assert_eq!(text(condition), expected);
    }
}

#[test]
fn keys_have_the_printed_names() {
    assert_eq!((key::dport().name(), key::netns_cookie().name()), ("dport", "netns_cookie"));
}

#[test]
fn conditions_combine() {
    let (a, b, c, d) = (key::sport().eq(1), key::dport().eq(2), key::segs().eq(3), key::uid().eq(4));
    assert_eq!(text(a.clone().and(b.clone()).or(c.clone())), "sport=1 dport=2 --or segs=3");
    assert_eq!(
        text(a.clone().or(b.clone()).and(c.or(d))),
        "sport=1 segs=3 --or sport=1 uid=4 --or dport=2 segs=3 --or dport=2 uid=4"
    );
    assert_eq!(Filter::try_from(b).expect("a filter").to_string(), "dport=2");
    // A condition has the limits of a text.
    let error = a.clone().and(key::sport().eq(2)).build().expect_err("twice");
    assert_eq!((error.column(), error.to_string().contains("duplicate key `sport`")), (9, true), "{error}");
    assert!(key::sport().eq([]).build().is_err(), "no value");
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = key::sport().eq(9..=1);
    assert!(reversed.build().is_err());
    assert!(key::netns().eq((0..513).collect::<Values<u32>>()).build().is_err(), "too many values");
}

/// The number of clauses doubles with each `and`. Clauses in excess of the limit are not kept.
#[test]
fn too_many_clauses_are_an_error_with_bounded_memory() {
    let two = || key::sport().eq(1).or(key::sport().eq(2));
    let four = two().and(key::dport().eq(1).or(key::dport().eq(2)));
    let sixteen = (3..6).fold(key::segs().eq(1), |all, n| all.or(key::segs().eq(n))).and(four);
    assert!(sixteen.clone().build().is_ok());
    let mut flood = sixteen;
    for _ in 0..64 {
        flood = flood.and(key::uid().eq(1).or(key::uid().eq(2)));
    }
    assert!(flood.build().is_err());
}

fn table<T: retrans_sdk::reason_table::ReasonTable>() -> impl Strategy<Value = T> {
    prop_oneof![
        prop::sample::select(T::ALL).prop_map(|entry| entry.variant),
        any::<u16>().prop_map(|raw| T::from_raw(raw.into()))
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::from), any::<Ipv6Addr>().prop_map(IpAddr::from)]
}

fn values<T: Clone + std::fmt::Debug + 'static>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Values<T>>
where
    Values<T>: FromIterator<T>,
{
    (prop::collection::vec(value, 1..5), any::<bool>()).prop_map(|(values, or_absent)| {
        let values: Values<T> = values.into_iter().collect();
        if or_absent { values.or(Values::absent()) } else { values }
    })
}

/// Generates terms, each with its own key.
fn terms() -> [BoxedStrategy<Condition>; 8] {
    let port = |(low, high): (u16, u16)| low.min(high)..=low.max(high);
    let signed = |(low, high): (i32, i32)| low.min(high)..=low.max(high);
    [
        (values(table()), any::<bool>())
            .prop_map(|(values, ne)| if ne { key::result().ne(values) } else { key::result().eq(values) })
            .boxed(),
        (values(table()), any::<bool>())
            .prop_map(|(values, ne)| if ne { key::state().ne(values) } else { key::state().eq(values) })
            .boxed(),
        (any::<(u16, u16)>(), values(any::<u16>()))
            .prop_map(move |(range, values)| key::sport().eq(values.or(port(range))))
            .boxed(),
        any::<(i32, i32)>().prop_map(move |range| key::err().ne(signed(range))).boxed(),
        (address(), 0..=128u8, values(address()))
            .prop_map(|(address, length, values)| {
                let longest = if address.is_ipv4() { 32 } else { 128 };
                let net = IpNet::new(address, length.min(longest)).expect("a length that there is");
                key::daddr().eq(values.or(net))
            })
            .boxed(),
        any::<u64>().prop_map(|id| key::cgroup().eq([CgroupId::Subtree(id), CgroupId::One(id)])).boxed(),
        prop::collection::vec(1..=255u8, 1..=16)
            .prop_map(|bytes| key::ca_name().eq(KernelStr::new(&bytes).expect("16 bytes")))
            .boxed(),
        any::<u64>().prop_map(|nanos| key::ts().eq(Timestamp::from_nanos(nanos)..)).boxed(),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let clause = (terms(), any::<u8>()).prop_map(|(terms, which)| {
        let mut chosen = terms.into_iter().enumerate().filter(|(at, _)| which & 1 << at != 0 || *at == 7);
        let (_, first) = chosen.next().expect("the last one, if no other");
        chosen.fold(first, |all, (_, term)| all.and(term))
    });
    prop::collection::vec(clause, 1..4)
        .prop_map(|clauses| clauses.into_iter().reduce(Condition::or).expect("one or more"))
}

const EVENT: &str = "ts=100.500000000 result=denied err=-1 kind=rto family=inet saddr=10.1.2.3 sport=40000 \
    daddr=192.0.2.7 dport=443 state=established segs=2 cgroup=34 ca_name=cubic";

proptest! {
    #[test]
    fn a_typed_filter_prints_and_parses_back_to_the_same(condition in condition()) {
        let printed = condition.to_string();
        let typed = condition.build().expect("a filter");
        prop_assert_eq!(typed.to_string(), &*printed);
        let parsed: Filter = printed.parse().expect("what was printed");
        prop_assert_eq!(parsed.to_string(), typed.to_string());
        let event: Event = EVENT.parse().expect("a line");
        prop_assert_eq!(parsed.matches(&event), typed.matches(&event));
    }
}
