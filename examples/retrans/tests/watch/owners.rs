// SPDX-License-Identifier: MIT OR Apache-2.0
//! `watch --owners` reports the process and the cgroup in both formats, and
//! its output is a recording.

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::running::{finish, ready, sockets, traffic};
use retrans_lab::Outcome;
use retrans_lab::cgroup::Cgroup;
use retrans_sdk::event::{CgroupPaths, PercentEncoded};
use retrans_sdk::format::Line;
use serde_json::Value;

/// Returns the path of this process's cgroup as printed in a line; `None` without the cgroup
/// hierarchy.
fn own_cgroup() -> Option<String> {
    CgroupPaths::new().ok()?;
    let cgroups = fs::read("/proc/self/cgroup").expect("/proc");
    let own = cgroups.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    Some(PercentEncoded(own).to_string())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_process_and_its_cgroup_are_printed() {
    let lines = ready(&["--owners", "kind=syn"]);
    let json = ready(&["--owners", "--format", "json", "kind=syn"]);
    let plain = ready(&["kind=syn"]);
    // Not in the root, which is not known on a host with cgroup v1.
    let placed = Cgroup::new().expect("a cgroup");
    let (traffic, cgroup) = placed.run(|| (traffic(&[Outcome::Syn]), own_cgroup())).expect("this process can move");
    let sockets = sockets(&traffic);
    thread::sleep(Duration::from_millis(2500));
    finish(traffic);
    let (lines, json, plain) = (lines.interrupt(), json.interrupt(), plain.interrupt());
    let ready = lines.stderr.iter().find(|line| line.starts_with("ready ")).expect("it was");
    assert!(ready.contains(" owners="), "{ready}");
    assert!(!plain.stderr.iter().any(|line| line.contains("owners=")), "{:?}", plain.stderr);

    let mut seen = 0;
    for text in lines.stdout.lines() {
        let line: Line = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        let event = &line.event;
        if !sockets.contains(&((event.saddr, event.sport).into(), (event.daddr, event.dport).into())) {
            continue;
        }
        seen += 1;
        assert_eq!(event.pid, (!ready.ends_with("owners=-")).then_some(std::process::id()), "{text}");
        let path = line.unknown.iter().find(|(key, _)| key == "cgroup_path").map(|(_, path)| path);
        assert_eq!(path, event.cgroup.and(cgroup.as_ref()), "{text}");
    }
    assert!(seen >= sockets.len(), "{}", lines.stdout);
    assert!(plain.events().iter().all(|event| event.pid.is_none()));

    let mut objects = 0;
    for text in json.stdout.lines() {
        let object: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let address =
            |key: &str| object[key].as_str().and_then(|text| text.parse::<IpAddr>().ok()).expect("an address");
        let port = |key: &str| object[key].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        let ends = ((address("saddr"), port("sport")).into(), (address("daddr"), port("dport")).into());
        if sockets.contains(&ends) {
            objects += 1;
            assert_eq!(object["pid"].as_u64(), (!ready.ends_with("owners=-")).then_some(std::process::id().into()));
            let known = object.get("cgroup").and(cgroup.as_deref());
            assert_eq!(object.get("cgroup_path").and_then(Value::as_str), known, "{text}");
        }
    }
    assert!(objects >= sockets.len(), "{}", json.stdout);

    // The output replays unchanged. A recording can be filtered by keys that the kernel rejects.
    let replay = |terms: &[&str]| {
        let recording = std::env::temp_dir().join(format!("retrans-lines-{}", std::process::id()));
        fs::write(&recording, &lines.stdout).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
        let output = command
            .arg("replay")
            .arg(&recording)
            .args(terms)
            .stderr(Stdio::inherit())
            .output()
            .expect("replay is built");
        fs::remove_file(recording).expect("it is ours");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(replay(&[]), lines.stdout);
    assert_eq!(replay(&["pid=-"]).is_empty(), !ready.ends_with("owners=-"));
}
