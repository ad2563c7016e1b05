// SPDX-License-Identifier: MIT OR Apache-2.0
//! An application's own predicate beside a filter in the kernel: timeouts of connections that were in full flight.

use std::error::Error;
use std::time::Duration;

use retrans_examples::{say_ready, say_stats, until_interrupted, was_asked_for_help};
use retrans_sdk::{Event, Filter, Stream};

/// More than half of what the receiver allows is on its way: two fields against each other, which no filter term can say.
fn in_full_flight(event: &Event) -> bool {
    let (Some(una), Some(next), Some(window)) = (event.snd_una, event.snd_nxt, event.snd_wnd) else {
        return false;
    };
    next.wrapping_sub(una) > window / 2
}

fn main() -> Result<(), Box<dyn Error>> {
    if was_asked_for_help("Prints timeouts of connections that were in full flight. Takes no arguments.") {
        return Ok(());
    }
    let interrupted = until_interrupted()?;

    // Decided in the kernel, where what it excludes costs no record; the predicate is asked here, behind it.
    let filter: Filter = "result!=in_host_queue dport!=22 kind=rto".parse()?;

    let mut stream = Stream::builder().filter(filter).predicate(in_full_flight).open()?;
    say_ready(&stream);
    while !interrupted() {
        stream.for_each_timeout(Duration::from_millis(100), |event| {
            println!("{} to {} port {}: {}", event.ts, event.daddr, event.dport, event.result);
        })?;
    }
    say_stats(&stream.stats());
    Ok(())
}
