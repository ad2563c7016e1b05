// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sidecar, written for tokio on one thread: prints JSON for each failed attempt of the container
//! that it runs in. The container is its own cgroup and all cgroups below it.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::error::Error;
use std::io::{self, Write as _};

use clap::Parser;
use retrans_examples::{Source, say_ready, say_stats, written};
use retrans_sdk::{Event, Filter, RetransResult, Stream};
use tokio::signal::unix::{SignalKind, signal};

/// Prints a line of JSON for each failed attempt of its own cgroup and of the cgroups below it
///
/// A recording does not contain the cgroup tree: all of its failed attempts are printed.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    source: Source,
}

fn print(events: &[Event]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for event in events.iter().filter(|event| event.result != RetransResult::Success) {
        serde_json::to_writer(&mut out, event)?;
        writeln!(out)?;
    }
    out.flush()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { source } = Arguments::parse();
    let scope = if source.is_live() { Filter::current_cgroup()? } else { Filter::default() };
    let builder = Stream::builder().filter(source.filter()?.and(&scope)?);
    let stream = source.open(builder)?;
    say_ready(&stream);
    let mut stream = stream.into_async()?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            batch = stream.recv_batch() => match batch {
                Some(events) => written(print(&events?))?,
                None => break,
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    say_stats(&stream.stats());
    Ok(())
}
