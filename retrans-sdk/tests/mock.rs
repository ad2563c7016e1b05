// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mock stream behaves like a live stream.

use std::thread;
use std::time::Duration;

use retrans_sdk::offline::MockSource;
use retrans_sdk::stats::Failures;
use retrans_sdk::stream::Overflow;
use retrans_sdk::{ErrorKind, Event, RetransResult, Stats, Stream};

fn stream() -> (MockSource, Stream) {
    Stream::builder().mock().expect("a stream")
}

fn results(events: impl IntoIterator<Item = Event>) -> Vec<RetransResult> {
    events.into_iter().map(|event| event.result).collect()
}

#[test]
fn every_result_arrives_as_pushed() {
    let (source, mut stream) = stream();
    let all: Vec<_> = RetransResult::ALL.iter().map(|entry| entry.variant).collect();
    all.iter().for_each(|result| source.push_result(*result));
    drop(source);
    let events: Vec<Event> = stream.iter().map(|event| event.expect("an event")).collect();
    for event in &events {
        assert_eq!(event.to_string().parse(), Ok(*event));
    }
    assert_eq!(results(events), all);
    assert!(stream.is_finished() && stream.live().is_none());
    let stats = stream.stats();
    assert_eq!((stats.seen, stats.delivered), (all.len() as u64, all.len() as u64));
    assert_eq!((stats.failures, stats.skipped, stats.missed), (Failures::Observed(all.len() as u64 - 1), None, None));
    assert_eq!(stats.counts.len(), all.len());
}

#[test]
fn results_without_a_name_are_counted_by_number() {
    let (source, mut stream) = stream();
    let [ten, seventeen] = [10, 17].map(|number| RetransResult::from_raw(0x1_0000 | number));
    for result in [ten, seventeen, RetransResult::Success, seventeen] {
        source.push_result(result);
    }
    // More events than the capacity.
    for number in 100..200 {
        source.push_result(RetransResult::from_raw(0x1_0000 | number));
    }
    drop(source);
    assert_eq!(stream.iter().count(), 104);
    let stats = stream.stats();
    let of = |result| stats.counts.iter().find(|count| count.result == result).map(|count| count.attempts);
    assert_eq!((of(Some(ten)), of(Some(seventeen)), of(Some(RetransResult::Success))), (Some(1), Some(2), Some(1)));
    assert_eq!(of(Some(RetransResult::from_raw(0x1_0000 | 100))), Some(1));
    // Fifteen of the hundred have a slot of their own, and the others share one.
    assert_eq!(of(None), Some(100 - 15));
    assert_eq!(stats.counts.iter().map(|count| count.attempts).sum::<u64>(), stats.seen);
    assert_eq!(stats.passed, stats.counts);
}

#[test]
fn a_mock_can_be_waited_for() {
    let (source, mut stream) = stream();
    assert_eq!(stream.recv_batch_timeout(Duration::from_millis(10)).expect("nothing yet").count(), 0);
    assert!(!stream.is_finished());
    let sender = thread::spawn(move || {
        for result in [RetransResult::Denied, RetransResult::Success] {
            thread::sleep(Duration::from_millis(50));
            source.push_result(result);
        }
        thread::sleep(Duration::from_millis(50));
    });
    let events = stream.iter().map(|event| event.expect("an event"));
    assert_eq!(results(events), [RetransResult::Denied, RetransResult::Success]);
    sender.join().expect("no panic");
}

#[test]
fn events_in_excess_of_the_capacity_are_lost() {
    let page = rustix::param::page_size() as u32;
    let (source, mut stream) =
        Stream::builder().filter("result!=denied".parse().expect("a filter")).ring_size(page).mock().expect("a stream");
    let room = page as usize / 208;
    for _ in 0..room + 5 {
        source.push_result(RetransResult::XmitDrop);
        source.push_result(RetransResult::Denied);
    }
    assert_eq!(stream.try_iter().count(), room);
    source.push_result(RetransResult::XmitDrop);
    assert_eq!(stream.try_iter().count(), 1);
    let stats = stream.stats();
    // The counts before and after the filter.
    let counts = |counts: &[retrans_sdk::stats::Count]| -> Vec<_> {
        counts.iter().map(|count| (count.result, count.attempts)).collect()
    };
    let (drops, denials) =
        ((Some(RetransResult::XmitDrop), room as u64 + 6), (Some(RetransResult::Denied), room as u64 + 5));
    assert_eq!((counts(&stats.counts), counts(&stats.passed)), (vec![denials, drops], vec![drops]));
    let Stats { seen, filtered, lost, submitted, delivered, .. } = stats;
    let [room, failed] = [room, room + 5].map(|count| count as u64);
    assert_eq!((seen, filtered, lost), (2 * failed + 1, failed, 5));
    assert_eq!((submitted, delivered), (room + 1, room + 1));
}

#[test]
fn an_error_arrives_after_the_events_before_it() {
    let (source, mut stream) = stream();
    source.push_result(RetransResult::Success);
    source.fail(ErrorKind::Load, "the cable is out");
    source.push_result(RetransResult::Success);
    let mut events = stream.iter();
    assert!(events.next().is_some_and(|event| event.is_ok()));
    let error = events.next().expect("an error").expect_err("an error");
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Load, "the cable is out"));
    assert!(events.next().is_none());
    assert!(stream.is_finished());
}

/// Pushes `pushed` events, numbered by their ports, into a queue of `capacity` before the first
/// event is received. Returns the ports of the received events and the counters.
fn overrun(overflow: Overflow, capacity: usize, pushed: u16) -> (Vec<u16>, Stats) {
    let (source, stream) = stream();
    let reader = stream.stats_reader();
    let mut queue = stream.into_queue(capacity, overflow).expect("a queue");
    for port in 1..=pushed {
        let mut event = Event::sample(RetransResult::Success);
        event.sport = port;
        source.push(event);
    }
    drop(source);
    // Wait until the thread has read all events, or waits for room.
    while reader.read().dropped == 0 && overflow != Overflow::Block {
        thread::sleep(Duration::from_millis(1));
    }
    let mut ports = Vec::new();
    while !queue.is_finished() {
        thread::sleep(Duration::from_millis(10));
        ports.extend(queue.recv_timeout(Duration::from_secs(10)).expect("no error").map(|event| event.sport));
    }
    (ports, queue.stats())
}

#[test]
fn a_full_queue_keeps_the_events_that_overflow_selects() {
    let (ports, stats) = overrun(Overflow::Block, 3, 20);
    assert_eq!(ports, (1..=20).collect::<Vec<_>>());
    assert_eq!((stats.dropped, stats.delivered), (0, 20));

    let (ports, stats) = overrun(Overflow::DropNewest, 3, 20);
    assert_eq!(ports[..3], [1, 2, 3]);
    assert_eq!((stats.dropped + stats.delivered, stats.delivered), (20, ports.len() as u64));

    let (ports, stats) = overrun(Overflow::DropOldest, 3, 20);
    assert_eq!(ports.last(), Some(&20), "{ports:?}");
    assert!(ports.is_sorted() && !ports.contains(&1), "{ports:?}");
    assert_eq!((stats.dropped + stats.delivered, stats.delivered), (20, ports.len() as u64));
}

#[test]
fn dropping_a_queue_ends_a_thread_that_waits_for_room() {
    let (source, stream) = stream();
    let reader = stream.stats_reader();
    for _ in 0..10 {
        source.push_result(RetransResult::Success);
    }
    // The thread reads all events in one batch. Once the first one is received here, the thread
    // holds the others and waits, since the queue has room for one.
    let mut queue = stream.into_queue(1, Overflow::Block).expect("a queue");
    assert!(queue.recv_timeout(Duration::from_secs(10)).expect("no error").is_some());
    drop(queue);
    let Stats { submitted, delivered, dropped, .. } = reader.read();
    assert_eq!((submitted, delivered, dropped), (10, 1, 9));
}

#[test]
fn events_are_pushed_from_several_threads() {
    let (source, mut stream) = stream();
    thread::scope(|scope| {
        for _ in 0..4 {
            let source = source.clone();
            scope.spawn(move || (0..1000).for_each(|_| source.push_result(RetransResult::InHostQueue)));
        }
    });
    drop(source);
    assert_eq!(stream.iter().count(), 4000);
    assert_eq!(stream.stats().counts[0].attempts, 4000);
}

#[test]
fn events_after_the_end_or_without_a_stream_are_ignored() {
    let (source, mut stream) = stream();
    let reader = stream.stats_reader();
    source.push_result(RetransResult::Success);
    source.finish();
    source.push_result(RetransResult::Success);
    source.push_lost(Event::sample(RetransResult::Success));
    assert_eq!((stream.iter().count(), stream.is_finished(), reader.read().seen), (1, true, 1));

    let (source, stream) = self::stream();
    let reader = stream.stats_reader();
    drop(stream);
    source.push_result(RetransResult::Success);
    assert_eq!(reader.read().seen, 0);
}

#[test]
fn a_mock_rejects_the_settings_that_a_live_stream_rejects() {
    let builder = Stream::builder().filter("comm=x".parse().expect("a filter"));
    assert_eq!(builder.mock().expect_err("only after the filter").kind(), ErrorKind::Filter);
    assert_eq!(Stream::builder().ring_size(5).mock().expect_err("no page").kind(), ErrorKind::RingSize);
}

#[test]
fn lost_events_are_counted() {
    let (source, mut stream) = stream();
    source.push_lost(Event::sample(RetransResult::Denied));
    source.finish();
    assert_eq!(stream.iter().count(), 0);
    let Stats { seen, lost, submitted, .. } = stream.stats();
    assert_eq!((seen, lost, submitted), (1, 1, 0));
}

#[test]
fn after_detach_only_earlier_events_are_read() {
    let (source, mut stream) = stream();
    source.push_result(RetransResult::Denied);
    source.push_result(RetransResult::Success);
    // An agent does this on a signal. After a stop nothing is read until the stream is detached.
    stream.stop_handle().stop();
    assert_eq!(stream.iter().count(), 0);
    stream.detach();
    source.push_result(RetransResult::RouteFail);
    assert!(!stream.is_finished());
    let results: Vec<_> = stream.iter().map(|event| event.expect("an event").result).collect();
    assert_eq!(results, [RetransResult::Denied, RetransResult::Success]);
    assert!(stream.is_finished());
    let Stats { seen, submitted, delivered, .. } = stream.stats();
    assert_eq!((seen, submitted, delivered), (2, 2, 2));
}

#[test]
fn a_queue_delivers_events_sent_before_its_stop() {
    let (source, stream) = stream();
    let mut queue = stream.into_queue(1, Overflow::Block).expect("a queue");
    for _ in 0..3 {
        source.push_result(RetransResult::Denied);
    }
    queue.stop_handle().stop();
    let mut received = 0;
    while !queue.is_finished() {
        received += usize::from(queue.recv_timeout(Duration::from_secs(10)).expect("no error").is_some());
    }
    assert_eq!(received, 3);
}

/// Checks at compile time which types are `Send`, and which are `Sync` as well.
#[test]
fn handles_move_between_threads() {
    const fn moves<T: Send + 'static>() {}
    const fn is_shared<T: Send + Sync + 'static>() {}
    const {
        moves::<retrans_sdk::StreamBuilder>();
        moves::<Stream>();
        moves::<retrans_sdk::stream::Queue>();
        moves::<retrans_sdk::offline::Recording>();
        #[cfg(feature = "tokio")]
        moves::<retrans_sdk::stream::AsyncStream>();
        is_shared::<MockSource>();
        is_shared::<retrans_sdk::stats::StatsReader>();
        is_shared::<retrans_sdk::stream::StopHandle>();
        is_shared::<Event>();
        is_shared::<retrans_sdk::Error>();
    }
}
