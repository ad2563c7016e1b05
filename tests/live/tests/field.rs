// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every outcome that needs Linux's own settings, over every family: verifies the stream's events
//! against the expected ones, the kernel's trace and the counters.

use std::io::Write;

use retrans_lab::observe::{drain, open, undisturbed, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Conn, Context, Family, Outcome, Pair, Result, Router, ScenarioRun};
use retrans_sdk::{Event, RetransKind};

macro_rules! outcomes {
    ($($name:ident: $outcome:ident,)*) => {
        $(mod $name {
            use super::*;

            #[test]
            #[ignore = "live: needs root, run by make test"]
            fn v4() -> Result<()> {
                check(Outcome::$outcome, Family::V4)
            }

            #[test]
            #[ignore = "live: needs root, run by make test"]
            fn v6() -> Result<()> {
                check(Outcome::$outcome, Family::V6)
            }

            #[test]
            #[ignore = "live: needs root, run by make test"]
            fn mapped() -> Result<()> {
                check(Outcome::$outcome, Family::Mapped)
            }
        })*

        #[test]
        fn every_outcome_with_defaults_is_listed() {
            let all: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| outcome.needs_defaults()).collect();
            assert_eq!([$(Outcome::$outcome),*], all[..]);
            let names: Vec<_> = all.iter().map(Outcome::to_string).collect();
            assert_eq!([$(stringify!($name)),*].map(str::to_owned), names[..]);
        }
    };
}

outcomes! {
    mtu_cut_default: MtuCutDefault,
    slow_start_after_cut: SlowStartAfterCut,
    slow_start_from_cwr: SlowStartFromCwr,
    fastopen: Fastopen,
    fastopen_after_syn_timeout: FastopenAfterSynTimeout,
    zero_window_then_drain: ZeroWindowThenDrain,
    resume_still_queued: ResumeStillQueued,
    rto_by_icmp: RtoByIcmp,
    syn_by_icmp: SynByIcmp,
    mtu_probe_failed: MtuProbeFailed,
    mtu_in_syn_sent: MtuInSynSent,
    slow_start_of_mtu_cut: SlowStartOfMtuCut,
    resume_by_pacing: ResumeByPacing,
    reroute_fail: RerouteFail,
}

/// The kernel may make other attempts than those of the scenario if a timer expires too early or
/// too late, as on an emulated CPU. Then the scenario is repeated. A kind that contradicts the call
/// stack is never repeated.
fn check(outcome: Outcome, family: Family) -> Result<()> {
    const RUNS: u32 = 4;
    for left in (0..RUNS).rev() {
        let runs = ScenarioRun::undisturbed(&[(outcome, family).into()])?;
        for run in &runs {
            run.compared_stacks()?;
        }
        match runs.iter().try_for_each(ScenarioRun::verify) {
            Err(error) if left > 0 => eprintln!("repeated, since it had other attempts: {error}"),
            verified => return verified,
        }
    }
    unreachable!("the last run is the last")
}

/// The pending timer of an attempt that an ICMP error causes: the retransmission timer.
const RETRANS_PENDING: Option<u8> = Some(1);

/// A router reports after three seconds that it cannot reach the server. It reports each packet, so
/// the backoff ends. Over IPv4 the kernel then retransmits at once (RFC 6069). Over IPv6 the report
/// is "address unreachable", which does not end the backoff.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_dead_host_behind_a_router_causes_timeouts_only() -> Result<()> {
    for family in Family::ALL {
        let (events, _) = undisturbed(|_| lose_host(family))?;
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds[0], RetransKind::Tlp, "{family:?}:\n{lines}");
        assert!(kinds[1..].iter().all(|kind| *kind == RetransKind::Rto), "{family:?}:\n{lines}");
        let by_icmp = events.iter().any(|event| event.pending == RETRANS_PENDING);
        assert_eq!(by_icmp, family.is_ipv4_on_the_wire(), "{family:?}:\n{lines}");
        // EHOSTUNREACH.
        assert_eq!(events.last().and_then(|event| event.sk_err_soft), Some(113), "{family:?}:\n{lines}");
    }
    Ok(())
}

/// Returns the first attempts of a connection to a host that is switched off.
fn lose_host(family: Family) -> Result<Vec<Event>> {
    let pair = Pair::new()?;
    let router = Router::between(&pair, 1500)?;
    pair.client().sysctl("net/ipv4/tcp_early_retrans", "3")?;
    let conn = Conn::open(&pair, family)?;
    router.switch_server_off(&pair)?;
    let mut stream = open()?;
    drain(&mut stream)?;
    conn.client().write_all(&[b'x'; 100]).context("cannot send")?;
    let port = conn.client_end().local.port();
    let its = |event: &&Event| event.sport == port && event.netns == Some(pair.client().inode());
    let events = until(&mut stream, PATIENCE, |events| events.iter().filter(its).count() >= 6)?;
    Ok(events.into_iter().filter(|event| its(&event)).collect())
}
