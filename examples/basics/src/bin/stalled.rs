// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports connections that a closed window stalls. Its tests require no root and no kernel
//! support.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::collections::HashMap;
use std::net::SocketAddr;

use clap::Parser;
use retrans_examples::{Printed, Source, print, say};
use retrans_sdk::{Event, Filter, RetransKind, RetransResult, Stream, StreamBuilder};

/// Prints each connection whose receive window was closed at three attempts in a row
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    source: Source,
}

const IN_A_ROW: u32 = 3;
/// The maximum number of connections, after which all are forgotten. No event reports an end.
const MOST: usize = 10_000;

fn wanted(filter: &Filter) -> Result<StreamBuilder, retrans_sdk::filter::FilterError> {
    Ok(Stream::builder().filter("kind!=synack".parse::<Filter>()?.and(filter)?))
}

fn watch(stream: &mut Stream, mut stalled: impl FnMut(SocketAddr, &Event) -> Printed) -> Printed {
    let mut closed = HashMap::new();
    for event in stream.iter() {
        let event = event?;
        let [local, remote] = [(event.saddr, event.sport), (event.daddr, event.dport)].map(SocketAddr::from);
        // If the window is closed, the kernel sends the first unacknowledged segment as a probe.
        if event.result != RetransResult::RcvZeroWindow && event.kind != RetransKind::ZeroWindowProbe {
            closed.remove(&(local, remote));
            continue;
        }
        if closed.len() >= MOST {
            say(format_args!("forgotten={}", closed.len()));
            closed.clear();
        }
        let attempts = closed.entry((local, remote)).or_insert(0);
        *attempts += 1;
        if *attempts == IN_A_ROW {
            stalled(remote, &event)?;
        }
    }
    Ok(())
}

fn main() -> Printed {
    let Arguments { source } = Arguments::parse();
    let mut stream = source.open(wanted(&source.filter()?)?)?;
    watch(&mut stream, |remote, e| print(format_args!("ts={} stalled={remote} snd_wnd={:?}", e.ts, e.snd_wnd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled(attempts: &[(u16, RetransResult)]) -> Vec<u16> {
        let (script, mut stream) = wanted(&Filter::default()).expect("a filter").mock().expect("a stream");
        for (port, result) in attempts {
            let mut event = Event::sample(*result);
            event.dport = *port;
            script.push(event);
        }
        script.finish();
        let (sender, ports) = std::sync::mpsc::channel();
        watch(&mut stream, |remote, _| Ok(sender.send(remote.port())?)).expect("no error");
        ports.try_iter().collect()
    }

    #[test]
    fn three_in_a_row_are_reported_once_per_connection() {
        use RetransResult::{RcvZeroWindow as Closed, Success as Sent};
        assert_eq!(stalled(&[(1, Closed), (2, Closed), (1, Closed), (1, Closed), (1, Closed)]), [1]);
        assert_eq!(stalled(&[(1, Closed), (1, Closed), (1, Sent), (1, Closed)]), [0u16; 0]);
    }
}
