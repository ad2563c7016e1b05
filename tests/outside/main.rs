// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program outside of this workspace. It reads a line, filters it, and opens a stream, or prints
//! the reason why it cannot.

use std::error::Error;

use retrans_sdk::{Event, Filter, RetransResult, Stream, reason_table};

/// A line of a recording.
const LINE: &str = "ts=1.000000000 result=route_fail err=-113 kind=rto family=inet saddr=10.0.0.1 sport=1 daddr=10.0.0.2 \
    dport=443 state=established segs=1 class=route";

/// The severity of an event.
#[reason_table(key = "severity")]
enum Severity {
    /// A person must investigate.
    #[reason(value = "bad")]
    Bad = 1,
}

fn main() -> Result<(), Box<dyn Error>> {
    let filter: Filter = "result!=success dport!=22".parse()?;
    let event: Event = LINE.parse()?;
    assert!(filter.matches(&event) && event.result == RetransResult::RouteFail);
    println!("{} {event}", Severity::Bad.key_val());
    match Stream::builder().filter(filter).open() {
        Ok(mut stream) => println!("opened: {} events so far", stream.try_iter().count()),
        Err(error) => println!("not opened: {error}"),
    }
    Ok(())
}
