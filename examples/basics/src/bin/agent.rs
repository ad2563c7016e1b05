// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent that counts attempts by service (its cgroup) and result, at an interval. It starts as
//! root, or with CAP_BPF and CAP_PERFMON (`docs/retrans-agent.service`), and drops all privileges.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Parser;
use retrans_examples::{Interrupted, Source, say_ready, say_stats, written};
use retrans_sdk::attach::drop_privileges;
use retrans_sdk::event::{CgroupPaths, PercentEncoded};
use retrans_sdk::{Event, RetransResult, Stream};

/// Prints the number of new attempts by service and result at an interval, one line each
#[derive(Parser)]
struct Arguments {
    /// Time between two prints, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    every: u64,
    /// End after this time, in seconds (default: no limit)
    #[arg(long = "for", value_name = "SECONDS", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    #[command(flatten)]
    source: Source,
}

#[derive(Default)]
struct Counts {
    /// Attempts by the path of the service's cgroup (`None` if not known) and by result.
    attempts: BTreeMap<(Option<String>, RetransResult), u64>,
    cgroups: Option<CgroupPaths>,
}

impl Counts {
    fn add(&mut self, event: &Event) {
        let path = self.cgroups.as_mut().and_then(|paths| paths.path(event.cgroup?));
        let service = path.map(|path| PercentEncoded(path.as_os_str().as_encoded_bytes()).to_string());
        *self.attempts.entry((service, event.result)).or_default() += 1;
    }

    fn print(&mut self, mut out: impl Write) -> io::Result<()> {
        for ((service, result), attempts) in std::mem::take(&mut self.attempts) {
            let (service, class) = (service.as_deref().unwrap_or("-"), result.class().key_val());
            writeln!(out, "service={service} {} {class} attempts={attempts}", result.key_val())?;
        }
        out.flush()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { every, limit, source } = Arguments::parse();
    let every = Duration::from_secs(every.clamp(1, 86_400));
    let end = Instant::now().checked_add(Duration::from_secs(limit));
    let interrupted = Interrupted::new()?;
    let mut stream = source.open(Stream::builder().filter(source.filter()?).fields("cgroup".parse()?))?;
    let is_live = stream.live().is_some(); // A recording's ids are not valid here.
    let mut counts = Counts { cgroups: if is_live { CgroupPaths::new().ok() } else { None }, ..Counts::default() };
    if is_live {
        drop_privileges(65534, 65534)?;
    }
    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    let mut next = Instant::now() + every;
    while !stopped() && !stream.is_finished() && end.is_none_or(|end| Instant::now() < end) {
        let until = end.map_or(next, |end| end.min(next));
        stream.for_each_timeout(until.saturating_duration_since(Instant::now()), |event| counts.add(event))?;
        if Instant::now() >= next {
            written(counts.print(io::stdout().lock()))?;
            next += every;
        }
    }
    // Once detached, each call returns what is left in the ring buffer, and finally 0, at once.
    stream.detach();
    while stream.for_each_timeout(Duration::MAX, |event| counts.add(event))? > 0 {}
    written(counts.print(io::stdout().lock()))?;
    say_stats(&stream.stats());
    Ok(())
}
