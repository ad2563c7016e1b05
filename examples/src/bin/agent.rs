// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent: counts the attempts by service and result, and prints what has changed every so often. A service is what systemd takes for
//! one: a cgroup. It starts with CAP_BPF and CAP_PERFMON, as `docs/retrans-agent.service` gives them, and goes on without any.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use retrans_examples::command::Command;
use retrans_examples::privileges::give_up;
use retrans_examples::{Interrupted, ended, say_ready, say_stats};
use retrans_sdk::event::{CgroupPaths, PercentEncoded};
use retrans_sdk::reason_table::KeyVal;
use retrans_sdk::{Event, RetransResult, Stream};

const HELP: &str = "\
Counts attempts by service and result; prints what rose in the last SECONDS (10 unless said), a line each.

usage: agent [--every SECONDS] [--for SECONDS] [--replay FILE] [TERM…] [--or TERM…]…";

#[derive(Default)]
struct Counts {
    /// By the path of the service's cgroup; without one where it is not known.
    attempts: BTreeMap<(Option<String>, RetransResult), u64>,
    cgroups: Option<CgroupPaths>,
}

impl Counts {
    fn add(&mut self, event: &Event) {
        let path = |paths: &mut CgroupPaths| {
            paths.path(event.cgroup?).map(|path| path.as_os_str().as_encoded_bytes().to_vec())
        };
        let service = self.cgroups.as_mut().and_then(path).map(|path| PercentEncoded(&path).to_string());
        *self.attempts.entry((service, event.result)).or_default() += 1;
    }

    fn print(&mut self, mut out: impl Write) -> io::Result<()> {
        for ((service, result), attempts) in std::mem::take(&mut self.attempts) {
            let service = KeyVal { key: "service", value: service.as_deref().unwrap_or("-") };
            writeln!(out, "{service} {} {} attempts={attempts}", result.key_val(), result.class().key_val())?;
        }
        out.flush()
    }
}

fn main() -> ExitCode {
    ended("agent", run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(command) = Command::read(HELP, 0, &["every", "for"])? else { return Ok(()) };
    let every = Duration::from_secs(command.number("every", 10).clamp(1, 86_400));
    let end = Instant::now().checked_add(Duration::from_secs(command.number("for", u64::MAX)));
    let interrupted = Interrupted::new()?;
    let fields = "cgroup".parse()?;
    let mut stream = command.open(Stream::builder().filter(command.filter.clone()).fields(fields))?;
    // Of a recording from elsewhere the numbers would mean other cgroups here.
    let is_live = stream.live().is_some();
    let mut counts = Counts { cgroups: if is_live { CgroupPaths::new().ok() } else { None }, ..Counts::default() };
    if is_live {
        give_up()?;
    }
    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    let mut next = Instant::now() + every;
    while !stopped() && !stream.is_finished() && end.is_none_or(|end| Instant::now() < end) {
        let until = end.map_or(next, |end| end.min(next));
        stream.for_each_timeout(until.saturating_duration_since(Instant::now()), |event| counts.add(event))?;
        if Instant::now() >= next {
            counts.print(io::stdout().lock())?;
            next += every;
        }
    }
    counts.print(io::stdout().lock())?;
    say_stats(&stream.stats());
    Ok(())
}
