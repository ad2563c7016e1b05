// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every attempt is accounted for: `seen = filtered + limited + lost + submitted`, and after a
//! drain `submitted = rejected + dropped + delivered`. Each part is made greater than zero, and
//! compared with another stream or the kernel.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use retrans_lab::observe::{
    adds_up, assert_plausible, attempts, concerns, drain, ends, filter, open, ports_of, settle, settled, until,
};
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Family, Outcome, Pair, Refusal, Result, Scenario, Subject};
use retrans_sdk::event::Timestamp;
use retrans_sdk::stats::{Count, StatsReader};
use retrans_sdk::stream::Overflow;
use retrans_sdk::{ErrorKind, Event, Stats, Stream};

/// Returns the attempts of one socket, as [`without_ts`] returns them.
fn of(events: &[Event], subject: &Subject) -> Vec<Event> {
    events.iter().filter(|event| concerns(subject, event)).map(without_ts).collect()
}

/// Returns the number of these attempts.
fn count(events: &[Event], subject: &Subject) -> u64 {
    of(events, subject).len() as u64
}

/// Events or counts by result and kind: attempts and segments.
type ByResult = BTreeMap<(u32, u32), (u64, u64)>;

fn events_by_result<'a>(events: impl IntoIterator<Item = &'a Event>) -> ByResult {
    let mut all = ByResult::new();
    for event in events {
        let count = all.entry((event.result.raw(), event.kind.raw())).or_default();
        count.0 += 1;
        count.1 += u64::from(event.segs);
    }
    all
}

fn counts_by_result(counts: &[Count]) -> ByResult {
    let key = |count: &Count| (count.result.expect("every result has a slot here").raw(), count.kind.raw());
    counts.iter().map(|count| (key(count), (count.attempts, count.segs))).collect()
}

/// Returns the event without its timestamp, which differs between streams.
fn without_ts(event: &Event) -> Event {
    let mut event = *event;
    event.ts = Timestamp::from_nanos(0);
    event
}

/// Runs until each of the sockets has made several attempts, and returns every event that the
/// reference stream saw.
fn run(reference: &mut Stream, mut scenarios: Vec<Scenario>, attempts: u64) -> Result<Vec<Event>> {
    let subjects: Vec<_> = scenarios.iter().map(Scenario::subject).collect();
    scenarios.iter_mut().try_for_each(Scenario::start)?;
    let mut events = until(reference, PATIENCE, |seen| subjects.iter().all(|s| count(seen, s) >= attempts))?;
    scenarios.into_iter().try_for_each(Scenario::finish)?;
    events.append(&mut drain(reference)?);
    Ok(events)
}

/// Opens a stream for the attempts of one socket. The filter in the kernel keeps others out of the
/// ring buffer.
fn stream_of(subject: &Subject) -> Result<retrans_sdk::StreamBuilder> {
    Ok(Stream::builder().filter(filter(&ports_of(subject))?))
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn filtered_events_are_counted() -> Result<()> {
    let mut reference = open()?;
    let (pair, other) = (Pair::new()?, Pair::new()?);
    let scenarios = vec![
        Scenario::prepare(&pair, Family::V4, Outcome::Rto)?,
        Scenario::prepare(&pair, Family::V4, Outcome::Denied(Refusal::Drop))?,
        Scenario::prepare(&pair, Family::V6, Outcome::Rto)?,
        Scenario::prepare(&pair, Family::Mapped, Outcome::Rto)?,
        // Its socket is a request, which has the listener's owner.
        Scenario::prepare(&other, Family::V6, Outcome::Synack)?,
    ];
    let subjects: Vec<_> = scenarios.iter().map(Scenario::subject).collect();
    let [lost, synack] = [0, 4].map(|n: usize| subjects[n]);
    let cookie = lost.cookie.expect("a cookie");
    let (address, netns) = (lost.local.ip(), synack.netns);

    // Terms that some attempts pass and other attempts do not.
    let both = [
        "result=success",
        "result!=success",
        "class=drop",
        "class!=drop",
        "kind=rto",
        "kind!=rto",
        "kind=synack",
        "family=inet",
        "family!=inet",
        "mapped=yes",
        "mapped=-",
        "state=established",
        "state=new_syn_recv",
        "err=-1",
        "err!=-1",
        "err=-200..-1",
        "saddr!=0.0.0.0/0",
        "daddr=10.0.0.0/8",
        "daddr!=fd00::/8",
        "seq=-",
        "end_seq!=-",
        "len=1..65535",
        "tcp_flags=0x018",
        "tcp_flags=-",
        "snd_una=-",
        "snd_nxt!=-",
        "snd_wnd=1..4294967295",
        "snd_cwnd=1",
        "ssthresh=2..2147483646",
        "srtt_us=0..1000000",
        "rto_us=1..100000000",
        "mss=500..65535",
        "retrans_out=0",
        "total_retrans=1",
        "wmem_queued=1..4294967295",
        "ca_state=loss",
        "ca_state=-",
        "retransmits=1",
        "backoff=0,1",
        "pending=0",
        "ca_name=reno",
        "ca_name=-,bbr",
        "sk_err_soft=0",
    ];
    let ours =
        [format!("cookie={cookie}"), format!("cookie!={cookie}"), format!("saddr={address}"), format!("netns={netns}")];
    let all = ["ts=1600000000..4000000000", "segs=1", "uid=0", "netns!=-", "cgroup=1..18446744073709551615,-"];
    let none = ["ts=0..1600000000", "segs!=1", "uid!=0", "uid=-", "snd_wnd=0", "result=k17", "ca_name!=reno"];
    let cases =
        |texts: &[&str], some, rest| texts.iter().map(|text| ((*text).to_owned(), some, rest)).collect::<Vec<_>>();
    let mut cases = [cases(&both, true, true), cases(&all, true, false), cases(&none, false, true)].concat();
    cases.extend(ours.map(|text| (text, true, true)));

    // Only these sockets: the machine may have others.
    let of_ours = |text: &str| {
        let clauses: Vec<_> = subjects.iter().map(|subject| format!("{} {text}", ports_of(subject))).collect();
        clauses.join(" --or ")
    };
    let open_one = |text: &str| {
        Stream::builder().filter(filter(text)?).ring_size(1 << 16).open().with_context(|| format!("cannot open {text}"))
    };
    let streams: Result<Vec<_>> = cases.iter().map(|(text, ..)| open_one(&of_ours(text))).collect();
    let (sport, dport) = (lost.local.port(), lost.remote.port());
    let ports = [format!("sport={sport}"), format!("dport={dport}"), format!("sport={sport} dport!={dport}")];
    let of_ports: Result<Vec<_>> = ports.iter().map(|text| open_one(text)).collect();

    let events = run(&mut reference, scenarios, 2)?;
    let is_ours = |event: &Event| subjects.iter().any(|subject| concerns(subject, event));

    for ((text, some, rest), stream) in cases.iter().zip(streams?) {
        let alone = filter(text)?;
        let (passing, others): (Vec<_>, Vec<_>) = events.iter().filter(|e| is_ours(e)).partition(|e| alone.matches(e));
        assert_eq!((!passing.is_empty(), !others.is_empty()), (*some, *rest), "{text}");
        has_exactly(stream, text, &passing)?;
    }
    for (text, stream) in ports.iter().zip(of_ports?) {
        let alone = filter(text)?;
        has_exactly(stream, text, &events.iter().filter(|event| alone.matches(event)).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Verifies that the kernel passed exactly these events, and counted the others.
fn has_exactly(mut stream: Stream, text: &str, passing: &[&Event]) -> Result<()> {
    let unread = stream.stats();
    assert_plausible(&unread);
    assert_eq!(unread.submitted, passing.len() as u64, "{text}: {unread}");
    let mut read = Vec::new();
    let stats = settle(&mut stream, &mut read)?;
    assert_eq!(
        read.iter().map(without_ts).collect::<Vec<_>>(),
        passing.iter().map(|e| without_ts(e)).collect::<Vec<_>>(),
        "{text}"
    );
    assert_eq!(counts_by_result(&stats.passed), events_by_result(passing.iter().copied()), "{text}: {stats}");
    // Reading does not change the counts.
    assert_eq!((stats.submitted, stats.delivered), (unread.submitted, unread.submitted), "{text}: {stats}");
    assert!(stats.filtered >= unread.filtered && unread.filtered + unread.submitted > 0, "{text}: {stats}");
    assert_eq!((stats.limited, stats.lost, stats.rejected, stats.dropped), (0, 0, 0, 0), "{text}: {stats}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn counters_count_what_passes_their_filter() -> Result<()> {
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenarios = vec![
        Scenario::prepare(&pair, Family::V4, Outcome::Rto)?,
        Scenario::prepare(&pair, Family::V4, Outcome::Denied(Refusal::Drop))?,
        Scenario::prepare(&pair, Family::V6, Outcome::Denied(Refusal::Drop))?,
    ];
    let [lost, denied, other] = [0, 1, 2].map(|n: usize| scenarios[n].subject());
    // All attempts of one socket, one result of another, and none of the third.
    let text = format!(
        "{} --or {} result=denied --or {} result=success",
        ports_of(&lost),
        ports_of(&denied),
        ports_of(&other)
    );
    let filtered = Stream::builder().filter(filter(&text)?).open_counters().context("cannot open counters")?;
    let all = Stream::builder().open_counters().context("cannot open counters")?;
    let events = run(&mut reference, scenarios, 3)?;

    let read = |counters: &retrans_sdk::stream::Counters| {
        wait_for("counters that add up", PATIENCE, || {
            let stats = counters.stats();
            assert_plausible(&stats);
            let is_settled =
                stats.seen == stats.filtered + attempts(&stats.passed) && stats.seen == attempts(&stats.counts);
            Ok(is_settled.then_some(stats))
        })
    };
    let (filtered, all) = (read(&filtered)?, read(&all)?);
    let passing = filter(&text)?;
    let expected = events_by_result(events.iter().filter(|event| passing.matches(event)));
    assert_eq!(counts_by_result(&filtered.passed), expected, "{filtered}");
    assert!(expected.len() >= 2 && filtered.filtered >= 3, "{expected:?} {filtered}");
    for stats in [&filtered, &all] {
        let Stats { limited, lost, submitted, rejected, dropped, delivered, .. } = *stats;
        assert_eq!((limited, lost, submitted, rejected, dropped, delivered), (0, 0, 0, 0, 0, 0), "{stats}");
    }
    // Without a filter everything passes.
    assert_eq!((all.filtered, &all.passed), (0, &all.counts), "{all}");
    assert!(
        events_by_result(events.iter().filter(|event| [lost, denied, other].iter().any(|s| concerns(s, event))))
            .iter()
            .all(|(key, (made, _))| counts_by_result(&all.counts)[key].0 >= *made)
    );
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn events_that_the_predicate_rejects_are_counted() -> Result<()> {
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut asked = 0;
    let every_other = move |_: &Event| {
        asked += 1;
        asked % 2 == 0
    };
    let mut stream = stream_of(&subject)?.predicate(every_other).open().context("cannot open a stream")?;
    let events = run(&mut reference, vec![scenario], 3)?;

    let made = of(&events, &subject);
    let mut read = Vec::new();
    let stats = settle(&mut stream, &mut read)?;
    assert_eq!((stats.submitted, stats.lost, stats.dropped), (made.len() as u64, 0, 0), "{stats}");
    let every_other: Vec<_> = made.iter().skip(1).step_by(2).copied().collect();
    assert_eq!(stats.rejected, (made.len() - every_other.len()) as u64, "{stats}");
    assert_eq!(read.iter().map(without_ts).collect::<Vec<_>>(), every_other);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_panic_in_the_predicate_loses_no_other_event() -> Result<()> {
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut asked = 0;
    let predicate = move |_: &Event| {
        asked += 1;
        assert_ne!(asked, 2, "this panic is part of the test");
        true
    };
    let mut stream = stream_of(&subject)?.predicate(predicate).open().context("cannot open a stream")?;
    let events = run(&mut reference, vec![scenario], 3)?;

    let mut read = Vec::new();
    let panic =
        catch_unwind(AssertUnwindSafe(|| stream.try_iter().for_each(|event| read.push(event.expect("an event")))));
    assert!(panic.is_err(), "{read:?}");
    assert_eq!(read.len(), 1, "{read:?}");
    let stats = settle(&mut stream, &mut read)?;
    let mut made = of(&events, &subject);
    assert_eq!((stats.submitted, stats.rejected), (made.len() as u64, 1), "{stats}");
    made.remove(1);
    assert_eq!(read.iter().map(without_ts).collect::<Vec<_>>(), made);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_queue_reports_a_panic_in_its_predicate() -> Result<()> {
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let predicate = |_: &Event| panic!("this panic is part of the test");
    let stream = stream_of(&scenario.subject())?.predicate(predicate).open().context("cannot open a stream")?;
    let mut queue = stream.into_queue(8, Overflow::DropNewest).context("cannot start a queue")?;
    run(&mut reference, vec![scenario], 1)?;

    let error = queue.recv_timeout(PATIENCE).expect_err("the reader thread panicked");
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::System, "the stream's predicate panicked"));
    assert_eq!((queue.stats().rejected, queue.stats().delivered), (1, 0), "{}", queue.stats());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn events_are_dropped_when_the_queue_is_full() -> Result<()> {
    const CAPACITY: usize = 3;
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let stream = stream_of(&subject)?.open().context("cannot open a stream")?;
    let mut queue = stream.into_queue(CAPACITY, Overflow::DropNewest).context("cannot start a queue")?;
    let events = run(&mut reference, vec![scenario], CAPACITY as u64 + 1)?;
    let made = count(&events, &subject);

    let dropped = made - CAPACITY as u64;
    let stats = wait_for("the queue's thread to have read everything", PATIENCE, || {
        let stats = queue.stats();
        assert_plausible(&stats);
        Ok((stats.waiting() == CAPACITY as u64).then_some(stats))
    })?;
    assert_eq!((stats.submitted, stats.dropped, stats.delivered), (made, dropped, 0), "{stats}");

    let mut taken = Vec::new();
    while let Some(event) = queue.try_recv().context("the queue has ended")? {
        taken.push(event);
    }
    let stats = settled(|| Ok(queue.stats()))?;
    assert_eq!((stats.submitted, stats.dropped, stats.delivered), (made, dropped, CAPACITY as u64), "{stats}");
    // It keeps the oldest events.
    assert_eq!(taken.iter().map(without_ts).collect::<Vec<_>>(), of(&events, &subject)[..CAPACITY]);

    assert!(queue.recv_timeout(Duration::from_millis(20)).context("the queue has ended")?.is_none());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn unread_events_of_a_queue_count_as_dropped() -> Result<()> {
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V6, Outcome::Rto)?;
    let subject = scenario.subject();
    let asked = Arc::new(AtomicU64::new(0));
    let ask = Arc::clone(&asked);
    let count_it = move |_: &Event| {
        ask.fetch_add(1, Ordering::AcqRel);
        true
    };
    let stream = stream_of(&subject)?.predicate(count_it).open().context("cannot open a stream")?;
    let reader = stream.stats_reader();
    let mut queue = stream.into_queue(16, Overflow::DropNewest).context("cannot start a queue")?;
    let made = count(&run(&mut reference, vec![scenario], 3)?, &subject);

    wait_for("the queue's thread to have read everything", PATIENCE, || {
        Ok((asked.load(Ordering::Acquire) == made).then_some(()))
    })?;
    let taken = queue.recv_timeout(PATIENCE).context("the queue has ended")?;
    assert!(taken.is_some_and(|event| concerns(&subject, &event)), "{taken:?}");
    drop(queue);
    let stats = reader.read();
    assert_eq!((stats.submitted, stats.delivered, stats.dropped), (made, 1, made - 1), "{stats}");
    assert!(adds_up(&stats), "{stats}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn unread_events_of_a_batch_count_as_dropped() -> Result<()> {
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut stream = stream_of(&subject)?.open().context("cannot open a stream")?;
    let reader = stream.stats_reader();
    let made = count(&run(&mut reference, vec![scenario], 3)?, &subject);

    // All events leave the ring buffer in one batch, and one event leaves the batch.
    let taken = stream.recv_batch_timeout(PATIENCE).context("cannot read the stream")?.next();
    assert!(taken.is_some_and(|event| concerns(&subject, &event)), "{taken:?}");
    drop(stream);
    let stats = reader.read();
    assert_eq!((stats.submitted, stats.delivered, stats.dropped), (made, 1, made - 1), "{stats}");
    assert!(adds_up(&stats), "{stats}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_stopped_queue_ends_without_an_error() -> Result<()> {
    let mut queue = open()?.into_queue(16, Overflow::DropNewest).context("cannot start a queue")?;
    assert!(!queue.is_finished());
    queue.stop_handle().stop();
    wait_for("the queue to end", PATIENCE, || {
        while queue.recv_timeout(Duration::from_millis(100)).context("a stop is not an error")?.is_some() {}
        Ok(queue.is_finished().then_some(()))
    })?;
    assert!(queue.recv_timeout(PATIENCE).context("receiving after the end is not an error")?.is_none());
    assert!(queue.try_recv().context("trying to receive after the end is not an error")?.is_none());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn counters_are_readable_while_the_stream_is_in_use() -> Result<()> {
    let mut reference = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::Mapped, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut stream = stream_of(&subject)?.open().context("cannot open a stream")?;
    let (reader, stop) = (stream.stats_reader(), stream.stop_handle());
    let blocked = thread::spawn(move || {
        let all: Vec<_> = stream.iter().map(|event| event.expect("an event")).collect();
        (all, stream.stats())
    });

    let made = count(&run(&mut reference, vec![scenario], 2)?, &subject);
    // The other thread is still in `iter`.
    wait_for("everything to be delivered", PATIENCE, || {
        assert_plausible(&reader.read());
        Ok((reader.read().delivered == made).then_some(()))
    })?;
    let stats = settled(|| Ok(reader.read()))?;
    assert_eq!((stats.submitted, stats.delivered), (made, made), "{stats}");
    assert!(!blocked.is_finished(), "it was not stopped");

    stop.stop();
    let (all, last) = blocked.join().expect("no panic");
    assert_eq!(all.len() as u64, made);
    assert!(all.iter().all(|event| ends(event) == (subject.local, subject.remote)), "{all:?}");
    // The stream is dropped. Its counters remain. They change only if the exit of an attempt that
    // was in progress is still counted.
    let closed = wait_for("the end of the attempts in progress", PATIENCE, || {
        let before = settled(|| Ok(reader.read()))?;
        thread::sleep(Duration::from_millis(200));
        Ok((reader.read() == before).then_some(before))
    })?;
    assert_eq!((closed.submitted, closed.delivered), (last.submitted, last.delivered), "{closed}");
    let another = StatsReader::clone(&reader);
    drop(reader);
    run(&mut reference, vec![Scenario::prepare(&pair, Family::V4, Outcome::Rto)?], 1)?;
    assert_eq!(another.read(), closed, "the programs are detached");
    Ok(())
}
