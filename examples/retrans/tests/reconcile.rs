// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `reconcile` as a user does.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use retrans_lab::observe::undisturbed;
use retrans_lab::seg6::Seg6;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Conn, Context, Counters, Error, Family, Hold, Outcome, Packets, Pair, Refusal, Result, Scenario};
use rustix::process::{Pid, Signal, kill_process};

fn reconcile(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
    command.arg("reconcile").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running `reconcile`. Killed on drop.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// The line that reports the attachment.
    ready: String,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.spawn().context("cannot start reconcile")?;
        let mut stderr = BufReader::new(child.stderr.take().ok_or_else(|| Error::new("no stderr"))?);
        let mut ready = String::new();
        stderr.read_line(&mut ready).context("cannot read the stderr of reconcile")?;
        let running = Self { child, stderr, ready };
        if running.ready.starts_with("ready source=") { Ok(running) } else { Err(Error::new(running.ready.clone())) }
    }

    /// Interrupts it as Ctrl-C does, and returns its exit status and its last twelve lines.
    fn interrupt(mut self) -> Result<(Option<i32>, Vec<String>)> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("cannot interrupt reconcile")?;
        let (mut printed, mut errors) = (String::new(), String::new());
        let mut stdout = self.child.stdout.take().ok_or_else(|| Error::new("no stdout"))?;
        stdout.read_to_string(&mut printed).context("cannot read the stdout of reconcile")?;
        self.stderr.read_to_string(&mut errors).context("cannot read the stderr of reconcile")?;
        assert_eq!(errors, "");
        let status = self.child.wait().context("cannot wait for reconcile")?;
        println!("{printed}");
        let last: Vec<_> = printed.lines().rev().take(12).map(str::to_owned).collect();
        Ok((status.code(), last.into_iter().rev().collect()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_attempts_of_another_namespace_are_accounted_for() -> Result<()> {
    undisturbed(|_| {
        let pair = Pair::new()?;
        let ns = pair.client();
        // A process in the namespace, for `--pid`.
        let other = ns.run(|| Command::new("cat").stdin(Stdio::piped()).spawn()).context("cannot start a process")?;
        let pid = other.id().to_string();
        let other = Ended(other);
        let running = Running::start(&mut reconcile(&["--every", "0.5", "--pid", &pid]))?;
        let before = Counters::read(ns)?;
        for outcome in [Outcome::Denied(Refusal::Drop), Outcome::Syn, Outcome::InHostQueue(Hold::Qdisc)] {
            let start = Counters::read(ns)?;
            let mut scenario = Scenario::prepare(&pair, Family::V4, outcome)?;
            // With loss probes, some of which the kernel abandons before they become an attempt.
            ns.sysctl("net/ipv4/tcp_early_retrans", "3")?;
            scenario.start()?;
            let rose = |now: Counters| now.retrans_fail + now.syn_retrans + now.spurious_rtx_host_queues / 3;
            wait_for("attempts", PATIENCE, || Ok((rose(Counters::read(ns)? - start) > 0).then_some(())))?;
            scenario.finish()?;
        }
        let counted = Counters::read(ns)? - before;
        let (status, lines) = running.interrupt()?;
        drop(other);

        assert_eq!(status, Some(0), "{lines:?}");
        assert!(lines[0].starts_with(&format!("netns={} seconds=", ns.inode())), "{lines:?}");
        let equal = [
            ("RetransSegs", counted.retrans_segs),
            ("TCPRetransFail", counted.retrans_fail),
            ("TCPSynRetrans", counted.syn_retrans),
        ];
        for (line, (counter, rose)) in lines[1..].iter().zip(equal) {
            assert_eq!(*line, format!("counter={counter} kernel={rose} seen={rose} difference=0"));
            assert!(rose > 0, "{line}");
        }
        let probes = lines[4].rsplit_once(" untraced_probes=").ok_or_else(|| Error::new("the probes are not named"))?;
        let given_up: u64 = probes.1.parse().context("not a number")?;
        let (kernel, seen) = (counted.spurious_rtx_host_queues, counted.spurious_rtx_host_queues - given_up);
        assert_eq!(probes.0, format!("counter=TCPSpuriousRtxHostQueues kernel={kernel} seen={seen}"));
        assert!(given_up > 0 && seen > 0, "{}", lines[4]);
        let equal = [("TCPFastRetrans", counted.fast_retrans), ("TCPSlowStartRetrans", counted.slow_start_retrans)];
        for (line, (counter, rose)) in lines[5..].iter().zip(equal) {
            assert_eq!(*line, format!("counter={counter} kernel={rose} seen={rose} difference=0"));
        }
        let at_least = [("TCPLossProbes", counted.loss_probes), ("TCPTimeouts", counted.timeouts)];
        for (line, (counter, rose)) in lines[7..].iter().zip(at_least) {
            assert!(line.starts_with(&format!("counter={counter} kernel={rose} seen=")), "{line}");
            assert!(line.contains(" excess="), "{line}");
        }
        assert!(counted.timeouts > 0, "{counted:?}");
        assert_eq!(lines[9], "transmit=unknown attempts=0 segs=0");
        assert_eq!(lines[10], "result=success kind=unknown attempts=0 segs=0");
        assert!(
            lines[11].starts_with("exact=yes consistent=yes settled=yes failures=observed missed="),
            "{}",
            lines[11]
        );
        Ok(())
    })?;
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn unknown_attempts_are_printed_and_change_the_status() -> Result<()> {
    undisturbed(|_| {
        let pair = Pair::new()?;
        let fault = Seg6::unreachable(&pair)?;
        let conn = Conn::open(&pair, Family::V6)?;
        let running = pair.client().run(|| Running::start(&mut reconcile(&["--every", "60"])))?;
        // Programs that see the entry of an attempt know whether it was transmitted.
        let sees_entries = ["=fexit", "=kretprobe"].iter().any(|attached| running.ready.trim_end().contains(attached));
        let before = Counters::read(pair.client())?;
        let lost = Packets::input().drop_in(pair.server())?;
        conn.client().write_all(b"sent, and lost").context("cannot send")?;
        fault.take(&conn)?;
        let failed = || Counters::read(pair.client()).map(|now| (now - before).retrans_fail);
        wait_for("attempts", PATIENCE, || Ok((failed()? >= 2).then_some(())))?;
        conn.abort();
        lost.lift()?;
        let attempts = failed()?;
        let (status, lines) = running.interrupt()?;

        let (seen, unknown) = if sees_entries { (attempts, 0) } else { (0, attempts) };
        for (line, counter) in lines[1..].iter().zip(["RetransSegs", "TCPRetransFail"]) {
            assert_eq!(*line, format!("counter={counter} kernel={attempts} seen={seen} difference={unknown}"));
        }
        assert_eq!(lines[9], format!("transmit=unknown attempts={unknown} segs={unknown}"));
        let (exit, exact) = if sees_entries { (0, "exact=yes ") } else { (1, "exact=no ") };
        assert_eq!((status, lines[11].starts_with(exact)), (Some(exit), true), "{lines:?}");
        Ok(())
    })?;
    Ok(())
}

/// A process that is killed on drop.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn errors_at_the_start_return_status_2() {
    let run = |arguments: &[&str]| -> Output { reconcile(arguments).output().expect("reconcile is built") };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let help = run(&["--help"]);
    assert_eq!((help.status.code(), text(&help.stderr)), (Some(0), String::new()));
    assert!(text(&help.stdout).contains("Usage: retrans reconcile [OPTIONS]\n"));
    let wrongs: [(&[&str], &str); 4] = [
        (&["--pid", "4294967295"], "cannot stat /proc/4294967295/ns/net"),
        (&["--pid", "-1"], "-1 is not in"),
        (&["--every", "-1"], "not negative"),
        (&["--never"], "--never"),
    ];
    for (arguments, why) in wrongs {
        let refused = run(arguments);
        let said = text(&refused.stderr);
        assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(2), String::new()), "{arguments:?}: {said}");
        assert!(
            (said.starts_with("retrans: ") || said.starts_with("error: ")) && said.contains(why),
            "{arguments:?}: {said}"
        );
    }
}
