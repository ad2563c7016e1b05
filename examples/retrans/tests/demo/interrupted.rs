// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interrupted `demo` leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{NetnsWatch, TraceInstance};
use rustix::process::{Pid, Signal, kill_process_group};

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

/// A process group. It is killed on drop, also if it is stopped.
struct Group(Child);

impl Group {
    fn signal(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.0), signal).expect("it is not reaped yet");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let group = Pid::from_child(&self.0);
            let _ = kill_process_group(group, Signal::KILL);
            let _ = kill_process_group(group, Signal::CONT);
            let _ = self.0.wait();
        }
    }
}

fn interrupt(signal: Signal) {
    // Its parent is the directory in which instances are created.
    let ours = TraceInstance::new().expect("tracefs");
    let instances = ours.directory().parent().expect("a parent").to_owned();

    // A terminal sends Ctrl-C to the whole group. A shell without job control ignores SIGINT in its
    // background processes, and this test may be one of them.
    let mut demo = Command::new("env");
    demo.args(["--default-signal=INT", env!("CARGO_BIN_EXE_retrans"), "demo"]).process_group(0);
    let demo = demo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("demo is built");
    let mut demo = Group(demo);
    let stderr = BufReader::new(demo.0.stderr.take().expect("piped"));
    // "N/M outcomes seen": M is the number of outcomes that this kernel can cause.
    let scenarios = stderr
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_suffix(" outcomes seen")?.rsplit_once('/')?.1.parse::<usize>().ok());
    let scenarios = scenarios.expect("it ended early");
    // Stopped, so that it does not end before it is interrupted.
    demo.signal(Signal::STOP);
    let pid = demo.0.id();
    assert_eq!(traces_of(&instances, pid), 1);
    let watches = tie_to_namespaces_of(pid);
    assert!(watches.len() >= 2 * scenarios, "{} namespaces for {scenarios} scenarios", watches.len());

    demo.signal(signal);
    demo.signal(Signal::CONT);
    let status = demo.0.wait().expect("it ends");
    assert_eq!(status.signal(), Some(signal.as_raw()), "it was not ended by us: {status}");
    for watch in watches {
        watch.wait_until_gone().expect("a namespace is left");
    }
    wait_for("the end of the trace instance", PATIENCE, || Ok((traces_of(&instances, pid) == 0).then_some(())))
        .expect("a trace instance is left");
}

/// Attaches a link to every network namespace that the process holds open.
fn tie_to_namespaces_of(pid: u32) -> Vec<NetnsWatch> {
    let mut seen = BTreeSet::new();
    let mut watches = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if target.to_string_lossy().starts_with("net:[") && seen.insert(target) {
            watches.push(NetnsWatch::of_path(&entry.path().to_string_lossy()).expect("a namespace"));
        }
    }
    watches
}

fn traces_of(instances: &Path, pid: u32) -> usize {
    let its = format!("retrans-{pid}-");
    fs::read_dir(instances)
        .expect("tracefs")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&its))
        .count()
}
