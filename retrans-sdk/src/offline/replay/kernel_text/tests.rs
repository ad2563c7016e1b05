// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

use proptest::prelude::*;

use super::super::tests::{of, read};
use super::head::MAX_TASK;
use super::*;
use crate::event::clock::Clock;
use crate::event::result::RetransResult;
use crate::event::tcp_enums::TcpState;
use crate::event::transmit::Transmit;
use crate::offline::{BadLines, Format, Recording};
use crate::stats::{Failures, TextLosses};
use crate::stream::Stream;

const SYMBOLS: &str = "          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: skbaddr=000000001b2a3c4d \
    skaddr=00000000deadbeef family=AF_INET sport=40000 dport=443 saddr=10.1.2.1 daddr=10.1.2.2 \
    saddrv6=::ffff:10.1.2.1 daddrv6=::ffff:10.1.2.2 state=TCP_ESTABLISHED err=-16";

/// The columns that tracefs, trace-cmd and perf print, for the same time.
const HEADS: [&str; 23] = [
    "          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: ",
    "          <idle>-0       [001] ..s2.  1234.567890: tcp_retransmit_skb: ",
    // Copied from a page.
    "&lt;idle&gt;-0 [001] ..s. 1234.567890: tcp_retransmit_skb: ",
    // The option record-tgid.
    "         python3-6385    (-------) [000] .Ns1. 1234.567890: tcp_retransmit_skb: ",
    "         python3-6385    (  6385)  [000] .Ns1. 1234.567890: tcp_retransmit_skb: ",
    // A task name that ends with a line end.
    "-77      [001] ..s2. 1234.567890: tcp_retransmit_skb: ",
    // grep.
    "trace.txt:          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: ",
    // trace-cmd report, and with -t, -l, --ts-diff, and several files.
    "          <idle>-0     [001]  1234.567890: tcp_retransmit_skb:   ",
    " my task: x-12345 [001] d.s2. 1234.567890000: tcp_retransmit_skb:   ",
    "          <idle>-0       1d.s2.  1234.567890: tcp_retransmit_skb:   ",
    "          <idle>-0     [001]  1234.567890: (+12)     tcp_retransmit_skb:   ",
    "   first.dat:           <idle>-0     [001]  1234.567890: tcp_retransmit_skb:   ",
    // perf script, and with --ns.
    "swapper     0 [001]  1234.567890: tcp:tcp_retransmit_skb: ",
    "         nc -l 31712/31713 [001]  1234.567890000:          tcp:tcp_retransmit_skb: ",
    // perf script -F.
    "task  7296/7296  [000]  1234.567890:          1    tcp:tcp_retransmit_skb: ",
    " ld-linux-x86-64  5749 1234.567890: tcp:tcp_retransmit_skb: ",
    " ld-linux-x86-64 [001] 1234.567890: tcp:tcp_retransmit_skb: ",
    " ld-linux-x86-64 1234.567890: tcp:tcp_retransmit_skb: ",
    "1234.567890: tcp:tcp_retransmit_skb: ",
    " ld-linux-x86-64  5749 [001] K     1234.567890: tcp:tcp_retransmit_skb: ",
    ":-1    -1/-1    [001] 2026-11-30 06:38:58.123456 1234.567890: tcp:tcp_retransmit_skb: ",
    // Terms and modifiers of the event.
    "swapper     0 [001]   1234.567890: tcp:tcp_retransmit_skb/call-graph=no/: ",
    "swapper     0 [001]   1234.567890: tcp:tcp_retransmit_skb:k: ",
];

/// Returns what a text yields, and the first problem.
fn found_by(reader: &mut KernelText, text: &str) -> (Vec<Found>, Option<String>) {
    let mut found = VecDeque::new();
    let problem = text.lines().find_map(|line| reader.read(line, &mut found).err());
    reader.finish(&mut found);
    (found.into(), problem)
}

fn found(text: &str) -> (Vec<Found>, Option<String>) {
    found_by(&mut KernelText::new(None), text)
}

fn problem_of(line: &str) -> String {
    let (found, problem) = found(line);
    assert_eq!(found, [], "{line}");
    problem.unwrap_or_else(|| panic!("no problem: {line}"))
}

fn events(text: &str) -> Vec<Event> {
    let (found, problem) = found(text);
    assert_eq!(problem, None, "{text}");
    let event = |found| match found {
        Found::Attempt(event) => Some(*event),
        Found::Lost(_) => None,
    };
    found.into_iter().filter_map(event).collect()
}

fn event(line: &str) -> Event {
    let events = events(line);
    assert_eq!(events.len(), 1, "{line}");
    events.into_iter().next().expect("one")
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
        for head in HEADS {
            let line = format!("{head}{text}");
            assert!(is_recognised(&line), "{line}");
            let mut expected = Event::sample(result);
            expected.ts = Timestamp::from_nanos(1_234_567_890_000);
            (expected.kind, expected.err, expected.segs) = (RetransKind::Unknown, err, 0);
            (expected.saddr, expected.daddr) = ([10, 1, 2, 1].into(), [10, 1, 2, 2].into());
            expected.state = TcpState::CloseWait;
            expected.transmit = Some(if result == Success { Transmit::Yes } else { Transmit::Unknown });
            let mut reader = KernelText::new(None);
            assert_eq!(found_by(&mut reader, &line), (vec![Found::Attempt(Box::new(expected))], None), "{line}");
            assert_eq!(reader.shows_failures(), shows_failures, "{line}");
        }
    }
}

const SYNACK: &str = "           b-7     [000] ..s..    0.000001: tcp_retransmit_synack: family=AF_INET6 sport=443 \
                      dport=1 saddr=0.0.0.0 daddr=0.0.0.0 saddrv6=fd00:0:0:7::2 daddrv6=fd00:0:0:7::1";

#[test]
fn ipv6_and_syn_ack_lines_are_read() {
    let mapped = event(&SYMBOLS.replace("AF_INET ", "AF_INET6 "));
    assert_eq!((mapped.mapped, mapped.saddr), (true, [10, 1, 2, 1].into()));
    let v6 = SYMBOLS.replace("AF_INET ", "AF_INET6 ").replace("::ffff:10.1.2.", "fd00:0:0:7::");
    assert_eq!((event(&v6).mapped, event(&v6).saddr), (false, "fd00:0:0:7::1".parse().expect("an address")));
    let synack = event(SYNACK);
    assert_eq!((synack.kind, synack.state, synack.segs), (RetransKind::Synack, TcpState::NewSynRecv, 1));
    assert_eq!(synack.ts.as_nanos(), 1000);
    // An IPv4-mapped address on one side only.
    let odd = SYMBOLS.replace("family=AF_INET ", "").replace("daddrv6=::ffff:10.1.2.2", "daddrv6=::10.1.2.2");
    let problem = "only one of `saddrv6=::ffff:10.1.2.1` and `daddrv6=::10.1.2.2` is an IPv4-mapped address";
    assert_eq!(problem_of(&odd), problem);
    for family in ["AF_INET6", "AF_INET", "0x2"] {
        assert_eq!(problem_of(&odd.replace("sport=", &format!("family={family} sport="))), problem);
    }
}

#[test]
fn other_lines_are_ignored_or_counted() {
    for (line, lost) in [
        ("CPU:1 [LOST 12 EVENTS]", Some(Some(12))),
        ("CPU:0 [4711 EVENTS DROPPED]", Some(Some(4711))),
        ("  first.dat: CPU:0 [4711 EVENTS DROPPED]", Some(Some(4711))),
        ("  swapper 0 [000] 1.000000: PERF_RECORD_LOST lost 3", Some(Some(3))),
        ("  swapper 0 [000] 1.000000: PERF_RECORD_LOST_SAMPLES", Some(None)),
        ("CPU:1 [LOST EVENTS]", Some(None)),
        ("CPU:0 [EVENTS DROPPED]", Some(None)),
        ("Processed 8 events and lost 1 chunks!", Some(None)),
        ("Processed 1000 samples and lost 12.34%!", Some(None)),
        ("trace.txt:CPU:1 [LOST 12 EVENTS]", Some(Some(12))),
        ("Nov 30 host cat[1]: CPU:1 [LOST 12 EVENTS]<br>", Some(Some(12))),
        ("# entries-in-buffer/entries-written: 187/739   #P:2", Some(Some(552))),
        ("# entries-in-buffer/entries-written: 739/739   #P:2", None),
        ("# latency: 0 us, #187/739, CPU#0 | (M:preempt VP:0, KP:0, SP:0 HP:0 #P:2)", Some(Some(552))),
        ("# latency: 0 us, #739/739, CPU#0 | (M:preempt VP:0, KP:0, SP:0 HP:0 #P:2)", None),
        ("# tracer: nop", None),
        ("cpus=2", None),
        ("CPU 0 is empty", None),
        ("  bash-1 [000] d.... 1.000000: sched_switch: prev_comm=a", None),
    ] {
        assert_eq!(found(line), (lost.map(Found::Lost).into_iter().collect(), None), "{line}");
        assert!(is_recognised(line) || line.starts_with("Processed"), "{line}");
    }
    for line in ["", "x", "root@host:~# cat trace_pipe", "CPU:x [LOST EVENTS]", "# a comment", "12:30: a b", "{", "a=b"]
    {
        assert_eq!(found(line), (vec![], None), "{line}");
        assert!(!is_recognised(line), "{line}");
    }
}

/// A line that contains an attempt is never ignored.
#[test]
fn a_line_of_an_attempt_that_cannot_be_parsed_is_an_error() {
    let text = SYMBOLS.split_once("skb: ").expect("a marker").1;
    let latency = "tracefs in latency format: switch it off with `echo 0 >/sys/kernel/tracing/options/latency-format`";
    let unknown = "unknown columns before `tcp_retransmit_skb`: remove columns that tracefs, perf \
        script or trace-cmd did not print (known: task, PID, CPU, time in seconds with six or nine decimals)";
    let no_time = "no timestamp before `tcp_retransmit_skb`: print it with `perf script -F +time`, or set the option \
        `context-info` of tracefs";
    let no_fields = "the fields of the event are missing: print them with `perf script -F +trace`; in a copied text, \
        join the lines of the event";
    for (line, problem) in [
        (SYMBOLS.replace("1234.567890", "soon"), no_time),
        (SYMBOLS.replace("dport=443", ""), "missing `dport`"),
        (SYMBOLS.replace("dport=443", "dport=x"), "invalid value `dport=x`"),
        (SYMBOLS.replace("AF_INET ", "AF_UNIX "), "unknown `family=AF_UNIX`"),
        (SYMBOLS.replace("ESTABLISHED", "OPEN"), "unknown state `TCP_OPEN`"),
        (SYMBOLS.replace("err=-16", "err=EBUSY"), "`err=EBUSY` is not an integer"),
        (SYMBOLS.replace("err=-16", "result=odd"), "unknown result `odd`"),
        (SYMBOLS.replace("TCP_ESTABLISHED", "\u{1b}]0;x\u{7}\u{202e}"), "unknown state `\\u{1b}]0;x\\u{7}\\u{202e}`"),
        (format!("{SYMBOLS}{SYMBOLS}"), "two events in one line: the end of a line is missing"),
        // Cut off in the result, and in the state.
        (
            SYMBOLS.replace("err=-16", "err=-1   bash-1 [000] d.... 1.000000: sched_switch: prev_comm=a"),
            "two events in one line: the end of a line is missing",
        ),
        (
            SYMBOLS.replace("TCP_ESTABLISHED err=-16", "TCP_CLOSE   bash-1 [000] d.... 1.000000: sched_switch: x=a"),
            "two events in one line: the end of a line is missing",
        ),
        (format!("2026-11-30T06:38:58Z host cat[1]: {SYMBOLS}"), unknown),
        (format!("a b c d e f g h i j k-0 [001] ..s2. 1.000000: tcp_retransmit_skb: {text}"), unknown),
        (
            SYMBOLS.replace("1234.567890", "123456789"),
            "the timestamp is not in seconds: the clocks `counter`, `uptime` \
            and `x86-tsc` of tracefs, and `trace-cmd report --raw-ts`, are not supported",
        ),
        (format!(" python3-6385      0.Ns1. 39383809464us+: tcp_retransmit_skb: {text}"), latency),
        (format!(" python3-6385      0.Ns1. 39383809464us : tcp_retransmit_skb: {text}"), latency),
        (
            format!(" python3 6385 0 52 0001 0000 [92b753db8] 39383809.464ms (+0.031ms): tcp_retransmit_skb: {text}"),
            latency,
        ),
        (format!("tcp:tcp_retransmit_skb: {text}"), no_time),
        (format!("swapper     0 [001] tcp:tcp_retransmit_skb: {text}"), no_time),
        (SYMBOLS.replace("1234.567890", "1234,567890"), unknown),
        (SYMBOLS.replace("1234.567890", "1234.567"), unknown),
        (format!("# {}", SYMBOLS.replace("1234.567890", "1234.567")), unknown),
        ("swapper     0 [001] 1.000000: tcp:tcp_retransmit_skb: ".to_owned(), no_fields),
        (
            "swapper     0 [001] 1.000000: tcp:tcp_retransmit_skb:  ffffffff8202941a __tcp_retransmit_skb ([k])"
                .to_owned(),
            no_fields,
        ),
        ("   <idle>-0 [001] 1.000000: tcp_retransmit_skb:".to_owned(), no_fields),
        (SYMBOLS.replace("skb: ", "skb: \u{200b}"), "unknown text before the fields of the event"),
        // A line that another one cuts off.
        (
            SYMBOLS.replace("daddr=10.1.2.2 ", &format!("daddr=10.1.2.2{SYMBOLS}")),
            "unknown text `<idle>-0` between the fields of the event: the end of a line is missing",
        ),
        (SYMBOLS.replace("err=-16", "err="), "the result is incomplete: the end of the line is missing"),
        (SYMBOLS.replace("err=-16", "er"), "the result is incomplete: the end of the line is missing"),
        (SYMBOLS.replace("err=-16", "result="), "the result is incomplete: the end of the line is missing"),
        (SYMBOLS.replace("err=-16", "quit_reason="), "the result is incomplete: the end of the line is missing"),
        (
            "   <idle>-0 [001] 1.000000: tcp_retransmit_skb: saddr=10.1.2.1 daddr=10.1.2.2 state=TCP_ESTABLISHED"
                .to_owned(),
            "the field `sport` of the event is missing",
        ),
        // Text that was made anonymous, and text of babeltrace.
        (format!("tcp_retransmit_skb: {}", text.replace("sport=40000", "sport=NNNN")), no_time),
        (SYMBOLS.replace("1234.567890", "1234,567890").replace("sport=40000", "sport=<port>"), unknown),
        (
            "[12:00:00.123456789] (+0.1) host tcp:tcp_retransmit_skb: { cpu_id = 1 }, { sport = 443, dport = 51000 }"
                .to_owned(),
            no_time,
        ),
        // perf without the time, after another event of perf: the line ends as a frame does.
        (
            format!(
                "swapper     0 [001] 1.000000: sched:sched_switch: prev_comm=a\n     5749 [001] tcp:tcp_retransmit_skb: {text} \
                 ffffffff8202941a __tcp_retransmit_skb ([kernel.kallsyms])"
            ),
            no_time,
        ),
        (SYMBOLS.replace('=', "=3D"), "the mail is in quoted-printable: decode it"),
        (
            format!(" ld-linux-x86-64  5749 [001] 39356.005113: {text}"),
            "the name of the event is missing: print it with `perf script -F +event`",
        ),
        (
            "     0.000 swapper/0 tcp:tcp_retransmit_skb(skbaddr: 0xff, state: 1, sport: 443, dport: 5)".to_owned(),
            "output of `perf trace`: record with `perf record` and print with `perf script`",
        ),
        (
            "   <idle>-0 [001] 1.000000: tcp_retransmit_skb: skbaddr=0x1 sport=443 family=2 saddr=ARRAY[c0, 00]"
                .to_owned(),
            "the fields are not formatted: print the recording with `trace-cmd report` without -R, or tracefs without \
             the option `fields`",
        ),
        (
            "   <idle>-0 [001] 1.000000: tcp_retransmit_skb:   [FAILED TO PARSE] skbaddr=0x1 sport=443".to_owned(),
            "trace-cmd could not parse the format of the event (`[FAILED TO PARSE]`): print the recording with a newer \
             trace-cmd, or use the text of tracefs",
        ),
    ] {
        assert_eq!(problem_of(&line), problem, "{line}");
        assert!(is_recognised(&line), "{line}");
    }
    // Columns that follow the fields in the output of perf do not belong to the event.
    for appended in ["/user.slice/x={0x1", "              0 /x err=-1", "0 /x 1 [000] 1.000000: a:b: c"] {
        assert_eq!(event(&SYMBOLS.replace("err=-16", &format!("err=-16 {appended}"))), event(SYMBOLS));
    }
    // perf prints numbers if it does not know the names.
    assert_eq!(event(&SYMBOLS.replace("TCP_ESTABLISHED", "0x1").replace("AF_INET ", "0x2 ")), event(SYMBOLS));
    let at = |offset| found_by(&mut KernelText::new(Some(offset)), SYMBOLS);
    let (later, _) = at(ClockOffset::from_nanos(1_700_000_000_000_000_000));
    assert!(matches!(&later[..], [Found::Attempt(event)] if event.ts.to_string() == "1700001234.567890000"));
    let problem = "timestamp before 1970 or after 2554: wrong clock offset?";
    assert_eq!(at(ClockOffset::from_nanos(-2_000_000_000_000)).1.as_deref(), Some(problem));
    let late = SYMBOLS.replace("1234.567890", "18446744073.709552");
    assert_eq!(problem_of(&late), problem);
}

const PERF_CHAIN: &str = "\tffffffff81eb9e87 __traceiter_tcp_retransmit_skb ([kernel.kallsyms])\n\
    \tffffffff8202941a __tcp_retransmit_skb+0x4ea ([kernel.kallsyms])\n\
    \tffffffff82029892 tcp_send_loss_probe.part.0+0x12 ([kernel.kallsyms])\n\
    \tffffffff8202d271 tcp_write_timer ([kernel.kallsyms])\n\
    \tffffffff8202d271 tcp_ack ([kernel.kallsyms])\n\n";

#[test]
fn a_call_chain_proves_the_kind() {
    use RetransKind::{Fastopen, Mtu, Rto, Syn, Tlp, Unknown};
    let perf = SYMBOLS.replace("          <idle>-0       [001] ..s2.", "swapper 0 [001]").replace(" tcp_", " tcp:tcp_");
    let kinds = |text: &str| events(text).iter().map(|event| event.kind).collect::<Vec<_>>();
    let of_function = |line: &str, function: &str| {
        let chain = PERF_CHAIN.replace("tcp_send_loss_probe.part.0", function);
        kinds(&format!("{line}\n{chain}{line}\n{chain}"))
    };
    for (function, kind) in [
        ("tcp_send_loss_probe.part.0", Tlp),
        ("tcp_retransmit_timer", Rto),
        ("tcp_simple_retransmit", Mtu),
        ("tcp_rcv_fastopen_synack", Fastopen),
        // Source lines come in between.
        ("tcp_send_loss_probe+0x1 ([k])\n  tcp_output.c:3000\n\tffffffff82029892 f", Tlp),
        ("tcp_xmit_recovery", Unknown),
        ("tcp_release_cb", Unknown),
        // The next known caller is an acknowledgement.
        ("some_function", Unknown),
    ] {
        assert_eq!(of_function(&perf, function), [kind, kind], "{function}");
    }
    let syn = perf.replace("TCP_ESTABLISHED", "TCP_SYN_SENT");
    assert_eq!(of_function(&syn, "tcp_retransmit_timer"), [Syn, Syn]);
    // Copied from a terminal that replaced the tabs.
    assert_eq!(kinds(&format!("{perf}\n{}", PERF_CHAIN.replace('\t', "        "))), [Tlp]);
    // Without addresses, a task name could imitate a function.
    assert_eq!(kinds(&format!("{perf}\n\t__tcp_retransmit_skb\n\ttcp_send_loss_probe\n\n")), [Unknown]);
    // `call-graph.order = caller` of perf.
    let functions: Vec<_> = PERF_CHAIN.trim_end().lines().rev().collect();
    assert_eq!(kinds(&format!("{perf}\n{}\n\n", functions.join("\n"))), [Unknown]);
    // Only one of two attempts has a chain.
    assert_eq!(
        kinds(&format!("{perf}\n{perf}\n{PERF_CHAIN}{perf}\n{perf}\n{PERF_CHAIN}")),
        [Unknown, Unknown, Unknown, Tlp]
    );
    // A path in the chain.
    let path = PERF_CHAIN.replace("tcp_ack ([kernel.kallsyms])", "f+0x1 (/tmp/tcp_retransmit_skb: sport=1)");
    assert_eq!(kinds(&format!("{perf}\n{path}{perf}\n")), [Tlp, Unknown]);
    // The chain of another event contains such a path, too.
    let other = "swapper 0 [001] 1234.567891: sched:sched_switch: prev_comm=a";
    let frames =
        "\t    55c56f7b1778 main (/tmp/tcp_retransmit_skb: sport=1/x)\n => /tmp/tcp_retransmit_skb: sport=1[+0x1]\n";
    assert_eq!(kinds(&format!("{other}\n{frames}\n{perf}\n{PERF_CHAIN}")), [Tlp]);
    // The chain of another event.
    let other = "swapper 0 [001] 1234.567891: tcp:tcp_probe: family=AF_INET";
    assert_eq!(kinds(&format!("{perf}\n\n{other}\n{PERF_CHAIN}{perf}\n")), [Unknown, Unknown]);
}

#[test]
fn a_stack_of_tracefs_belongs_to_the_attempt_of_the_same_task_and_cpu() {
    use RetransKind::{Rto, Tlp, Unknown};
    let kinds = |text: &str| events(text).iter().map(|event| event.kind).collect::<Vec<_>>();
    let head = |cpu: u32| format!("          <idle>-0       [{cpu:03}] ..s2. 1234.567891: ");
    let attempt = |cpu: u32| SYMBOLS.replace("[001]", &format!("[{cpu:03}]")) + "\n";
    let stack = |cpu: u32, function: &str| {
        format!(
            "{}<stack trace>\n => __tcp_retransmit_skb+0x1/0x2\n => {function} <ffffffff82029892>\n => tcp_ack\n",
            head(cpu)
        )
    };
    let (timer, probe) = ("tcp_retransmit_timer", "tcp_send_loss_probe");
    assert_eq!(kinds(&(attempt(0) + &stack(0, timer) + &attempt(1) + &stack(1, probe))), [Rto, Tlp]);
    // Another CPU comes in between.
    assert_eq!(kinds(&(attempt(0) + &attempt(1) + &stack(1, probe) + &stack(0, timer))), [Rto, Tlp]);
    // The stack of an event of the same task.
    let other = head(0) + "sched_switch: prev_comm=a\n";
    assert_eq!(kinds(&(attempt(0) + &other + &stack(0, timer))), [Unknown]);
    assert_eq!(kinds(&(attempt(0) + &stack(1, timer))), [Unknown]);
    // trace-cmd, and the option userstacktrace.
    let kernel_stack = stack(0, timer).replace("<stack trace>", "kernel_stack:         <stack trace >");
    assert_eq!(kinds(&(attempt(0) + &kernel_stack)), [Rto]);
    assert_eq!(kinds(&(attempt(0) + &stack(0, timer).replace("<stack", "<user stack"))), [Unknown]);
    // A text without stacks, until one appears.
    assert_eq!(
        kinds(&(attempt(0).repeat(3) + &stack(0, timer) + &attempt(0) + &stack(0, timer))),
        [Unknown, Unknown, Unknown, Rto]
    );
}

/// A reader of `trace_pipe` waits for the next line, so attempts are not held without reason.
#[test]
fn only_the_first_attempt_is_held_in_a_text_without_call_chains() {
    let (mut reader, mut found) = (KernelText::new(None), VecDeque::new());
    for attempts in [0, 2, 3, 4] {
        reader.read(SYMBOLS, &mut found).expect("an attempt");
        assert_eq!(found.len(), attempts);
    }
    // The number of held attempts is bounded.
    let mut reader = KernelText::new(None);
    for cpu in 0..1000 {
        reader.read(&SYMBOLS.replace("[001]", &format!("[{cpu:03}]")), &mut found).expect("an attempt");
        assert!(reader.held.len() <= MAX_HELD);
    }
}

#[test]
fn kernel_text_is_replayed() {
    let text =
        format!("# tracer: nop\n#\n{SYMBOLS}\nCPU:1 [LOST 12 EVENTS]\n  bash-1 [000] d.... 1.0: x: y\n{SYMBOLS}\n");
    let (good, bad, stats) = read(of(text.as_bytes()));
    assert_eq!((good.len(), bad), (2, None));
    assert_eq!((stats.missed, stats.failures, stats.skipped), (None, Failures::Observed(2), Some(0)));
    assert!(
        stats.to_string().ends_with(" failures=2 skipped=0 text_lost=12 text_lost_unknown=0 clock=unknown"),
        "{stats}"
    );
    // An older kernel does not print failures.
    let (good, _, stats) = read(of(text.replace(" err=-16", "").as_bytes()));
    assert_eq!((good.len(), stats.failures), (2, Failures::Unobservable));
    let (good, bad, _) = read(of(format!("{text}{SYMBOLS}").as_bytes()));
    assert_eq!((good.len(), bad.as_deref()), (2, Some("line 7: unterminated last line (truncated recording?)")));
    // The attempts before an error are delivered.
    let (good, bad, _) = read(of(format!("{SYMBOLS}\n{}\n", SYMBOLS.replace("sport=", "port=")).as_bytes()));
    assert_eq!((good.len(), bad.as_deref()), (1, Some("line 2: missing `sport`")));
}

/// A key=value line.
const LINE: &str = "ts=1.500000000 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 \
    daddr=10.0.0.2 dport=443 state=established segs=1 class=drop";

#[test]
fn the_clock_of_a_recording_is_reported() {
    let first = |recording: Recording| {
        let (events, error, stats) = read(recording);
        let ts = events.first().map(|line| line.split_once(' ').expect("a line").0.to_owned());
        (ts.unwrap_or_default(), error.unwrap_or_default(), stats.clock)
    };
    let text = format!("{SYMBOLS}\n");
    let of_text = |head: &str| of(format!("{head}{text}").as_bytes());
    let good = |ts: &str, clock| (ts.to_owned(), String::new(), clock);
    assert_eq!(first(of(b"")), good("", Clock::Unknown));
    assert_eq!(first(of(format!("{LINE}\n").as_bytes())), good("ts=1.500000000", Clock::Realtime));
    assert_eq!(first(of_text("# tracer: nop\n")), good("ts=1234.567890000", Clock::Unknown));

    let offset = Duration::from_secs(1_700_000_000);
    let known = good("ts=1700001234.567890000", Clock::Realtime);
    assert_eq!(first(of_text("").clock_offset(offset)), known);
    assert_eq!(first(of_text("").clock_offset(offset).format(Format::KernelText)), known);
    let head = "# clockid: boottime (7)\n\
        # reference time: 2023-11-14 22:13:30.000000 = 1700000010.000000 (TOD) = 10.000000000 (boottime)\n";
    assert_eq!(first(of_text(head)), known);
    assert_eq!(first(of_text(head).format(Format::KernelText)), known);
    assert_eq!(
        first(of_text("").clock_offset(Duration::ZERO)),
        good("ts=1234.567890000", Clock::Realtime),
        "the caller states that it is the wall clock"
    );

    let (_, error, _) = first(of_text("").clock_offset(ClockOffset::from_nanos(-1_235_000_000_000)));
    assert_eq!(error, "line 1: timestamp before 1970 or after 2554: wrong clock offset?");

    let mut lines = of_text("").lines().expect("lines");
    assert_eq!(lines.clock(), Clock::Unknown);
    lines.next().expect("a line").expect("an attempt");
    assert_eq!(lines.clock(), Clock::Unknown);
    let mut lines = of_text(head).lines().expect("lines");
    lines.next().expect("a line").expect("an attempt");
    assert_eq!(lines.clock(), Clock::Realtime);
    let (_, stream) = Stream::builder().mock().expect("a stream");
    assert_eq!(stream.stats().clock, Clock::Realtime);
}

/// Task names and paths that any user of the host can put into a trace.
#[test]
fn task_names_and_paths_do_not_forge_or_break_an_attempt() {
    let text = SYMBOLS.split_once("skb: ").expect("a marker").1;
    let exec = "    bash-1   [000] ..... 5.000000: sched_process_exec: filename=/tmp/a";
    for forged in [
        format!("{exec} 1.000000: tcp_retransmit_skb: {text}"),
        format!("{exec}-1 [001] ..s2. 1.000000: tcp_retransmit_skb: {text}"),
        format!("{exec}: tcp_retransmit_skb: pid=1"),
        format!("    bash-1   [000] ..... 5.000000: bpf_trace_printk: tcp_retransmit_skb: {text}"),
        format!("    bash-1   [000] ..... 5.000000: tracing_mark_write: tcp_retransmit_skb: {text}"),
        format!("    bash-1   [000] ..... 5.000000: bprint: f: x-1 [001] .... 1.0: tcp_retransmit_skb: {text}"),
        // A kprobe event, and a message of a kernel function of the same name.
        "    bash-1   [000] ..... 5.000000: tcp_retransmit_skb: (tcp_retransmit_skb+0x0/0xb0) sport=1".to_owned(),
        "bash 1 [000] 5.000000: probe:tcp_retransmit_skb: skbaddr=0x1 sport=1".to_owned(),
        "    bash-1   [000] ..... 5.000000: tcp_retransmit_skb: hello".to_owned(),
        // perf without CPU, with a period, and without more than the time.
        format!(
            "bash 1 5.000000: sched:sched_process_exec: filename=/x 1 [000] 1.000000: tcp:tcp_retransmit_skb: {text}"
        ),
        format!("bash 1 5.000000: 1 sched:sched_process_exec: filename=/x 1 1.000000: tcp:tcp_retransmit_skb: {text}"),
        format!("5.000000: sched:sched_process_exec: filename=x 1 [000] 1.000000: tcp:tcp_retransmit_skb: {text}"),
        format!("5.000000: printk:console: 1 [000] 1.000000: tcp:tcp_retransmit_skb: {text}"),
        // bpf_trace_printk before Linux 5.9.
        format!("    bash-1   [000] ..... 5.000000: 0: tcp_retransmit_skb: {text}"),
        format!("    bash-1   [000] ..... 5.000000: 0x00000001: tcp_retransmit_skb: {text}"),
        // perf script --show-mmap-events.
        format!("bash 1 [000] 5.000000: PERF_RECORD_MMAP2 1/1: [0x1(0x1)]: r-xp /x tcp_retransmit_skb: {text}"),
    ] {
        assert_eq!(found(&forged), (vec![], None), "{forged}");
    }
    // A task name has 15 bytes, and may be truncated in the middle of a character.
    for name in [
        &b"\xff\xff\xff 1.000000: "[..],
        b"[0] 0.000000: a",
        b"caf\xc3\xa9caf\xc3\xa9caf\xc3",
        b": tcp: [1] 1.0:",
        b"\xff\xfe",
    ] {
        let line =
            [b"  ", name, b"-77   [001] ..s2. 1234.567890: tcp_retransmit_skb: ", text.as_bytes(), b"\n"].concat();
        let (good, bad, _) = read(of(&line));
        assert_eq!((good, bad), (vec![event(SYMBOLS).to_string()], None), "{}", line.escape_ascii());
    }
    // perf without CPU, where a task name can contain a whole head.
    let replaced = "\u{fffd}\u{fffd} 1.000000: a:";
    for name in
        [replaced, "&lt;&lt; 1.000000: a:", "1 1.000000: a:", "1.000000: a:b:", "x 1.0000: 7: b", "1 1.000000: 7"]
    {
        let line = format!("{name:>16}   77  1234.567890: tcp:tcp_retransmit_skb: {text}");
        assert_eq!(event(&line), event(SYMBOLS), "{line}");
        let line = format!("{name}   77  1234.567890:     1 tcp:tcp_retransmit_skb: {text}");
        assert_eq!(event(&line), event(SYMBOLS), "{line}");
        let line = format!("{name:>16} 1234.567890: tcp:tcp_retransmit_skb: {text}");
        assert_eq!(event(&line), event(SYMBOLS), "{line}");
    }
}

/// Names that imitate a line of a call chain, the other formats, or the columns after a file name.
#[test]
fn no_task_name_hides_an_attempt_or_changes_it() {
    let text = SYMBOLS.split_once("skb: ").expect("a marker").1;
    let perf = |name: &str| format!("{name:>16}     0 [001] 1234.567890: tcp:tcp_retransmit_skb: {text}");
    for name in ["cafe", "1234", "=>", "\tx", "\tcafe x", "kind= result=", "ts=1", "#evil", "aaaaaaaaaaaaa\u{1b}["] {
        for unpadded in [false, true] {
            let line = if unpadded { perf(name).trim_start_matches(' ').to_owned() } else { perf(name) };
            let (good, bad, _) = read(of(format!("{line}\n{line}\n{line}\n").as_bytes()));
            assert_eq!((good.len(), bad), (3, None), "{}", line.escape_debug());
        }
    }
    // Columns that begin with a number.
    let line = format!(" 5749 1234.567890: tcp:tcp_retransmit_skb: {text}");
    assert_eq!(events(&format!("{line}\n{line}\n{line}\n")), vec![event(SYMBOLS); 3]);
    for name in ["1.000000: a:", "1.000000: ts=", "x [1] 1.000000:"] {
        let line = format!("  first.dat: {name:>16}-0     [001] 1234.567890: tcp_retransmit_skb: {text}");
        assert_eq!(event(&line), event(SYMBOLS), "{line}");
    }
    // A name with line ends that begins as a wrapped result does.
    let broken = format!("            err=\ny-77      [001] ..s2. 1234.567890: tcp_retransmit_skb: {text}");
    let (good, bad, _) = read(of(format!("{SYMBOLS}\n{broken}\n").as_bytes()));
    assert_eq!((good.len(), bad), (2, None));
    // A name with line ends cannot prove a kind.
    let forged = format!("{}\n       => tcp_v4_err\n 77 [001] 1234.567891: tcp:tcp_probe: family=AF_INET\n", perf("x"));
    assert_eq!(event(&forged), event(SYMBOLS));
    let (good, bad, _) =
        read(of(format!("x\nts=1-77 [001] ..s2. 1234.567890: tcp_retransmit_skb: {text}\n").as_bytes()));
    assert_eq!((good.len(), bad), (1, None));
}

/// perf appends other columns, such as the path of a cgroup.
#[test]
fn what_follows_the_fields_changes_no_result() {
    for after in [
        " /a err=-1",
        " /x result=denied",
        " /x=3D",
        " /tcp_retransmit_skb: sport=1",
        " /y:x-1 [0] 1.000000: tcp_retransmit_skb: sport=1",
        " ffffffff8202941a f ([k])",
    ] {
        assert_eq!(event(&format!("{SYMBOLS}{after}")), event(SYMBOLS), "{after}");
        let old = SYMBOLS.replace(" err=-16", "");
        assert_eq!(event(&format!("{old}{after}")), event(&old), "{after}");
    }
}

/// A file name with line ends may imitate the header of perf.
#[test]
fn a_header_after_the_first_event_does_not_state_the_clock() {
    let head = "# reference time: 2023-11-14 22:13:30.000000 = 1700000010.000000 (TOD) = 10.000000000 (boottime)\n";
    let clock = |text: String| read(of(text.as_bytes())).2.clock;
    assert_eq!(clock(format!("{head}{SYMBOLS}\n")), Clock::Realtime);
    assert_eq!(clock(format!("{SYMBOLS}\n{head}{SYMBOLS}\n")), Clock::Unknown);
}

#[test]
fn a_result_is_never_overlooked() {
    for space in ["\t", "\u{a0}", "  "] {
        assert_eq!(event(&SYMBOLS.replace(" state=", &format!("{space}state="))), event(SYMBOLS));
        assert_eq!(event(&SYMBOLS.replace(" err=", &format!("{space}err="))), event(SYMBOLS));
    }
    for between in ["<b>", " reason=x "] {
        let problem = problem_of(&SYMBOLS.replace(" err=", &format!(" {between}err=")));
        assert_eq!(problem, "unknown text before the result");
    }
    let (found_before, problem) = found(&format!("{SYMBOLS}\n{}", SYMBOLS.replace(" err=-16", "")));
    let expected = "missing `err` or `result`, which an earlier line contains";
    assert_eq!((found_before.len(), problem.as_deref()), (1, Some(expected)));
    // A mail that was wrapped, with and without indentation.
    for line_end in ["\n", "\n    ", "\n\t"] {
        let (found, problem) = found(&SYMBOLS.replace(" err=", &format!("{line_end}err=")));
        let expected = "the result is in a line of its own: join the lines of the event";
        assert_eq!((found.len(), problem.as_deref()), (0, Some(expected)));
    }
    // If malformed lines are skipped, no attempt becomes a success.
    let wrapped = SYMBOLS.replace(" err=", "\nerr=") + "\n";
    let (events, bad, stats) = read(of(wrapped.repeat(3).as_bytes()).bad_lines(BadLines::Skip));
    assert_eq!((events.len(), bad, stats.skipped), (0, None, Some(3)));
    // A SYN-ACK before it never has a result.
    let (events, bad, _) = read(of(format!("{SYNACK}\n{wrapped}").as_bytes()).bad_lines(BadLines::Skip));
    assert_eq!((events.len(), bad), (1, None));
    assert!(events[0].contains(" kind=synack "), "{events:?}");
}

/// A name that is not followed by a colon.
#[test]
fn an_attempt_in_another_form_is_an_error() {
    let text = SYMBOLS.split_once("skb: ").expect("a marker").1;
    for name in [
        "tcp_retransmit_skb ",
        "tcp_retransmit_skb, ",
        "tcp_retransmit_skb : ",
        "<b>tcp_retransmit_skb</b>: ",
        "**tcp_retransmit_skb**: ",
    ] {
        problem_of(&format!("          <idle>-0       [001] ..s2. 1234.567890: {name}{text}"));
    }
    problem_of(&format!("ts=x event=tcp_retransmit_skb {text}"));
    problem_of("          <idle>-0       [001] ..s2. 1234.567890: tcp_retransmit_skb: sport: 1 dport: 2");
    // The command of a prompt.
    assert_eq!(found("root@host:~# grep 'tcp_retransmit_skb.*sport=443' trace | grep -v dport=1"), (vec![], None));
}

#[test]
fn what_a_terminal_or_a_mail_adds_is_removed() {
    let colored = SYMBOLS.replace("retransmit", "\u{1b}[01;31m\u{1b}[Kretransmit\u{1b}[m\u{1b}[K");
    assert_eq!(event(&colored), event(SYMBOLS));
    assert!(is_recognised(&colored));
    assert_eq!(event(&format!("> > {SYMBOLS}")), event(SYMBOLS));
    for kept in ["\u{1b}[", "\u{1b}[1;", "\u{1b}[2J", "x\u{1b}[-77 [001]"] {
        assert_eq!(undecorated(kept), kept);
    }
    assert_eq!(undecorated("a\u{1b}[1;31mb\u{1b}[0mc"), "abc");
}

#[test]
fn other_formats_and_files_are_errors() {
    let (_, bad, _) = read(of(format!("{SYMBOLS}\n{LINE}\n").as_bytes()));
    assert_eq!(bad.as_deref(), Some("line 2: key=value lines in kernel text"));
    let (_, bad, _) = read(of(format!("# tracer: nop\n{LINE}\n").as_bytes()));
    assert_eq!(bad.as_deref(), Some("line 2: key=value lines in kernel text"));
    let (_, bad, _) = read(of(b"cpus=2\n{\"ts\":\"1.5\",\"result\":\"denied\"}\n"));
    assert_eq!(bad.as_deref(), Some("line 2: JSON in kernel text"));
    for (magic, problem) in [
        (&b"\x1f\x8b\x08"[..], "the recording is compressed with gzip: decompress it with zcat"),
        (b"PERFILE2abc", "the recording is a file of perf record: print it with perf script"),
        (b"\x17\x08\x44tracing6", "the recording is a file of trace-cmd record: print it with trace-cmd report"),
    ] {
        assert_eq!(read(of(magic)).1.as_deref(), Some(problem));
    }
    assert!(read(of(b"PERFORM\n")).1.is_some_and(|problem| problem.starts_with("no key=value line")));
    // The prompt at the end of a copied text.
    let (good, bad, stats) = read(of(format!("{SYMBOLS}\nroot@host:~# ").as_bytes()));
    assert_eq!((good.len(), bad, stats.skipped), (1, None, Some(1)));
}

#[test]
fn reports_of_losses_are_summed() {
    let losses = |lines: &str| read(of(format!("{SYMBOLS}\n{lines}{SYMBOLS}\n").as_bytes())).2.text_losses;
    let known = |entries, unknown| Some(TextLosses { entries, unknown });
    assert_eq!(losses(""), known(0, 0));
    assert!(losses("").is_some_and(|losses| losses.is_empty()));
    assert_eq!(losses("CPU:1 [LOST 3 EVENTS]\nCPU:0 [LOST 4 EVENTS]\n"), known(7, 0));
    assert_eq!(losses("CPU:1 [LOST 3 EVENTS]\nCPU:0 [LOST EVENTS]\n"), known(3, 1));
    let most = u64::MAX;
    assert_eq!(losses(&format!("CPU:1 [LOST {most} EVENTS]\nCPU:0 [LOST 4 EVENTS]\n")), known(most, 0));
}

#[test]
fn lines_before_kernel_text_do_not_decide_the_format() {
    let (good, bad, stats) = read(of(format!("version = 6\ncpus=2\n{SYMBOLS}\n").as_bytes()));
    assert_eq!((good.len(), bad, stats.skipped), (1, None, Some(0)));
    let html = format!("<!DOCTYPE html>\n<script>\n{{\n{}\n", "x".repeat(1 << 20));
    for (before, skipped) in [
        ("a=b\n", 1),
        ("\n", 1),
        ("\u{feff}", 0),
        ("\u{feff}# tracer: nop\n", 0),
        ("root@host:~# perf script\n# a comment\n", 1),
        // Commands that contain the name, or a filter of retrans.
        (
            "root@host:~# echo 1 >/sys/kernel/tracing/events/tcp/tcp_retransmit_skb/enable; cat trace | grep sport=443\n",
            1,
        ),
        ("root@host:~# awk '/tcp_retransmit_skb/ && /sport=443/' trace\n", 1),
        ("root@host:~# perf record -e tcp:tcp_retransmit_skb --filter 'sport == 443 && dport == 5 && daddr == 1'\n", 1),
        ("root@host:~# retrans replay t.txt kind=rto state=established dport=443\n", 1),
        ("RUST_LOG=x retrans replay t.txt kind=rto state=established dport=443\n", 1),
        ("root@host:~# grep -oP 'tcp_retransmit_skb: .*sport=(\\d+)' trace\n", 1),
        ("root@host:~# sed -E 's/.*tcp_retransmit_skb: .*sport=([0-9]+).*/\\1/' trace\n", 1),
        ("# bpftrace -e 'tracepoint:tcp:tcp_retransmit_skb { $sport = args->sport; $dport = args->dport; }'\n", 0),
        ("root@host:~# perf probe -a 'tcp_retransmit_skb sport=sk->a dport=sk->b daddr=sk->c'\n", 1),
        ("The fields of tcp_retransmit_skb: sport: source port\n", 1),
        ("[ perf record: Woken up 1 times to write data ]\n\n", 2),
        (&html, 4),
    ] {
        let (good, bad, stats) = read(of(format!("{before}{SYMBOLS}\n").as_bytes()));
        assert_eq!((good.len(), bad, stats.skipped), (1, None, Some(skipped)), "{}", before.escape_debug());
        let broken = format!("{before}{SYMBOLS}\n{}\n", SYMBOLS.replace("sport=", "port="));
        let mut lines = of(broken.as_bytes()).lines().expect("no speed");
        assert!(lines.next().is_some_and(|line| line.is_ok()));
        let detected = lines.detected_format().expect("a format");
        assert_eq!(detected.format, Format::KernelText);
        let error = lines.next().expect("an error").expect_err("a broken line").to_string();
        let since = format!(" (the recording begins at line {}, as kernel text)", detected.line);
        assert_eq!(error.ends_with(&since), detected.line > 1, "{error}");
    }
    // Windows.
    let utf16: Vec<u8> = "\u{feff}a".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (_, bad, _) = read(of(&utf16));
    assert_eq!(bad.as_deref(), Some("line 1: UTF-16: convert the recording with `iconv -f UTF-16 -t UTF-8`"));
}

#[test]
fn input_without_kernel_text_is_not_an_empty_trace() {
    let (_, bad, _) = read(of(b"a=b\n").format(Format::KernelText));
    assert_eq!(bad.as_deref(), Some("no line is kernel trace text"));
    let (_, bad, _) = read(of(b"# tracer: nop\n").format(Format::KernelText));
    assert_eq!(bad, None);
}

/// A regular expression for texts that imitate columns.
const PARTS_OF_A_HEAD: &str =
    r"((1|77|7/7|\[1\]|1\.000000|:|a:|-1|x-1|\.s2|tcp:|tcp_retransmit_skb|#|\(|\)|\(\+1\)) ?){0,12}";

proptest! {
    #[test]
    fn damaged_kernel_text_does_not_panic(at in 0..400usize, byte: char) {
        let mut text = SYMBOLS.to_owned();
        if let Some((at, _)) = text.char_indices().nth(at) {
            text.insert(at, byte);
            let _ = found(&text);
            let _ = found(&text[..at]);
        }
    }

    /// Any task name, and any path of a program, in any layout.
    #[test]
    fn no_task_name_and_no_path_changes_what_is_found(
        name in prop_oneof!["[ -~]{0,15}", PARTS_OF_A_HEAD],
        path in prop_oneof!["[ -~]{0,80}", PARTS_OF_A_HEAD],
        head in 0..4usize,
        with_attempt: bool,
    ) {
        let text = SYMBOLS.split_once("skb: ").expect("a marker").1;
        let name = &name[..name.len().min(MAX_TASK)];
        let columns = match head {
            0 => format!("{name:>16}-77      [001] ..s2. 1234.567890: "),
            1 => format!("{name:>16}    77 [001]  1234.567890: "),
            2 => format!("{name:>16}    77/77     1234.567890:          1 "),
            _ => format!("{name:>16}-77     [001]  1234.567890: (+12)     "),
        };
        let system = if matches!(head, 1 | 2) { "tcp:" } else { "" };
        let exec = format!("{columns}sched_process_exec: filename={path}{}", if with_attempt { SYMBOLS } else { "" });
        prop_assert_eq!(found(&exec), (vec![], None), "{}", exec);
        let attempt = format!("{columns}{system}tcp_retransmit_skb: {text}");
        prop_assert_eq!(found(&attempt), (vec![Found::Attempt(Box::new(event(SYMBOLS)))], None), "{}", attempt);
    }
}
