// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares sums of attempts with the kernel's own counters: no segment out of a million is
//! missing or has a wrong kind, and unproven attempts are reported.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use retrans_lab::filters::demanding;
use retrans_lab::observe::{attempts, filter, undisturbed, until};
use retrans_lab::seg6::Seg6;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{
    BulkTraffic, Conn, Context, Counters, Error, Family, Fault, Hold, Outcome, Packets, Pair, Refusal, Result,
    Scenario, TraceInstance, WindowFault, privilege,
};
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::Transmit;
use retrans_sdk::stats::{Count, Netns, Reconciler, Reconciliation};
use retrans_sdk::stream::Live;
use retrans_sdk::{ErrorKind, Event, RetransKind, RetransResult, Stats, Stream};

const SEGMENTS: u64 = 1_000_000;
/// Measured on two CPUs: 7 s, and 25 s if others use them as well. An emulated guest next to
/// another one sent 700,000 segments in 120 s.
const LIMIT: Duration = Duration::from_secs(240);

/// Segments of 76 bytes, of which one attempt covers up to 800.
const SMALL: u16 = 88;

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_million_segments_add_up() -> Result<()> {
    privilege::check()?;
    let pair = Pair::new()?;
    let mut trace = TraceInstance::without_stacks()?;
    let began = Instant::now();
    let (mut segs, mut failed, mut streams) = (0, 0, 0);
    while segs < SEGMENTS {
        // Half of them with Linux's default, which sends tail loss probes.
        let (probes, half) = if segs < SEGMENTS / 2 { ("0", SEGMENTS / 2) } else { ("3", SEGMENTS) };
        pair.client().sysctl("net/ipv4/tcp_early_retrans", probes)?;
        if began.elapsed() > LIMIT {
            return Err(Error::new(format!("{segs} segments in {LIMIT:?}, {failed} of them failed")));
        }
        let (more, of_these) = add_up(&pair, &mut trace, half - segs, began + LIMIT)?;
        (segs, failed, streams) = (segs + more, failed + of_these, streams + 1);
    }
    println!("{segs} segments in {:?} and {streams} streams, {failed} of them failed", began.elapsed());
    assert!(failed > SEGMENTS / 100, "{failed}");
    Ok(())
}

/// Returns the number of segments of one stream that add up, and the number of these that failed.
/// Ends at the wanted number, or at a disturbance, whose round is not included.
fn add_up(pair: &Pair, trace: &mut TraceInstance, wanted: u64, deadline: Instant) -> Result<(u64, u64)> {
    // The smallest ring buffer, which is not read.
    let page = rustix::param::page_size() as u32;
    let builder = Stream::builder().reconcile(netns_of(pair.client())?).ring_size(page);
    let stream = builder.open().context("cannot open a stream")?;
    let reconciler = stream.live().and_then(Live::reconciler).expect("it was asked for");
    assert_eq!(reconciler.netns(), pair.client().inode());
    let before = Counters::read(pair.client())?;
    trace.read()?;
    let mut sums = (0, 0);
    while sums.0 < wanted && Instant::now() < deadline {
        round(pair)?;
        let stats = stream.stats();
        if let Some(why) = disturbance(pair, trace, &stats)? {
            eprintln!("running again: {why}");
            break;
        }
        let reconciliation = compare(&reconciler)?;
        println!("{reconciliation}\n{stats}");
        assert!(reconciliation.is_exact(), "{reconciliation}");
        assert_eq!((reconciliation.unknown.attempts, reconciliation.unknown_kind.attempts), (0, 0), "{reconciliation}");
        assert_eq!(stats.seen, stats.filtered + stats.limited + stats.lost + stats.submitted, "{stats}");
        sums = (reconciliation.retrans_segs.seen, reconciliation.retrans_fail.seen);
        // Another reader of the same counters returns the same.
        let counted = Counters::read(pair.client())? - before;
        assert_eq!(sums, (counted.retrans_segs, counted.retrans_fail));
        same_kinds(&reconciliation, counted);
        assert!(counted.slow_start_retrans > 0 && counted.timeouts > 0, "{counted:?}");
    }
    Ok(sums)
}

/// Compares the counters of kinds with another reading of them.
fn same_kinds(reconciliation: &Reconciliation, counted: Counters) {
    let sums = [
        reconciliation.fast_retrans,
        reconciliation.slow_start_retrans,
        reconciliation.loss_probes,
        reconciliation.timeouts,
    ];
    let counted = [counted.fast_retrans, counted.slow_start_retrans, counted.loss_probes, counted.timeouts];
    assert_eq!(sums.map(|sum| sum.kernel), counted, "{reconciliation}");
}

/// Returns the reason that the programs did not run for an attempt: process 1 ([`undisturbed`]),
/// or, by the kernel's count, a softirq that made it while they ran for another on the same CPU.
fn disturbance(pair: &Pair, trace: &mut TraceInstance, stats: &Stats) -> Result<Option<String>> {
    let traced = trace.read()?;
    if trace.lost()? != 0 {
        return Err(Error::new("the kernel's text is not complete"));
    }
    let ours = pair.client_addr(Family::V4);
    let mut of_process_1 = traced.iter().filter(|event| event.of_process_1 && event.local().ip() == ours);
    let process_1 = of_process_1.next().map(|event| format!("process 1 was the current process: {}", event.line));
    Ok(process_1
        .or_else(|| stats.missed.filter(|missed| *missed > 0).map(|missed| format!("{missed} attempts were missed"))))
}

/// Loses the outstanding data of many connections at once. Some of the retransmissions are rejected
/// and some dropped on this host.
fn round(pair: &Pair) -> Result<()> {
    let large = |packets: Packets| packets.at_least(100);
    BulkTraffic::open(pair, Family::V4, 8, SMALL)?.run(|| {
        sleep(Duration::from_millis(100));
        let lost = large(Packets::input()).drop_in(pair.server())?;
        let faults = [
            large(Packets::output()).per_mille(50).drop_in(pair.client())?,
            large(Packets::egress()).per_mille(50).drop_in(pair.client())?,
        ];
        lost.lift()?;
        sleep(Duration::from_millis(250));
        faults.into_iter().try_for_each(Fault::lift)?;
        Ok(true)
    })
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn counters_without_a_ring_add_up() -> Result<()> {
    let (stats, _) = undisturbed(|_| {
        privilege::check()?;
        let pair = Pair::new()?;
        let counters = Stream::builder()
            .reconcile(netns_of(pair.client())?)
            .open_counters()
            .context("cannot open the counters")?;
        let reconciler = counters.reconciler().expect("it was asked for");
        assert_eq!(reconciler.netns(), pair.client().inode());
        let before = Counters::read(pair.client())?;
        let outcomes = [Outcome::Denied(Refusal::Drop), Outcome::Syn, Outcome::InHostQueue(Hold::Neighbour)];
        for outcome in outcomes {
            let scenario = Scenario::run(&pair, Family::V4, outcome)?;
            let rose = |now: Counters| now.retrans_fail + now.syn_retrans + now.spurious_rtx_host_queues;
            let start = rose(Counters::read(pair.client())?);
            wait_for("an attempt", PATIENCE, || Ok((rose(Counters::read(pair.client())?) > start).then_some(())))?;
            scenario.finish()?;
        }
        let reconciliation = reconciler.reconcile(PATIENCE).context("cannot read the counters")?;
        let counted = Counters::read(pair.client())? - before;
        let stats = wait_for("counters that add up", PATIENCE, || {
            let stats = counters.stats();
            Ok((stats.seen == attempts(&stats.counts) && stats.seen == attempts(&stats.passed)).then_some(stats))
        })?;
        println!("{reconciliation}\n{stats}");
        assert!(reconciliation.is_exact(), "{reconciliation}");
        assert_eq!(reconciliation.syn_retrans.seen, counted.syn_retrans);
        assert!(counted.syn_retrans > 0 && counted.retrans_fail > 0, "{counted:?}");
        assert!(reconciliation.spurious_rtx_host_queues.seen > 0, "{reconciliation}");
        assert_eq!(counters.stats_reader().read().submitted, 0);
        Ok(stats)
    })?;
    assert_eq!((stats.filtered, stats.submitted, stats.lost), (0, 0, 0), "{stats}");
    let of = |transmit| stats.transmits.iter().filter(move |count| count.transmit == transmit).map(|of| of.attempts);
    let (yes, no): (u64, u64) = (of(Transmit::Yes).sum(), of(Transmit::No).sum());
    assert!(yes >= 2 && no >= 1 && yes + no == stats.seen, "{stats}");
    Ok(())
}

/// Returns the counters of a pair's namespace, for a stream.
fn netns_of(ns: &retrans_lab::Netns) -> Result<Netns> {
    ns.run(Netns::current).context("cannot open the namespace's counters")
}

/// Returns the comparison once neither side changes any more.
fn compare(reconciler: &Reconciler) -> Result<Reconciliation> {
    reconciler.reconcile(PATIENCE).context("cannot read the counters")
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn kinds_are_counted_as_the_kernel_counts_them() -> Result<()> {
    // Each with the counter that shows the kind. A zero window probe increases no such counter.
    type Counter = fn(Counters) -> u64;
    let fast: Counter = |rose| rose.fast_retrans;
    let slow_start: Counter = |rose| rose.slow_start_retrans;
    let outcomes: [(Outcome, Counter); 10] = [
        (Outcome::Rto, |rose| rose.timeouts),
        (Outcome::Syn, |rose| rose.timeouts),
        (Outcome::Tlp, |rose| rose.loss_probes),
        (Outcome::Fast, fast),
        (Outcome::SlowStart, slow_start),
        (Outcome::MtuCut, slow_start),
        (Outcome::MtuCutInLoss, slow_start),
        // A timeout is counted whatever its attempt results in, and a probe only if it succeeds.
        (Outcome::Denied(Refusal::Drop), |rose| rose.retrans_fail),
        (Outcome::RcvZeroWindow(WindowFault::Peer), |rose| rose.retrans_segs),
        // The second attempt fails.
        (Outcome::DuplicateAckInLoss, |rose| rose.spurious_rtx_host_queues / 2),
    ];
    for (outcome, counter) in outcomes {
        undisturbed(|_| kind_of(outcome, counter))?;
    }
    undisturbed(|_| {
        let counted = kind_of(Outcome::ZeroWindow, |rose| rose.retrans_segs)?;
        let kinds = [counted.timeouts, counted.loss_probes, counted.fast_retrans, counted.slow_start_retrans];
        assert_eq!(kinds, [0; 4], "{counted:?}");
        Ok(())
    })?;
    Ok(())
}

/// The attempts of some kinds.
struct Sums {
    attempts: u64,
    segs: u64,
}

/// Runs a scenario until a counter increases, and checks the sums of kinds: against the kernel's
/// counters, and against the counts by result and kind. Returns the increase of the counters.
fn kind_of(outcome: Outcome, counter: fn(Counters) -> u64) -> Result<Counters> {
    let pair = Pair::new()?;
    let ns = pair.client();
    let only_here = format!("netns={}", ns.inode()).parse().context("cannot parse the filter")?;
    let builder = Stream::builder().filter(only_here).reconcile(netns_of(ns)?);
    let counters = builder.open_counters().context("cannot open the counters")?;
    let reconciler = counters.reconciler().expect("it was asked for");
    let before = Counters::read(ns)?;
    let scenario = Scenario::run(&pair, Family::V4, outcome)?;
    wait_for("attempts", PATIENCE, || Ok((counter(Counters::read(ns)? - before) > 0).then_some(())))?;
    scenario.finish()?;
    let (reconciliation, counted) = (compare(&reconciler)?, Counters::read(ns)? - before);
    println!("{outcome}\n{reconciliation}");
    assert!(reconciliation.is_consistent(), "{reconciliation}");
    assert_eq!(reconciliation.is_exact(), reconciliation.unknown_kind.attempts == 0, "{reconciliation}");
    same_kinds(&reconciliation, counted);

    let passed = counters.stats().passed;
    // The attempts and segments of some kinds: all, and the successful ones.
    let sums = |kinds: &[RetransKind]| -> [Sums; 2] {
        let of = |count: &&Count| kinds.contains(&count.kind);
        let all: Vec<_> = passed.iter().filter(of).collect();
        let successes = all.iter().filter(|count| count.result == Some(RetransResult::Success)).copied().collect();
        [all, successes].map(|counts: Vec<&Count>| Sums {
            attempts: counts.iter().map(|count| count.attempts).sum(),
            segs: counts.iter().map(|count| count.segs).sum(),
        })
    };
    let [_, fast] = sums(&[RetransKind::Fast]);
    let [_, in_loss] = sums(&[RetransKind::SlowStart, RetransKind::Mtu, RetransKind::Resume]);
    let [_, probes] = sums(&[RetransKind::Tlp]);
    let [timeouts, _] = sums(&[RetransKind::Rto, RetransKind::Syn]);
    let [_, unknown] = sums(&[RetransKind::Unknown]);
    assert_eq!(reconciliation.fast_retrans.seen, fast.segs, "{passed:?}");
    assert_eq!(reconciliation.slow_start_retrans.seen, in_loss.segs, "{passed:?}");
    assert_eq!(reconciliation.loss_probes.seen, probes.attempts, "{passed:?}");
    assert_eq!(reconciliation.timeouts.seen, timeouts.attempts, "{passed:?}");
    let printed = reconciliation.unknown_kind;
    assert_eq!((printed.attempts, printed.segs), (unknown.attempts, unknown.segs), "{passed:?}");
    Ok(counted)
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn syn_acks_are_counted() -> Result<()> {
    for (outcome, family) in [(Outcome::Synack, Family::V6), (Outcome::SynackFastopen, Family::V4)] {
        undisturbed(|_| {
            let pair = Pair::new()?;
            // The server retransmits them: a listener, and a half-open socket.
            let ns = pair.server();
            let stream = Stream::builder().reconcile(netns_of(ns)?).open().context("cannot open a stream")?;
            let reconciler = stream.live().and_then(Live::reconciler).expect("it was asked for");
            let before = Counters::read(ns)?;
            let scenario = Scenario::run(&pair, family, outcome)?;
            wait_for("a SYN-ACK", PATIENCE, || Ok((Counters::read(ns)? != before).then_some(())))?;
            scenario.finish()?;
            let (reconciliation, counted) = (compare(&reconciler)?, Counters::read(ns)? - before);
            println!("{outcome}\n{reconciliation}");
            assert!(reconciliation.is_exact(), "{reconciliation}");
            let rose = |sum: retrans_sdk::stats::Sum| (sum.kernel, sum.seen);
            assert_eq!(rose(reconciliation.syn_retrans), (counted.syn_retrans, counted.syn_retrans));
            assert_eq!(rose(reconciliation.retrans_segs), (counted.retrans_segs, counted.retrans_segs));
            assert!(counted.syn_retrans > 0 && counted.retrans_segs == counted.syn_retrans, "{counted:?}");
            // Their timer is counted, and is not a timeout of a socket.
            same_kinds(&reconciliation, counted);
            assert!(reconciliation.timeouts.kernel > 0 && reconciliation.timeouts.seen == 0, "{reconciliation}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn segments_without_an_attempt_are_reported_as_untraced_probes() -> Result<()> {
    undisturbed(|_| {
        let pair = Pair::new()?;
        let stream = Stream::builder().reconcile(netns_of(pair.client())?).open().context("cannot open a stream")?;
        let reconciler = stream.live().and_then(Live::reconciler).expect("it was asked for");
        let before = Counters::read(pair.client())?;
        let counted = || Ok::<_, Error>(Counters::read(pair.client())? - before);
        let mut scenario = Scenario::prepare(&pair, Family::V4, Outcome::InHostQueue(Hold::Qdisc))?;
        // A probe that finds the last segment still in this host is counted and given up before it
        // becomes an attempt.
        pair.client().sysctl("net/ipv4/tcp_early_retrans", "3")?;
        scenario.start()?;
        // At least one by a probe and one by the timer.
        wait_for("attempts", PATIENCE, || Ok((counted()?.spurious_rtx_host_queues >= 3).then_some(())))?;
        scenario.finish()?;
        let (reconciliation, counted) = (compare(&reconciler)?, counted()?);
        println!("{reconciliation}");
        let sum = reconciliation.spurious_rtx_host_queues;
        assert!(reconciliation.is_exact(), "{reconciliation}");
        assert_eq!(sum.kernel, counted.spurious_rtx_host_queues);
        assert!(sum.seen > 0 && reconciliation.untraced_probes() == sum.kernel - sum.seen, "{reconciliation}");
        assert!(reconciliation.untraced_probes() > 0, "{reconciliation}");
        let named = format!("kernel={} seen={} untraced_probes={}\n", sum.kernel, sum.seen, sum.kernel - sum.seen);
        assert!(reconciliation.to_string().contains(&named), "{reconciliation}");
        Ok(())
    })?;
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn unproven_attempts_are_reported_as_unknown() -> Result<()> {
    undisturbed(|_| {
        let pair = Pair::new()?;
        let fault = Seg6::unreachable(&pair)?;
        let conn = Conn::open(&pair, Family::V6)?;
        // Without the program at the attempt's entry, -EHOSTUNREACH may come from before or after
        // the transmit step.
        let builder = Stream::builder().reconcile(netns_of(pair.client())?).without_companion();
        let mut stream = builder.open().context("cannot open a stream")?;
        let reconciler = stream.live().and_then(Live::reconciler).expect("it was asked for");
        let sees_entries =
            matches!(stream.live().map(Live::attach_method), Some(AttachMethod::Fexit | AttachMethod::Kretprobe));
        let before = Counters::read(pair.client())?;

        let lost = Packets::input().drop_in(pair.server())?;
        conn.client().write_all(b"sent, and lost").context("cannot send")?;
        fault.take(&conn)?;
        let ours = |event: &&Event| event.netns == Some(pair.client().inode());
        let events = until(&mut stream, PATIENCE, |seen| seen.iter().filter(ours).count() >= 2)?;
        conn.abort();
        lost.lift()?;

        // Unknown attempts stay unknown.
        let reconciliation = reconciler.reconcile(Duration::from_secs(1)).context("cannot read the counters")?;
        let counted = Counters::read(pair.client())? - before;
        println!("{reconciliation}");
        let transmit = if sees_entries { Transmit::Yes } else { Transmit::Unknown };
        for event in events.iter().filter(ours) {
            assert_eq!((event.result, event.transmit), (RetransResult::ErrDefault, Some(transmit)), "{event}");
        }
        let attempts = counted.retrans_fail;
        assert_eq!((counted.retrans_segs, attempts >= 2), (attempts, true), "{counted:?}");
        let unknown = if sees_entries { 0 } else { attempts };
        assert_eq!((reconciliation.unknown.attempts, reconciliation.unknown.segs), (unknown, unknown));
        assert_eq!(reconciliation.retrans_segs.difference(), unknown as i64, "{reconciliation}");
        assert_eq!(reconciliation.retrans_fail.difference(), unknown as i64, "{reconciliation}");
        assert_eq!(reconciliation.is_exact(), sees_entries, "{reconciliation}");
        let line = format!("transmit=unknown attempts={unknown} segs={unknown}\n");
        assert!(reconciliation.to_string().contains(&line), "{reconciliation}");
        Ok(())
    })?;
    Ok(())
}

/// The sums add instructions to each program that the verifier checks together with the filter.
#[test]
#[ignore = "live: needs root, run by make test"]
fn demanding_filters_load_with_the_sums() -> Result<()> {
    privilege::check()?;
    let pair = Pair::new()?;
    let mut opened = 0;
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        // Not supported here, as `attach_methods` tests.
        if Stream::builder().attach_method(method).open().is_err_and(|e| e.kind() == ErrorKind::MethodUnavailable) {
            continue;
        }
        for text in demanding() {
            let builder = Stream::builder().attach_method(method).filter(filter(&text)?);
            let stream = builder.reconcile(netns_of(pair.client())?).open();
            stream.with_context(|| format!("{method} with {text}"))?;
            opened += 1;
        }
    }
    assert!(opened >= demanding().len(), "{opened}");
    Ok(())
}
