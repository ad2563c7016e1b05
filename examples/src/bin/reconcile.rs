// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds what was seen of this network namespace against the kernel's own counters, every few seconds.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use retrans_examples::until_interrupted;
use retrans_sdk::Stream;
use retrans_sdk::stats::Netns;

const HELP: &str = "\
usage: reconcile [--every SECONDS] [--for SECONDS] [--pid PID]

Adds up the attempts to retransmit in this network namespace, or in that of a process, and holds the sums against its
RetransSegs, TCPRetransFail, TCPSynRetrans and TCPSpuriousRtxHostQueues, every 5 seconds and at the end. Nothing is
filtered, so nothing is missing: exits with 1 if anything was not accounted for within a second, be it a difference, what is
unknown, or failures that cannot be seen here.";

/// How long a difference may last: the kernel counts an attempt a little before it is seen.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

struct Arguments {
    every: Duration,
    limit: Option<Duration>,
    pid: Option<u32>,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| arguments.map(run).transpose()) {
        Ok(None) => {
            let _ = writeln!(io::stdout(), "{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("reconcile: {error}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Option<Arguments>, Box<dyn Error>> {
    let mut arguments = Arguments { every: Duration::from_secs(5), limit: None, pid: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("every") => arguments.every = seconds(parser.value()?.parse()?)?.max(TICK),
            Long("for") => arguments.limit = Some(seconds(parser.value()?.parse()?)?),
            Long("pid") => arguments.pid = Some(parser.value()?.parse()?),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(arguments))
}

/// A year is as good as for ever, and can be added to any time.
fn seconds(number: f64) -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::try_from_secs_f64(number)?.min(Duration::from_secs(365 * 86_400)))
}

/// Whether there was never a difference.
fn run(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let interrupted = until_interrupted()?;
    let netns = arguments.pid.map_or_else(Netns::current, Netns::of_process)?;
    // Nothing but numbers is wanted: no ring, no record.
    let counters = Stream::builder().reconcile(netns).open_counters()?;
    let reconciler = counters.reconciler().ok_or("no namespace was asked for")?;
    eprintln!("ready {}", counters.attachment());

    let began = Instant::now();
    let mut next = began + arguments.every;
    let mut exact = true;
    loop {
        let over = interrupted() || arguments.limit.is_some_and(|limit| began.elapsed() >= limit);
        if over || Instant::now() >= next {
            let reconciliation = reconciler.reconcile(PATIENCE)?;
            let (netns, seconds) = (reconciler.netns(), began.elapsed().as_secs());
            writeln!(io::stdout(), "netns={netns} seconds={seconds}\n{reconciliation}")?;
            exact &= reconciliation.is_exact();
            next += arguments.every;
        }
        if over {
            return Ok(exact);
        }
        sleep(TICK);
    }
}
