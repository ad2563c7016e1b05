// SPDX-License-Identifier: MIT OR Apache-2.0
//! The form of the key=value line, parsing it, and the errors.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::{CaState, Family, KernelStr, TcpFlags, TcpState, Timestamp, keys};
use retrans_sdk::format::Line;
use retrans_sdk::reason_table::{MAX_VALUE_LEN, ReasonTable, UNLISTED_BASE};
use retrans_sdk::{Event, Filter, ResultClass, RetransKind, RetransResult};

const CORE: &str = "ts=1795431082.089717798 result=route_fail err=-113 kind=rto family=inet6 saddr=fd00::1 sport=39693 \
    daddr=fd00::2 dport=443 state=established segs=2 class=route";

const FULL: &str = "ts=1795431082.089717798 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=39693 \
    daddr=10.0.0.2 dport=443 state=established segs=2 class=drop mapped=yes transmit=yes cookie=18446744073709551615 netns=4026532177 \
    cgroup=9007199254740993 uid=1000 netns_cookie=18446744073709551615 mark=4294967295 bound_dev_if=2 owner=holder \
    pid=4294967295 comm=a%20b%FF seq=4294967295 end_seq=99 len=100 tcp_flags=0x018 snd_una=4294967295 snd_nxt=99 snd_wnd=64260 \
    snd_cwnd=1 ssthresh=5 srtt_us=18 rto_us=204000 mss=1428 retrans_out=0 total_retrans=3 wmem_queued=932 ca_state=loss \
     retransmits=1 backoff=0 pending=0 ca_name=%2D sk_err_soft=13 \
     drop_reason=NETFILTER_DROP drop_at=nft_do_chain+0x3e8 drop_dev=eth0 oif=2 dev=a%20b \
     age_us=204012 packets_out=4 lost_out=2 sacked_out=1 reordering=3 \
     dsack_dups=7 undo_retrans=-1 delivered=4294967295 bytes_retrans=18446744073709551615 pacing_rate=2500000 min_rtt_us=17 pmtu=1500 \
     priority=6 total_rto=1 tos=2 is_mptcp=0 orphan=1";

#[test]
fn a_line_parses_to_an_event() {
    let event: Event = CORE.parse().expect("a line");
    assert_eq!(event.ts.as_nanos(), 1_795_431_082_089_717_798);
    assert_eq!(event.ts.as_system_time(), SystemTime::UNIX_EPOCH + Duration::new(1_795_431_082, 89_717_798));
    assert_eq!((event.result, event.class()), (RetransResult::RouteFail, ResultClass::Route));
    assert_eq!((event.err, event.kind), (Some(-113), RetransKind::Rto));
    assert_eq!((event.family(), event.mapped), (Family::Inet6, false));
    assert_eq!(event.saddr, "fd00::1".parse::<IpAddr>().expect("an address"));
    assert_eq!((event.sport, event.dport, event.segs), (39693, 443, 2));
    assert_eq!(event.state, TcpState::Established);
    assert_eq!((event.cookie, event.ca_state, event.ca_name), (None, None, None));
    assert_eq!(event.to_string(), CORE);
}

#[test]
fn every_field_survives_the_line() {
    let event: Event = FULL.parse().expect("a line");
    assert_eq!((event.cookie, event.cgroup), (Some(u64::MAX), Some((1 << 53) + 1)));
    assert_eq!(event.ca_state, Some(CaState::Loss));
    assert_eq!(event.ca_name.as_ref().map(KernelStr::as_bytes), Some(&b"-"[..]));
    let flags = event.tcp_flags.expect("flags");
    assert!(flags.contains(TcpFlags::PSH) && flags.contains(TcpFlags::ACK));
    assert!(!flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::FIN));
    assert_eq!(event.to_string(), FULL);
    // Every key is printed once, in the order of `keys`.
    let printed: Vec<_> = FULL.split(' ').map(|pair| pair.split_once('=').expect("key=val").0).collect();
    assert_eq!(printed, keys().collect::<Vec<_>>());
}

#[test]
fn an_absent_error_is_a_dash() {
    let line = CORE.replace("err=-113", "err=-");
    let event: Event = line.parse().expect("a line");
    assert_eq!(event.err, None);
    assert_eq!(event.to_string(), line);
}

#[test]
fn numbers_without_a_name_survive_the_line() {
    let line = CORE.replace("result=route_fail", "result=k17").replace("class=route", "class=other");
    let line = line.replace("established", "k99").replace("kind=rto", "kind=k1");
    let event: Event = line.parse().expect("a line");
    assert_eq!(event.result, RetransResult::from_raw(UNLISTED_BASE | 17));
    // The kernel's enumerator 1 is not the variant with the number 1.
    assert_ne!(event.kind, RetransKind::Rto);
    assert_eq!(event.kind.raw(), UNLISTED_BASE | 1);
    assert_eq!(event.to_string(), line);
}

#[test]
fn keys_of_other_versions_are_kept() {
    let recorded = format!("{FULL} moon=full sun=a%20b");
    let line: Line = recorded.parse().expect("a line");
    assert_eq!(line.event.to_string(), FULL);
    assert_eq!(line.unknown, [("moon".to_owned(), "full".to_owned()), ("sun".to_owned(), "a%20b".to_owned())]);
    assert_eq!(line.to_string(), recorded);

    // An event cannot keep unknown keys.
    let error = recorded.parse::<Event>().expect_err("an unknown key");
    assert_eq!(error.column(), FULL.len() + 2);
    assert!(error.to_string().contains("`moon`") && error.to_string().contains("`Line`"), "{error}");
}

#[test]
fn invalid_lines_are_rejected() {
    for (from, to, expected) in [
        (" segs=2", "", "missing key `segs`"),
        (" segs=2", " segs=2 segs=2", "duplicate key `segs`"),
        (" segs=2", "  segs=2", "`` is not key=value"),
        (" segs=2", " segs", "`segs` is not key=value"),
        ("segs=2", "segs=+2", "`segs=+2`: not an integer"),
        ("segs=2", "segs=02", "`segs=02`: not an integer"),
        ("segs=2", "segs=4294967296", "not an integer in range"),
        ("segs=2", "segs=2 Moon=1", "`Moon` is not a key"),
        ("segs=2", "segs=2 moon=a,b", "value of `moon` contains an invalid byte"),
        ("segs=2", "segs=2 moon=1 moon=1", "duplicate key `moon`"),
        ("segs=2", "segs=2\n", "`segs=2\\n`"),
        ("result=route_fail", "result=Route_fail", "not one of err_default success"),
        ("result=route_fail", "result=success", "`class` contradicts `result`, whose class is ok"),
        ("family=inet6", "family=inet", "contradict one another"),
        ("saddr=fd00::1", "saddr=10.0.0.1", "contradict one another"),
        ("segs=2", "segs=2 mapped=yes", "requires IPv4"),
        ("segs=2", "segs=2 mapped=no", "not `yes`"),
        ("ts=1795431082.089717798", "ts=1795431082.0897177981", "at most nine decimals"),
        ("ts=1795431082.089717798", "ts=99999999999999999999", "at most nine decimals"),
        ("segs=2", "segs=2 tcp_flags=18", "not 0x"),
        ("segs=2", "segs=2 ca_name=%4", "percent-encoded"),
    ] {
        let line = CORE.replacen(from, to, 1);
        let error = line.parse::<Line>().expect_err(&line);
        assert!(error.to_string().contains(expected), "{line}\n{error}");
    }
    assert!("".parse::<Event>().is_err());
}

#[test]
fn every_declared_value_obeys_the_rules() {
    fn check<T: ReasonTable>() {
        for entry in T::ALL {
            assert!(entry.value.len() <= MAX_VALUE_LEN && entry.number < UNLISTED_BASE);
            assert_eq!(entry.variant.key_val().to_string(), format!("{}={}", T::KEY, entry.value));
            assert_eq!(entry.value.parse::<T>(), Ok(entry.variant));
            assert_eq!(T::from_raw(entry.number), entry.variant);
        }
        let error = "no value".parse::<T>().expect_err("a space");
        assert_eq!(error.key(), T::KEY);
    }
    check::<RetransResult>();
    check::<ResultClass>();
    check::<RetransKind>();
    check::<TcpState>();
    check::<CaState>();
    check::<Family>();
    check::<AttachMethod>();
}

/// Generates bytes that a format must encode, and any others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![prop::sample::select(b" =%,\"-\\\n\t\0\x7f\xff%20k".to_vec()), any::<u8>()];
    prop::collection::vec(byte, 0..=KernelStr::CAPACITY)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes_survive_in_a_kernel_string(bytes in hostile()) {
        let text = KernelStr::new(&bytes).expect("not too long");
        let mut event: Event = FULL.parse().expect("a line");
        event.ca_name = Some(text);
        let line = event.to_string();
        prop_assert_eq!(line.split(' ').count(), FULL.split(' ').count());
        prop_assert_eq!(line.parse::<Event>().expect(&line), event);
        // The same spelling matches it in a filter.
        if !bytes.is_empty() {
            let filter: Filter = format!("ca_name={text}").parse().expect("a filter");
            prop_assert!(filter.matches(&event));
        }
    }

    #[test]
    fn parsing_arbitrary_text_does_not_panic(text in "\\PC{0,60}", at in 0..FULL.len(), cut in any::<bool>()) {
        let _ = text.parse::<Event>();
        let _ = text.parse::<Filter>();
        let mut broken = FULL.to_owned();
        if cut { broken.truncate(at) } else { broken.insert_str(at, &text) }
        if let Ok(line) = broken.parse::<Line>() {
            // A line that parses prints as a line that parses to the same event.
            let printed = line.to_string();
            prop_assert_eq!(printed.parse::<Line>().expect(&printed), line);
        }
        let _ = format!("dport=1 {broken}").parse::<Filter>();
    }
}

#[test]
fn a_kernel_string_has_a_maximum_length() {
    assert!(KernelStr::new(&[b'x'; KernelStr::CAPACITY + 1]).is_none());
    assert!("12345678901234567".parse::<KernelStr>().is_err());
    assert_eq!(Timestamp::from_nanos(1).to_string(), "0.000000001");
}

#[test]
fn an_event_is_a_small_copy_type() {
    fn size_of_copy_type<T: Copy + Send + Sync + 'static>() -> usize {
        size_of::<T>()
    }
    // docs/performance.md states the size.
    let size = size_of_copy_type::<Event>();
    assert!((200..=608).contains(&size), "{size} bytes");
}
