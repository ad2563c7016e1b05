// SPDX-License-Identifier: MIT OR Apache-2.0
//! `explain` explains one attempt: a line, or the last failed one of a recording.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.kv");

const DENIED: &str = "ts=1796009605.432848976 result=denied err=-1 kind=rto family=inet saddr=10.12.70.1 sport=52387 \
                      daddr=10.12.70.2 dport=33661 state=established segs=1 class=drop transmit=yes mark=7 \
                      snd_una=3919272897 snd_nxt=3919272997 snd_wnd=65160 snd_cwnd=1 rto_us=204000 ca_state=loss \
                      retransmits=1 ca_name=reno sk_err_soft=111";
const SUCCESS: &str = "ts=1796009606.000000000 result=success err=0 kind=fast family=inet6 saddr=fd00::1 sport=1 \
                       daddr=fd00::2 dport=2 state=established segs=2 class=ok";

fn explain(arguments: &[&str], input: &str) -> Output {
    run(&[&["explain"], arguments].concat(), input)
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_retrans"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("retrans is built");
    // It does not read a line from stdin that is an argument.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("a child")
}

fn printed(output: &Output) -> &str {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    str::from_utf8(&output.stdout).expect("text")
}

fn refused(output: &Output, status: i32) -> String {
    assert!(output.status.code() == Some(status) && output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_line_is_explained() {
    let quoted = explain(&[DENIED], "");
    assert_snapshot!("denied", printed(&quoted));
    let pasted: Vec<_> = DENIED.split(' ').collect();
    assert_eq!(printed(&explain(&pasted, "")), printed(&quoted));
    assert_eq!(printed(&explain(&["-"], &format!("{DENIED}\n"))), printed(&quoted));
    let json = run(&["replay", "-", "--format", "json"], &format!("{DENIED}\n"));
    assert_eq!(printed(&explain(&[printed(&json).trim_end()], "")), printed(&quoted));
    let unknown = explain(&[&DENIED.replace("denied", "k17").replace("class=drop", "class=other")], "");
    assert!(printed(&unknown).contains("This version has no page about this number"), "{unknown:?}");
}

#[test]
fn the_dropper_is_named_with_its_command() {
    let explained = |more: &str| {
        let text = printed(&explain(&[&format!("{DENIED} {more}")], "")).to_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = explained("drop_reason=NETFILTER_DROP drop_at=nft_do_chain+0x46f oif=2 dev=eth0");
    for part in ["drop_reason=NETFILTER_DROP", "nft list ruleset", "nft_do_chain", "The device of the route: eth0."] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = explained("drop_reason=QDISC_DROP drop_dev=eth0 oif=2 dev=eth1");
    assert!(text.contains("tc -s qdisc show dev eth0"), "{text}");
    // A name that a shell would interpret is not in a command.
    let text = explained("drop_reason=QDISC_DROP drop_dev=a;b");
    assert!(text.contains("tc -s qdisc show dev DEV") && !text.contains("dev a;b"), "{text}");
    // A reason of another kernel, and none.
    assert!(explained("drop_reason=k129").contains("A reason without a name"));
    assert!(!explained("oif=2 dev=eth0").contains("dropped the packet"));
}

#[test]
fn the_last_failed_attempt_of_a_recording_is_explained() {
    let both = format!("{DENIED}\n{SUCCESS}\n");
    let output = explain(&["-"], &both);
    let text = printed(&output);
    assert!(text.starts_with("denied (class=drop)\n"), "{text}");
    assert!(text.contains("\nThe last failed one of 2 attempts, 1 of which failed.\n"), "{text}");
    let output = explain(&["-", "result=success"], &both);
    let text = printed(&output);
    assert!(
        text.starts_with("success (class=ok)\n") && text.contains("ss -tie dst \"[fd00::2]\" dport = 2\n"),
        "{text}"
    );
    for entry in retrans_sdk::RetransResult::ALL {
        let output = explain(&[RECORDING, &format!("result={}", entry.value)], "");
        if output.status.success() {
            assert!(printed(&output).starts_with(&format!("{} (class=", entry.value)), "{output:?}");
        } else {
            assert_eq!(refused(&output, 1), "retrans: no attempt to explain\n", "{}", entry.value);
        }
    }
}

#[test]
fn text_of_tracefs_is_explained() {
    let text = "swapper/0-0 [001] ..s2. 17783.867820: tcp_retransmit_skb: skbaddr=0000000000000001 \
                skaddr=0000000000000002 family=AF_INET sport=4000 dport=443 saddr=10.0.0.1 daddr=10.0.0.2 \
                saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_ESTABLISHED err=-11\n";
    let output = explain(&["-"], text);
    let text = printed(&output);
    assert!(text.starts_with("err_default (class=other)\n17783.867 s of an unknown clock  "), "{text}");
    assert!(!text.contains("transmit=unknown"), "{text}");
}

#[test]
fn what_cannot_be_explained_is_an_error() {
    assert_eq!(refused(&explain(&["-"], ""), 1), "retrans: no attempt to explain\n");
    let broken = refused(&explain(&[&DENIED.replace("sport=52387", "sport=x")], ""), 1);
    assert!(broken.starts_with("retrans: line 1: ") && broken.contains("sport"), "{broken}");
    assert!(refused(&explain(&["-"], "no recording\n"), 1).starts_with("retrans: stdin: "));
    assert!(refused(&explain(&["/nonexistent"], ""), 2).contains("/nonexistent"));
    assert!(refused(&explain(&["-", "cookie=mine"], DENIED), 2).contains("live stream"));
    assert!(refused(&explain(&["-", "dport"], DENIED), 2).contains("dport"));
}
