// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab leaves nothing on the host, neither after a drop nor after a panic in a test. The tests
//! of `demo` show the same for Ctrl-C and SIGKILL.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use retrans_lab::{
    Discard, Family, NetnsWatch, Outcome, Pair, Result, RouteFault, Scenario, TraceInstance, WindowFault, command,
};

/// Everything that could be left: namespaces with links, rules, qdiscs, a TUN device and sockets
/// with data to send; and a trace instance.
fn build(watches: &mut Vec<NetnsWatch>) -> Result<(TraceInstance, Vec<Scenario>)> {
    let outcomes = [
        Outcome::Rto,
        Outcome::SynackFastopen,
        Outcome::RouteFail(RouteFault::Prohibit),
        Outcome::RcvZeroWindow(WindowFault::Peer),
        Outcome::XmitDrop(Discard::Qdisc),
    ];
    let mut scenarios = Vec::new();
    for outcome in outcomes {
        let pair = Pair::new()?;
        watches.push(NetnsWatch::new(pair.client())?);
        watches.push(NetnsWatch::new(pair.server())?);
        scenarios.push(Scenario::run(&pair, Family::V4, outcome)?);
    }
    Ok((TraceInstance::new()?, scenarios))
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn nothing_is_left_after_drop() -> Result<()> {
    let mut watches = Vec::new();
    let (trace, scenarios) = build(&mut watches)?;
    assert_eq!(watches.len(), 10);
    let directory = trace.directory().to_owned();
    assert!(directory.exists());
    drop((trace, scenarios));
    assert!(!directory.exists());
    watches.iter().try_for_each(NetnsWatch::wait_until_gone)
}

/// The lab only changes its own namespaces.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_host_is_not_changed() -> Result<()> {
    // Without values that change by themselves: lifetimes, and counters of rules.
    const LOOK: &str = "ip -o link; ip -o addr | sed 's/ *valid_lft.*//'; ip rule; ip -6 rule; \
        ip route show table all | sed 's/ expires [0-9]*sec//'; ip -6 route show table all | sed 's/ expires [0-9]*sec//'; \
        nft -s list ruleset; tc qdisc; \
        grep -s . /proc/sys/net/ipv4/tcp_* /proc/sys/net/ipv6/conf/all/* /proc/sys/net/ipv6/conf/default/* || true";
    let look = || {
        let mut command = Command::new("sh");
        command.args(["-c", LOOK]);
        command::run(command)
    };
    let before = look()?;
    assert!(before.contains(" lo") && before.contains("tcp_early_retrans"), "{before}");
    let (trace, scenarios) = build(&mut Vec::new())?;
    assert_eq!(look()?, before, "while the lab exists");
    drop((trace, scenarios));
    assert_eq!(look()?, before, "after the lab is gone");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn nothing_is_left_after_a_panic() -> Result<()> {
    let mut watches = Vec::new();
    let mut directory = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let (trace, _scenarios) = build(&mut watches).expect("a lab");
        directory = Some(trace.directory().to_owned());
        panic!("as a test that fails");
    }));
    assert!(panicked.is_err());
    assert_eq!(watches.len(), 10);
    assert!(!directory.expect("a trace instance").exists());
    watches.iter().try_for_each(NetnsWatch::wait_until_gone)
}

/// Verifies that a watch does not report an existing namespace as gone.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_held_namespace_is_not_reported_as_gone() -> Result<()> {
    let pair = Pair::new()?;
    let watch = NetnsWatch::new(pair.client())?;
    let client = pair.client().clone();
    drop(pair);
    assert!(watch.exists()?);
    drop(client);
    watch.wait_until_gone()
}
