// SPDX-License-Identifier: MIT OR Apache-2.0
//! CAP_BPF and CAP_PERFMON suffice, for a user without any other privilege. With less, the error
//! names what is missing.

use std::thread;

use retrans_lab::observe::{concerns, reports_missed, undisturbed, until};
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Counters, Family, Outcome, Pair, Refusal, Result, Scenario, privilege};
use retrans_sdk::attach::{OwnerHooks, Support};
use retrans_sdk::event::OwnerSource;
use retrans_sdk::stats::Netns;
use retrans_sdk::stream::Live;
use retrans_sdk::{ErrorKind, Event, Stream};
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

const NOBODY: u32 = 65534;

/// Runs `work` as an unprivileged user on a thread of its own, with only these capabilities and no
/// way to gain more.
fn as_nobody<T: Send>(held: CapabilitySet, work: impl FnOnce() -> T + Send) -> Result<T> {
    privilege::check()?;
    thread::scope(|scope| {
        let nobody = scope.spawn(|| -> Result<T> {
            // All of these belong to the thread.
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            set_keep_capabilities(true).context("cannot keep the capabilities")?;
            set_thread_groups(&[]).context("cannot leave the groups")?;
            set_thread_res_gid(gid, gid, gid).context("cannot leave the group")?;
            set_thread_res_uid(uid, uid, uid).context("cannot become the unprivileged user")?;
            let sets = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
            set_capabilities(None, sets).context("cannot give up the other capabilities")?;
            assert_eq!(capabilities(None).context("cannot read the capabilities")?, sets);
            assert_eq!((geteuid(), getegid()), (uid, gid));
            Ok(work())
        });
        nobody.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn cap_bpf_and_cap_perfmon_suffice() -> Result<()> {
    let enough = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let mut stream = as_nobody(enough, || Stream::builder().open())?.context("cannot open a stream")?;
    let pair = Pair::new()?;
    let scenario = Scenario::run(&pair, Family::V4, Outcome::Denied(Refusal::Drop))?;
    let subject = scenario.subject();
    // Read as the unprivileged user too, now without any capability.
    let (events, stats) = as_nobody(CapabilitySet::empty(), || {
        let events = until(&mut stream, PATIENCE, |seen| seen.iter().any(|event| concerns(&subject, event)));
        (events, stream.stats())
    })?;
    let ours: Vec<Event> = events?.into_iter().filter(|event| concerns(&subject, event)).collect();
    assert!(ours.iter().all(|event| event.err == Some(-1) && event.cookie == subject.cookie), "{ours:?}");
    assert!(stats.seen >= 1 && stats.missed.is_some() == reports_missed()?, "{stats}");
    scenario.finish()
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn counters_are_readable_without_capabilities() -> Result<()> {
    let enough = CapabilitySet::BPF | CapabilitySet::PERFMON;
    undisturbed(|_| {
        let pair = Pair::new()?;
        let netns = pair.client().run(Netns::current).context("cannot open the namespace's counters")?;
        let open = || Stream::builder().reconcile(netns).open_counters();
        let counters = as_nobody(enough, open)?.context("cannot open the counters")?;
        let (reconciler, reader) = (counters.reconciler().expect("it was asked for"), counters.stats_reader());
        let scenario = Scenario::run(&pair, Family::V4, Outcome::Denied(Refusal::Drop))?;
        let counted = || Counters::read(pair.client()).map(|counted| counted.retrans_fail);
        wait_for("an attempt", PATIENCE, || Ok((counted()? > 0).then_some(())))?;
        scenario.finish()?;

        // From memory, also after everything is detached.
        let mapped = std::fs::read_to_string("/proc/self/maps").context("cannot read /proc/self/maps")?;
        assert!(mapped.lines().any(|line| line.ends_with("bpf-map")), "{mapped}");
        let none = CapabilitySet::empty();
        let reconciliation = as_nobody(none, || reconciler.reconcile(PATIENCE))?.context("cannot compare")?;
        drop(counters);
        let (again, stats) = as_nobody(none, || (reconciler.reconcile(PATIENCE), reader.read()))?;
        println!("{reconciliation}\n{stats}");
        assert!(reconciliation.is_exact(), "{reconciliation}");
        assert_eq!(reconciliation.retrans_fail.seen, counted()?);
        assert!(reconciliation.retrans_fail.seen > 0 && stats.seen > 0, "{reconciliation}\n{stats}");
        assert_eq!(again.context("cannot compare")?.retrans_fail, reconciliation.retrans_fail);
        Ok(())
    })?;
    Ok(())
}

/// The two capabilities suffice for owners as well. Owners are then found without any capability;
/// before Linux 5.19 only owners that were already recorded.
#[test]
#[ignore = "live: needs root, run by make test"]
fn cap_bpf_and_cap_perfmon_suffice_for_owners() -> Result<()> {
    let enough = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let opened = as_nobody(enough, || Stream::builder().resolve_owners().open())?;
    let mut stream = opened.context("cannot open a stream with owners")?;
    let hooks = stream.live().and_then(Live::owner_hooks).expect("they are asked for").clone();
    let pair = Pair::new()?;
    let scenario = Scenario::run(&pair, Family::V6, Outcome::SynackFastopen)?;
    let subject = scenario.subject();
    let is_ours = |event: &Event| concerns(&subject, event);
    let events = as_nobody(CapabilitySet::empty(), || until(&mut stream, PATIENCE, |seen| seen.iter().any(is_ours)))??;
    scenario.finish()?;
    let expected = match hooks {
        OwnerHooks { accept: Support::Available, .. } => Some(OwnerSource::Accept),
        OwnerHooks { scan: Support::Available, .. } => Some(OwnerSource::Holder),
        _ => None,
    };
    for event in events.iter().filter(|event| is_ours(event)) {
        assert_eq!((event.owner, event.pid), (expected, expected.map(|_| std::process::id())), "{hooks}: {event}");
    }
    Ok(())
}

fn refused(held: CapabilitySet, missing: &str) -> Result<()> {
    let error = as_nobody(held, || Stream::builder().open())?.expect_err("these capabilities do not suffice");
    assert_eq!(error.kind(), ErrorKind::MissingCapability, "{error}");
    // The error ends with how to grant them.
    assert!(error.to_string().starts_with(&format!("missing {missing}: ")), "{error}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn cap_bpf_alone_does_not_suffice() -> Result<()> {
    refused(CapabilitySet::BPF, "CAP_PERFMON")
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn cap_perfmon_alone_does_not_suffice() -> Result<()> {
    refused(CapabilitySet::PERFMON, "CAP_BPF")
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn no_capability_does_not_suffice() -> Result<()> {
    refused(CapabilitySet::empty(), "CAP_BPF and CAP_PERFMON")?;
    // Another capability does not replace it.
    refused(CapabilitySet::NET_ADMIN, "CAP_BPF and CAP_PERFMON")
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn cap_sys_admin_suffices() -> Result<()> {
    as_nobody(CapabilitySet::SYS_ADMIN, || Stream::builder().open().map(drop))?.context("cannot open a stream")
}
