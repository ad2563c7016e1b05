// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the program at `tcp_fragment()` that `StreamBuilder::locate_nomem` attaches. It also
//! runs where TCP splits a segment without an attempt.

use std::fs;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libbpf_rs::query::ProgInfoIter;
use retrans_lab::{BulkTraffic, Context, Error, Family, Packets, Pair, Result};
use retrans_sdk::Stream;
use retrans_tests::bench::{Bars, median};

use crate::REPETITIONS;
use crate::consumer::Consumer;
use crate::on_drop::OnDrop;
use crate::run_time::{Measuring, Programs, Runs, descriptors_of, programs};

/// The name of the program at `tcp_fragment()`.
const PROGRAM: &str = "rt_fexit_frag";

const CONNECTIONS: usize = 4;
/// Segments as on an Ethernet. GSO is on, as by default.
const MSS: u16 = 1_460;

/// The lost segments per thousand, without and with retransmissions.
const LOADS: [u32; 3] = [0, 1, 10];

const WHILE: Duration = Duration::from_secs(1);

/// One second of a load.
struct Sample {
    runs: Runs,
    segments: u64,
    seconds: f64,
}

pub(crate) fn measure(bars: &mut Bars) -> Result<()> {
    if !Stream::builder().locate_nomem().open_counters().is_ok_and(|counters| counters.attachment().locates_nomem) {
        println!("measured=fragment supported=no");
        return Ok(());
    }
    for lost_per_mille in LOADS {
        let samples = of_load(lost_per_mille)?;
        let per_second = median(&samples.iter().map(|s| s.runs.count as f64 / s.seconds).collect::<Vec<_>>());
        let per_million =
            median(&samples.iter().map(|s| s.runs.count as f64 * 1e6 / s.segments as f64).collect::<Vec<_>>());
        let percent = median(&samples.iter().map(|s| s.runs.ns as f64 / s.seconds / 1e7).collect::<Vec<_>>());
        let total = samples.iter().fold(Runs::default(), |sum, sample| sum + sample.runs);
        let segments: u64 = samples.iter().map(|sample| sample.segments).sum();
        println!(
            "measured=fragment by=bpf_stats lost_per_mille={lost_per_mille} runs={} mean_ns={:.1} runs_per_s={per_second:.0} \
             segments={segments} runs_per_million_segments={per_million:.1} core_percent={percent:.4} \
             repetitions={REPETITIONS}",
            total.count,
            total.ns as f64 / total.count.max(1) as f64,
        );
        bars.at_most(&format!("fragment_core_percent_lost_{lost_per_mille}"), percent, 1.0);
    }
    Ok(())
}

fn of_load(lost_per_mille: u32) -> Result<Vec<Sample>> {
    let pair = Pair::new()?;
    let load = BulkTraffic::open(&pair, Family::V4, CONNECTIONS, MSS)?;
    let loss = match lost_per_mille {
        0 => None,
        lost => Some(Packets::input().at_least(100).per_mille(lost).drop_in(pair.server())?),
    };
    let done = AtomicBool::new(false);
    let samples = thread::scope(|scope| {
        let _done = OnDrop(|| done.store(true, Ordering::Release));
        let traffic = scope.spawn(|| load.run(|| Ok(done.load(Ordering::Acquire))));
        let samples = (0..REPETITIONS).map(|_| once(&pair)).collect::<Result<Vec<_>>>()?;
        done.store(true, Ordering::Release);
        traffic.join().map_err(|_| Error::new("the load panicked"))??;
        Ok::<_, Error>(samples)
    })?;
    loss.map_or(Ok(()), |loss| loss.lift())?;
    Ok(samples)
}

fn once(pair: &Pair) -> Result<Sample> {
    let before = descriptors_of(process::id())?;
    let stream = Consumer::open(Stream::builder().locate_nomem())?;
    let descriptors = &descriptors_of(process::id())? - &before;
    let _measuring = Measuring::begin()?;
    let earlier = programs(&descriptors)?;
    let program = ProgInfoIter::default()
        .find(|program| program.name.as_os_str() == PROGRAM && earlier.contains_key(&program.id))
        .ok_or_else(|| Error::new(format!("the stream has no program {PROGRAM}")))?;
    let (sent, began) = (segments_of(pair)?, Instant::now());
    thread::sleep(WHILE);
    let runs = |programs: &Programs| programs.get(&program.id).copied().unwrap_or_default();
    let sample = Sample {
        runs: runs(&programs(&descriptors)?) - runs(&earlier),
        segments: segments_of(pair)?.saturating_sub(sent),
        seconds: began.elapsed().as_secs_f64(),
    };
    stream.end()?;
    if sample.segments == 0 {
        return Err(Error::new("the load sent nothing"));
    }
    Ok(sample)
}

/// Returns the number of segments that the sending namespace has sent.
fn segments_of(pair: &Pair) -> Result<u64> {
    let text = pair.client().run(|| fs::read_to_string("/proc/thread-self/net/snmp")).context("cannot read snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let values = lines.next().zip(lines.next()).and_then(|(names, values)| {
        names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "OutSegs").map(|(_, value)| value.parse())
    });
    values.ok_or_else(|| Error::new("snmp does not contain OutSegs"))?.context("OutSegs is not a number")
}
