// SPDX-License-Identifier: MIT OR Apache-2.0
//! An alert that reports addresses to which attempts keep failing, and when one succeeds again.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use clap::Parser;
use retrans_examples::{Interrupted, Source, print, say, say_ready, say_stats};
use retrans_sdk::event::Timestamp;
use retrans_sdk::stats::Failures;
use retrans_sdk::{Event, RetransResult, Stream};

/// Prints `alert=raised` if attempts to an address keep failing, `alert=cleared` once one succeeds
#[derive(Parser)]
struct Arguments {
    /// Number of failed attempts that raise the alert
    #[arg(long, default_value_t = 5)]
    failures: usize,
    /// Time in which these attempts must fail, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    within: u64,
    #[command(flatten)]
    source: Source,
}

/// The maximum number of addresses. Then those without a recent failure, and others, are forgotten.
const MOST: usize = 10_000;

struct Alerts {
    failures: usize,
    within: u64,
    /// The times of the last failures, and whether the alert is raised, by address.
    remotes: HashMap<IpAddr, (VecDeque<Timestamp>, bool)>,
    forgotten: usize,
}

impl Alerts {
    /// Returns the alert that an event raises or clears.
    fn judge(&mut self, Event { ts, result, daddr, .. }: Event) -> Option<String> {
        if result == RetransResult::Success {
            return self.remotes.remove(&daddr)?.1.then(|| format!("ts={ts} alert=cleared daddr={daddr}"));
        }
        let is_recent = |last: &Timestamp| ts.as_nanos().abs_diff(last.as_nanos()) <= self.within;
        if self.remotes.len() >= MOST && !self.remotes.contains_key(&daddr) {
            self.remotes.retain(|_, (times, _)| times.back().is_some_and(is_recent));
            self.forgotten += (MOST - self.remotes.len()).max(1);
            (self.remotes.len() < MOST).then_some(())?;
        }
        let (times, raised) = self.remotes.entry(daddr).or_default();
        times.push_back(ts);
        while times.len() > self.failures || times.front().is_some_and(|first| !is_recent(first)) {
            times.pop_front();
        }
        (times.len() == self.failures && !std::mem::replace(raised, true))
            .then(|| format!("ts={ts} alert=raised daddr={daddr} failures={} result={result}", times.len()))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { failures, within, source } = Arguments::parse();
    let interrupted = Interrupted::new()?;
    let within = within.saturating_mul(1_000_000_000);
    let mut alerts = Alerts { failures: failures.clamp(1, 1000), within, remotes: HashMap::new(), forgotten: 0 };
    let mut stream = source.open(Stream::builder().filter(source.filter()?))?;
    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    if stream.live().is_some() && stream.stats().failures == Failures::Unobservable {
        return Err("failures cannot be observed on this kernel: see `retrans doctor`".into());
    }
    while !stopped() && !stream.is_finished() {
        for alert in stream.recv_batch_timeout(Duration::MAX)?.filter_map(|event| alerts.judge(event)) {
            print(format_args!("{alert}"))?;
        }
    }
    say(format_args!("forgotten={}", alerts.forgotten));
    say_stats(&stream.stats());
    Ok(())
}
