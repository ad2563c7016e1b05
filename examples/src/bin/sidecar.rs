// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sidecar: JSON of what fails to be retransmitted for the container that it runs in, which is its own cgroup and all below it. Written
//! for tokio, on one thread.

use std::error::Error;
use std::io::{self, Write as _};

use retrans_examples::command::Command;
use retrans_examples::{say_ready, say_stats};
use retrans_sdk::{Event, Filter, RetransResult, Stream};
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Prints a line of JSON for each attempt that failed, of sockets of the cgroup that this runs in, and of those below it.

usage: sidecar [--replay FILE] [TERM…] [--or TERM…]…

A recording does not tell what is below a cgroup: of it, all are printed.";

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
    let Some(command) = Command::read(HELP, 0, &[])? else { return Ok(()) };
    let scope = if command.is_live() { Filter::current_cgroup()? } else { Filter::default() };
    let builder = Stream::builder().filter(command.filter.and(&scope)?);
    let stream = command.open(builder)?;
    say_ready(&stream);
    let mut stream = stream.into_async()?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            batch = stream.recv_batch() => match batch {
                Some(events) => print(&events?)?,
                None => break,
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    say_stats(&stream.stats());
    Ok(())
}
