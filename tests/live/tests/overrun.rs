// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reader that does not keep up: records that find the ring buffer full are counted as lost, and
//! every other counter includes them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::kernel_enum::result_of_text;
use retrans_lab::observe::{adds_up, assert_plausible, concerns, drain, filter, settle, undisturbed, until};
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{
    BulkTraffic, Conn, Context, Counters, Error, Family, Fault, Outcome, Packets, Pair, PrintedFailures, Refusal,
    Result, Scenario, TraceEvent, TraceInstance, privilege,
};
use retrans_sdk::stream::RateLimit;
use retrans_sdk::{Event, RetransKind, RetransResult, Stats, Stream, StreamBuilder};

const CONNECTIONS: usize = 128;

/// The trace has no room for the attempts of both tests.
static TURN: Mutex<()> = Mutex::new(());

#[test]
#[ignore = "live: needs root, run by make test"]
fn records_lost_to_a_full_ring_are_still_counted() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (Seen { pair, stats, read, all, events, counted, failures }, traced) = undisturbed(run)?;

    // Settled readings imply that the equations hold.
    assert!(stats.lost >= (2 * CONNECTIONS - room()) as u64, "{stats}");
    assert_eq!((stats.delivered, stats.lost + stats.delivered), (read as u64, stats.seen), "{stats}");
    assert_eq!((all.lost, all.missed.unwrap_or(0), stats.missed.unwrap_or(0)), (0, 0, 0), "{all}\n{stats}");
    assert_eq!(all.delivered, events.len() as u64, "{all}");

    // Lost records are counted like the rest, by result and kind, in attempts and segments.
    let what = |event: &Event| (event.result, event.kind, event.segs);
    assert_eq!(by_result_and_kind(&stats), tally(events.iter().map(what)), "stream, then reference");
    assert_eq!(by_result_and_kind(&stats), by_result_and_kind(&all), "stream, then reference");

    // The reference is correct according to the trace and the namespace's counters.
    let ours = |event: &&Event| event.netns == Some(pair.client().inode());
    let addresses = [pair.client_addr(Family::V4), pair.client_addr(Family::V6)];
    let traced = traced.iter().filter(|event| addresses.contains(&event.local().ip()));
    let succeeded = |event: &TraceEvent| match failures {
        PrintedFailures::No => true,
        PrintedFailures::ByErrno => event.err == Some(0),
        PrintedFailures::ByName => event.result.as_deref().and_then(result_of_text) == Some(RetransResult::Success),
    };
    let reported = traced.map(|event| match (succeeded(event), event.state.as_deref()) {
        (true, Some("TCP_SYN_SENT")) => (RetransResult::Success, RetransKind::Syn, 1),
        (true, Some("TCP_ESTABLISHED")) => (RetransResult::Success, RetransKind::Rto, 1),
        (false, Some("TCP_ESTABLISHED")) => (RetransResult::Denied, RetransKind::Rto, 1),
        _ => panic!("not expected: {}", event.line),
    });
    let is_printed = |event: &&Event| failures != PrintedFailures::No || event.result == RetransResult::Success;
    let printed = events.iter().filter(ours).filter(is_printed);
    assert_eq!(tally(printed.map(what)), tally(reported), "reference, then kernel");
    let segs: u32 = events.iter().filter(ours).map(|event| event.segs).sum();
    assert_eq!(u64::from(segs), counted.retrans_segs);
    Ok(())
}

/// Returns the number of records that the smallest ring buffer holds.
fn room() -> usize {
    rustix::param::page_size() / 192
}

struct Seen {
    pair: Pair,
    /// The counters of the stream with the small ring buffer, and the number of its events.
    stats: Stats,
    read: usize,
    /// The counters and events of the stream with a large one.
    all: Stats,
    events: Vec<Event>,
    counted: Counters,
    failures: PrintedFailures,
}

fn run(trace: &mut TraceInstance) -> Result<Seen> {
    let pair = Pair::new()?;
    // The namespace's inode number, and so the address, may have been another's before.
    trace.read()?;
    let mut others = vec![
        Scenario::prepare(&pair, Family::V6, Outcome::Denied(Refusal::Drop))?,
        Scenario::prepare(&pair, Family::V4, Outcome::Syn)?,
    ];
    let connections: Vec<_> = (0..CONNECTIONS).map(|_| Conn::open(&pair, Family::V4)).collect::<Result<_>>()?;
    let blackhole = Packets::input().drop_in(pair.server())?;
    let before = Counters::read(pair.client())?;
    let (mut reference, mut stream) = two_as_one(Stream::builder, Stream::builder)?;

    // Readings are plausible at any moment, also during the overrun.
    let (reader, done) = (stream.stats_reader(), AtomicBool::new(false));
    let mut events = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                assert_plausible(&reader.read());
                thread::sleep(Duration::from_micros(100));
            }
        });
        let _done = OnDrop(|| done.store(true, Ordering::Release));
        others.iter_mut().try_for_each(Scenario::start)?;
        for connection in &connections {
            connection.client().write_all(&[b'x'; 100]).context("cannot send")?;
        }
        // Meanwhile the stream with the small ring buffer is not read.
        until(&mut reference, PATIENCE, |seen| {
            let is_ours = |event: &&Event| event.netns == Some(pair.client().inode());
            let has = |scenario: &Scenario| seen.iter().any(|event| concerns(&scenario.subject(), event));
            seen.iter().filter(is_ours).count() >= 2 * CONNECTIONS && others.iter().all(has)
        })
    })?;

    // It recovers: once there is room, records are delivered again.
    let mut read = drain(&mut stream)?.len();
    assert!((1..=room()).contains(&read), "{read} in a ring for {}", room());
    read += until(&mut stream, PATIENCE, |seen| !seen.is_empty())?.len();

    drop(connections);
    others.into_iter().try_for_each(Scenario::finish)?;
    blackhole.lift()?;
    let counted = Counters::read(pair.client())? - before;

    let mut late = Vec::new();
    let (stats, all) = at_one_moment((&mut stream, &mut late), (&mut reference, &mut events))?;
    read += late.len();
    Ok(Seen { pair, stats, read, all, events, counted, failures: trace.prints_failures()? })
}

/// Opens a stream, and a stream with the smallest ring buffer. No attempt happened on the whole
/// machine between the two openings, so both observe the same attempts.
fn two_as_one(first: impl Fn() -> StreamBuilder, second: impl Fn() -> StreamBuilder) -> Result<(Stream, Stream)> {
    let page = rustix::param::page_size() as u32;
    wait_for("a quiet moment to open two streams in", PATIENCE, || {
        let first = first().open().context("cannot open a stream")?;
        let second = second().ring_size(page).open().context("cannot open a stream with a small ring")?;
        // In this order: an attempt in between makes them differ.
        let (later, earlier) = (second.stats().seen, first.stats().seen);
        Ok((later == earlier).then_some((first, second)))
    })
}

/// Returns the counters of two streams at one moment, when both have settled: the counters of the
/// first did not change while the second was read. Appends their events.
fn at_one_moment(
    (first, of_first): (&mut Stream, &mut Vec<Event>),
    (second, of_second): (&mut Stream, &mut Vec<Event>),
) -> Result<(Stats, Stats)> {
    wait_for("a quiet moment to read two streams in", PATIENCE, || {
        let before = settle(first, of_first)?;
        let between = settle(second, of_second)?;
        let after = settle(first, of_first)?;
        let same = (before.seen, before.missed) == (after.seen, after.missed);
        Ok(same.then_some((after, between)))
    })
}

/// The number of attempts and of segments, by result and kind.
type Tally = BTreeMap<(Option<RetransResult>, RetransKind), (u64, u64)>;

fn tally(events: impl Iterator<Item = (RetransResult, RetransKind, u32)>) -> Tally {
    let mut tally = Tally::new();
    for (result, kind, segs) in events {
        let (attempts, segments) = tally.entry((Some(result), kind)).or_default();
        *attempts += 1;
        *segments += u64::from(segs);
    }
    tally
}

fn by_result_and_kind(stats: &Stats) -> Tally {
    stats.counts.iter().map(|count| ((count.result, count.kind), (count.attempts, count.segs))).collect()
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

const ATTEMPTS: u64 = 100_000;
/// Segments of 76 bytes.
const SMALL: u16 = 88;
/// Measured on two CPUs: 6 s; 40 s if emulated, and three times as long if those are busy.
const LIMIT: Duration = Duration::from_secs(240);

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_hundred_thousand_attempts_are_accounted_for() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    privilege::check()?;
    let pair = Pair::new()?;
    let traffic = BulkTraffic::open(&pair, Family::V4, 8, SMALL)?.with(BulkTraffic::open_without_gso(
        &pair,
        Family::V4,
        64,
        SMALL,
    )?);
    // Room for all of them.
    let whole = || Stream::builder().ring_size(1 << 26);
    // Several results.
    let wanted = filter(&format!("netns={} result!=denied", pair.client().inode()))?;
    let small = || {
        let predicate = |event: &Event| event.segs == 1;
        Stream::builder()
            .filter(wanted.clone())
            .rate_limit(RateLimit { per_second: 500, burst: 200 })
            .predicate(predicate)
    };
    let (mut reference, mut stream) = two_as_one(whole, small)?;
    // Some data is lost on the wire, some rejected and some dropped on this host.
    let data = |packets: Packets| packets.at_least(100);
    let faults = [
        data(Packets::input()).per_mille(100).drop_in(pair.server())?,
        data(Packets::output()).per_mille(20).drop_in(pair.client())?,
        data(Packets::egress()).per_mille(20).drop_in(pair.client())?,
    ];

    let (reader, done) = (stream.stats_reader(), AtomicBool::new(false));
    let mut read = thread::scope(|scope| {
        let _done = OnDrop(|| done.store(true, Ordering::Release));
        let sleeper = scope.spawn(|| -> Result<u64> {
            let mut read = 0;
            while !done.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(100));
                read += drain(&mut stream)?.len() as u64;
                assert_plausible(&reader.read());
            }
            Ok(read)
        });
        let began = Instant::now();
        traffic.run(|| {
            if began.elapsed() > LIMIT {
                return Err(Error::new(format!("only {} after {LIMIT:?}", reader.read())));
            }
            Ok(reader.read().seen >= ATTEMPTS)
        })?;
        println!("{} attempts in {:?}", reader.read().seen, began.elapsed());
        done.store(true, Ordering::Release);
        sleeper.join().map_err(|_| Error::new("a thread panicked"))?
    })?;

    faults.into_iter().try_for_each(Fault::lift)?;

    // Both saw the same attempts, and the one that lost most of the records has the same counts.
    let (mut late, mut events) = (Vec::new(), Vec::new());
    let (stats, all) = at_one_moment((&mut stream, &mut late), (&mut reference, &mut events))?;
    read += late.len() as u64;
    println!("{stats}\n{all}");
    assert_eq!((all.delivered, all.seen), (events.len() as u64, all.submitted), "{all}");
    let (counted, reference) = (by_result_and_kind(&stats), by_result_and_kind(&all));
    assert_eq!(reference, tally(events.iter().map(|event| (event.result, event.kind, event.segs))));
    // They differ by no more than the number of runs that the kernel skipped.
    let of = |tally: &Tally, key| tally.get(key).map_or(0, |(attempts, _)| *attempts);
    let keys: BTreeSet<_> = counted.keys().chain(reference.keys()).collect();
    let apart: u64 = keys.iter().map(|key| of(&counted, key).abs_diff(of(&reference, key))).sum();
    assert!(apart <= missed(&stats) + missed(&all), "{stats}: {counted:?}\n{all}: {reference:?}");
    if apart == 0 {
        assert_eq!(counted, reference, "in segments");
    }
    let sums = |each: &mut dyn Iterator<Item = (u64, u64)>| each.fold((0, 0), |(a, s), (b, t)| (a + b, s + t));
    let (attempts, segs) = sums(&mut counted.values().copied());
    assert!(attempts == stats.seen && attempts >= ATTEMPTS && segs > attempts, "{attempts}, {segs}");
    assert_eq!(sums(&mut stats.transmits.iter().map(|of| (of.attempts, of.segs))), (attempts, segs));
    let results: BTreeSet<_> = counted.keys().filter_map(|(result, _)| *result).collect();
    let kinds: BTreeSet<_> = counted.keys().map(|(_, kind)| *kind).collect();
    assert!(kinds.contains(&RetransKind::Rto) && kinds.len() >= 2, "{kinds:?}");
    for result in [RetransResult::Success, RetransResult::Denied, RetransResult::XmitDrop] {
        assert!(results.contains(&result), "{results:?}");
    }

    let excluded = events.iter().filter(|event| !wanted.matches(event)).count() as u64;
    assert!(stats.filtered.abs_diff(excluded) <= missed(&stats) + missed(&all), "{stats}: {excluded}");

    // Events left at the close are dropped.
    let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
    let submitted = stats.submitted;
    wait_for("three attempts", PATIENCE, || Ok((reader.read().submitted >= submitted + 3).then_some(())))?;
    scenario.finish()?;
    let taken = stream.recv_batch_timeout(PATIENCE).context("cannot read the stream")?.next();
    assert!(taken.is_some());
    let left = reader.read().waiting();
    drop(stream);
    let stats = reader.read();
    println!("{stats}");
    assert!(adds_up(&stats), "{stats}");
    assert_eq!((stats.delivered, stats.dropped), (read + 1, left), "{stats}");
    let Stats { filtered, limited, lost, rejected, dropped, .. } = stats;
    assert!([filtered, limited, lost, rejected, dropped].iter().all(|part| *part > 0), "{stats}");
    Ok(())
}

/// Returns the number of attempts that a softirq made while the stream's programs ran for another
/// on the same CPU.
fn missed(stats: &Stats) -> u64 {
    stats.missed.unwrap_or(0)
}
