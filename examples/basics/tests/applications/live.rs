// SPDX-License-Identifier: MIT OR Apache-2.0
//! Live tests of the applications, with attempts that the lab causes.

use std::fs;
use std::io::Read as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::cgroup::Cgroup;
use retrans_lab::observe::{concerns, until};
use retrans_lab::program::{Ended, Program};
use retrans_lab::tun::Crowd;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Error, Family, Outcome, Pair, Refusal, Result, Scenario, privilege};
use retrans_sdk::{ErrorKind, Event, Filter, Stream};

const DENIED: Outcome = Outcome::Denied(Refusal::Drop);

/// Held by the test that runs: a process is in one cgroup with all its threads.
static TURN: Mutex<()> = Mutex::new(());

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_sidecar_sees_its_own_cgroup_and_no_other() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let (pair, cgroup) = (Pair::new()?, Cgroup::new()?);
    let refused = cgroup.run(Filter::current_cgroup)?.err();
    if let Some(why) = refused.filter(|error| error.kind() == ErrorKind::Cgroup) {
        // A host with cgroup v1, such as a container of this test: the sidecar must not see others.
        let output = Command::new(env!("CARGO_BIN_EXE_sidecar")).output().expect("it is built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
        assert!(said.contains("Filter::current_netns()") && why.to_string().contains("cgroup v1"), "{said}{why}");
        return Ok(());
    }
    let mut stream = Stream::builder().open().map_err(|error| Error::new(error.to_string()))?;
    let outside = Scenario::run(&pair, Family::V4, DENIED)?;
    let (sidecar, inside) = cgroup.run(|| {
        let sidecar = Program::ready(&mut Command::new(env!("CARGO_BIN_EXE_sidecar")));
        Scenario::run(&pair, Family::V6, DENIED).map(|inside| (sidecar, inside))
    })??;
    let [outside_of, inside_of] = [&outside, &inside].map(Scenario::subject);
    let seen = until(&mut stream, PATIENCE, |seen| {
        let count = |of| seen.iter().filter(|event| concerns(of, event)).count();
        count(&outside_of) >= 2 && count(&inside_of) >= 2
    })?;
    thread::sleep(Duration::from_millis(500));
    let Ended { status, stdout, stderr } = sidecar.interrupt();
    outside.finish()?;
    inside.finish()?;
    assert!(status.success(), "{stderr:?}");
    let printed: Vec<Event> = stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert!(printed.iter().all(|event| concerns(&inside_of, event)), "{stdout}");
    // Before Linux 5.15 the cgroup of a socket is not available.
    let is_known = seen.iter().any(|event| event.cgroup == Some(cgroup.id()));
    assert_eq!(printed.len() >= 2, is_known, "{stdout}{stderr:?}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_agent_counts_on_without_any_privilege() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let pair = Pair::new()?;
    let filter = format!("netns={}", pair.client().inode());
    let agent = Program::ready(Command::new(env!("CARGO_BIN_EXE_agent")).args(["--every", "1", &filter]));
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it runs");
    let values = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(values("Uid:"), ["65534"; 4]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(values(set), ["0000000000000000"], "{status}");
    }
    assert_eq!(values("NoNewPrivs:"), ["1"]);

    let scenario = Scenario::run(&pair, Family::V4, DENIED)?;
    let mut stream = Stream::builder().open().map_err(|error| Error::new(error.to_string()))?;
    let subject = scenario.subject();
    let seen = until(&mut stream, PATIENCE, |seen| seen.iter().filter(|event| concerns(&subject, event)).count() >= 2)?;
    thread::sleep(Duration::from_millis(500));
    let ended = agent.interrupt();
    scenario.finish()?;
    assert!(ended.status.success(), "{:?}", ended.stderr);
    let counted: u64 = ended
        .stdout
        .lines()
        .map(|line| {
            let (service, rest) = line.split_once(" result=denied class=drop attempts=").expect("a line of denied");
            let cgroup = seen.iter().find(|event| concerns(&subject, event)).and_then(|event| event.cgroup);
            assert_eq!(service != "service=-", cgroup.is_some(), "{line}");
            rest.parse::<u64>().expect("a number")
        })
        .sum();
    assert!(counted >= 2 && ended.stats()["delivered"] == counted, "{ended:?}");
    Ok(())
}

/// Attempts that never stop do not keep a stopped agent from ending, and it has counted each
/// attempt that was submitted until then.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_agent_ends_under_a_flood() -> Result<()> {
    const END_WITHIN: Duration = Duration::from_secs(15);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let pair = Pair::new()?;
    let mut crowd = Crowd::open(&pair, 16)?;
    let filter = format!("netns={}", pair.client().inode());
    let agent = Program::ready(Command::new(env!("CARGO_BIN_EXE_agent")).args(["--every", "1", &filter]));
    let (done, began) = (AtomicBool::new(false), Instant::now());
    let (ended, took, made) = thread::scope(|scope| {
        // The time limit ends the flood if the agent does not end.
        let flood = scope.spawn(|| crowd.attempts(None, || done.load(Ordering::Acquire) || began.elapsed() > PATIENCE));
        thread::sleep(Duration::from_secs(2));
        let interrupted = Instant::now();
        let ended = agent.interrupt();
        let took = interrupted.elapsed();
        done.store(true, Ordering::Release);
        let made = flood.join().map_err(|_| Error::new("the flood panicked"))?;
        Ok::<_, Error>((ended, took, made))
    })?;
    made?;
    assert!(ended.status.success(), "{:?}", ended.stderr);
    assert!(took < END_WITHIN, "the agent ended {took:?} after the signal");
    let stats = ended.stats();
    // Far fewer than an idle machine makes, so that the test also passes on a busy one.
    assert!(stats["submitted"] > 1_000 && stats["delivered"] == stats["submitted"], "{stats:?}");
    let last = |line: &str| line.rsplit_once(" attempts=").and_then(|(_, count)| count.parse::<u64>().ok());
    let counted: u64 = ended.stdout.lines().filter_map(last).sum();
    assert_eq!(counted, stats["delivered"], "{}", ended.stdout);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_shipper_and_the_alert_read_a_live_stream() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let pair = Pair::new()?;
    let filter = format!("netns={} result=denied", pair.client().inode());
    let terms: Vec<_> = filter.split(' ').collect();
    let collector = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = collector.local_addr().expect("a port").to_string();
    let ship = Program::ready(Command::new(env!("CARGO_BIN_EXE_ship")).arg(&address).args(&terms));
    let alert = Program::ready(Command::new(env!("CARGO_BIN_EXE_alert")).args(["--failures", "2"]).args(&terms));
    let scenario = Scenario::run(&pair, Family::V4, DENIED)?;
    let subject = scenario.subject();
    collector.set_nonblocking(true).expect("a socket");
    let mut text = String::new();
    wait_for("two lines", PATIENCE, || {
        if let Ok((mut connection, _)) = collector.accept() {
            connection.set_nonblocking(false).expect("a socket");
            connection.read_to_string(&mut text).expect("text");
        }
        Ok((text.lines().count() >= 2).then_some(()))
    })?;
    thread::sleep(Duration::from_millis(500));
    let (shipped, alerted) = (ship.interrupt(), alert.interrupt());
    scenario.finish()?;
    assert!(shipped.status.success() && alerted.status.success(), "{shipped:?}\n{alerted:?}");
    for line in text.lines() {
        let event: Event = line.parse().expect("an event");
        assert!(concerns(&subject, &event), "{event}");
    }
    let raised = format!("alert=raised daddr={} failures=2 result=denied", subject.remote.ip());
    assert_eq!(alerted.stdout.lines().filter(|line| line.ends_with(&raised)).count(), 1, "{}", alerted.stdout);
    Ok(())
}
