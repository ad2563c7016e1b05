// SPDX-License-Identifier: MIT OR Apache-2.0

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::pipe::pipe;

use super::*;
use crate::event::record::decode;
use crate::event::record::tests::any_record;
use crate::format::kv::Line;
use crate::rate_limit::RateLimit;
use crate::stats::{Failures, Stats, TextLosses};
use crate::stream::Stream;

const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 \
    dport=443 state=established segs=1 class=drop";

pub(super) fn of(text: &[u8]) -> Recording {
    Recording::from_reader(Cursor::new(text.to_vec()))
}

/// Returns the lines of the events, the error, and the counters of a recording.
pub(super) fn read(recording: Recording) -> (Vec<String>, Option<String>, Stats) {
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
    assert_eq!(stats.to_string().split_once("failures").map(|(_, text)| text), Some("=2 skipped=0 clock=realtime"));
}

/// Verdicts are not attempts: they are neither events nor malformed lines.
#[test]
fn verdicts_are_returned_on_request() {
    let verdict = "what=verdict ts=1.600000000 verdict=ended why=reset cookie=17 netns=1 family=inet saddr=10.0.0.1 \
                   sport=4000 daddr=10.0.0.2 dport=443 state=established attempts=1 segs=1";
    let bad = verdict.replace("cookie=17 ", "");
    let items = |text: &str, skip: BadLines| {
        let recording = Recording::from_reader(std::io::Cursor::new(text.to_owned())).bad_lines(skip);
        let mut lines = recording.lines().expect("lines");
        let mut items = Vec::new();
        while let Some(item) = lines.next_item() {
            items.push(match item {
                Ok(RecordedItem::Attempt(line)) => line.to_string(),
                Ok(RecordedItem::Verdict(verdict)) => verdict.to_string(),
                Err(error) => error.to_string(),
            });
        }
        (items, lines.skipped())
    };
    let text = format!("{verdict}\n{LINE}\n{verdict}\n{bad}\n{LINE}\n");
    let problem = "line 4: missing key `cookie` (the recording begins at line 2, as key=value lines)";
    assert_eq!(items(&text, BadLines::Fail), (vec![verdict.into(), LINE.into(), verdict.into(), problem.into()], 0));
    let (all, skipped) = items(&text, BadLines::Skip);
    assert_eq!((all.len(), skipped), (4, 1));
    // The iterator does not parse verdicts.
    let lines = Recording::from_reader(std::io::Cursor::new(text)).lines().expect("lines");
    assert_eq!(lines.map(|line| line.expect("no error").to_string()).collect::<Vec<_>>(), [LINE, LINE]);

    #[cfg(feature = "json")]
    {
        let parsed: crate::event::Verdict = verdict.parse().expect("a verdict");
        let object = serde_json::to_string(&parsed).expect("JSON");
        assert_eq!(items(&format!("{object}\n"), BadLines::Fail), (vec![verdict.to_owned()], 0));
        // No value can add a key.
        let forged = object.replace("\"attempts\":1", "\"attempts\":\"1 sk_err=5\"");
        assert_eq!(items(&format!("{forged}\n"), BadLines::Fail).0, [verdict.replace(" attempts=1", "")]);
    }
}

#[test]
fn the_header_of_perf_states_the_host() {
    let event = " swapper 0 [001] 17783.867820: tcp:tcp_retransmit_synack: family=AF_INET sport=443 dport=4000 \
                 saddr=10.0.0.1 daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2\n";
    let origin = |text: &str| {
        let mut lines = Recording::from_reader(std::io::Cursor::new(text.to_owned())).lines().expect("lines");
        assert_eq!((lines.host(), lines.kernel()), (None, None));
        assert_eq!(lines.by_ref().filter(Result::is_ok).count(), text.matches("family=").count());
        (lines.host().map(str::to_owned), lines.kernel().map(str::to_owned))
    };
    let both = (Some("web-3".to_owned()), Some("6.18.0".to_owned()));
    assert_eq!(origin(&format!("# hostname : web-3\n# os release : 6.18.0\n{event}")), both);
    // The first one counts, and none after the events, where a file name may imitate it.
    let later = format!("# hostname : web-3\n# os release : 6.18.0\n# hostname : x\n{event}# os release : x\n{event}");
    assert_eq!(origin(&later), both);
    assert_eq!(origin(&format!("{event}# hostname : x\n")), (None, None));
    assert_eq!(origin(&format!("# hostname : {}\n# os release : \n{event}", "x".repeat(65))), (None, None));
}

#[test]
fn lines_of_verdicts_are_skipped() {
    let verdict = "what=verdict ts=1.600000000 verdict=ended why=reset cookie=17 netns=1 family=inet saddr=10.0.0.1 \
        sport=4000 daddr=10.0.0.2 dport=443 state=established attempts=1 segs=1";
    let (good, bad, stats) = read(of(format!("{verdict}\n{LINE}\n{verdict}\n{LINE}\n").as_bytes()));
    assert_eq!((good, bad), (vec![LINE.to_owned(); 2], None));
    assert_eq!((stats.seen, stats.skipped), (2, Some(0)));
    // A truncated last line may hide a lost part of the recording.
    let (good, bad, _) = read(of(format!("{LINE}\n{verdict}").as_bytes()));
    assert_eq!(good.len(), 1);
    assert_eq!(bad.as_deref(), Some("line 2: unterminated last line (truncated recording?)"));
}

#[cfg(feature = "json")]
#[test]
fn objects_of_verdicts_are_skipped() {
    let event: Event = LINE.parse().expect("a line");
    let object = serde_json::to_string(&event).expect("JSON");
    let verdict: crate::event::Verdict = "what=verdict ts=1.600000000 verdict=ended why=reset cookie=17 netns=1 \
        family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 state=established attempts=1 segs=1"
        .parse()
        .expect("a verdict");
    let verdict = serde_json::to_string(&verdict).expect("JSON");
    let (good, bad, _) = read(of(format!("{verdict}\n{object}\n{verdict}\n").as_bytes()));
    assert_eq!((good, bad), (vec![LINE.to_owned()], None));
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
        (format!("ts=1.500000000 x=y\n{LINE}\n{LINE}\n"), 0, "line 1: column 1: missing key `result`"),
        (format!("{}\n{LINE}\n{LINE}\n", &LINE[15..]), 0, "line 1: column 1: missing key `ts`"),
        (format!("{}\n{LINE}\n{LINE}\n", &LINE[8..]), 0, "line 1: column 1: `000000` is not key=value"),
        // The line that determined the format is named.
        (
            format!("hello\n{LINE}\nhello\n{LINE}\n"),
            1,
            "line 3: column 1: `hello` is not key=value (the recording begins at line 2, as key=value lines)",
        ),
    ] {
        let (lines, bad, _) = read(of(text.as_bytes()));
        assert_eq!((lines.len(), bad.as_deref()), (good, Some(problem)));
        let (lines, bad, stats) = read(of(text.as_bytes()).bad_lines(BadLines::Skip));
        let before = u64::from(text.starts_with("hello"));
        assert_eq!((lines.len(), bad, stats.skipped), (2, None, Some(1 + before)), "{problem}");
    }
    let (_, bad, _) = read(of(b"ts=1.5 result=denied\xff\n"));
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

/// A stream does not keep unknown keys, and must still reject the lines that `Line` rejects.
#[test]
fn a_stream_and_an_iterator_reject_the_same_lines() {
    let text = format!("{LINE} later=1 moon=2 later=3\n");
    let problem = format!("line 1: column {}: duplicate key `later`", LINE.len() + " later=1 moon=2 ".len() + 1);
    let (lines, bad, _) = read(of(text.as_bytes()));
    assert_eq!((lines, bad.as_ref()), (Vec::new(), Some(&problem)));
    let error = of(text.as_bytes()).lines().expect("no speed").next().expect("an error").expect_err("a duplicate");
    assert_eq!(error.to_string(), problem);

    // A value that is ignored may be nested to any depth, or not be a valid string or number.
    #[cfg(feature = "json")]
    {
        let json = serde_json::to_string(&LINE.parse::<Event>().expect("a line")).expect("JSON");
        let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
        let ignored = format!(r#"{{"deep":{open}{close},"half":"\ud800","huge":1e999,"later":1.5,"#);
        let json = json.replacen('{', &ignored, 1) + "\n";
        assert_eq!(read(of(json.as_bytes())).0, [LINE]);
        let line = of(json.as_bytes()).lines().expect("no speed").next().expect("an event").expect("valid");
        assert_eq!(line.to_string(), format!("{LINE} later=1.5"));
    }
}

#[test]
fn a_skipped_line_does_not_change_the_event_before_it() {
    let mut lines: Vec<_> = include_str!("../../../tests/kernel_text/tracefs-stacks.txt").lines().collect();
    let attempt = lines.iter().position(|line| line.contains(": tcp_retransmit_skb: ")).expect("an attempt");
    lines.insert(attempt + 1, r#"{"ts":"1","result":"denied"}"#);
    let text = lines.join("\n") + "\n";
    let (strict, bad, _) = read(of(text.as_bytes()));
    assert!(strict.len() == 1 && bad.as_ref().is_some_and(|bad| bad.contains("JSON in kernel text")), "{bad:?}");
    let (lenient, bad, stats) = read(of(text.as_bytes()).bad_lines(BadLines::Skip));
    assert_eq!((&lenient[..1], bad, stats.skipped), (&strict[..], None, Some(1)));
    // The next attempts have their kinds.
    let unknown = |events: &[String]| events.iter().filter(|event| event.contains(" kind=unknown ")).count();
    assert_eq!(unknown(&lenient), 1, "{lenient:?}");
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
    assert_eq!((lines.by_ref().count(), lines.skipped(), lines.text_losses()), (2, 1, TextLosses::default()));
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
    let zeros = || Recording::from_reader(Zeros { _used: std::sync::Arc::clone(&used) }).format(Format::KeyVal);
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
    let (good, bad, _) = read(of(format!("# a comment\n#\n{LINE}\n").as_bytes()));
    assert_eq!((good.len(), bad), (1, None));
    let (good, bad, _) = read(of(b"# nothing else\n"));
    assert_eq!((good.len(), bad), (0, None));
}
