// SPDX-License-Identifier: MIT OR Apache-2.0
//! `retrans reconcile`: compares the attempts of a network namespace with the kernel's counters.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use retrans_sdk::Stream;
use retrans_sdk::stats::{Netns, Reconciliation, Sum};
use serde_json::json;

use crate::args::{Attach, Format, seconds};
use crate::output::{Output, Paint};
use crate::signals::until_interrupted;
use crate::status::say;
use crate::{CANNOT_START, FAILED, fail};

/// Compares the attempts in a network namespace with its SNMP counters
///
/// The BPF programs count the attempts in the namespace, without a filter. At each interval and at
/// the end, these counts are compared with the increase of the namespace's counters RetransSegs,
/// TCPRetransFail, TCPSynRetrans, TCPSpuriousRtxHostQueues, TCPFastRetrans, TCPSlowStartRetrans,
/// TCPLossProbes and TCPTimeouts since the start. If the kind of an attempt were wrong, one of the
/// last four would usually differ.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 each comparison accounted for everything; 1 in one of them a difference lasted for a second, or attempts were in \
progress all the time, or it is not known whether some attempts reached the transmit step, or the kind of some attempts is unknown, \
or failures cannot be observed, or an error occurred after the start; 2 usage error, or the subcommand cannot start.

Examples:
  sudo retrans reconcile --for 60
  sudo retrans reconcile --every 10 --pid 4242")]
pub(crate) struct Arguments {
    /// Time between two comparisons, in seconds, at least 0.1
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, allow_negative_numbers = true)]
    every: Duration,
    /// End after this time, in seconds (default: no limit)
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    limit: Option<Duration>,
    /// Compare in the network namespace of this process (default: the namespace of `retrans`)
    #[arg(long, allow_negative_numbers = true)]
    pid: Option<u32>,
    /// Read the BTF of the running kernel from this file (default: /sys/kernel/btf/vmlinux)
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Output format. auto prints a table on a terminal, otherwise key=value lines; json prints one
    /// object per comparison
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Format,
}

/// The time after which a difference is reported. A shorter difference is expected, because the
/// kernel counts an attempt shortly before or after the BPF programs do.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn main(arguments: &Arguments, output: Output) -> ExitCode {
    let mut started = false;
    match run(arguments, output, &mut started) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => fail(if started { FAILED } else { CANNOT_START }, &*error),
    }
}

/// Returns whether every comparison was exact.
fn run(arguments: &Arguments, output: Output, started: &mut bool) -> Result<bool, Box<dyn Error>> {
    let format = output.format(arguments.format);
    let every = arguments.every.max(TICK);
    let interrupted = until_interrupted()?;
    let netns = arguments.pid.map_or_else(Netns::current, Netns::of_process)?;
    // Opens the counters without a ring buffer, because no events are read.
    let attach = Attach { btf: arguments.btf.clone(), ..Attach::default() };
    let counters = attach.configure(Stream::builder().reconcile(netns)).open_counters()?;
    let reconciler = counters.reconciler().ok_or("no network namespace was requested")?;
    if format == Format::Table {
        say(format_args!("Counting the attempts in network namespace {}. Press Ctrl-C to stop.", reconciler.netns()));
    } else {
        say(format_args!("ready {}", counters.attachment()));
    }

    *started = true;
    let began = Instant::now();
    let mut next = began + every;
    let mut exact = true;
    loop {
        let over = interrupted() || arguments.limit.is_some_and(|limit| began.elapsed() >= limit);
        if over || Instant::now() >= next {
            let reconciliation = reconciler.reconcile(PATIENCE)?;
            let (netns, seconds) = (reconciler.netns(), began.elapsed().as_secs());
            let text = match format {
                Format::Table => as_table(&reconciliation, netns, seconds, output.paint),
                Format::Json => as_json(&reconciliation, netns, seconds),
                _ => format!("netns={netns} seconds={seconds}\n{reconciliation}\n"),
            };
            exact &= reconciliation.is_exact();
            match io::stdout().write_all(text.as_bytes()) {
                // The reader has exited. The exit status still reports the comparisons.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exact),
                written => written.map_err(|error| format!("cannot write to stdout: {error}"))?,
            }
            next += every;
        }
        if over {
            return Ok(exact);
        }
        sleep(TICK);
    }
}

fn sums(of: &Reconciliation) -> [(&'static str, Sum); 8] {
    [
        ("RetransSegs", of.retrans_segs),
        ("TCPRetransFail", of.retrans_fail),
        ("TCPSynRetrans", of.syn_retrans),
        ("TCPSpuriousRtxHostQueues", of.spurious_rtx_host_queues),
        ("TCPFastRetrans", of.fast_retrans),
        ("TCPSlowStartRetrans", of.slow_start_retrans),
        ("TCPLossProbes", of.loss_probes),
        ("TCPTimeouts", of.timeouts),
    ]
}

fn as_json(of: &Reconciliation, netns: u32, seconds: u64) -> String {
    let counters: serde_json::Map<_, _> = sums(of)
        .map(|(name, sum)| (name.to_owned(), json!({ "kernel": sum.kernel, "seen": sum.seen })))
        .into_iter()
        .collect();
    let object = json!({
        "netns": netns,
        "seconds": seconds,
        "counters": counters,
        "untraced_probes": of.untraced_probes(),
        "unknown": { "attempts": of.unknown.attempts, "segs": of.unknown.segs },
        "unknown_kind": { "attempts": of.unknown_kind.attempts, "segs": of.unknown_kind.segs },
        "exact": of.is_exact(),
        "consistent": of.is_consistent(),
        "settled": of.settled,
        "failures_observed": of.observes_failures,
        "missed": of.missed,
        "unseen_segs": of.unseen_segs(),
    });
    format!("{object}\n")
}

fn as_table(of: &Reconciliation, netns: u32, seconds: u64, paint: Paint) -> String {
    let mut text = format!("\nNetwork namespace {netns} after {seconds} s: ");
    text += &match (of.is_exact(), of.is_consistent()) {
        (true, _) => paint.good("everything is accounted for"),
        (_, true) => paint.warning("no contradiction, but not everything is known"),
        _ => paint.bad("not accounted for"),
    };
    text += "\n";
    text += &paint.bold(&format!("{:<24}  {:>10}  {:>10}  {:>11}", "COUNTER", "KERNEL", "SEEN", "UNEXPLAINED"));
    text += "\n";
    for (name, sum) in sums(of) {
        let more = sum.difference();
        let note = match name {
            _ if more <= 0 => None,
            // The kernel also counts loss probes that it abandons before they become an attempt.
            "TCPSpuriousRtxHostQueues" => {
                Some(format!("{more} explained: loss probes that the kernel cancelled before the attempt"))
            }
            "TCPLossProbes" | "TCPTimeouts" => {
                Some(format!("{more} explained: the kernel also counts {}", other_reasons(name)))
            }
            "TCPFastRetrans" | "TCPSlowStartRetrans" if of.is_consistent() => {
                Some(format!("{more} explained: segments of an unknown kind"))
            }
            "RetransSegs" | "TCPRetransFail" | "TCPSynRetrans" if of.is_consistent() => Some(if of.observes_failures {
                format!("{more} explained: attempts that may have reached the transmit step")
            } else {
                format!("{more} explained: failures are not observed")
            }),
            _ => None,
        };
        let difference = if note.is_some() { 0 } else { more };
        let cell = format!("{difference:>11}");
        let cell = if difference == 0 { cell } else { paint.bad(&cell) };
        text += &format!("{name:<24}  {:>10}  {:>10}  {cell}", sum.kernel, sum.seen);
        if let Some(note) = note {
            text += &format!("  ({note})");
        }
        text += "\n";
    }
    for reason in reasons(of) {
        text += &format!("  {reason}\n");
    }
    text
}

/// Returns what the kernel counts in this counter in addition to attempts.
fn other_reasons(counter: &str) -> &'static str {
    match counter {
        "TCPLossProbes" => "loss probes that send new data",
        _ => "timeouts of SYN-ACKs, those that end a connection, and failed attempts that are not observed",
    }
}

/// Returns the reasons why a comparison is not exact, and what to do.
fn reasons(of: &Reconciliation) -> Vec<String> {
    let mut reasons = Vec::new();
    if !of.observes_failures {
        reasons
            .push("Failures cannot be observed with this attach method: `retrans doctor` reports what to do.".into());
    }
    if of.unknown.attempts > 0 {
        reasons.push(format!(
            "It is not known whether {} attempts ({} segments) reached the transmit step. fexit reports it: `retrans doctor` prints \
             whether this host allows it.",
            of.unknown.attempts, of.unknown.segs
        ));
    }
    if of.unknown_kind.attempts > 0 {
        reasons.push(format!(
            "The kind of {} successful attempts ({} segments) is unknown: docs/kernels.md lists the usual cases.",
            of.unknown_kind.attempts, of.unknown_kind.segs
        ));
    }
    if !of.settled {
        reasons
            .push("Attempts were in progress during the comparison: compare again when there is less traffic.".into());
    }
    if let Some(segs @ 1..) = of.unseen_segs() {
        reasons.push(format!(
            "No BPF program saw the attempts of {segs} segments that the kernel counted: it skipped the programs, as hardened kernels may."
        ));
    }
    if let Some(missed @ 1..) = of.missed {
        reasons.push(format!(
            "The kernel skipped the BPF programs for {missed} attempts on this host, possibly in other namespaces."
        ));
    }
    reasons
}
