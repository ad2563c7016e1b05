// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes TCP retransmit, and fail to, in network namespaces of its own, and prints the event of each.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use retrans_examples::was_asked_for_help;
use retrans_sdk::{Event, Stream};
use retrans_tests::{Family, Outcome, Pair, RouteFault, Scenario, privilege};

/// What is done, and how it is said.
const ACTS: [(Outcome, Family, &str); 9] = [
    (Outcome::Rto, Family::V4, "a segment is lost on the wire, and so is what asks for it: the timeout (RTO) expires"),
    (Outcome::Tlp, Family::V6, "the last segment is lost: a tail loss probe (TLP) goes out before the timeout"),
    (Outcome::Fast, Family::V4, "one segment of many is lost, and those behind it are acknowledged"),
    (Outcome::Syn, Family::V6, "a SYN is lost"),
    (Outcome::Synack, Family::Mapped, "a SYN-ACK is lost; the listener is an IPv6 socket, the client IPv4"),
    (Outcome::InHostQueue, Family::V4, "the first copy still waits in a slow queue of this host"),
    (Outcome::RouteFail(RouteFault::Prohibit), Family::V6, "the route to the peer now prohibits it"),
    (Outcome::Denied, Family::V4, "an OUTPUT rule of the firewall drops it"),
    (Outcome::XmitDrop, Family::V4, "the queue of the device is full"),
];

/// How long an act may take until its event is there, and how often it is tried: a hardened kernel may not run BPF
/// programs at the very moment of the attempt.
const PATIENCE: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;

fn main() -> ExitCode {
    if was_asked_for_help(
        "Makes TCP retransmit in namespaces of its own and prints the events. Takes no arguments; needs root.",
    ) {
        return ExitCode::from(2);
    }
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::from(2)
        }
    }
}

fn demo() -> Result<(), Box<dyn Error>> {
    let mut stream = Stream::builder().open()?;
    privilege::check()?;
    println!("Each line below is one attempt of this host's kernel to retransmit, as it happened.");
    println!("{}: {}", stream.source().key_val(), stream.why());
    for (outcome, family, said) in ACTS {
        println!("\n# {said}");
        let event = (0..TRIES).find_map(|_| provoke(&mut stream, outcome, family).transpose());
        let event = event.ok_or_else(|| format!("no event of {outcome} within {TRIES} times {PATIENCE:?}"))??;
        println!("{event}");
    }
    let stats = stream.stats();
    println!(
        "\n# the counters, this host's other traffic included: seen = filtered + limited + lost + submitted\n{stats}"
    );
    let watch = std::env::current_exe()?.with_file_name("watch");
    println!("\nTo watch this machine: sudo {} 'result!=success'", watch.display());
    Ok(())
}

/// The first event of the socket that the scenario is about, if there is one.
fn provoke(stream: &mut Stream, outcome: Outcome, family: Family) -> Result<Option<Event>, Box<dyn Error>> {
    let pair = Pair::new()?;
    let mut scenario = Scenario::prepare(&pair, family, outcome)?;
    let subject = scenario.subject();
    scenario.start()?;

    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for event in stream.read(Duration::from_millis(100))? {
            let ends = (event.saddr, event.sport, event.daddr, event.dport);
            let theirs = (subject.local.ip(), subject.local.port(), subject.remote.ip(), subject.remote.port());
            if event.netns == Some(subject.netns) && ends == theirs {
                scenario.finish()?;
                return Ok(Some(event));
            }
        }
    }
    Ok(None)
}
