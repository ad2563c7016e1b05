// SPDX-License-Identifier: MIT OR Apache-2.0
//! A log shipper: sends key=value lines to a collector by TCP, or keeps the newest ones in a queue.
//! Each batch has its own connection, and is sent again unless the collector closes it, without a
//! shutdown before, after it has read the last line.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::{Duration, Instant};

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

/// The time limit of a system call. It is short, so that a signal ends the program.
const CALL: Duration = Duration::from_millis(200);

/// Sends lines. Returns without an error if the collector has read all of them.
fn send(address: SocketAddr, mut lines: &[u8], stopped: &impl Fn() -> bool) -> io::Result<()> {
    let end = Instant::now() + 300 * CALL; // A collector may disappear without an error.
    let over = || stopped() || Instant::now() > end;
    let mut collector = TcpStream::connect_timeout(&address, 4 * CALL)?;
    (collector.local_addr()? != address).then_some(()).ok_or(ErrorKind::AddrInUse)?; // Not itself.
    collector.set_write_timeout(Some(CALL))?;
    collector.set_read_timeout(Some(CALL))?;
    while !lines.is_empty() {
        lines = &lines[retry(over, || collector.write(lines))?..];
    }
    collector.shutdown(Shutdown::Write)?;
    while retry(over, || collector.read(&mut [0; 512]))? > 0 {}
    // A kernel resets a connection that is closed with unread data (RFC 1122, 4.2.2.13). The reset
    // may follow the end of the data, so wait until there is no connection any more.
    retry(over, || {
        thread::sleep(CALL / 100);
        collector.peer_addr().map_or(Ok(()), |_| Err(ErrorKind::WouldBlock.into()))
    })?;
    collector.take_error()?.map_or(Ok(()), Err)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { address, keep, source } = Arguments::parse();
    let mut addresses = address.to_socket_addrs()?.collect::<Vec<_>>().into_iter().cycle();
    let stream = source.open(Stream::builder().filter(source.filter()?))?;
    let stopped = Interrupted::new()?.stops(stream.stop_handle())?;
    say_ready(&stream);
    // A recording can wait, so no event is dropped.
    let overflow = if source.is_live() { Overflow::DropOldest } else { Overflow::Block };
    let mut queue = stream.into_queue(keep, overflow)?;
    let (mut events, mut buffer) = (Vec::with_capacity(1024), LineBuffer::new());
    while !stopped() && !queue.is_finished() {
        queue.recv_batch_timeout(Duration::MAX, &mut events)?;
        let lines: Vec<u8> = events.iter().flat_map(|event| [buffer.line(event), b"\n"].concat()).collect();
        let mut reported = false;
        while !events.is_empty() && !stopped() {
            match send(addresses.next().ok_or("the name has no address")?, &lines, &stopped) {
                Ok(()) => events.clear(),
                Err(error) if !std::mem::replace(&mut reported, true) => say(format_args!("cannot send: {error}")),
                Err(_) => thread::sleep(CALL),
            }
        }
    }
    say(format_args!("unconfirmed={}", events.len())); // The queue counts them as delivered, too.
    say_stats(&queue.stats());
    Ok(())
}
