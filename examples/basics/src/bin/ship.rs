// SPDX-License-Identifier: MIT OR Apache-2.0
//! A log shipper: sends key=value lines to a collector by TCP. While it is unavailable, a queue
//! keeps the newest and counts dropped ones. Each batch has its own connection. Unless the
//! collector closes it after it has read the last line, the batch is sent again.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::Duration;

use clap::Parser;
use retrans_examples::{Interrupted, Source, retry, say, say_ready, say_stats};
use retrans_sdk::Stream;
use retrans_sdk::format::LineBuffer;
use retrans_sdk::stream::Overflow;

/// Sends each attempt as a key=value line to a collector by TCP, and retries when that fails
#[derive(Parser)]
struct Arguments {
    /// The collector, HOST:PORT. It must close a connection after it has read all lines
    address: String,
    /// Number of events to keep while the collector is unavailable
    #[arg(long, value_name = "EVENTS", default_value_t = 10_000)]
    keep: usize,
    #[command(flatten)]
    source: Source,
}

/// The time limit of a system call, so that a signal ends the program.
const LIMIT: Duration = Duration::from_millis(200);

/// Sends lines. Returns without an error if the collector has read all of them.
fn send(address: &str, mut lines: &[u8], stopped: &impl Fn() -> bool) -> io::Result<()> {
    let connect = |address| TcpStream::connect_timeout(&address, LIMIT).ok();
    let mut collector = address.to_socket_addrs()?.find_map(connect).ok_or(ErrorKind::NotConnected)?;
    collector.set_write_timeout(Some(LIMIT))?;
    collector.set_read_timeout(Some(LIMIT))?;
    while !lines.is_empty() {
        lines = &lines[retry(stopped, || collector.write(lines))?..];
    }
    collector.shutdown(Shutdown::Write)?;
    while retry(stopped, || collector.read(&mut [0; 512]))? > 0 {}
    // If not all lines were read, the kernel of the collector resets the connection (RFC 1122,
    // 4.2.2.13), possibly after its end. Then there is no peer, and an error.
    retry(stopped, || {
        thread::sleep(LIMIT / 100);
        collector.peer_addr().map_or(Ok(()), |_| Err(ErrorKind::WouldBlock.into()))
    })?;
    collector.take_error()?.map_or(Ok(()), Err)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { address, keep, source } = Arguments::parse();
    let interrupted = Interrupted::new()?;
    let stream = source.open(Stream::builder().filter(source.filter()?))?;
    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    // A recording can wait, so no event is dropped.
    let overflow = if source.is_live() { Overflow::DropOldest } else { Overflow::Block };
    let mut queue = stream.into_queue(keep, overflow)?;
    let (mut events, mut buffer) = (Vec::with_capacity(1024), LineBuffer::new());
    while !stopped() && !queue.is_finished() {
        queue.recv_batch_timeout(Duration::MAX, &mut events)?;
        let lines: Vec<u8> = events.iter().flat_map(|event| [buffer.line(event), b"\n"].concat()).collect();
        while !events.is_empty() && !stopped() {
            match send(&address, &lines, &stopped) {
                Ok(()) => events.clear(),
                Err(_) => thread::sleep(LIMIT),
            }
        }
    }
    // After a signal. The queue counts these as `delivered`, and the collector may have some.
    say(format_args!("unconfirmed={}", events.len()));
    say_stats(&queue.stats());
    Ok(())
}
