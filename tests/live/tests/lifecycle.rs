// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream leaves nothing behind, however it ends. The file also tests what the handle of an open
//! stream permits.
//!
//! The tests inspect the descriptors of the whole process, so they run one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};
use retrans_lab::observe::{concerns, drain, filter, open, reports_missed, settle, until};
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Error, Family, Outcome, Pair, Refusal, Result, Scenario, Subject, command, privilege};
use retrans_sdk::harness::with_clocks;
use retrans_sdk::stats::StatsReader;
use retrans_sdk::stream::{DEFAULT_RING_SIZE, Overflow, Queue, StopHandle};
use retrans_sdk::{ErrorKind, Event, Stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use rustix::time::{ClockId, clock_gettime};

/// Returns a lock. No other test changes the descriptors of this process while it is held.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed while holding the lock has reported it.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The resources of the process: descriptors by number, and mappings of BPF maps.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    descriptors: BTreeMap<i32, String>,
    mappings: Vec<String>,
}

impl Held {
    fn now() -> Result<Self> {
        let mut descriptors = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/fd").context("cannot read /proc/self/fd")? {
            let path = entry.context("cannot read /proc/self/fd")?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
            let target = fs::read_link(&path).context("cannot read a descriptor")?.display().to_string();
            // The directory being read.
            if target != format!("/proc/{}/fd", std::process::id()) {
                descriptors.insert(number, target);
            }
        }
        let maps = fs::read_to_string("/proc/self/maps").context("cannot read /proc/self/maps")?;
        let mappings = maps.lines().filter(|line| line.contains("bpf-map")).map(str::to_owned).collect();
        Ok(Self { descriptors, mappings })
    }

    /// Returns the kernel's ids of the objects that the descriptors refer to.
    fn ids(&self, target: &str, key: &str) -> BTreeSet<u32> {
        let of = |number: &i32| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
            info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok())
        };
        self.descriptors.iter().filter(|(_, to)| *to == target).filter_map(|(number, _)| of(number)).collect()
    }

    fn links(&self) -> BTreeSet<u32> {
        self.ids("anon_inode:bpf_link", "link_id")
    }
}

/// Returns the links of the whole system.
fn all_links() -> BTreeSet<u32> {
    LinkInfoIter::default().map(|link| link.id).collect()
}

/// Waits until the links are gone. A link is destroyed with its last descriptor, and another
/// process that lists links holds each for a moment.
fn gone(links: &BTreeSet<u32>) -> Result<()> {
    assert!(!links.is_empty());
    wait_for("the links to go", PATIENCE, || Ok(links.is_disjoint(&all_links()).then_some(())))
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_closed_stream_leaves_nothing() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let before = Held::now()?;
    for _ in 0..5 {
        let stream = open()?;
        let held = Held::now()?;
        let links = held.links();
        let programs = held.ids("anon_inode:bpf-prog", "prog_id");
        let maps = held.ids("anon_inode:bpf-map", "map_id");
        // The attach method determines the number. The two tracepoints are the minimum.
        assert!(links.len() == programs.len() && links.len() >= 2, "{held:?}");
        assert!(!maps.is_empty() && held.mappings.len() > before.mappings.len(), "{held:?}");
        assert!(links.is_subset(&all_links()), "{held:?}");

        drop(stream);
        assert_eq!(Held::now()?, before);
        gone(&links)?;
        // The kernel frees these after a grace period.
        wait_for("the programs and maps to go", PATIENCE, || {
            let all_programs = ProgInfoIter::default().map(|program| program.id).collect();
            let all_maps = MapInfoIter::default().map(|map| map.id).collect();
            Ok((programs.is_disjoint(&all_programs) && maps.is_disjoint(&all_maps)).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_stats_reader_keeps_the_counters_and_no_link() -> Result<()> {
    let _turn = turn();
    let before = Held::now()?;
    let stream = open()?;
    let reader = stream.stats_reader();
    let links = Held::now()?.links();
    drop(stream);
    gone(&links)?;
    assert_eq!(reader.read().missed.is_some(), reports_missed()?);
    drop(reader);
    assert_eq!(Held::now()?, before);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_closed_queue_leaves_nothing() -> Result<()> {
    let _turn = turn();
    let before = Held::now()?;
    let queue = open()?.into_queue(8, Overflow::DropNewest).context("cannot start a queue")?;
    let links = Held::now()?.links();
    drop(queue);
    assert_eq!(Held::now()?, before);
    gone(&links)?;
    Ok(())
}

/// An application's handle: it has no lifetime, and can move to another thread.
struct Application {
    stream: Stream,
    seen: Vec<Event>,
}

const fn is_owned_and_send<T: Send + 'static>() {}
const fn is_shared<T: Send + Sync + Clone + 'static>() {}
const _: () = is_owned_and_send::<Application>();
const _: () = is_owned_and_send::<Queue>();
const _: () = is_shared::<StatsReader>();
const _: () = is_shared::<StopHandle>();

#[test]
#[ignore = "live: needs root, run by make test"]
fn an_open_handle_moves_between_threads() -> Result<()> {
    let _turn = turn();
    let mut application = Application { stream: open()?, seen: Vec::new() };
    let pair = Pair::new()?;
    let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let about_subject = move |seen: &[Event]| seen.iter().any(|event| concerns(&subject, event));
    // Read on this thread, then on another, then dropped on a third.
    application.seen = until(&mut application.stream, PATIENCE, about_subject)?;
    let mut application = thread::spawn(move || -> Result<Application> {
        let mut more = until(&mut application.stream, PATIENCE, about_subject)?;
        application.seen.append(&mut more);
        Ok(application)
    })
    .join()
    .expect("no panic")?;
    scenario.finish()?;
    settle(&mut application.stream, &mut application.seen)?;
    let retransmits: Vec<_> =
        application.seen.iter().filter(|event| concerns(&subject, event)).filter_map(|e| e.retransmits).collect();
    assert!(retransmits.len() >= 2 && retransmits.is_sorted_by(|a, b| a < b), "{retransmits:?}");
    thread::spawn(move || drop(application)).join().expect("no panic");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn an_invalid_ring_size_is_rejected_with_a_valid_one() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let page = rustix::param::page_size() as u32;
    let before = Held::now()?;
    for (size, fitting) in [
        (0, page),
        (1, page),
        (page - 1, page),
        (page + 1, 2 * page),
        (3 * page, 4 * page),
        (DEFAULT_RING_SIZE + page, 2 * DEFAULT_RING_SIZE),
        (u32::MAX, 1 << 31),
    ] {
        let error = Stream::builder().ring_size(size).open().expect_err("not a power of two of pages");
        assert_eq!(error.kind(), ErrorKind::RingSize, "{size}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{size} bytes")) && text.ends_with(&format!(": use {fitting}")), "{text}");
    }
    assert_eq!(Held::now()?, before);
    // The suggested size is valid.
    for size in [page, 2 * page, 4 * page] {
        Stream::builder().ring_size(size).open().with_context(|| format!("{size} bytes"))?;
    }
    assert_eq!(Held::now()?, before);
    Ok(())
}

/// The environment variable of a process that opens a stream with a resource limit.
const LIMIT: &str = "RETRANS_TESTS_LIMIT";

/// Runs one test of this file in a process of its own with `LIMIT` set. A limit applies to the
/// whole process, which also caches what libbpf detected about the kernel.
fn in_a_process(test: &str, limit: u64) -> Result<String> {
    let mut command = Command::new(env::current_exe().context("cannot find this program")?);
    command.args(["--ignored", "--exact", test, "--nocapture", "--test-threads=1"]).env(LIMIT, limit.to_string());
    command::run(command)
}

fn limit() -> Option<u64> {
    env::var(LIMIT).ok().map(|limit| limit.parse().expect("a number"))
}

/// Opens a stream while a soft limit is in effect.
fn open_within(resource: Resource, soft: u64, ring_size: u32) -> Result<Stream, retrans_sdk::Error> {
    let whole = getrlimit(resource);
    let set = |limit| setrlimit(resource, limit).expect("a soft limit may be set");
    set(Rlimit { current: Some(soft), ..whole });
    let stream = Stream::builder().ring_size(ring_size).open();
    set(whole);
    stream
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn open_fails_cleanly_without_file_descriptors() -> Result<()> {
    const NAME: &str = "open_fails_cleanly_without_file_descriptors";
    if limit().is_some() {
        // Before libbpf has probed the kernel, and after.
        let enough = ["first", "then"].map(|when| {
            for limit in 3..100 {
                let before = Held::now().expect("what is held");
                let opened = open_within(Resource::Nofile, limit, DEFAULT_RING_SIZE);
                let Err(error) = opened else {
                    assert!(Held::now().expect("what is held").links().len() >= 2, "{when}, {limit}");
                    drop(opened);
                    assert_eq!(Held::now().expect("what is held"), before, "{when}, {limit}");
                    // A stream has at least eight.
                    assert!(limit >= 3 + 8, "{when}: {limit}");
                    return limit;
                };
                // The error must not come from libbpf, which would mistake it for a missing kernel
                // feature and cache that.
                assert_eq!(error.kind(), ErrorKind::System, "{when}, {limit}: {error:?}");
                assert!(error.to_string().contains("Too many open files"), "{when}, {limit}: {error:?}");
                let errno = rustix::io::Errno::MFILE.raw_os_error();
                assert_eq!(error.raw_os_error(), Some(errno), "{when}, {limit}: {error:?}");
                assert_eq!(Held::now().expect("what is held"), before, "{when}, {limit}");
            }
            panic!("{when}: a stream was not opened with 99 descriptors")
        });
        assert_eq!(enough[0], enough[1]);
        // The lack of descriptors has no lasting effect.
        return open().map(drop);
    }

    let _turn = turn();
    privilege::check()?;
    in_a_process(NAME, 0).map(drop)
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn open_fails_cleanly_without_memory_for_the_ring() -> Result<()> {
    const NAME: &str = "open_fails_cleanly_without_memory_for_the_ring";
    const RING: u32 = 1 << 26;
    if limit().is_some() {
        let before = Held::now()?;
        let pages: u64 = fs::read_to_string("/proc/self/statm")
            .context("cannot read /proc/self/statm")?
            .split(' ')
            .next()
            .and_then(|pages| pages.parse().ok())
            .expect("a number");
        // Room for everything else. The ring buffer is mapped twice.
        let room = pages * rustix::param::page_size() as u64 + u64::from(RING);
        let error = open_within(Resource::As, room, RING).expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::Load, "{error:?}");
        assert!(error.to_string().contains("Cannot allocate memory"), "{error:?}");
        // libbpf-rs does not export it.
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOMEM.raw_os_error()), "{error:?}");
        assert_eq!(Held::now()?, before);
        drop(open_within(Resource::As, room, DEFAULT_RING_SIZE).context("there is room for this")?);
        assert_eq!(Held::now()?, before);
        return Ok(());
    }

    let _turn = turn();
    privilege::check()?;
    in_a_process(NAME, 0).map(drop)
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_stop_ends_a_blocked_iterator() -> Result<()> {
    let _turn = turn();
    // No attempt matches this filter, so nothing wakes the reader.
    let never = filter("result=end_seq_error")?;
    let mut stream = Stream::builder().filter(never).open().context("cannot open a stream")?;
    let stop = stream.stop_handle();
    let blocked = thread::spawn(move || {
        let events = stream.iter().count();
        (events, Instant::now(), stream)
    });
    thread::sleep(Duration::from_millis(200));
    assert!(!blocked.is_finished(), "it was not stopped");
    let stopped = Instant::now();
    stop.stop();
    let (events, ended, mut stream) = blocked.join().expect("no panic");
    assert_eq!(events, 0);
    // It returns at once. The margin is for a busy machine.
    assert!(ended - stopped < Duration::from_millis(500), "{:?}", ended - stopped);

    // It stays finished, whichever method reads it.
    let began = Instant::now();
    assert_eq!(stream.iter().count(), 0);
    assert_eq!(stream.recv_batch_timeout(Duration::MAX).context("cannot read")?.count(), 0);
    assert_eq!(stream.for_each_timeout(PATIENCE, |_| {}).context("cannot poll")?, 0);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_timeout_is_respected() -> Result<()> {
    let _turn = turn();
    let never = filter("result=end_seq_error")?;
    let mut stream = Stream::builder().filter(never).open().context("cannot open a stream")?;
    for timeout in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(300)] {
        for attempt in ["poll", "read"] {
            let began = Instant::now();
            let events = match attempt {
                "poll" => stream.for_each_timeout(timeout, |_| {}).context("cannot poll")?,
                _ => stream.recv_batch_timeout(timeout).context("cannot read")?.count(),
            };
            let took = began.elapsed();
            assert_eq!(events, 0);
            assert!((timeout..timeout + Duration::from_millis(500)).contains(&took), "{attempt} {timeout:?}: {took:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn an_open_stream_needs_no_capability() -> Result<()> {
    let _turn = turn();
    let mut stream = open()?;
    let pair = Pair::new()?;
    let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    // Capabilities belong to a thread.
    let events = thread::spawn(move || -> Result<Vec<Event>> {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .context("cannot give the capabilities up")?;
        assert!(capabilities(None).context("cannot read the capabilities")?.effective.is_empty());
        let error = Stream::builder().open().expect_err("another cannot be opened");
        assert_eq!(error.kind(), ErrorKind::MissingCapability, "{error}");

        let mut events = until(&mut stream, PATIENCE, |seen| seen.iter().any(|event| concerns(&subject, event)))?;
        let stats = settle(&mut stream, &mut events)?;
        assert!(stats.seen > 0 && stats.delivered == events.len() as u64, "{stats}");
        assert_eq!(stats.missed.is_some(), reports_missed()?, "{stats}");
        drop(stream);
        Ok(events)
    })
    .join()
    .expect("no panic")?;
    assert!(!events.is_empty());
    scenario.finish()
}

/// Streams with different filters, each on a thread of one process: one awaited, one with a queue,
/// one with counters only.
#[test]
#[ignore = "live: needs root, run by make test"]
fn streams_with_different_filters_are_independent() -> Result<()> {
    let _turn = turn();
    let pair = Pair::new()?;
    let netns = format!("netns={}", pair.client().inode());
    let open = |terms: &str| -> Result<Stream> {
        Stream::builder().filter(filter(&format!("{netns} {terms}"))?).open().context("cannot open a stream")
    };
    let (mut denied, sent, probes) = (open("result=denied")?, open("result=success")?, open("kind=syn")?);
    let counters = Stream::builder().open_counters().context("cannot open counters")?;
    let mut queue = sent.into_queue(1000, Overflow::DropNewest).context("cannot start a queue")?;
    let (stop, stopped) = (denied.stop_handle(), probes.stop_handle());
    let (denied, syns) = thread::scope(|scope| {
        let denied = scope.spawn(move || denied.iter().collect::<std::result::Result<Vec<_>, _>>());
        let syns = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("tokio")?;
            runtime.block_on(async {
                let (mut stream, mut events) = (probes.into_async().context("tokio")?, Vec::new());
                while let Some(batch) = stream.recv_batch().await {
                    events.extend(batch.context("a batch")?);
                }
                Ok::<_, Error>(events)
            })
        });
        let scenarios = [Outcome::Rto, Outcome::Syn, Outcome::Denied(Refusal::Drop)]
            .map(|outcome| Scenario::run(&pair, Family::V4, outcome));
        thread::sleep(Duration::from_secs(4));
        scenarios.into_iter().try_for_each(|scenario| scenario?.finish())?;
        stop.stop();
        stopped.stop();
        let denied = denied.join().map_err(|_| Error::new("a thread panicked"))?.context("a stream")?;
        Ok::<_, Error>((denied, syns.join().map_err(|_| Error::new("a thread panicked"))??))
    })?;
    let mut sent = Vec::new();
    while let Some(event) = queue.try_recv().context("the queue")? {
        sent.push(event);
    }
    use retrans_sdk::{RetransKind, RetransResult};
    assert!(denied.len() >= 2 && denied.iter().all(|event| event.result == RetransResult::Denied), "{denied:?}");
    assert!(sent.len() >= 3 && sent.iter().all(|event| event.result == RetransResult::Success), "{sent:?}");
    assert!(!syns.is_empty() && syns.iter().all(|event| event.kind == RetransKind::Syn), "{syns:?}");
    // Both report the same attempt, except for the timestamp.
    let which = |event: &Event| {
        let mut event = *event;
        event.ts = retrans_sdk::event::Timestamp::from_nanos(0);
        event
    };
    let sent: Vec<_> = sent.iter().map(which).collect();
    assert!(syns.iter().all(|syn| sent.contains(&which(syn))), "{syns:?}, {sent:?}");
    assert!(counters.stats().seen >= (denied.len() + sent.len()) as u64, "{}", counters.stats());
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn two_streams_report_the_same() -> Result<()> {
    let _turn = turn();
    let stepped = with_clocks(Stream::builder().locate_nomem(), stepped_clocks);
    let (mut one, mut other) = (open()?, stepped.open().context("cannot open a stream")?);
    let pair = Pair::new()?;
    let scenario = Scenario::run(&pair, Family::V6, Outcome::Denied(Refusal::Drop))?;
    let subject = scenario.subject();
    let twice = |seen: &[Event]| seen.iter().filter(|event| concerns(&subject, event)).count() >= 2;
    let mut seen = until(&mut one, PATIENCE, twice)?;
    scenario.finish()?;
    seen.append(&mut drain(&mut one)?);
    drop(one);
    // The other stream is not affected.
    let mut too = drain(&mut other)?;
    for events in [&mut seen, &mut too] {
        events.retain(|event| concerns(&subject, event));
        for event in events {
            event.ts = retrans_sdk::event::Timestamp::from_nanos(0);
        }
    }
    assert_eq!(seen, too);

    let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
    follows_steps(&mut other, &scenario.subject())?;
    scenario.finish()
}

/// Steps the wall clock of a stream, and checks the times of a socket's events.
fn follows_steps(other: &mut Stream, subject: &Subject) -> Result<()> {
    // Each retransmission timeout is twice as long as the one before it.
    for step in [HOUR, -HOUR, 0] {
        STEP.store(step, Ordering::SeqCst);
        let seen = until(other, PATIENCE, |seen| seen.iter().any(|event| concerns(subject, event)))?;
        let now = stepped_clocks()[1];
        for event in seen.iter().filter(|event| concerns(subject, event)) {
            // The event was recorded at most a moment before it was read.
            let ago = now - event.ts.as_nanos() as i64;
            assert!((0..PATIENCE.as_nanos() as i64).contains(&ago), "{ago} ns ago after a step of {step}");
        }
    }
    Ok(())
}

const HOUR: i64 = 3_600_000_000_000;

/// The step of the wall clock of a stream in nanoseconds.
static STEP: AtomicI64 = AtomicI64::new(0);

/// Reads CLOCK_BOOTTIME, the wall clock with its step, and CLOCK_BOOTTIME.
fn stepped_clocks() -> [i64; 3] {
    let nanos = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    };
    let before = nanos(ClockId::Boottime);
    [before, nanos(ClockId::Realtime) + STEP.load(Ordering::SeqCst), nanos(ClockId::Boottime)]
}
