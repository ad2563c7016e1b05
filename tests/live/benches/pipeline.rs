// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the number of records per second from the kernel to an application over the real ring
//! buffer. An injector writes the records without traffic. They are decoded, and printed, and
//! compared with libbpf's ring buffer and an empty callback.

use std::hint::{black_box, spin_loop};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libbpf_rs::{MapHandle, MapType, RingBufferBuilder};
use retrans_lab::record_injector::{InjectedRecords, RecordInjector};
use retrans_lab::{Context, Error, Result};
use retrans_sdk::format::LineBuffer;
use retrans_sdk::stream::{DEFAULT_MAX_DELAY, DEFAULT_WAKEUP_BYTES};
use retrans_sdk::{FieldSet, Stream};
use retrans_tests::bench::{Bars, machine, median};
use rustix::thread::{CpuSet, sched_setaffinity};

const RING: u32 = 1 << 24;
const RECORDS: u64 = 4_000_000;
const REPETITIONS: usize = 7;
/// Records per run of the injector's program.
const CHUNK: u64 = 2_000;
const RATE: u64 = 5_000_000;
const PACED: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Consumer {
    /// libbpf's reader with an empty callback.
    Raw,
    /// A stream's events, in batches.
    Decode,
    /// In addition, the key=value line of each in a buffer, with the keys that are always present.
    CoreLine,
    /// The line with all keys.
    Line,
}

impl Consumer {
    const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Decode => "decode",
            Self::CoreLine => "core_line",
            Self::Line => "line",
        }
    }
}

/// The result of a run.
struct Run {
    per_second: f64,
    lost: u64,
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).context("cannot stay on a CPU")
}

/// Writes `records` as fast as possible, or at this rate per second.
fn inject(injector: &RecordInjector, records: u64, rate: Option<u64>) -> Result<InjectedRecords> {
    let (began, mut all) = (Instant::now(), InjectedRecords { count: 0, lost: 0 });
    while all.count + all.lost < records {
        let first = all.count + all.lost;
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(first as f64 / rate as f64);
            while began.elapsed() < due {
                spin_loop();
            }
        }
        let injected = injector.inject(first, CHUNK)?;
        all = InjectedRecords { count: all.count + injected.count, lost: all.lost + injected.lost };
    }
    Ok(all)
}

/// Runs the injector and, on this thread, `consume`, which is called repeatedly and returns the
/// number of records it read, until no more will come and none is left.
fn run(
    injector: &RecordInjector,
    cpus: usize,
    records: u64,
    rate: Option<u64>,
    mut consume: impl FnMut() -> Result<u64>,
) -> Result<Run> {
    let ended = AtomicBool::new(false);
    let began = Instant::now();
    let (consumed, elapsed, injected) = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let injected = pin(0).and_then(|()| inject(injector, records, rate));
            ended.store(true, Ordering::Release);
            injected
        });
        let consumed = pin(cpus - 1).and_then(|()| {
            let mut consumed = 0;
            loop {
                let is_last = ended.load(Ordering::Acquire);
                let count = consume()?;
                consumed += count;
                if is_last && count == 0 {
                    break Ok(consumed);
                }
            }
        });
        let elapsed = began.elapsed();
        let injected = thread.join().map_err(|_| Error::new("the injector panicked"))??;
        consumed.map(|consumed| (consumed, elapsed, injected))
    })?;
    if consumed != injected.count {
        return Err(Error::new(format!("{consumed} of {injected:?} came through")));
    }
    // The last call waited for records that did not come.
    let waited = if rate.is_none() { DEFAULT_MAX_DELAY } else { Duration::ZERO };
    Ok(Run { per_second: consumed as f64 / elapsed.saturating_sub(waited).as_secs_f64(), lost: injected.lost })
}

/// Reads a ring buffer of its own, with the injector's wake-ups and a reader that also wakes by
/// itself like a stream's.
fn raw(cpus: usize) -> Result<Run> {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    let map =
        // The name that the skeleton expects: libbpf renames a map that reuses another to the name
        // of the other.
        MapHandle::create(MapType::RingBuf, Some("rt_events"), 0, 0, RING, &options).context("cannot make a ring")?;
    let mut builder = RingBufferBuilder::new();
    builder.add(&map, |bytes| i32::from(black_box(bytes).is_empty())).context("cannot read a ring")?;
    let ring = builder.build().context("cannot read a ring")?;
    let injector = RecordInjector::for_ring(map.as_fd(), (DEFAULT_WAKEUP_BYTES, 16))?;
    run(&injector, cpus, RECORDS, None, || {
        // A wait that ends without a wake-up reads nothing.
        let [woken, read] = [ring.poll_raw(DEFAULT_MAX_DELAY), ring.consume_raw()].map(u64::try_from);
        injector.mark_reader_awake()?;
        match (woken, read) {
            (Ok(woken), Ok(read)) => Ok(woken + read),
            _ => Err(Error::new("cannot read a ring")),
        }
    })
}

fn of_stream(consumer: Consumer, cpus: usize, records: u64, rate: Option<u64>, ring: u32) -> Result<Run> {
    // No connection has this port.
    let filter = "dport=0".parse().context("a filter")?;
    let mut stream = Stream::builder().filter(filter).ring_size(ring).open().context("cannot open a stream")?;
    let fields = if consumer == Consumer::CoreLine { FieldSet::none() } else { FieldSet::default() };
    let injector = RecordInjector::for_stream_untimed(&stream, fields)?;
    let mut buffer = LineBuffer::new();
    run(&injector, cpus, records, rate, || {
        let events = stream.recv_batch_timeout(DEFAULT_MAX_DELAY).context("cannot read the stream")?.into_slice();
        for event in events {
            match consumer {
                Consumer::CoreLine | Consumer::Line => drop(black_box(buffer.line(event))),
                Consumer::Raw | Consumer::Decode => drop(black_box(event)),
            }
        }
        Ok(events.len() as u64)
    })
}

fn measure(cpus: usize, bars: &mut Bars) -> Result<()> {
    let consumers = [Consumer::Raw, Consumer::Decode, Consumer::CoreLine, Consumer::Line];
    // In turns, so that a temporary disturbance affects all.
    let mut runs = consumers.map(|_| Vec::new());
    for _ in 0..REPETITIONS {
        for (consumer, runs) in consumers.into_iter().zip(&mut runs) {
            runs.push(match consumer {
                Consumer::Raw => raw(cpus)?,
                _ => of_stream(consumer, cpus, RECORDS, None, RING)?,
            });
        }
    }
    let medians = runs.map(|runs| {
        let lost: u64 = runs.iter().map(|run| run.lost).sum();
        (median(&runs.iter().map(|run| run.per_second).collect::<Vec<_>>()), lost)
    });
    for (consumer, (per_second, lost)) in consumers.into_iter().zip(medians) {
        let (name, records) = (consumer.name(), RECORDS * REPETITIONS as u64);
        println!(
            "measured=pipeline:{name} cpus={cpus} records_per_s={per_second:.0} ns={:.1} ring={RING} records={records} lost={lost} \
             repetitions={REPETITIONS}",
            1e9 / per_second
        );
    }
    let [(raw, _), (decode, _), (core_line, _), (line, _)] = medians;
    let ratios = [("decode", decode / raw, 0.9), ("core_line", core_line / raw, 0.6), ("line", line / raw, 0.6)];
    for (name, ratio, limit) in ratios {
        // On one CPU the consumer's work adds to the injector's: a ratio of 0.9 leaves it less time
        // than copying the record requires.
        match cpus {
            1 => println!("measured=pipeline_{name}_by_raw cpus=1 ratio={ratio:.2}"),
            _ => bars.at_least(&format!("pipeline_{name}_by_raw"), ratio, limit),
        }
    }
    Ok(())
}

fn benches() -> Result<ExitCode> {
    println!("{}", machine());
    let mut bars = Bars::new();
    for cpus in [2, 1] {
        measure(cpus, &mut bars)?;
    }
    let mut least = None;
    for ring in [1 << 20, 1 << 22, 1 << 24] {
        let Run { per_second, lost } = of_stream(Consumer::Decode, 2, PACED, Some(RATE), ring)?;
        println!(
            "measured=paced asked_per_s={RATE} records_per_s={per_second:.0} records={PACED} ring={ring} lost={lost}"
        );
        least = Some((ring, lost));
    }
    let lost = least.map_or(f64::NAN, |(_, lost)| lost as f64);
    bars.at_most(&format!("lost_at_5M_per_s_ring_{RING}"), lost, 0.0);
    Ok(bars.verdict())
}

fn main() -> Result<ExitCode> {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Err(Error::new("the bench requires two CPUs"));
    }
    benches()
}
