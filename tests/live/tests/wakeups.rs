// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wake-ups of a stream's reader are in time, rare, and never lost. Records are injected without
//! traffic, at any rate.

use std::fs;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::record_injector::RecordInjector;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Error, Result};
use retrans_sdk::event::Timestamp;
use retrans_sdk::stream::DEFAULT_MAX_DELAY;
use retrans_sdk::{Event, Stream, StreamBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

/// The tests measure delays, so they run one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The delay of a machine that is busy with other tests. Without a wake-up a record arrives much
/// later.
const SLACK: Duration = Duration::from_secs(1);

/// Selects injected records only, whatever else retransmits on the host: no connection has this
/// port.
fn builder() -> Result<StreamBuilder> {
    Ok(Stream::builder().filter("dport=0".parse().context("a filter")?))
}

fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Realtime);
    Timestamp::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Returns the delay of an event.
fn lateness(event: &Event) -> Duration {
    Duration::from_nanos(now().as_nanos().saturating_sub(event.ts.as_nanos()))
}

/// The progress of a thread that reads.
#[derive(Default)]
struct Read {
    count: AtomicU64,
    /// The longest delay in nanoseconds.
    latest: AtomicU64,
    /// The id of the reader thread.
    thread: AtomicU64,
    done: AtomicBool,
}

impl Read {
    fn note(&self, event: &Event) {
        assert_eq!(event.cookie, Some(self.count.load(Ordering::Acquire)), "each once, in order");
        self.latest.fetch_max(lateness(event).as_nanos() as u64, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    fn until(&self, count: u64) -> Result<()> {
        wait_for(&format!("{count} records"), PATIENCE, || {
            Ok((self.count.load(Ordering::Acquire) >= count).then_some(()))
        })
    }

    fn take_latest(&self) -> Duration {
        Duration::from_nanos(self.latest.swap(0, Ordering::AcqRel))
    }

    /// Returns the number of wake-ups of the thread so far: it waits nowhere else.
    fn wakeups(&self) -> Result<u64> {
        let path = format!("/proc/self/task/{}/status", self.thread.load(Ordering::Acquire));
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let switches =
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok());
        switches.ok_or_else(|| Error::new(format!("no count of switches in {path}")))
    }
}

/// Runs `work` while a thread reads the stream with `read`, until the stream is stopped.
fn with_reader<T>(
    mut stream: Stream,
    read: ReadLoop,
    work: impl FnOnce(&RecordInjector, &Read) -> Result<T>,
) -> Result<T> {
    let injector = RecordInjector::for_stream(&stream)?;
    let stop = stream.stop_handle();
    let seen = Arc::new(Read::default());
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            seen.thread.store(rustix::thread::gettid().as_raw_nonzero().get() as u64, Ordering::Release);
            read(&mut stream, &seen);
        });
        let result = wait_for("the reader", PATIENCE, || Ok((seen.thread.load(Ordering::Acquire) != 0).then_some(())))
            .and_then(|()| work(&injector, &seen));
        seen.done.store(true, Ordering::Release);
        stop.stop();
        reader.join().map_err(|_| Error::new("the reader panicked"))?;
        result
    })
}

/// A function that reads a stream until it is stopped.
type ReadLoop = fn(&mut Stream, &Read);

/// Reads with the blocking iterator.
fn iterate(stream: &mut Stream, seen: &Read) {
    for event in stream.iter() {
        seen.note(&event.expect("an event"));
    }
}

/// Reads with an event loop that only knows the descriptor.
fn by_descriptor(stream: &mut Stream, seen: &Read) {
    let fd = stream.as_fd().try_clone_to_owned().expect("a descriptor");
    while !seen.done.load(Ordering::Acquire) {
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        // Checks regularly whether it must end; reads nothing unless the descriptor is ready.
        let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
        if poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            for event in stream.try_iter() {
                seen.note(&event.expect("an event"));
            }
        }
    }
}

/// Reproducible random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn no_record_is_stuck_at_any_rate() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let readers: [(&str, ReadLoop); 2] = [("iterator", iterate), ("descriptor", by_descriptor)];
    for delay in [Duration::ZERO, Duration::from_millis(1), DEFAULT_MAX_DELAY] {
        for (name, read) in readers {
            let stream = builder()?.max_delay(delay).open().context("cannot open a stream")?;
            let latest = with_reader(stream, read, |injector, seen| {
                let (mut random, mut first) = (Random(0x9e37_79b9), 0);
                // Pauses around all timeouts of the reader, above all around the moment when it
                // falls asleep.
                for round in 0..400 {
                    let count = 1 + if round % 4 == 0 { random.below(100) } else { random.below(3) };
                    assert_eq!(injector.inject(first, count)?.lost, 0);
                    first += count;
                    let pause = delay.max(Duration::from_micros(200)) * random.below(3_000) as u32 / 1_000;
                    thread::sleep(pause.min(Duration::from_millis(25)));
                    if round % 10 == 0 {
                        seen.until(first)?;
                    }
                }
                seen.until(first)?;
                Ok(seen.take_latest())
            })?;
            println!("delay={delay:?} by={name} latest={latest:?}");
            assert!(latest <= delay + SLACK, "{latest:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn an_idle_stream_does_not_wake_and_the_first_record_wakes_at_once() -> Result<()> {
    const IDLE: Duration = Duration::from_secs(10);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = builder()?.open().context("cannot open a stream")?;
    with_reader(stream, iterate, |injector, seen| {
        for number in 0..2 {
            injector.inject(number, 1)?;
            seen.until(number + 1)?;
            let latest = seen.take_latest();
            println!("first={number} latest={latest:?}");
            assert!(latest <= DEFAULT_MAX_DELAY + SLACK, "{latest:?}");
            // The reader wakes twice by itself, and finds nothing.
            thread::sleep(4 * DEFAULT_MAX_DELAY + SLACK);
            let before = seen.wakeups()?;
            thread::sleep(IDLE);
            let wakeups = seen.wakeups()? - before;
            println!("idle={IDLE:?} wakeups={wakeups}");
            assert!(wakeups <= 1, "{wakeups} in {IDLE:?}");
        }
        Ok(())
    })
}

/// Returns, for one second of one record about every 200 us, the number of records, the number of
/// wake-ups, and the actual time.
fn wakeups_in_a_second(delay: Duration) -> Result<(u64, u64, Duration)> {
    let stream = builder()?.max_delay(delay).open().context("cannot open a stream")?;
    with_reader(stream, iterate, |injector, seen| {
        let (began, mut count) = (Instant::now(), 0);
        let before = seen.wakeups()?;
        while began.elapsed() < Duration::from_secs(1) {
            injector.inject(count, 1)?;
            count += 1;
            thread::sleep(Duration::from_micros(100));
        }
        seen.until(count)?;
        Ok((count, seen.wakeups()? - before, began.elapsed()))
    })
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_high_rate_wakes_rarely() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (count, seldom, elapsed) = wakeups_in_a_second(DEFAULT_MAX_DELAY)?;
    println!("delay={DEFAULT_MAX_DELAY:?} records={count} wakeups={seldom}");
    // One wake-up per expiry of the timer, if nothing interferes.
    let expiries = elapsed.as_nanos() / DEFAULT_MAX_DELAY.as_nanos();
    assert!(u128::from(seldom) <= expiries + 10, "{seldom} for {count} in {elapsed:?}");
    let (count, often, _) = wakeups_in_a_second(Duration::ZERO)?;
    println!("delay=0 records={count} wakeups={often}");
    assert!(often > 2 * seldom, "{often} for {count}, compared with {seldom}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn many_waiting_bytes_wake_before_the_maximum_delay() -> Result<()> {
    const DELAY: Duration = Duration::from_secs(3600);
    /// Records of 208 bytes each.
    const MANY: u64 = 100;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = builder()?.max_delay(DELAY).wakeup_bytes(10_000).open().context("cannot open a stream")?;
    with_reader(stream, iterate, |injector, seen| {
        // The reader is asleep, so this record wakes it; its next own wake-up would be in an hour.
        injector.inject(0, 1)?;
        seen.until(1)?;
        injector.inject(1, 10)?;
        thread::sleep(SLACK);
        assert_eq!(seen.count.load(Ordering::Acquire), 1, "too few bytes for a wake-up");
        injector.inject(11, MANY)?;
        // All records except those after the last wake-up.
        seen.until(11 + MANY / 2)
    })
}

/// Counts the records in any order.
fn count(stream: &mut Stream, seen: &Read) {
    for event in stream.iter() {
        event.expect("an event");
        seen.count.fetch_add(1, Ordering::AcqRel);
    }
}

/// Two CPUs in lockstep, whose checks coincide, and a ring buffer that fills quickly.
#[test]
#[ignore = "live: needs root, run by make test"]
fn many_waiting_bytes_wake_from_any_cpu() -> Result<()> {
    const DELAY: Duration = Duration::from_secs(3600);
    const EACH: u64 = 20_000;
    const CHUNK: u64 = 4;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = builder()?.max_delay(DELAY).ring_size(1 << 16).open().context("cannot open a stream")?;
    let others = RecordInjector::for_stream(&stream)?;
    with_reader(stream, count, |injector, seen| {
        let produce = |injector: &RecordInjector| -> Result<u64> {
            let mut lost = 0;
            for first in (0..EACH).step_by(CHUNK as usize) {
                lost += injector.inject(first, CHUNK)?.lost;
                thread::sleep(Duration::from_micros(200));
            }
            Ok(lost)
        };
        let lost = thread::scope(|scope| {
            let other = scope.spawn(|| produce(&others));
            let lost = produce(injector)?;
            Ok(lost + other.join().map_err(|_| Error::new("an injector panicked"))??)
        })?;
        let read = seen.count.load(Ordering::Acquire);
        println!("injected={} lost={lost} read={read}", 2 * EACH);
        // At most what is written before a busy machine runs the reader is lost; without a wake-up
        // it would be nearly everything.
        assert!(lost <= EACH / 5, "{lost}");
        // All records except those after the last wake-up.
        assert!(read + lost + 320 >= 2 * EACH, "{read}");
        Ok(())
    })
}

/// Each record is injected from another thread after the previous one was received, so at any
/// moment while the reader falls asleep. A lost wake-up would block it: the stream checks by itself
/// only after ten seconds.
fn awaited(delay: Duration, rounds: u64, pause: impl Fn(u64) -> Duration + Send) -> Result<()> {
    const LOST: Duration = Duration::from_secs(8);
    let stream = builder()?.max_delay(delay).open().context("cannot open a stream")?;
    let injector = RecordInjector::for_stream(&stream)?;
    let (next, turns) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.context("tokio")?;
    let latest = thread::scope(|scope| {
        scope.spawn(move || {
            for round in turns {
                thread::sleep(pause(round));
                injector.inject(round, 1).expect("a record");
            }
        });
        runtime.block_on(async {
            let (mut stream, mut latest) = (stream.into_async().context("tokio")?, Duration::ZERO);
            for round in 0..rounds {
                next.send(round).context("the injector")?;
                let batch = tokio::time::timeout(LOST, stream.recv_batch()).await.context("a wake-up is lost")?;
                let batch = batch.ok_or_else(|| Error::new("the end"))?.context("a batch")?;
                assert_eq!(batch.iter().map(|event| event.cookie).collect::<Vec<_>>(), [Some(round)]);
                latest = latest.max(lateness(&batch[0]));
            }
            drop(next);
            Ok::<_, Error>(latest)
        })
    })?;
    println!("delay={delay:?} rounds={rounds} latest={latest:?}");
    assert!(latest <= delay + SLACK, "{latest:?}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn no_wakeup_is_lost_to_an_async_reader() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Records are injected before, during and after that moment.
    awaited(Duration::ZERO, 10_000, |round| Duration::from_nanos(round % 64 * 500))?;
    // Around the moment when the reader falls asleep: after the second delay without a record.
    awaited(Duration::from_millis(1), 2_000, |round| Duration::from_micros(round % 50 * 60))?;
    awaited(DEFAULT_MAX_DELAY, 200, |round| DEFAULT_MAX_DELAY * (round % 5) as u32 / 2)
}
