// SPDX-License-Identifier: MIT OR Apache-2.0

use std::io::{self, Write as _};
use std::time::Instant;

use proptest::prelude::*;
use rustix::pipe::pipe;

use super::kernel_text::{self, TraceLine};
use super::*;
use crate::event::kind::RetransKind;
use crate::event::record::decode;
use crate::event::record::tests::any_record;
use crate::event::result::RetransResult;
use crate::event::tcp_enums::TcpState;
use crate::event::transmit::Transmit;
use crate::format::kv::Line;
use crate::rate_limit::RateLimit;
use crate::stats::{Failures, Stats};
use crate::stream::Stream;

const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 \
    dport=443 state=established segs=1 class=drop";

fn of(text: &[u8]) -> Recording {
    Recording::from_reader(Cursor::new(text.to_vec()))
}

/// Returns the lines of the events, the error, and the counters of a recording.
fn read(recording: Recording) -> (Vec<String>, Option<String>, Stats) {
    let mut stream = recording.start().expect("a stream");
    let (mut good, mut bad) = (Vec::new(), None);
    for event in stream.iter() {
        match event {
            Ok(event) => good.push(event.to_string()),
            Err(error) => assert!(bad.replace(error.to_string()).is_none(), "the stream ends at the first error"),
        }
    }
    assert!(stream.is_finished());
    let stats = stream.stats();
    assert_eq!(stats.seen, stats.filtered + stats.limited + stats.lost + stats.submitted, "{stats}");
    assert_eq!(stats.submitted, stats.delivered, "{stats}");
    (good, bad, stats)
}

#[test]
fn events_print_as_they_were_recorded() {
    let (good, bad, stats) = read(of(b""));
    assert_eq!((good, bad, stats.failures), (vec![], None, Failures::Unobservable));
    let (good, bad, stats) = read(of(format!("{LINE} later=x\n{LINE}\n").as_bytes()));
    assert_eq!((good, bad), (vec![LINE.to_owned(); 2], None));
    assert_eq!((stats.seen, stats.skipped, stats.missed, stats.failures), (2, Some(0), None, Failures::Observed(2)));
    assert_eq!(stats.counts[0].to_string(), "result=denied kind=rto attempts=2 segs=2");
    assert_eq!(stats.to_string().split_once("failures").map(|(_, text)| text), Some("=2 skipped=0"));
}

#[test]
fn a_malformed_line_is_named_or_counted() {
    let long = format!("{LINE} x={}", "x".repeat(1 << 20));
    let torn = &LINE[..LINE.len() - 40];
    for (text, good, problem) in [
        (format!("{LINE}\nhello\n{LINE}\n"), 1, "line 2: column 1: `hello` is not key=value"),
        (format!("{LINE}\n\n{LINE}\n"), 1, "line 2: column 1: `` is not key=value"),
        (format!("{LINE}\n{LINE}\n{torn}"), 2, "line 3: unterminated last line (truncated recording?)"),
        // The last line would be valid, but it has no line end.
        (format!("{LINE}\n{LINE}\n{LINE}"), 2, "line 3: unterminated last line (truncated recording?)"),
        (format!("{LINE}\n{long}\n{LINE}\n"), 1, "line 2: longer than 65536 bytes"),
        (format!("hello\n{LINE}\n{LINE}\n"), 0, "line 1: neither key=value nor JSON nor kernel text"),
        (format!("hello=1\n{LINE}\n{LINE}\n"), 0, "line 1: column 1: missing key `ts`"),
    ] {
        let (lines, bad, _) = read(of(text.as_bytes()));
        assert_eq!((lines.len(), bad.as_deref()), (good, Some(problem)));
        let (lines, bad, stats) = read(of(text.as_bytes()).bad_lines(BadLines::Skip));
        assert_eq!((lines.len(), bad, stats.skipped), (2, None, Some(1)), "{problem}");
    }
    let (_, bad, _) = read(of(b"ts=\xff\n"));
    assert_eq!(bad.as_deref(), Some("line 1: not valid UTF-8"));
    let error = Recording::open("/nonexistent").expect_err("no such file");
    assert_eq!(error.kind(), ErrorKind::System);
    assert!(error.to_string().starts_with("cannot open /nonexistent: "), "{error}");
    let error = of(b"").speed(0.0).start().expect_err("no speed");
    assert_eq!(error.to_string(), "invalid speed 0: the factor must be finite and greater than 0");
}

#[test]
fn lines_keep_unknown_keys() {
    let known = "cgroup_path=/a%20b";
    let line: Line = format!("{LINE} later=x {known}").parse().expect("a line");
    let text = format!("{line}\n{LINE}\n");
    let printed = |recording: Recording| -> Vec<String> {
        recording.lines().expect("no speed").map(|line| line.expect("a line").to_string()).collect()
    };
    assert_eq!(printed(of(text.as_bytes())), [line.to_string(), LINE.to_owned()]);
    #[cfg(feature = "json")]
    {
        let json = serde_json::to_string(&line.event).expect("JSON");
        let json =
            json.replacen('{', r#"{"later":"x","cgroup_path":"/a%20b","not_a_value":"a b","nested":[1],"#, 1) + "\n";
        // serde_json sorts the keys.
        assert_eq!(printed(of(json.as_bytes())), [format!("{LINE} {known} later=x")]);
    }
    #[cfg(feature = "zstd")]
    assert_eq!(printed(of(&zstd::encode_all(text.as_bytes(), 0).expect("compressed"))).len(), 2);
}

#[test]
fn lines_end_at_an_error_or_skip_it() {
    let text = format!("{LINE}\nhello\n{LINE}\n");
    let mut lines = of(text.as_bytes()).lines().expect("no speed");
    assert!(lines.next().is_some_and(|line| line.is_ok()));
    let error = lines.next().expect("an error").expect_err("not a line");
    assert_eq!(error.to_string(), "line 2: column 1: `hello` is not key=value");
    assert!(lines.next().is_none() && lines.next().is_none());

    let mut lines = of(text.as_bytes()).bad_lines(BadLines::Skip).lines().expect("no speed");
    assert_eq!((lines.by_ref().count(), lines.skipped(), lines.missed()), (2, 1, None));
    let error = of(b"").speed(1.0).lines().expect_err("a speed");
    assert_eq!(
        error.to_string(),
        "`Recording::speed` has no effect on `Recording::lines`: leave it out, or replay a stream"
    );
}

#[test]
fn lines_may_end_with_lf_or_crlf() {
    let (good, bad, _) = read(of(format!("{LINE}\r\n{LINE}\n{LINE}\r\n").as_bytes()));
    assert_eq!((good.len(), bad), (3, None));
    // A CR alone is part of the line, and does not end it.
    let (good, bad, _) = read(of(format!("{LINE}\r{LINE}\n").as_bytes()));
    assert!(good.is_empty() && bad.as_deref().is_some_and(|bad| bad.starts_with("line 1: ")), "{bad:?}");
}

#[test]
fn an_error_names_the_file() {
    let path = std::env::temp_dir().join(format!("retrans-replay-{}.kv", std::process::id()));
    std::fs::write(&path, format!("{LINE}\nhello\n")).unwrap();
    let (good, bad, _) = read(Recording::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert_eq!((good.len(), bad), (1, Some(format!("{}: line 2: column 1: `hello` is not key=value", path.display()))));
}

#[test]
fn filter_predicate_fields_and_limit_work_as_with_a_live_stream() {
    let with = LINE.replace("class=drop", "class=drop cookie=7 netns=3");
    let text = format!("{with}\n{}\n", with.replace("443", "80")).repeat(5);
    let stream = |builder: crate::stream::builder::StreamBuilder| builder.replay(of(text.as_bytes()));
    let mut all = stream(
        Stream::builder()
            .filter("dport=443 cookie=7".parse().expect("a filter"))
            .fields("netns".parse().expect("fields"))
            .rate_limit(RateLimit { per_second: 1, burst: 3 })
            .predicate({
                let mut odd = false;
                move |_| std::mem::replace(&mut odd, true)
            }),
    )
    .expect("a stream");
    let events: Vec<_> = all.iter().map(|event| event.expect("an event")).collect();
    let Stats { seen, filtered, limited, lost, submitted, rejected, delivered, .. } = all.stats();
    assert_eq!((seen, filtered, limited, lost, submitted, rejected, delivered), (10, 5, 2, 0, 3, 1, 2));
    assert!(events.iter().all(|event| event.cookie.is_none() && event.netns == Some(3)), "{events:?}");
    // `counts` is counted before the filter, and `passed` after the filter and before the limit.
    let attempts = |counts: &[crate::stats::Count]| counts.iter().map(|count| count.attempts).sum::<u64>();
    assert_eq!((attempts(&all.stats().counts), attempts(&all.stats().passed)), (10, 5));

    for term in ["cgroup=3/", "cookie=mine"] {
        let error = stream(Stream::builder().filter(term.parse().expect("a filter"))).expect_err("not in a recording");
        assert_eq!(error.kind(), ErrorKind::Filter, "{error}");
    }
    // A live stream would reject this filter, because it contains a term about the owner.
    let owned = stream(Stream::builder().filter("comm=x".parse().expect("a filter"))).expect("a stream").iter().count();
    assert_eq!(owned, 0);
}

#[test]
fn an_event_is_delivered_as_soon_as_its_line_is_written() {
    let (reader, writer) = pipe().expect("a pipe");
    let mut writer = std::fs::File::from(writer);
    let mut stream = Recording::from_reader(std::fs::File::from(reader)).start().expect("a stream");
    for _ in 0..3 {
        writer.write_all(format!("{LINE}\n").as_bytes()).expect("a pipe");
        assert_eq!(stream.recv_batch_timeout(Duration::from_secs(10)).expect("an event").count(), 1);
        assert_eq!(stream.try_iter().count(), 0);
        assert!(!stream.is_finished());
    }
    drop(writer);
    let began = Instant::now();
    assert_eq!(stream.recv_batch_timeout(Duration::from_secs(60)).expect("the end").count(), 0);
    assert!(stream.is_finished() && began.elapsed() < Duration::from_secs(30));
}

#[test]
fn speed_delays_events_as_they_were_recorded() {
    let text = [0, 300, 100, 400].map(|ms| format!("{}\n", LINE.replace("1.500", &format!("1.{ms:03}")))).concat();
    let took = |speed: Option<f64>| {
        let recording = of(text.as_bytes());
        let mut stream = speed.into_iter().fold(recording, Recording::speed).start().expect("a stream");
        let began = Instant::now();
        assert_eq!(stream.iter().count(), 4);
        began.elapsed()
    };
    assert!(took(Some(1.0)) >= Duration::from_millis(400));
    assert!((Duration::from_millis(200)..Duration::from_millis(400)).contains(&took(Some(2.0))));
    assert!(took(None) < Duration::from_millis(200));
    // The replay would last years. It ends because the stream is dropped.
    let mut stream = of(text.as_bytes()).speed(1e-9).start().expect("a stream");
    assert_eq!(stream.recv_batch_timeout(Duration::from_secs(10)).expect("the first").count(), 1);
    let queue = stream.into_queue(8, crate::stream::queue::Overflow::Block).expect("a queue");
    drop(queue);
}

/// An input of `left` lines, whose size is not a multiple of the buffers in between.
struct Endless {
    left: u64,
    rest: Vec<u8>,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && self.left > 0 {
            self.left -= 1;
            self.rest = format!("{LINE}\n").into_bytes();
        }
        let len = self.rest.len().min(out.len());
        out[..len].copy_from_slice(&self.rest[..len]);
        self.rest.drain(..len);
        Ok(len)
    }
}

#[test]
fn a_slow_reader_loses_no_event_of_a_long_recording() {
    const LINES: u64 = 50_000;
    let mut stream = Recording::from_reader(Endless { left: LINES, rest: Vec::new() }).start().expect("a stream");
    let mut count = 0;
    while let Some(batch) = stream.recv_batch().expect("a batch") {
        count += batch.into_slice().len() as u64;
        let stats = stream.stats();
        assert!(stats.waiting() <= 4096 + 256, "{stats}");
        if count < 10_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let Stats { seen, lost, delivered, .. } = stream.stats();
    assert_eq!((count, seen, lost, delivered), (LINES, LINES, 0, LINES));
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_file_is_decompressed() {
    let text = format!("{LINE}\n{LINE}\n");
    let mut compressed = zstd::encode_all(text.as_bytes(), 3).expect("zstd");
    let (good, bad, _) = read(of(&compressed));
    assert_eq!((good, bad), (vec![LINE.to_owned(); 2], None));
    // A file to which another file was appended.
    compressed.extend(compressed.clone());
    assert_eq!(read(of(&compressed)).0.len(), 4);
    let (_, bad, _) = read(of(&compressed[..compressed.len() - 5]));
    assert!(bad.as_deref().is_some_and(|bad| bad.starts_with("cannot read the recording: ")), "{bad:?}");
}

#[cfg(feature = "json")]
#[test]
fn json_lines_are_read() {
    let event: Event = LINE.parse().expect("an event");
    let json = serde_json::to_string(&event).expect("JSON");
    let (good, bad, _) = read(of(format!("{json}\n{json}").as_bytes()));
    assert_eq!((good, bad), (vec![LINE.to_owned(); 2], None));
    let (good, bad, _) = read(of(format!("{json}\n{}", &json[..json.len() - 9]).as_bytes()));
    assert!(good.len() == 1 && bad.as_deref().is_some_and(|bad| bad.starts_with("line 2: EOF while")), "{bad:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_end_without_events(bytes in proptest::collection::vec(any::<u8>(), 0..400), skip: bool) {
        let bad_lines = if skip { BadLines::Skip } else { BadLines::Fail };
        let (good, _, _) = read(of(&bytes).bad_lines(bad_lines));
        prop_assert_eq!(good.len(), 0);
    }

    #[test]
    fn a_recording_yields_the_recorded_events(records in proptest::collection::vec(any_record(), 0..20)) {
        let events: Vec<_> = records.iter().map(|record| decode(record, 0).expect("a good header").to_string()).collect();
        let text: String = events.iter().map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(read(of(text.as_bytes())).0, events);
    }

    #[test]
    fn damaged_kernel_text_does_not_panic(at in 0..400usize, byte: char) {
        let mut text = SYMBOLS.to_owned();
        if let Some((at, _)) = text.char_indices().nth(at) {
            text.insert(at, byte);
            let _ = kernel_text::parse(&text, Duration::MAX);
            let _ = kernel_text::parse(&text[..at], Duration::ZERO);
        }
    }
}

const SYMBOLS: &str = "          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: skbaddr=000000001b2a3c4d \
    skaddr=00000000deadbeef family=AF_INET sport=40000 dport=443 saddr=10.1.2.1 daddr=10.1.2.2 \
    saddrv6=::ffff:10.1.2.1 daddrv6=::ffff:10.1.2.2 state=TCP_ESTABLISHED err=-16";

fn parsed(line: &str) -> Result<TraceLine, String> {
    kernel_text::parse(line, Duration::ZERO)
}

fn event(line: &str) -> Event {
    match parsed(line) {
        Ok(TraceLine::Attempt { event, .. }) => *event,
        other => panic!("{line}: {other:?}"),
    }
}

/// The text that each kernel prints after the head, including the proposed ones, and its meaning.
#[test]
fn every_layout_of_kernel_text_is_read() {
    let ports = "sport=40000 dport=443 saddr=10.1.2.1 daddr=10.1.2.2 saddrv6=::ffff:10.1.2.1 daddrv6=::ffff:10.1.2.2 state=TCP_CLOSE_WAIT";
    let since_515 = format!("family=AF_INET {ports}");
    let since_612 = format!("skbaddr=00000000d1 skaddr=(____ptrval____) {since_515}");
    use RetransResult::*;
    for (text, result, err, shows_failures) in [
        (ports.to_owned(), Success, Some(0), false),
        (since_515.clone(), Success, Some(0), false),
        (since_612.clone(), Success, Some(0), false),
        (format!("{since_612} err=0"), Success, Some(0), true),
        (format!("{since_612} err=-16"), InHostQueue, Some(-16), true),
        (format!("{since_612} err=-1"), Denied, Some(-1), true),
        (format!("{since_612} err=1"), XmitDrop, Some(1), true),
        (format!("{since_612} err=-12"), Nomem, Some(-12), true),
        (format!("{since_612} err=-105"), Nobufs, Some(-105), true),
        (format!("{since_612} err=-113"), ErrDefault, Some(-113), true),
        (format!("{since_612} err=-11"), ErrDefault, Some(-11), true),
        (format!("{since_612} err=-22"), ErrDefault, Some(-22), true),
        // v1 and v2.
        (format!("{since_612} quit_reason=closed recevier window"), RcvZeroWindow, None, true),
        (format!("{since_612} quit_reason=retransmit successfully"), Success, None, true),
        // v3, v4.
        (format!("{since_612} result=packet_in_driver"), InHostQueue, None, true),
        (format!("{since_612} result=skb_unclone_nomem"), UncloneNomem, None, true),
        (format!("{since_612} result=pskb_copy_nobufs"), PskbCopyNobufs, None, true),
        (format!("{since_612} result=retrans_nomem"), Nomem, None, true),
        // A number for which the kernel has no name.
        (format!("{since_612} result=0xb"), RetransResult::from_raw(0x1000b), None, true),
    ] {
        for head in [
            "          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: ",
            "          <idle>-0       [001] ..s2.  1234.567890: tcp_retransmit_skb: ",
            // trace-cmd report, and with -t.
            "          <idle>-0     [001]  1234.567890: tcp_retransmit_skb:   ",
            " my task: x-12345 [001] d.s2. 1234.567890000: tcp_retransmit_skb:   ",
            // perf script, and with --ns.
            "swapper     0 [001]  1234.567890: tcp:tcp_retransmit_skb: ",
            "         nc -l 31712/31713 [001]  1234.567890000:          tcp:tcp_retransmit_skb: ",
            "tcp_retransmit_skb: [0] 1.000000: x-1 [001] 1234.567890: tcp_retransmit_skb: ",
        ] {
            let line = format!("{head}{text}");
            assert!(kernel_text::is_recognised(&line), "{line}");
            let mut expected = Event::sample(result);
            expected.ts = crate::event::timestamp::Timestamp::from_nanos(1_234_567_890_000);
            (expected.kind, expected.err, expected.segs) = (RetransKind::Unknown, err, 0);
            (expected.saddr, expected.daddr) = ([10, 1, 2, 1].into(), [10, 1, 2, 2].into());
            expected.state = TcpState::CloseWait;
            expected.transmit = Some(if result == Success { Transmit::Yes } else { Transmit::Unknown });
            assert_eq!(parsed(&line), Ok(TraceLine::Attempt { event: Box::new(expected), shows_failures }), "{line}");
        }
    }
}

#[test]
fn ipv6_and_syn_ack_lines_are_read() {
    let mapped = event(&SYMBOLS.replace("AF_INET ", "AF_INET6 "));
    assert_eq!((mapped.mapped, mapped.saddr), (true, [10, 1, 2, 1].into()));
    let v6 = SYMBOLS.replace("AF_INET ", "AF_INET6 ").replace("::ffff:10.1.2.", "fd00:0:0:7::");
    assert_eq!((event(&v6).mapped, event(&v6).saddr), (false, "fd00:0:0:7::1".parse().expect("an address")));
    let synack = event(
        "a: tcp_retransmit_skb: b-7   [000] ..s..    0.000001: tcp_retransmit_synack: family=AF_INET6 sport=443 dport=1 \
         saddr=0.0.0.0 daddr=0.0.0.0 saddrv6=fd00:0:0:7::2 daddrv6=fd00:0:0:7::1",
    );
    assert_eq!((synack.kind, synack.state, synack.segs), (RetransKind::Synack, TcpState::NewSynRecv, 1));
    assert_eq!(synack.ts.as_nanos(), 1000);
}

#[test]
fn other_lines_are_skipped_or_counted_and_broken_lines_are_errors() {
    for (line, lost) in [
        ("CPU:1 [LOST 12 EVENTS]", Some(12)),
        ("CPU:0 [4711 EVENTS DROPPED]", Some(4711)),
        ("  swapper 0 [000] 1.000000: PERF_RECORD_LOST lost 3", Some(3)),
        ("# tracer: nop", None),
        ("cpus=2", None),
        ("CPU 0 is empty", None),
        ("  bash-1 [000] d.... 1.000000: sched_switch: prev_comm=a", None),
        ("", None),
    ] {
        assert_eq!(parsed(line), Ok(lost.map_or(TraceLine::Nothing, |lost| TraceLine::Lost(Some(lost)))), "{line}");
        assert!(line.is_empty() || kernel_text::is_recognised(line), "{line}");
    }
    for line in ["CPU:1 [LOST EVENTS]", "CPU:0 [EVENTS DROPPED]"] {
        assert_eq!(parsed(line), Ok(TraceLine::Lost(None)));
    }
    for (line, problem) in [
        (SYMBOLS.replace("1234.567890", "soon"), "no timestamp in seconds"),
        (SYMBOLS.replace("dport=443", ""), "missing `dport`"),
        (SYMBOLS.replace("dport=443", "dport=x"), "invalid value `dport=x`"),
        (SYMBOLS.replace("AF_INET ", "AF_UNIX "), "unknown `family=AF_UNIX`"),
        (SYMBOLS.replace("ESTABLISHED", "OPEN"), "unknown state `TCP_OPEN`"),
        (SYMBOLS.replace("err=-16", "err=EBUSY"), "`err=EBUSY` is not an integer"),
        (SYMBOLS.replace("err=-16", "result=odd"), "unknown result `odd`"),
    ] {
        assert_eq!(parsed(&line), Err(problem.to_owned()));
    }
    // perf prints numbers if it does not know the names.
    assert_eq!(event(&SYMBOLS.replace("TCP_ESTABLISHED", "0x1").replace("AF_INET ", "0x2 ")), event(SYMBOLS));
    let later = kernel_text::parse(SYMBOLS, Duration::from_secs(1_700_000_000)).expect("an attempt");
    assert!(matches!(later, TraceLine::Attempt { event, .. } if event.ts.to_string() == "1700001234.567890000"));
    assert_eq!(kernel_text::parse(SYMBOLS, Duration::MAX), Err("timestamp later than the year 2554".to_owned()));
}

#[test]
fn kernel_text_is_replayed() {
    let text =
        format!("# tracer: nop\n#\n{SYMBOLS}\nCPU:1 [LOST 12 EVENTS]\n  bash-1 [000] d.... 1.0: x: y\n{SYMBOLS}\n");
    let (good, bad, stats) = read(of(text.as_bytes()));
    assert_eq!((good.len(), bad), (2, None));
    assert_eq!((stats.missed, stats.failures, stats.skipped), (Some(12), Failures::Observed(2), Some(0)));
    // An older kernel does not print failures.
    let (good, _, stats) = read(of(text.replace(" err=-16", "").as_bytes()));
    assert_eq!((good.len(), stats.failures), (2, Failures::Unobservable));
    let (good, bad, _) = read(of(format!("{text}{SYMBOLS}").as_bytes()));
    assert_eq!((good.len(), bad.as_deref()), (2, Some("line 7: unterminated last line (truncated recording?)")));
}

/// Task names and paths that any user of the host can put into a trace.
#[test]
fn task_names_and_paths_do_not_forge_or_break_an_attempt() {
    let text = SYMBOLS.split_once("skb: ").expect("a marker").1;
    let exec = "    bash-1   [000] ..... 5.000000: sched_process_exec: filename=/tmp/a";
    for line in [format!("{exec} 1.000000: tcp_retransmit_skb: {text}"), format!("{exec}: tcp_retransmit_skb: pid=1")] {
        assert_eq!(parsed(&line), Ok(TraceLine::Nothing), "{line}");
    }
    // A task name has 15 bytes, and may be truncated in the middle of a character.
    for name in [&b"[0] 0.000000: a"[..], b"caf\xc3\xa9caf\xc3\xa9caf\xc3", b": tcp: [1] 1.0:", b"\xff\xfe"] {
        let line =
            [b"  ", name, b"-77   [001] ..s2. 1234.567890: tcp_retransmit_skb: ", text.as_bytes(), b"\n"].concat();
        let (good, bad, _) = read(of(&line));
        assert_eq!((good, bad), (vec![event(SYMBOLS).to_string()], None), "{}", line.escape_ascii());
    }
}

#[test]
fn lost_events_are_a_number_only_if_every_line_reports_one() {
    let missed = |lines: &str| read(of(format!("{SYMBOLS}\n{lines}{SYMBOLS}\n").as_bytes())).2.missed;
    assert_eq!(missed(""), None);
    assert_eq!(missed("CPU:1 [LOST 3 EVENTS]\nCPU:0 [LOST 4 EVENTS]\n"), Some(7));
    assert_eq!(missed("CPU:1 [LOST 3 EVENTS]\nCPU:0 [LOST EVENTS]\n"), None);
    let most = u64::MAX;
    assert_eq!(missed(&format!("CPU:1 [LOST {most} EVENTS]\nCPU:0 [LOST 4 EVENTS]\n")), Some(most));
}

#[test]
fn an_unparsable_line_does_not_decide_the_format() {
    let (good, bad, _) = read(of(format!("version = 6\ncpus=2\n{SYMBOLS}\n").as_bytes()));
    assert_eq!((good.len(), bad), (1, None));
    let (good, _, stats) = read(of(format!("a=b\n{SYMBOLS}\n").as_bytes()).bad_lines(BadLines::Skip));
    assert_eq!((good.len(), stats.skipped), (1, Some(1)));
}

#[test]
fn an_endless_line_is_an_error_and_its_reader_thread_ends() {
    /// An endless input of zeros.
    struct Zeros {
        _used: std::sync::Arc<()>,
    }
    impl Read for Zeros {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            out.fill(0);
            Ok(out.len())
        }
    }
    let used = std::sync::Arc::new(());
    let zeros = || Recording::from_reader(Zeros { _used: std::sync::Arc::clone(&used) });
    let error = zeros().start().expect("a stream").iter().next().expect("an item").expect_err("no line");
    assert_eq!(error.to_string(), "line 1: longer than 65536 bytes");
    // The reader skips bytes until the stream is dropped.
    let skipping = zeros().bad_lines(BadLines::Skip).start().expect("a stream");
    let reader = skipping.stats_reader();
    while reader.read().skipped == Some(0) {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(skipping);
    let began = Instant::now();
    while std::sync::Arc::strong_count(&used) > 1 {
        assert!(began.elapsed() < Duration::from_secs(10), "the reader thread has not ended");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Panics(bool);

impl Read for Panics {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        assert!(!std::mem::replace(&mut self.0, true), "this panic is part of the test");
        let line = format!("{LINE}\n");
        let len = line.len().min(out.len());
        out[..len].copy_from_slice(&line.as_bytes()[..len]);
        Ok(len)
    }
}

#[test]
fn a_truncated_recording_does_not_look_complete() {
    let first = Cursor::new(format!("{LINE}\n"));
    let (good, bad, _) = read(Recording::from_reader(first.chain(Panics(true))));
    assert_eq!((good.len(), bad.as_deref()), (1, Some("the source of the stream's events panicked")));
}

#[test]
fn unlisted_numbers_are_counted() {
    let unknown = LINE.replace("kind=rto", "kind=k99").replace("class=drop", "class=drop transmit=k9");
    let (_, _, stats) = read(of(format!("{LINE} transmit=yes\n{unknown}\n").as_bytes()));
    let of_all = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
    assert_eq!(of_all(&mut stats.counts.iter().map(|count| count.attempts)), 2);
    assert_eq!(of_all(&mut stats.transmits.iter().map(|count| count.attempts)), 2, "{:?}", stats.transmits);
}

#[test]
fn the_rate_limit_recovers_when_timestamps_go_back() {
    let at = |ts: &str| format!("{}\n", LINE.replace("ts=1.5", &format!("ts={ts}.5")));
    let text = at("18446744072") + &at("1000") + &at("1001") + &at("1002");
    let builder = Stream::builder().rate_limit(RateLimit { per_second: 1, burst: 1 });
    assert_eq!(builder.replay(of(text.as_bytes())).expect("a stream").iter().count(), 4);
}

#[cfg(feature = "zstd")]
#[test]
fn a_large_zstd_window_is_rejected() {
    let compressed = |log: u32| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("zstd");
        encoder.window_log(log).expect("a window");
        encoder.long_distance_matching(true).expect("a window");
        encoder.write_all(format!("{LINE}\n").as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    };
    assert_eq!(read(of(&compressed(23))).0.len(), 1);
    let (_, bad, _) = read(of(&compressed(27)));
    assert!(bad.as_deref().is_some_and(|bad| bad.contains("too much memory")), "{bad:?}");
    // pzstd begins with a skippable frame.
    let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &compressed(20)].concat();
    assert_eq!(read(of(&skippable)).0.len(), 1);
}

#[test]
fn a_leading_comment_does_not_decide_the_format() {
    for line in [LINE.to_owned(), SYMBOLS.to_owned()] {
        let (good, bad, _) = read(of(format!("# a comment\n#\n{line}\n").as_bytes()));
        assert_eq!((good.len(), bad), (1, None), "{line}");
    }
    let (good, bad, _) = read(of(b"# nothing else\n"));
    assert_eq!((good.len(), bad), (0, None));
}

#[test]
fn input_without_kernel_text_is_not_an_empty_trace() {
    let (_, bad, _) = read(of(format!("{LINE}\n").as_bytes()).format(Format::KernelText));
    assert_eq!(bad.as_deref(), Some("no line is kernel trace text"));
    let (_, bad, _) = read(of(b"# tracer: nop\n").format(Format::KernelText));
    assert_eq!(bad, None);
}
