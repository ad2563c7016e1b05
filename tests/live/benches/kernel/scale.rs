// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the cost of an event with all fields, at rising rates and with rising numbers of
//! connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::tun::Crowd;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Error, Pair, Result};
use retrans_tests::bench::{Bars, median};

use crate::REPETITIONS;
use crate::on_drop::OnDrop;
use crate::run_time::{Measuring, between};
use crate::subject::Subject;

/// Attempts per second; `None` is as fast as possible.
const RATES: [Option<u64>; 4] = [Some(1_000), Some(10_000), Some(100_000), None];
const FLOWS_FOR_RATES: usize = 100;

const FLOWS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const RATE_FOR_FLOWS: u64 = 10_000;

/// The minimum number of attempts and the minimum time of each measurement.
const ENOUGH: u64 = 500;
const WHILE: Duration = Duration::from_millis(500);
const SETTLE: Duration = Duration::from_millis(100);

/// The result of one repetition.
struct Sample {
    ns: f64,
    per_second: f64,
    lost: u64,
}

pub(crate) fn measure(bars: &mut Bars) -> Result<()> {
    let pair = Pair::new()?;
    println!("load=crowd result=denied each attempt by a duplicate acknowledgement");
    let mut crowd = Crowd::open(&pair, FLOWS_FOR_RATES)?;
    for rate in RATES {
        let asked = rate.map_or_else(|| "most".to_owned(), |rate| rate.to_string());
        point(&mut crowd, rate, "rate", &format!("asked_per_s={asked} flows={FLOWS_FOR_RATES}"))?;
    }
    drop(crowd);

    let mut medians = Vec::new();
    for flows in FLOWS {
        let mut crowd = Crowd::open(&pair, flows)?;
        let what = format!("asked_per_s={RATE_FOR_FLOWS} flows={flows}");
        medians.push(point(&mut crowd, Some(RATE_FOR_FLOWS), "flows", &what)?);
    }
    let most = medians.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = medians.iter().copied().fold(f64::INFINITY, f64::min);
    bars.at_most("flat_over_flows", most / least, 1.5);
    Ok(())
}

/// Prints and returns the median.
fn point(crowd: &mut Crowd, rate: Option<u64>, over: &str, what: &str) -> Result<f64> {
    let done = AtomicBool::new(false);
    let samples = thread::scope(|scope| {
        let _done = OnDrop(|| done.store(true, Ordering::Release));
        let traffic = scope.spawn(|| crowd.attempts(rate, || done.load(Ordering::Acquire)));
        let samples = (0..REPETITIONS).map(|_| once()).collect::<Result<Vec<_>>>()?;
        done.store(true, Ordering::Release);
        traffic.join().map_err(|_| Error::new("the load panicked"))??;
        Ok::<_, Error>(samples)
    })?;
    let ns: Vec<f64> = samples.iter().map(|sample| sample.ns).collect();
    let per_second = median(&samples.iter().map(|sample| sample.per_second).collect::<Vec<_>>());
    let lost: u64 = samples.iter().map(|sample| sample.lost).sum();
    let least = ns.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ns.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ns = median(&ns);
    // The rate that a machine with few CPUs may not reach.
    let short = rate.is_some_and(|rate| per_second < 0.95 * rate as f64);
    let short = if short { "yes" } else { "no" };
    println!(
        "measured=over_{over} by=bpf_stats {what} reached_per_s={per_second:.0} short={short} median_ns={ns:.1} least_ns={least:.1} most_ns={most:.1} \
         repetitions={REPETITIONS} lost={lost}",
    );
    Ok(ns)
}

fn once() -> Result<Sample> {
    let watching = Subject::FullAdaptive.attach()?;
    thread::sleep(SETTLE);
    let _measuring = Measuring::begin()?;
    let earlier = watching.programs()?;
    let began = Instant::now();
    let runs = wait_for("attempts of a crowd", PATIENCE, || {
        if began.elapsed() < WHILE {
            return Ok(None);
        }
        let runs = between(&earlier, &watching.programs()?)?;
        Ok((runs.count >= ENOUGH).then_some(runs))
    })?;
    let per_second = runs.count as f64 / began.elapsed().as_secs_f64();
    let lost = watching.lost().unwrap_or_default();
    watching.end()?;
    Ok(Sample { ns: runs.ns as f64 / runs.count as f64, per_second, lost })
}
