// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reader that does not keep up: what finds the ring full is counted as lost, and in every other count like the rest.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use retrans_sdk::{Event, RetransKind, RetransResult, Stats, Stream};
use retrans_tests::observe::{assert_plausible, concerns, drain, open, settle, undisturbed, until};
use retrans_tests::proposal::meaning;
use retrans_tests::wait::{PATIENCE, wait_for};
use retrans_tests::{
    Conn, Context, Counters, Family, Outcome, Packets, Pair, PrintedFailures, Refusal, Result, Scenario, TraceEvent,
    TraceInstance,
};

const CONNECTIONS: usize = 128;

#[test]
#[ignore = "live: needs root, run by make test"]
fn what_finds_the_ring_full_is_lost_and_still_counted() -> Result<()> {
    let (Seen { pair, stats, read, all, events, counted, failures }, traced) = undisturbed(run)?;

    // The equations hold, or there would be no such readings.
    assert!(stats.lost >= (2 * CONNECTIONS - room()) as u64, "{stats}");
    assert_eq!((stats.delivered, stats.lost + stats.delivered), (read as u64, stats.seen), "{stats}");
    assert_eq!((all.lost, all.missed.unwrap_or(0), stats.missed.unwrap_or(0)), (0, 0, 0), "{all}\n{stats}");
    assert_eq!(all.delivered, events.len() as u64, "{all}");

    // What was lost is counted like the rest, by result and by kind, in attempts and in segments.
    let what = |event: &Event| (event.result, event.kind, event.segs);
    assert_eq!(by_result_and_kind(&stats), tally(events.iter().map(what)), "stream, then witness");
    assert_eq!(by_result_and_kind(&stats), by_result_and_kind(&all), "stream, then witness");

    // And the witness is right, as the kernel's own text and the namespace's counters say.
    let ours = |event: &&Event| event.netns == Some(pair.client().inode());
    let addresses = [pair.client_addr(Family::V4), pair.client_addr(Family::V6)];
    let traced = traced.iter().filter(|event| addresses.contains(&event.local().ip()));
    let succeeded = |event: &TraceEvent| match failures {
        PrintedFailures::No => true,
        PrintedFailures::ByErrno => event.err == Some(0),
        PrintedFailures::ByName => event.result.as_deref().and_then(meaning) == Some(RetransResult::Success),
    };
    let told = traced.map(|event| match (succeeded(event), event.state.as_deref()) {
        (true, Some("TCP_SYN_SENT")) => (RetransResult::Success, RetransKind::Syn, 1),
        (true, Some("TCP_ESTABLISHED")) => (RetransResult::Success, RetransKind::Rto, 1),
        (false, Some("TCP_ESTABLISHED")) => (RetransResult::Denied, RetransKind::Rto, 1),
        _ => panic!("not expected: {}", event.line),
    });
    let is_printed = |event: &&Event| failures != PrintedFailures::No || event.result == RetransResult::Success;
    let printed = events.iter().filter(ours).filter(is_printed);
    assert_eq!(tally(printed.map(what)), tally(told), "witness, then kernel");
    let segs: u32 = events.iter().filter(ours).map(|event| event.segs).sum();
    assert_eq!(u64::from(segs), counted.retrans_segs);
    Ok(())
}

/// How many records the smallest ring has room for.
fn room() -> usize {
    rustix::param::page_size() / 192
}

struct Seen {
    pair: Pair,
    /// Of the stream with the small ring, and how many events it gave.
    stats: Stats,
    read: usize,
    /// Of the stream with a large one, and what it gave.
    all: Stats,
    events: Vec<Event>,
    counted: Counters,
    failures: PrintedFailures,
}

fn run(trace: &mut TraceInstance) -> Result<Seen> {
    let pair = Pair::new()?;
    // The namespace's number, and so the address, may have been another's before.
    trace.read()?;
    let mut others = vec![
        Scenario::prepare(&pair, Family::V6, Outcome::Denied(Refusal::Drop))?,
        Scenario::prepare(&pair, Family::V4, Outcome::Syn)?,
    ];
    let connections: Vec<_> = (0..CONNECTIONS).map(|_| Conn::open(&pair, Family::V4)).collect::<Result<_>>()?;
    let blackhole = Packets::input().drop_in(pair.server())?;
    let before = Counters::read(pair.client())?;
    let (mut witness, mut stream) = two_as_one()?;

    // Readings at any moment are plausible, also while the ring overruns.
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
        // Meanwhile nobody reads the stream with the small ring.
        until(&mut witness, PATIENCE, |seen| {
            let is_ours = |event: &&Event| event.netns == Some(pair.client().inode());
            let has = |scenario: &Scenario| seen.iter().any(|event| concerns(&scenario.subject(), event));
            seen.iter().filter(is_ours).count() >= 2 * CONNECTIONS && others.iter().all(has)
        })
    })?;

    // It recovers: once there is room, attempts come through again.
    let mut read = drain(&mut stream)?.len();
    assert!((1..=room()).contains(&read), "{read} in a ring for {}", room());
    read += until(&mut stream, PATIENCE, |seen| !seen.is_empty())?.len();

    drop(connections);
    others.into_iter().try_for_each(Scenario::finish)?;
    blackhole.lift()?;
    let counted = Counters::read(pair.client())? - before;

    // At a moment when both have settled, and nothing comes in between the two readings.
    let (stats, all) = wait_for("a quiet moment to read two streams in", PATIENCE, || {
        let mut late = Vec::new();
        let stats = settle(&mut stream, &mut late)?;
        read += late.len();
        let all = settle(&mut witness, &mut events)?;
        Ok((stats.seen == all.seen).then_some((stats, all)))
    })?;
    Ok(Seen { pair, stats, read, all, events, counted, failures: trace.prints_failures()? })
}

/// A stream, and one with the smallest ring, between whose openings nothing happened on the whole machine: what one sees,
/// so does the other.
fn two_as_one() -> Result<(Stream, Stream)> {
    let page = rustix::param::page_size() as u32;
    wait_for("a quiet moment to open two streams in", PATIENCE, || {
        let first = open()?;
        let second = Stream::builder().ring_size(page).open().context("cannot open a stream with a small ring")?;
        // In this order: what comes in between makes them differ.
        let (later, earlier) = (second.stats().seen, first.stats().seen);
        Ok((later == earlier).then_some((first, second)))
    })
}

/// How many attempts, and for how many segments, by result and kind.
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
