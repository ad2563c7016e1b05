// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the cost of an event in the kernel, for each subject under the same load: for BPF
//! programs by the kernel's own statistics, and for all subjects by the time between two programs
//! around them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{BulkTraffic, Context, Error, Family, Packets, Pair, Result};
use retrans_sdk::{RetransResult, Stream};
use retrans_tests::bench::{Bars, median};

use crate::REPETITIONS;
use crate::on_drop::OnDrop;
use crate::run_time::{Measuring, between};
use crate::sandwich::Sandwich;
use crate::subject::Subject;

const CONNECTIONS: usize = 8;
/// Segments of 76 bytes, of which one in ten is lost.
const SMALL: u16 = 88;
const LOST_PER_MILLE: u32 = 100;

/// The minimum number of attempts and the minimum time of each measurement.
const ENOUGH: u64 = 2_000;
const WHILE: Duration = Duration::from_millis(250);
/// The time for a consumer to reach its first wait.
const SETTLE: Duration = Duration::from_millis(50);

/// The results of one attachment of a subject.
struct Sample {
    run_time_ns: Option<f64>,
    between_ns: f64,
    mean_between_ns: f64,
    attempts: u64,
    per_second: f64,
    discarded: u64,
    lost: Option<u64>,
}

pub(crate) fn measure(bars: &mut Bars) -> Result<()> {
    let pair = Pair::new()?;
    let load = BulkTraffic::open_without_gso(&pair, Family::V4, CONNECTIONS, SMALL)?;
    let loss = Packets::input().at_least(100).per_mille(LOST_PER_MILLE).drop_in(pair.server())?;
    let done = AtomicBool::new(false);
    let samples = thread::scope(|scope| {
        let _done = OnDrop(|| done.store(true, Ordering::Release));
        let traffic = scope.spawn(|| load.run(|| Ok(done.load(Ordering::Acquire))));
        let samples = of_all()?;
        done.store(true, Ordering::Release);
        traffic.join().map_err(|_| Error::new("the load panicked"))??;
        Ok::<_, Error>(samples)
    })?;
    loss.lift()?;
    Costs::of(&samples).hold_up(bars);
    Ok(())
}

/// Rounds over all subjects, so that changes over time affect all of them.
fn of_all() -> Result<BTreeMap<Subject, Vec<Sample>>> {
    println!("{}", load_now()?);
    let mut samples = BTreeMap::<_, Vec<_>>::new();
    for _ in 0..REPETITIONS {
        for subject in Subject::ALL {
            let sample = once(subject).with_context(|| format!("cannot measure {}", subject.name()))?;
            samples.entry(subject).or_default().push(sample);
        }
    }
    Ok(samples)
}

/// Returns the attempts of the load.
fn load_now() -> Result<String> {
    let counters = Stream::builder().open_counters().context("cannot open counters")?;
    let began = Instant::now();
    let stats = wait_for("attempts", PATIENCE, || {
        let stats = counters.stats();
        Ok((stats.seen >= ENOUGH && began.elapsed() >= WHILE).then_some(stats))
    })?;
    let successes = stats.counts.iter().filter(|count| count.result == Some(RetransResult::Success));
    let successes: u64 = successes.map(|count| count.attempts).sum();
    Ok(format!(
        "load=loss connections={CONNECTIONS} lost_per_mille={LOST_PER_MILLE} attempts_per_s={:.0} successes={:.3}",
        stats.seen as f64 / began.elapsed().as_secs_f64(),
        successes as f64 / stats.seen as f64,
    ))
}

fn once(subject: Subject) -> Result<Sample> {
    // Attached anew each time, so that it comes before what others have attached meanwhile.
    let sandwich = Sandwich::begin()?;
    let watching = subject.attach()?;
    let after = sandwich.close()?;
    thread::sleep(SETTLE);

    sandwich.clear()?;
    let began = Instant::now();
    let spent = wait_for("attempts between two programs", PATIENCE, || {
        if began.elapsed() < WHILE {
            return Ok(None);
        }
        let spent = sandwich.read()?;
        Ok((spent.count >= ENOUGH).then_some(spent))
    })?;
    let per_second = spent.count as f64 / began.elapsed().as_secs_f64();
    drop((after, sandwich));

    // The two programs are detached, and they were measured without statistics: measuring itself
    // costs time.
    let run_time_ns = if subject.is_bpf() {
        let _measuring = Measuring::begin()?;
        let earlier = watching.programs()?;
        let began = Instant::now();
        let runs = wait_for("runs of its programs", PATIENCE, || {
            if began.elapsed() < WHILE {
                return Ok(None);
            }
            let runs = between(&earlier, &watching.programs()?)?;
            Ok((runs.count >= ENOUGH).then_some(runs))
        })?;
        Some(runs.ns as f64 / runs.count as f64)
    } else {
        None
    };
    let lost = watching.lost();
    watching.end()?;
    Ok(Sample {
        run_time_ns,
        between_ns: spent.median_ns,
        mean_between_ns: spent.mean_ns,
        attempts: spent.count,
        per_second,
        discarded: spent.discarded,
        lost,
    })
}

/// Medians, in nanoseconds.
struct Costs {
    run_time: BTreeMap<Subject, f64>,
    /// Minus the cost of the empty subject.
    between: BTreeMap<Subject, f64>,
}

impl Costs {
    fn of(samples: &BTreeMap<Subject, Vec<Sample>>) -> Self {
        let mut costs = Self { run_time: BTreeMap::new(), between: BTreeMap::new() };
        let between = |subject| samples.get(&subject).into_iter().flatten().map(|sample| sample.between_ns);
        let means = |subject| samples.get(&subject).into_iter().flatten().map(|sample| sample.mean_between_ns);
        let nothing: Vec<f64> = between(Subject::Nothing).collect();
        let mean_of_nothing: Vec<f64> = means(Subject::Nothing).collect();
        println!("measured=in_kernel subject=nothing by=sandwich {}", summary(&nothing));
        for (subject, of) in samples.iter().filter(|(subject, _)| **subject != Subject::Nothing) {
            let attempts: u64 = of.iter().map(|sample| sample.attempts).sum();
            let discarded: u64 = of.iter().map(|sample| sample.discarded).sum();
            let rate = median(&of.iter().map(|sample| sample.per_second).collect::<Vec<_>>());
            let lost = of.iter().filter_map(|sample| sample.lost).reduce(|a, b| a + b);
            let lost = lost.map_or_else(String::new, |lost| format!(" lost={lost}"));
            let name = subject.name();
            let run_time: Vec<f64> = of.iter().filter_map(|sample| sample.run_time_ns).collect();
            if !run_time.is_empty() {
                println!("measured=in_kernel subject={name} by=bpf_stats {}{lost}", summary(&run_time));
                costs.run_time.insert(*subject, median(&run_time));
            }
            // Each relative to the empty subject of the same round.
            let less: Vec<f64> = between(*subject).zip(&nothing).map(|(ns, nothing)| ns - nothing).collect();
            let means: Vec<f64> = means(*subject).zip(&mean_of_nothing).map(|(ns, nothing)| ns - nothing).collect();
            println!(
                "measured=in_kernel subject={name} by=sandwich {} mean_ns={:.1} attempts={attempts} attempts_per_s={rate:.0} \
                 discarded={discarded}",
                summary(&less),
                median(&means),
            );
            costs.between.insert(*subject, median(&less));
        }
        costs
    }

    fn hold_up(&self, bars: &mut Bars) {
        let run_time = |subject| self.run_time.get(&subject).copied().unwrap_or(f64::NAN);
        let full = run_time(Subject::FullAdaptive);
        // If probes were not called in the order of their registration, a subject would not be
        // between the two.
        let least = self.between.values().copied().fold(f64::INFINITY, f64::min);
        bars.at_least("least_between_less_nothing_ns", least, 1.0);
        bars.at_most("full_adaptive_by_empty", full / run_time(Subject::Empty), 6.0);
        bars.at_least("bpftrace_by_full_adaptive", run_time(Subject::Bpftrace) / full, 15.0);
        bars.at_most("filtered_out_by_empty", run_time(Subject::FilteredOut) / run_time(Subject::Empty), 1.5);
    }
}

fn summary(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = median(values);
    format!("median_ns={median:.1} least_ns={least:.1} most_ns={most:.1} repetitions={}", values.len())
}
