// SPDX-License-Identifier: MIT OR Apache-2.0
//! A predicate in user space, in addition to a filter in the kernel: prints timeouts of connections
//! with more than half of the receive window in flight.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use retrans_examples::{Interrupted, print, say_ready, say_stats};
use retrans_sdk::{Event, Filter, Stream};

/// Returns whether more than half of the receive window is in flight. A filter term cannot compare
/// two fields with each other.
fn in_full_flight(event: &Event) -> bool {
    let (Some(una), Some(next), Some(window)) = (event.snd_una, event.snd_nxt, event.snd_wnd) else {
        return false;
    };
    next.wrapping_sub(una) > window / 2
}

/// Prints retransmission timeouts of connections with over half of the receive window in flight
#[derive(Parser)]
struct Arguments;

fn main() -> Result<(), Box<dyn Error>> {
    Arguments::parse();
    let interrupted = Interrupted::new()?;

    // Evaluated in the kernel: an excluded attempt produces no record. The predicate runs in user
    // space, on the attempts that remain.
    let filter: Filter = "result!=in_host_queue dport!=22 kind=rto".parse()?;

    let mut stream = Stream::builder().filter(filter).predicate(in_full_flight).open()?;
    say_ready(&stream);
    while !interrupted.is() {
        for event in stream.recv_batch_timeout(Duration::from_millis(100))? {
            print(format_args!("{} to {} port {}: {}", event.ts, event.daddr, event.dport, event.result))?;
        }
    }
    say_stats(&stream.stats());
    Ok(())
}
