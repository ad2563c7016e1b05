// SPDX-License-Identifier: MIT OR Apache-2.0
//! A log shipper: sends attempts as key=value lines to a collector by TCP. While it is unavailable,
//! a queue keeps the newest and counts dropped ones. Lines of a broken connection may repeat.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::error::Error;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use clap::Parser;
use retrans_examples::{Interrupted, Source, say, say_ready, say_stats};
use retrans_sdk::format::LineBuffer;
use retrans_sdk::stream::Overflow;
use retrans_sdk::{Event, Stream};

/// Sends each attempt as a key=value line to a collector by TCP, and retries when that fails
#[derive(Parser)]
struct Arguments {
    /// The collector, HOST:PORT
    address: String,
    /// Number of events to keep while the collector is unavailable
    #[arg(long, value_name = "EVENTS", default_value_t = 10_000)]
    keep: usize,
    #[command(flatten)]
    source: Source,
}

/// A collector, and the connection to it if there is one.
struct Collector {
    address: String,
    connection: Option<TcpStream>,
}

impl Collector {
    /// Sends all events in one write. Returns false if that fails.
    fn send(&mut self, events: &[Event], buffer: &mut LineBuffer) -> bool {
        if self.connection.is_none() {
            self.connection = TcpStream::connect(&self.address).ok();
        }
        let Some(connection) = &mut self.connection else { return false };
        let mut lines = Vec::new();
        for event in events {
            lines.extend([buffer.line(event), b"\n"].concat());
        }
        let sent = connection.write_all(&lines).is_ok();
        if !sent {
            self.connection = None;
        }
        sent
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { address, keep, source } = Arguments::parse();
    let interrupted = Interrupted::new()?;
    let stream = source.open(Stream::builder().filter(source.filter()?))?;
    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    // A recording can wait, so no event is dropped.
    let overflow = if source.is_live() { Overflow::DropOldest } else { Overflow::Block };
    let mut queue = stream.into_queue(keep, overflow)?;
    let mut collector = Collector { address, connection: None };
    let (mut events, mut buffer) = (Vec::with_capacity(256), LineBuffer::new());
    while !stopped() && !queue.is_finished() {
        queue.recv_batch_timeout(Duration::MAX, &mut events)?;
        while !events.is_empty() && !stopped() {
            if collector.send(&events, &mut buffer) {
                events.clear();
            } else {
                thread::sleep(Duration::from_millis(200));
            }
        }
    }
    // After a signal, the last batch may be unsent, although the queue counts it as `delivered`.
    say(format_args!("unsent={}", events.len()));
    say_stats(&queue.stats());
    Ok(())
}
