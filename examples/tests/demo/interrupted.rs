// SPDX-License-Identifier: MIT OR Apache-2.0
//! A `demo` that is ended in the midst of it leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use retrans_tests::wait::{PATIENCE, wait_for};
use retrans_tests::{Tether, TraceInstance};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::demo;

#[test]
#[ignore = "live: needs root, run by make test"]
fn by_ctrl_c() {
    interrupt(Signal::INT);
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn by_a_kill() {
    interrupt(Signal::KILL);
}

fn interrupt(signal: Signal) {
    // Ours shows where instances are made.
    let ours = TraceInstance::new().expect("tracefs");
    let instances = ours.directory().parent().expect("a parent").to_owned();

    // A terminal's Ctrl-C is for the whole group.
    let mut demo = demo().process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("demo is built");
    let stderr = BufReader::new(demo.stderr.take().expect("piped"));
    let underway = stderr.lines().map_while(Result::ok).find(|line| line.ends_with("/24 outcomes seen"));
    assert!(underway.is_some(), "it ended early");
    // So that it does not end before it is interrupted.
    kill_process_group(Pid::from_child(&demo), Signal::STOP).expect("it runs");
    let traces = || traces_of(&instances, demo.id());
    assert_eq!(traces(), 1);
    let tethers = tie_to_namespaces_of(demo.id());
    assert!(tethers.len() >= 48, "{} namespaces", tethers.len());

    kill_process_group(Pid::from_child(&demo), signal).expect("it runs");
    kill_process_group(Pid::from_child(&demo), Signal::CONT).expect("it is not reaped yet");
    let status = demo.wait().expect("it ends");
    assert!(!status.success(), "it was not ended by us: {status}");
    for tether in tethers {
        tether.wait_until_cut().expect("a namespace is left");
    }
    wait_for("the end of the trace instance", PATIENCE, || Ok((traces_of(&instances, demo.id()) == 0).then_some(())))
        .expect("a trace instance is left");
    assert_eq!(
        fs::read_dir(format!("/proc/{}", demo.id())).map(|_| ()).map_err(|e| e.kind()),
        Err(std::io::ErrorKind::NotFound)
    );
}

/// Ties a link to every network namespace that the process holds open.
fn tie_to_namespaces_of(pid: u32) -> Vec<Tether> {
    let mut seen = BTreeSet::new();
    let mut tethers = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if target.to_string_lossy().starts_with("net:[") && seen.insert(target) {
            tethers.push(Tether::to(&entry.path().to_string_lossy()).expect("a namespace"));
        }
    }
    tethers
}

fn traces_of(instances: &Path, pid: u32) -> usize {
    let its = format!("retrans-{pid}-");
    fs::read_dir(instances)
        .expect("tracefs")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&its))
        .count()
}
