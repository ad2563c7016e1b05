// SPDX-License-Identifier: MIT OR Apache-2.0
//! An alert: says which remote addresses the attempts fail to, once so many have within so long, and again when it is over.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use retrans_examples::command::Command;
use retrans_examples::{Interrupted, say_ready, say_stats};
use retrans_sdk::event::Timestamp;
use retrans_sdk::stats::Failures;
use retrans_sdk::{Event, RetransResult, Stream};

const HELP: &str = "\
Prints `alert=raised` for each remote address to which FAILURES (5) attempts failed within SECONDS (60), with the last
one's result, and `alert=cleared` once an attempt to it succeeds.

usage: alert [--failures FAILURES] [--within SECONDS] [--replay FILE] [TERM…] [--or TERM…]…";

/// Of so many addresses it is known when attempts failed.
const MOST: usize = 10_000;

struct Alerts {
    failures: usize,
    within: u64,
    /// When the last ones failed, and whether that was said.
    remotes: HashMap<IpAddr, (VecDeque<Timestamp>, bool)>,
}

impl Alerts {
    /// What is to be said of an event, if anything.
    fn judge(&mut self, event: &Event) -> Option<String> {
        if event.result == RetransResult::Success {
            let (_, raised) = self.remotes.remove(&event.daddr)?;
            return raised.then(|| format!("ts={} alert=cleared daddr={}", event.ts, event.daddr));
        }
        if self.remotes.len() >= MOST && !self.remotes.contains_key(&event.daddr) {
            // Those whose last failure is too long ago to count.
            self.remotes
                .retain(|_, (times, _)| times.back().is_some_and(|last| is_within(*last, event.ts, self.within)));
            (self.remotes.len() < MOST).then_some(())?;
        }
        let (times, raised) = self.remotes.entry(event.daddr).or_default();
        times.push_back(event.ts);
        while times.len() > self.failures
            || times.front().is_some_and(|first| !is_within(*first, event.ts, self.within))
        {
            times.pop_front();
        }
        (times.len() == self.failures && !std::mem::replace(raised, true)).then(|| {
            let last = event.result;
            format!("ts={} alert=raised daddr={} failures={} {}", event.ts, event.daddr, times.len(), last.key_val())
        })
    }
}

fn is_within(earlier: Timestamp, later: Timestamp, nanos: u64) -> bool {
    later.as_nanos().saturating_sub(earlier.as_nanos()) <= nanos
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(command) = Command::read(HELP, 0, &["failures", "within"])? else { return Ok(()) };
    let interrupted = Interrupted::new()?;
    let failures = command.number("failures", 5).clamp(1, 1000) as usize;
    let within = command.number("within", 60).saturating_mul(1_000_000_000);
    let mut alerts = Alerts { failures, within, remotes: HashMap::new() };
    let mut stream = command.open(Stream::builder().filter(command.filter.clone()))?;
    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    if stream.live().is_some() && stream.stats().failures == Failures::Unobservable {
        return Err("no failure can be seen from here: see `doctor`".into());
    }
    while !stopped() && !stream.is_finished() {
        stream.for_each_timeout(Duration::MAX, |event| {
            alerts.judge(event).into_iter().for_each(|alert| println!("{alert}"));
        })?;
    }
    say_stats(&stream.stats());
    Ok(())
}
