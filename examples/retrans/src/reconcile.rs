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
/// The BPF programs count the attempts in the namespace, without a filter. At an interval and at
/// the end, the sums are compared with the namespace's counters RetransSegs, TCPRetransFail,
/// TCPSynRetrans, TCPSpuriousRtxHostQueues, TCPFastRetrans, TCPSlowStartRetrans, TCPLossProbes and
/// TCPTimeouts. The last four show most wrong kinds as a difference.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 everything is accounted for; 1 a difference lasted for a second, it is not known whether some attempts were \
transmitted, the kind of some attempts is unknown, or failures cannot be observed; 2 usage error, or the subcommand cannot start.

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

/// Returns false if there was a difference.
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
                // The reader has exited. The exit status still reports a difference.
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
    text += &paint.bold(&format!("{:<24}  {:>10}  {:>10}  {:>10}", "COUNTER", "KERNEL", "SEEN", "DIFFERENCE"));
    text += "\n";
    for (name, sum) in sums(of) {
        let more = sum.difference();
        let note = match name {
            _ if more <= 0 => None,
            // The kernel also counts loss probes that it abandons before they become an attempt.
            "TCPSpuriousRtxHostQueues" => Some(format!("{more} loss probes cancelled before the attempt")),
            "TCPLossProbes" | "TCPTimeouts" => Some(format!("{more} more that it counts for other reasons")),
            "TCPFastRetrans" | "TCPSlowStartRetrans" if of.is_consistent() => {
                Some(format!("{more} segments of an unknown kind"))
            }
            _ => None,
        };
        let difference = if note.is_some() { 0 } else { more };
        let cell = format!("{difference:>10}");
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

/// Returns the reasons why a comparison is not exact, and what to do.
fn reasons(of: &Reconciliation) -> Vec<String> {
    let mut reasons = Vec::new();
    if !of.observes_failures {
        reasons
            .push("Failures cannot be observed with this attach method: `retrans doctor` reports what to do.".into());
    }
    if of.unknown.attempts > 0 {
        reasons.push(format!(
            "It is not known whether {} attempts ({} segments) were transmitted. fexit and kretprobe report this (see `retrans doctor`).",
            of.unknown.attempts, of.unknown.segs
        ));
    }
    if of.unknown_kind.attempts > 0 {
        reasons.push(format!(
            "The kind of {} successful attempts ({} segments) is unknown.",
            of.unknown_kind.attempts, of.unknown_kind.segs
        ));
    }
    if !of.settled {
        reasons
            .push("Attempts were in progress during the comparison: compare again when there is less traffic.".into());
    }
    if let Some(segs @ 1..) = of.unseen_segs() {
        reasons.push(format!(
            "No BPF program saw the attempts of {segs} segments that the kernel counted. A hardened kernel may skip programs."
        ));
    }
    if let Some(missed @ 1..) = of.missed {
        reasons.push(format!("The kernel skipped the BPF program for {missed} attempts of this host."));
    }
    reasons
}
