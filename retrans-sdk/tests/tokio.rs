// SPDX-License-Identifier: MIT OR Apache-2.0
//! The async stream yields every event, regardless of the time at which it occurs.
#![cfg(feature = "tokio")]

use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use retrans_sdk::offline::MockSource;
use retrans_sdk::stream::AsyncStream;
use retrans_sdk::{ErrorKind, Event, RetransResult, Stream};
use tokio::time::timeout;

/// The time after which a wake-up is considered lost: well below the interval in which the stream
/// polls.
const LOST: Duration = Duration::from_secs(5);

/// Ends the program after a time limit. A reader that spins would prevent tokio's timers, and so
/// its time-outs, from running.
fn within_limits() {
    /// The limit for all tests of this file, which need a few seconds.
    const LIMIT: Duration = Duration::from_secs(300);
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        thread::spawn(|| {
            thread::sleep(LIMIT);
            eprintln!("not finished in {LIMIT:?}: a wake-up was lost, or was never reset");
            std::process::exit(101);
        });
    });
}

fn stream() -> (MockSource, AsyncStream) {
    within_limits();
    let (source, stream) = Stream::builder().mock().expect("a stream");
    (source, stream.into_async().expect("tokio"))
}

fn numbered(port: u16) -> Event {
    let mut event = Event::sample(RetransResult::Success);
    event.sport = port;
    event
}

async fn next(stream: &mut AsyncStream) -> Option<Vec<u16>> {
    let batch = timeout(LOST, stream.recv_batch()).await.expect("no wake-up is lost")?;
    Some(batch.expect("no error").iter().map(|event| event.sport).collect())
}

/// Pushes each event after the previous one was read, from a thread that may be at any point when
/// the reader starts to wait. The test would hang at the first lost wake-up.
async fn ping_pong(rounds: u32) {
    let (source, mut stream) = stream();
    let (ask, asked) = std::sync::mpsc::channel();
    let sender = thread::spawn(move || {
        for (round, ()) in asked.iter().enumerate() {
            // The event occurs before, during or after the wait.
            (0..round % 64).for_each(|_| std::hint::spin_loop());
            source.push(numbered(round as u16));
        }
    });
    for round in 0..rounds {
        ask.send(()).expect("the thread");
        assert_eq!(next(&mut stream).await, Some(vec![round as u16]));
    }
    drop(ask);
    sender.join().expect("no panic");
    assert_eq!(next(&mut stream).await, None);
    assert_eq!(stream.stats().delivered, u64::from(rounds));
}

#[tokio::test(flavor = "current_thread")]
async fn no_wake_up_is_lost_on_one_thread() {
    ping_pong(10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_on_several_threads() {
    tokio::spawn(ping_pong(10_000)).await.expect("no panic");
}

#[tokio::test]
async fn dropping_a_future_loses_no_event() {
    let (source, mut stream) = stream();
    for port in 0..100 {
        // The future is dropped before there is an event, and polled once after it.
        assert!(timeout(Duration::from_micros(1), stream.recv_batch()).await.is_err());
        source.push(numbered(port));
        let polled_once = {
            let mut future = pin!(stream.recv_batch());
            std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
        };
        let ports = match polled_once {
            Poll::Ready(batch) => {
                batch.expect("not the end").expect("no error").iter().map(|event| event.sport).collect()
            }
            Poll::Pending => next(&mut stream).await.expect("not the end"),
        };
        assert_eq!(ports, [port]);
    }
}

#[tokio::test]
async fn the_futures_stream_ends_when_stopped() {
    use futures_core::Stream as _;
    let (source, stream) = stream();
    let stop = stream.stop_handle();
    let mut stream = pin!(stream);
    (0..600).for_each(|port| source.push(numbered(port)));
    let mut ports = Vec::new();
    while let Some(batch) = timeout(LOST, std::future::poll_fn(|context| stream.as_mut().poll_next(context)))
        .await
        .expect("no wake-up is lost")
    {
        let batch = batch.expect("no error");
        assert!((1..=256).contains(&batch.len()));
        ports.extend(batch.iter().map(|event| event.sport));
        if ports.len() == 600 {
            let stop = stop.clone();
            // Stop while the stream waits.
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(50));
                stop.stop();
            });
        }
    }
    assert_eq!(ports, (0..600).collect::<Vec<_>>());
    source.push(numbered(7));
    assert!(stream.as_mut().recv_batch().await.is_none(), "a stopped stream stays at its end");
}

#[tokio::test]
async fn an_error_is_the_last_item() {
    let (source, mut stream) = stream();
    source.push(numbered(1));
    source.fail(ErrorKind::System, "no more");
    assert_eq!(next(&mut stream).await, Some(vec![1]));
    let error = stream.recv_batch().await.expect("an item").expect_err("an error");
    assert_eq!(error.to_string(), "no more");
    assert!(stream.recv_batch().await.is_none());
}

#[tokio::test]
async fn rejected_events_do_not_block_other_tasks() {
    let builder = Stream::builder().ring_size(1 << 22).predicate(|event| event.sport == 20_000);
    let (source, stream) = builder.mock().expect("a stream");
    let mut stream = stream.into_async().expect("tokio");
    (1..=20_000).for_each(|port| source.push(numbered(port)));
    let other = tokio::spawn(async { tokio::task::yield_now().await });
    assert_eq!(next(&mut stream).await, Some(vec![20_000]));
    assert!(other.is_finished());
    assert_eq!((stream.stats().rejected, stream.get_ref().is_finished()), (19_999, false));
}

/// Returns the stream of an endless recording.
fn flood() -> AsyncStream {
    within_limits();
    struct Endless(usize);
    impl std::io::Read for Endless {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let line = format!("{}\n", numbered(1));
            let all = line.bytes().cycle().skip(self.0);
            out.iter_mut().zip(all).for_each(|(byte, next)| *byte = next);
            self.0 = (self.0 + out.len()) % line.len();
            Ok(out.len())
        }
    }
    retrans_sdk::offline::Recording::from_reader(Endless(0)).start().expect("a stream").into_async().expect("tokio")
}

#[tokio::test]
async fn a_flood_does_not_delay_a_timer() {
    let (mut stream, began) = (flood(), std::time::Instant::now());
    let timer = tokio::time::sleep(Duration::from_millis(50));
    let mut timer = pin!(timer);
    loop {
        tokio::select! {
            biased;
            batch = stream.recv_batch() => drop(batch.expect("no end").expect("no error")),
            () = &mut timer => break,
        }
        assert!(began.elapsed() < LOST, "the timer does not run");
    }
    assert!(stream.stats().delivered > 0);
}

#[tokio::test]
async fn a_flood_can_be_stopped_by_another_task() {
    let (mut stream, began) = (flood(), std::time::Instant::now());
    let stop = stream.stop_handle();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.stop();
    });
    while let Some(batch) = stream.recv_batch().await {
        batch.expect("no error");
        assert!(began.elapsed() < LOST, "the stream was not stopped");
    }
    // The remaining events can still be read.
    let mut stream = stream.into_inner();
    while stream.try_iter().next().is_none() {
        assert!(began.elapsed() < 2 * LOST, "no event remains");
    }
}

/// An error after events that the predicate rejects is returned at once, regardless of its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_after_rejected_events_wakes_the_reader() {
    within_limits();
    for round in 0..2_000 {
        let (source, stream) = Stream::builder().predicate(|_| false).mock().expect("a stream");
        let mut stream = stream.into_async().expect("tokio");
        let reader = tokio::spawn(async move {
            timeout(LOST, stream.recv_batch()).await.map(|batch| batch.map(|batch| batch.is_err()))
        });
        let sender = thread::spawn(move || {
            source.push(numbered(1));
            (0..round % 200 * 50).for_each(|_| std::hint::spin_loop());
            source.push(numbered(2));
            source.fail(ErrorKind::System, "no more");
        });
        assert_eq!(reader.await.expect("no panic"), Ok(Some(true)), "round {round}");
        sender.join().expect("no panic");
    }
}

#[tokio::test]
async fn a_detached_stream_is_read_to_its_end_after_a_stop() {
    let (source, mut stream) = stream();
    for port in 1..=3 {
        source.push(numbered(port));
    }
    stream.stop_handle().stop();
    stream.detach();
    source.push(numbered(4));
    let mut ports = Vec::new();
    while let Some(batch) = next(&mut stream).await {
        ports.extend(batch);
    }
    assert_eq!(ports, [1, 2, 3]);
    let stats = stream.stats();
    assert_eq!((stats.submitted, stats.delivered), (3, 3));
}
