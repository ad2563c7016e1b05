// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent `retrans-agent`: exports the retransmission attempts of this host.

// They panic if the output is closed or full.
#![deny(clippy::print_stderr, clippy::print_stdout)]

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use prometheus_client::registry::Registry;
use retrans_examples::{Interrupted, say, say_ready, say_stats};
use retrans_fleet::http;
use retrans_fleet::metrics::{Information, NetnsMetrics, WorkloadAttempts, WorkloadMetrics};
use retrans_fleet::notify::Notifier;
use retrans_sdk::Stream;
use retrans_sdk::attach::drop_privileges;
use retrans_sdk::stats::{GroupBy, Netns};
use retrans_sdk::stream::{Live, Overflow, RateLimit};

/// The interval between two scans for new cgroups, and between two notifications of systemd.
const INTERVAL: Duration = Duration::from_secs(1);
/// Events are only needed for exemplars, which Prometheus reads every few seconds.
const LIMIT: RateLimit = RateLimit { per_second: 10, burst: 10 };
/// The number of events that wait for the agent. At most 10 of each result arrive in a second.
const QUEUE: usize = 1024;
/// The unprivileged user and group that root changes to.
const NOBODY: u32 = 65_534;

/// Exports the TCP retransmission attempts of this host to Prometheus
///
/// Starts as root, or with CAP_BPF and CAP_PERFMON, and drops all privileges. Supports Type=notify
/// and WatchdogSec= of systemd.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "\
Exit status: 0 after SIGINT or SIGTERM; 1 cannot start, or failed; 2 usage error.

Examples:
  sudo retrans-agent --prometheus 127.0.0.1:9749
  sudo retrans-agent --prometheus '[::]:9749' 'daddr!=127.0.0.0/8'"
)]
struct Arguments {
    /// Serve metrics at http://ADDRESS/metrics, such as 127.0.0.1:9749
    #[arg(long, value_name = "ADDRESS")]
    prometheus: SocketAddr,
    /// Maximum number of workloads with their own series; the others share one with overflow="true"
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    max_workloads: usize,
    /// Maximum number of cgroups that are counted separately, 1 to 65536; about 600 bytes of kernel
    /// memory each
    #[arg(long, value_name = "NUMBER", default_value_t = 8192)]
    max_cgroups: u32,
    /// Export only attempts that match all terms, such as result!=success daddr=10.0.0.0/8. Quote
    /// alternatives as one argument: 'kind=rto --or kind=tlp'
    #[arg(value_name = "TERM")]
    terms: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("retrans-agent: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let address = arguments.prometheus;
    let listener = TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let interrupted = Interrupted::new()?;
    let stream = Stream::builder()
        .filter(arguments.terms.join(" ").parse()?)
        .fields("cgroup,cookie".parse()?)
        .rate_limit(LIMIT)
        .count_by(GroupBy::Cgroup, arguments.max_cgroups)
        .reconcile(Netns::current()?)
        .open()?;
    drop_privileges(NOBODY, NOBODY)?;

    let attempts = WorkloadAttempts::new(arguments.max_workloads);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(stream.stats_reader()));
    registry.register_collector(Box::new(WorkloadMetrics::new(stream.stats_reader(), attempts.clone())));
    let reconciler = stream.live().and_then(Live::reconciler);
    registry.register_collector(Box::new(NetnsMetrics::new(Netns::current()?, reconciler)));
    if let Some(live) = stream.live() {
        registry.register_collector(Box::new(Information::new(live.attach_method())));
    }
    let server = http::serve(listener, registry)?;

    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    let mut queue = stream.into_queue(QUEUE, Overflow::DropNewest)?;
    let mut events = Vec::with_capacity(256);
    let notifier = Notifier::ready(INTERVAL)?;
    let mut next = Instant::now();
    while !queue.is_finished() {
        queue.recv_batch_timeout(next.saturating_duration_since(Instant::now()), &mut events)?;
        for event in &events {
            attempts.observe(event);
        }
        events.clear();
        if Instant::now() >= next && !stopped() {
            if server.is_finished() {
                return Err("the thread that serves the metrics has ended".into());
            }
            attempts.refresh();
            notifier.alive()?;
            next = Instant::now() + INTERVAL;
        }
    }
    notifier.stopping()?;
    say_stats(&queue.stats());
    Ok(())
}
