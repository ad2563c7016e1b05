// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line, the output and the end of `watch`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::running::{finish, ready, reference, sockets, traffic, wait_until, watch};
use retrans_lab::program::Program;
use retrans_lab::{Outcome, Refusal};
use retrans_sdk::Event;
use retrans_sdk::event::keys;
use rustix::process::Signal;

#[test]
fn errors_on_the_command_line_return_status_2() {
    for (arguments, says) in [
        (&["dport=443", "stat=close"][..], "filter, column 11: no key `stat`; did you mean `state`?"),
        (&["--or", "dport=443"], "column 1: `--or` requires a term"),
        (&["--format", "xml"], "invalid value 'xml' for '--format <FORMAT>'"),
        (&["--count", "many"], "many"),
        (&["--for", "-1"], "'--for <SECONDS>': expected a time that is not negative"),
        (&["--attach-method", "fexti"], "a similar value exists: 'fexit'"),
        (&["--cuont", "3"], "a similar argument exists: '--count'"),
        (&["--unheard-of"], "--unheard-of"),
        (&["--owners", "dport=443", "pid=1"], "`pid=1` cannot be evaluated in the kernel"),
    ] {
        let output = watch().args(arguments).output().expect("watch is built");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            (stderr.starts_with("retrans: ") || stderr.starts_with("error: ")) && stderr.contains(says),
            "{arguments:?}: {stderr}"
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_names_every_key() {
    let output = watch().arg("--help").output().expect("watch is built");
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(keys().all(|key| help.contains(key)), "{help}");
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_missing_privilege_is_named() {
    for (capabilities, missing) in
        [("-all", "CAP_BPF and CAP_PERFMON"), ("-all,+bpf", "CAP_PERFMON"), ("-all,+perfmon", "CAP_BPF")]
    {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
            .args([format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}")])
            .args([env!("CARGO_BIN_EXE_retrans"), "watch"])
            .output()
            .expect("setpriv of util-linux");
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(&format!("missing {missing}: ")) && stderr.contains("setcap cap_bpf,cap_perfmon"),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_two_capabilities_are_enough() {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps=-all,+bpf,+perfmon", "--ambient-caps=-all,+bpf,+perfmon"]);
    command.args([env!("CARGO_BIN_EXE_retrans"), "watch", "--for", "0.1"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Program::start(&mut command).end();
    assert!(ended.status.success(), "{:?}", ended.stderr);
    ended.stats();
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn each_signal_ends_it_with_its_counters() {
    for signal in [Signal::INT, Signal::TERM] {
        let watch = ready(&[]);
        watch.signal(signal);
        let ended = watch.end();
        assert!(ended.status.success(), "{signal:?}: {:?}", ended.stderr);
        let stats = ended.stats();
        for key in ["seen", "filtered", "limited", "lost", "submitted", "rejected", "dropped", "delivered"] {
            assert!(stats.contains_key(key), "{key}");
        }
        assert!(ended.stderr.iter().any(|line| line.contains(" missed=")), "{:?}", ended.stderr);
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn watch_ends_after_the_given_time() {
    let start = Instant::now();
    let ended = ready(&["--for", "0.5"]).end();
    assert!(ended.status.success());
    assert!((Duration::from_millis(500)..Duration::from_secs(30)).contains(&start.elapsed()));
    ended.stats();
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_closed_stdout_ends_it_quietly() {
    // Without an event, so that no write fails.
    let mut child = watch().arg("sport=0").spawn().expect("watch is built");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
    assert!(stderr.next().expect("a line").expect("text").starts_with("ready "));
    drop(child.stdout.take());
    let status = child.wait().expect("a child");
    assert!(status.success(), "{status}");
    assert_eq!(stderr.count(), 0, "quietly");

    // With an event: the reader exits after it.
    let mut child = watch().spawn().expect("watch is built");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
    assert!(stderr.next().expect("a line").expect("text").starts_with("ready "));
    let traffic = traffic(&[Outcome::Rto]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    // Each event is flushed: the line arrives while `watch` continues.
    stdout.read_line(&mut line).expect("an event");
    drop(stdout);
    let status = child.wait().expect("a child");
    finish(traffic);
    assert!(status.success(), "{status}");
    assert_eq!(stderr.count(), 0, "quietly");
    assert!(line.trim_end().parse::<Event>().is_ok(), "{line}");
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn json_has_the_keys_and_values_of_the_line() {
    let (kv, json) = (ready(&["state=established"]), ready(&["state=established", "--format", "json"]));
    let mut reference = reference();
    let traffic = traffic(&[Outcome::Rto, Outcome::Denied(Refusal::Drop)]);
    let port = traffic[0].1.subject().local.port();
    wait_until(&mut reference, &sockets(&traffic), |events| events.iter().any(|event| event.sport == port));
    finish(traffic);
    let kv = kv.interrupt().stdout;
    let json = json.interrupt().stdout;

    let lines: Vec<Vec<(&str, &str)>> = kv
        .lines()
        .map(|line| line.split(' ').map(|pair| pair.split_once('=').expect("key=val")).collect())
        .filter(|pairs: &Vec<_>| pairs.contains(&("sport", port.to_string().as_str())))
        .collect();
    let objects: Vec<serde_json::Map<String, serde_json::Value>> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .filter(|object: &serde_json::Map<_, _>| object["sport"] == port)
        .collect();
    assert!(!lines.is_empty());
    assert_eq!(lines.len(), objects.len());
    for (pairs, object) in lines.iter().zip(&objects) {
        assert_eq!(pairs.len(), object.len());
        for (key, value) in pairs.iter().filter(|(key, _)| *key != "ts") {
            let theirs = match &object[*key] {
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            assert_eq!(theirs, *value, "{key}");
        }
        for id in ["ts", "cookie"] {
            assert!(object[id].is_string(), "{id}: 64 bits do not fit a JSON number");
        }
        // Absent before Linux 5.12, and of the root on a host with cgroup v1.
        for id in ["netns_cookie", "cgroup"] {
            assert!(object.get(id).is_none_or(serde_json::Value::is_string), "{object:?}");
        }
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn only_the_fields_that_are_asked_for_are_printed() {
    let few = ready(&["kind=rto", "--fields", "netns,snd_cwnd"]);
    let none = ready(&["kind=rto", "--fields", ""]);
    let mut reference = reference();
    let traffic = traffic(&[Outcome::Rto]);
    wait_until(&mut reference, &sockets(&traffic), |events| !events.is_empty());
    finish(traffic);
    let core = "ts result err kind family saddr sport daddr dport state segs class";
    for (watch, behind) in [(few, "transmit netns snd_cwnd"), (none, "transmit")] {
        let events = watch.interrupt().stdout;
        assert!(!events.is_empty());
        for line in events.lines() {
            let keys: Vec<_> = line.split(' ').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
            let keys: Vec<_> = keys.into_iter().filter(|key| *key != "mapped").collect();
            assert_eq!(keys.join(" "), format!("{core} {behind}"), "{line}");
            assert!(line.parse::<Event>().is_ok(), "{line}");
        }
    }
    let refused = watch().args(["--fields", "netns,ts"]).output().expect("watch is built");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(said.contains("'--fields <KEY,...>': `ts` is not an optional field; the optional fields are "), "{said}");
}
