// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every attempt is accounted for: `seen = filtered + limited + lost + submitted`, and after a drain `submitted = rejected
//! + dropped + delivered`, each part made to be more than nothing, and held against what another stream or the kernel saw.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use retrans_sdk::{ErrorKind, Event, StatsReader, Stream, Timestamp};
use retrans_tests::observe::{
    adds_up, assert_plausible, concerns, drain, ends, filter, open, ports_of, settle, settled, until,
};
use retrans_tests::wait::{PATIENCE, wait_for};
use retrans_tests::{Context, Family, Outcome, Pair, Refusal, Result, Scenario, Subject};

/// The attempts of one socket, as [`what`] has them.
fn of(events: &[Event], subject: &Subject) -> Vec<Event> {
    events.iter().filter(|event| concerns(subject, event)).map(what).collect()
}

/// How many these are.
fn count(events: &[Event], subject: &Subject) -> u64 {
    of(events, subject).len() as u64
}

/// Everything but the time, which two streams take one after the other.
fn what(event: &Event) -> Event {
    let mut event = *event;
    event.ts = Timestamp::from_nanos(0);
    event
}

/// Runs until each of the sockets has made some attempts, and gives every event that the witness saw.
fn run(witness: &mut Stream, mut scenarios: Vec<Scenario>, attempts: u64) -> Result<Vec<Event>> {
    let subjects: Vec<_> = scenarios.iter().map(Scenario::subject).collect();
    scenarios.iter_mut().try_for_each(Scenario::start)?;
    let mut events = until(witness, PATIENCE, |seen| subjects.iter().all(|s| count(seen, s) >= attempts))?;
    scenarios.into_iter().try_for_each(Scenario::finish)?;
    events.append(&mut drain(witness)?);
    Ok(events)
}

/// A stream for the attempts of one socket. It is singled out in the kernel, so that no other reaches the ring.
fn stream_of(subject: &Subject) -> Result<retrans_sdk::Builder> {
    Ok(Stream::builder().filter(filter(&ports_of(subject))?))
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn what_a_filter_excludes_is_filtered() -> Result<()> {
    let mut witness = open()?;
    let pair = Pair::new()?;
    let scenarios = vec![
        Scenario::prepare(&pair, Family::V4, Outcome::Rto)?,
        Scenario::prepare(&pair, Family::V4, Outcome::Denied(Refusal::Drop))?,
        Scenario::prepare(&pair, Family::V6, Outcome::Rto)?,
        Scenario::prepare(&pair, Family::Mapped, Outcome::Rto)?,
    ];
    let [lost4, denied4, lost6, mapped4] = [0, 1, 2, 3].map(|n: usize| scenarios[n].subject());
    let clause = |subject: &Subject, more: &str| format!("{} {more}", ports_of(subject));
    let either = |a: &Subject, b: &Subject, more: &str| format!("{} --or {}", clause(a, more), clause(b, more));
    let about = |subjects: Vec<Subject>| -> Choice {
        Box::new(move |event| subjects.iter().any(|subject| concerns(subject, event)))
    };
    let (sport, dport, saddr) = (lost4.local.port(), lost4.remote.port(), lost4.local.ip());

    // The text, what the kernel lets through, and what is left of that in the end.
    let cases: Vec<(String, Choice, Choice)> = vec![
        (either(&lost4, &denied4, "result=success"), about(vec![lost4]), about(vec![lost4])),
        (either(&lost4, &denied4, "result!=success"), about(vec![denied4]), about(vec![denied4])),
        (either(&lost4, &denied4, "class=drop"), about(vec![denied4]), about(vec![denied4])),
        (either(&lost4, &lost6, "family=inet"), about(vec![lost4]), about(vec![lost4])),
        (either(&lost4, &lost6, "family!=inet"), about(vec![lost6]), about(vec![lost6])),
        (either(&mapped4, &lost6, "family=inet"), about(vec![mapped4]), about(vec![mapped4])),
        (either(&mapped4, &lost4, "mapped=yes"), about(vec![mapped4, lost4]), about(vec![mapped4])),
        // These are not held to our sockets alone.
        (format!("sport={sport}"), Box::new(move |event| event.sport == sport), Box::new(|_| true)),
        (format!("dport={dport}"), Box::new(move |event| event.dport == dport), Box::new(|_| true)),
        (
            format!("sport={sport} dport!={dport}"),
            Box::new(move |event| event.sport == sport && event.dport != dport),
            Box::new(|_| true),
        ),
        (either(&lost4, &lost6, &format!("saddr={saddr}")), about(vec![lost4, lost6]), about(vec![lost4])),
        (either(&lost4, &lost6, "saddr!=0.0.0.0/0"), about(vec![lost4, lost6]), about(vec![lost6])),
        (clause(&lost4, "snd_wnd=0"), about(vec![lost4]), about(vec![])),
        (clause(&lost4, "snd_wnd=1..4294967295"), about(vec![lost4]), about(vec![lost4])),
        (
            either(&lost4, &denied4, "result=success retransmits=1"),
            about(vec![lost4]),
            Box::new(|e| e.retransmits == Some(1)),
        ),
    ];
    let streams: Result<Vec<_>> = cases
        .iter()
        .map(|(text, ..)| Stream::builder().filter(filter(text)?).open().with_context(|| format!("cannot open {text}")))
        .collect();
    let events = run(&mut witness, scenarios, 2)?;

    for ((text, through, left), mut stream) in cases.into_iter().zip(streams?) {
        // Nothing was read, so all that was filtered so far was filtered in the kernel.
        let unread = stream.stats();
        assert_plausible(&unread);
        let (through, not_through): (Vec<_>, Vec<_>) = events.iter().partition(|event| through(event));
        assert_eq!(unread.submitted, through.len() as u64, "{text}: {unread}");
        assert!(unread.filtered > 0 && !not_through.is_empty(), "{text}: {unread}");

        let mut read = Vec::new();
        let stats = settle(&mut stream, &mut read)?;
        let left: Vec<_> = through.iter().filter(|event| left(event)).map(what).collect();
        assert_eq!(read.iter().map(what).collect::<Vec<_>>(), left, "{text}: {stats}");
        assert_eq!((stats.submitted, stats.delivered), (left.len() as u64, left.len() as u64), "{text}: {stats}");
        assert!(stats.filtered - unread.filtered >= (through.len() - left.len()) as u64, "{text}: {stats}");
        assert_eq!((stats.limited, stats.lost, stats.rejected, stats.dropped), (0, 0, 0, 0), "{text}: {stats}");
    }
    Ok(())
}

/// Whether an event is one that a filter should choose.
type Choice = Box<dyn Fn(&Event) -> bool>;

#[test]
#[ignore = "live: needs root, run by make test"]
fn what_the_predicate_refuses_is_rejected() -> Result<()> {
    let mut witness = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut asked = 0;
    let every_other = move |_: &Event| {
        asked += 1;
        asked % 2 == 0
    };
    let mut stream = stream_of(&subject)?.predicate(every_other).open().context("cannot open a stream")?;
    let events = run(&mut witness, vec![scenario], 3)?;

    let made = of(&events, &subject);
    let mut read = Vec::new();
    let stats = settle(&mut stream, &mut read)?;
    assert_eq!((stats.submitted, stats.lost, stats.dropped), (made.len() as u64, 0, 0), "{stats}");
    let every_other: Vec<_> = made.iter().skip(1).step_by(2).copied().collect();
    assert_eq!(stats.rejected, (made.len() - every_other.len()) as u64, "{stats}");
    assert_eq!(read.iter().map(what).collect::<Vec<_>>(), every_other);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_predicate_that_panics_loses_nothing_else() -> Result<()> {
    let mut witness = open()?;
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
    let events = run(&mut witness, vec![scenario], 3)?;

    let mut read = Vec::new();
    let panic = catch_unwind(AssertUnwindSafe(|| stream.drain().for_each(|event| read.push(event.expect("an event")))));
    assert!(panic.is_err(), "{read:?}");
    assert_eq!(read.len(), 1, "{read:?}");
    let stats = settle(&mut stream, &mut read)?;
    let mut made = of(&events, &subject);
    assert_eq!((stats.submitted, stats.rejected), (made.len() as u64, 1), "{stats}");
    made.remove(1);
    assert_eq!(read.iter().map(what).collect::<Vec<_>>(), made);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_queue_says_that_its_predicate_panicked() -> Result<()> {
    let mut witness = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let predicate = |_: &Event| panic!("this panic is part of the test");
    let stream = stream_of(&scenario.subject())?.predicate(predicate).open().context("cannot open a stream")?;
    let mut queue = stream.into_queue(8).context("no queue")?;
    run(&mut witness, vec![scenario], 1)?;

    let error = queue.next_within(PATIENCE).expect_err("its thread is gone");
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::System, "the predicate panicked"));
    assert_eq!((queue.stats().rejected, queue.stats().delivered), (1, 0), "{}", queue.stats());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn what_finds_the_queue_full_is_dropped() -> Result<()> {
    const CAPACITY: usize = 3;
    let mut witness = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    // The namespace is a term of user space: the queue's thread has something to filter, too.
    let ours = filter(&format!("{} netns={}", ports_of(&subject), subject.netns))?;
    let stream = Stream::builder().filter(ours).open().context("cannot open a stream")?;
    let mut queue = stream.into_queue(CAPACITY).context("no queue")?;
    let events = run(&mut witness, vec![scenario], CAPACITY as u64 + 1)?;
    let made = count(&events, &subject);

    let dropped = made - CAPACITY as u64;
    let stats = wait_for("the queue's thread to have read everything", PATIENCE, || {
        let stats = queue.stats();
        assert_plausible(&stats);
        Ok((stats.waiting() == CAPACITY as u64).then_some(stats))
    })?;
    assert_eq!((stats.submitted, stats.dropped, stats.delivered), (made, dropped, 0), "{stats}");

    let mut taken = Vec::new();
    while let Some(event) = queue.try_next().context("the queue has ended")? {
        taken.push(event);
    }
    let stats = settled(|| Ok(queue.stats()))?;
    assert_eq!((stats.submitted, stats.dropped, stats.delivered), (made, dropped, CAPACITY as u64), "{stats}");
    // It keeps the oldest.
    assert_eq!(taken.iter().map(what).collect::<Vec<_>>(), of(&events, &subject)[..CAPACITY]);

    assert!(queue.next_within(Duration::from_millis(20)).context("the queue has ended")?.is_none());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn what_is_left_in_a_queue_is_dropped() -> Result<()> {
    let mut witness = open()?;
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
    let mut queue = stream.into_queue(16).context("no queue")?;
    let made = count(&run(&mut witness, vec![scenario], 3)?, &subject);

    wait_for("the queue's thread to have read everything", PATIENCE, || {
        Ok((asked.load(Ordering::Acquire) == made).then_some(()))
    })?;
    let taken = queue.next_within(PATIENCE).context("the queue has ended")?;
    assert!(taken.is_some_and(|event| concerns(&subject, &event)), "{taken:?}");
    drop(queue);
    let stats = reader.read();
    assert_eq!((stats.submitted, stats.delivered, stats.dropped), (made, 1, made - 1), "{stats}");
    assert!(adds_up(&stats), "{stats}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn what_is_left_of_a_batch_is_dropped() -> Result<()> {
    let mut witness = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut stream = stream_of(&subject)?.open().context("cannot open a stream")?;
    let reader = stream.stats_reader();
    let made = count(&run(&mut witness, vec![scenario], 3)?, &subject);

    // All of it leaves the ring in one batch, and one event the batch.
    let taken = stream.read(PATIENCE).context("cannot read the stream")?.next();
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
    let mut queue = open()?.into_queue(16).context("no queue")?;
    assert!(!queue.is_ended());
    queue.stop_handle().stop();
    wait_for("the queue to end", PATIENCE, || {
        while queue.next_within(Duration::from_millis(100)).context("a stop is no error")?.is_some() {}
        Ok(queue.is_ended().then_some(()))
    })?;
    assert!(queue.next_within(PATIENCE).context("nor is what comes after it")?.is_none());
    assert!(queue.try_next().context("nor this")?.is_none());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn counters_are_read_whatever_the_stream_is_doing() -> Result<()> {
    let mut witness = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::prepare(&pair, Family::Mapped, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut stream = stream_of(&subject)?.open().context("cannot open a stream")?;
    let (reader, stop) = (stream.stats_reader(), stream.stop_handle());
    let blocked = thread::spawn(move || {
        let all: Vec<_> = stream.iter().map(|event| event.expect("an event")).collect();
        (all, stream.stats())
    });

    let made = count(&run(&mut witness, vec![scenario], 2)?, &subject);
    // The other thread is still in `iter`.
    wait_for("everything to be delivered", PATIENCE, || {
        assert_plausible(&reader.read());
        Ok((reader.read().delivered == made).then_some(()))
    })?;
    let stats = settled(|| Ok(reader.read()))?;
    assert_eq!((stats.submitted, stats.delivered), (made, made), "{stats}");
    assert!(!blocked.is_finished(), "nobody has stopped it");

    stop.stop();
    let (all, last) = blocked.join().expect("no panic");
    assert_eq!(all.len() as u64, made);
    assert!(all.iter().all(|event| ends(event) == (subject.local, subject.remote)), "{all:?}");
    // The stream is dropped. What was counted stays, and nothing more is.
    let closed = settled(|| Ok(reader.read()))?;
    assert_eq!((closed.submitted, closed.delivered), (last.submitted, last.delivered), "{closed}");
    let another = StatsReader::clone(&reader);
    drop(reader);
    run(&mut witness, vec![Scenario::prepare(&pair, Family::V4, Outcome::Rto)?], 1)?;
    assert_eq!(another.read(), closed, "the programs are detached");
    Ok(())
}
