// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent `retrans-agent`: exports the retransmission attempts of this host.

// They panic if the output is closed or full.
#![deny(clippy::print_stderr, clippy::print_stdout)]

#[cfg(feature = "prometheus")]
mod exporter;
#[cfg(feature = "parquet")]
mod files;
#[cfg(feature = "otlp")]
mod telemetry;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Parser};
use retrans_examples::{Interrupted, say, say_ready, say_stats};
use retrans_fleet::notify::Notifier;
use retrans_sdk::attach::drop_privileges;
use retrans_sdk::stats::Netns;
use retrans_sdk::stream::{Overflow, RateLimit};
use retrans_sdk::{Event, Stream};

#[cfg(not(any(feature = "prometheus", feature = "otlp", feature = "parquet")))]
compile_error!("retrans-agent requires an output: enable the feature `prometheus`, `otlp` or `parquet`");

/// The interval between two scans for new cgroups, and between two notifications of systemd.
const INTERVAL: Duration = Duration::from_secs(1);
/// The limit if no event is stored. Exemplars require few events.
const LIMIT: RateLimit = RateLimit { per_second: 10, burst: 10 };
/// The unprivileged user and group that root changes to.
const UNPRIVILEGED: u32 = 65_534;

/// The end of `--help`, with the examples of the features of this build.
const HELP: &str = if cfg!(all(feature = "prometheus", feature = "parquet")) {
    "\
Exit status: 0 after SIGINT or SIGTERM; 1 cannot start, or failed; 2 usage error.

Examples:
  sudo retrans-agent --prometheus 127.0.0.1:9749
  sudo retrans-agent --prometheus '[::]:9749' --parquet /var/lib/retrans 'daddr!=127.0.0.0/8'"
} else if cfg!(feature = "prometheus") {
    "\
Exit status: 0 after SIGINT or SIGTERM; 1 cannot start, or failed; 2 usage error.

Examples:
  sudo retrans-agent --prometheus 127.0.0.1:9749
  sudo retrans-agent --prometheus '[::]:9749' 'daddr!=127.0.0.0/8'"
} else {
    "\
Exit status: 0 after SIGINT or SIGTERM; 1 cannot start, or failed; 2 usage error.

Examples:
  sudo retrans-agent --parquet /var/lib/retrans
  sudo retrans-agent --parquet /var/lib/retrans --drops result!=success"
};

/// Exports the TCP retransmission attempts of this host to Prometheus, OpenTelemetry or files
///
/// Starts as root, or with CAP_BPF and CAP_PERFMON, and drops all privileges. Supports Type=notify
/// and WatchdogSec= of systemd.
#[derive(Debug, Parser)]
#[command(
    name = "retrans-agent",
    version,
    max_term_width = 100,
    group(ArgGroup::new("output").required(true).multiple(true)),
    after_help = HELP
)]
struct Arguments {
    /// Serve metrics at http://ADDRESS/metrics, such as 127.0.0.1:9749
    #[cfg(feature = "prometheus")]
    #[arg(long, value_name = "ADDRESS", group = "output")]
    prometheus: Option<std::net::SocketAddr>,
    /// Send every event and the counters to the OpenTelemetry collector at this URL, such as
    /// http://127.0.0.1:4318 (OTLP over HTTP without TLS)
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL", group = "output")]
    otlp: Option<retrans_fleet::otlp::Endpoint>,
    /// Time between two transmissions of the counters, in seconds, 1 to 3600
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "otlp", value_parser = clap::value_parser!(u64).range(1..=3600))]
    otlp_interval: u64,
    /// Store every event and the counters in Parquet files in this directory
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "DIRECTORY", group = "output")]
    parquet: Option<std::path::PathBuf>,
    /// Maximum time that a Parquet file is written, in seconds, 1 to 86400
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "SECONDS", default_value_t = 900, requires = "parquet", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    rotate: u64,
    /// Record the packets that this host drops; a BPF program then runs for every dropped packet
    #[cfg(feature = "parquet")]
    #[arg(long, requires = "parquet")]
    drops: bool,
    /// Maximum number of workloads with their own series; the others share one with overflow="true"
    #[cfg(feature = "prometheus")]
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    max_workloads: usize,
    /// Maximum number of cgroups that are counted separately, 1 to 65536; about 600 bytes of kernel
    /// memory each
    #[cfg(feature = "prometheus")]
    #[arg(long, value_name = "NUMBER", default_value_t = 8192)]
    max_cgroups: u32,
    /// Maximum number of events that wait for the agent; further ones are counted as dropped
    #[arg(long, value_name = "NUMBER", default_value_t = 4096)]
    queue: usize,
    /// Export only attempts that match all terms, such as result!=success daddr=10.0.0.0/8. Quote
    /// alternatives as one argument: 'kind=rto --or kind=tlp'
    #[arg(value_name = "TERM")]
    terms: Vec<String>,
}

/// A destination of events and counters.
trait Output {
    /// Passes an event.
    fn event(&mut self, event: &Event);

    /// Does periodic work. Called each [`INTERVAL`].
    ///
    /// # Errors
    ///
    /// Returns an error if the agent cannot continue.
    fn tick(&mut self) -> Result<(), Box<dyn Error>>;

    /// Completes the output, after the last event.
    fn finish(&mut self);
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("retrans-agent: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "prometheus")]
    let listener = arguments.prometheus.map(exporter::listen).transpose()?;
    let interrupted = Interrupted::new()?;
    let builder = Stream::builder().filter(arguments.terms.join(" ").parse()?).reconcile(Netns::current()?);
    let builder = match stores(arguments) {
        true => builder.fields(stored_fields(arguments)?),
        false => builder.fields("cgroup,cookie".parse()?).rate_limit(LIMIT),
    };
    #[cfg(feature = "prometheus")]
    let builder = match arguments.prometheus {
        Some(_) => builder.count_by(retrans_sdk::stats::GroupBy::Cgroup, arguments.max_cgroups),
        None => builder,
    };
    #[cfg(feature = "parquet")]
    arguments.parquet.as_deref().map(|directory| files::prepare(directory, UNPRIVILEGED)).transpose()?;
    let stream = builder.open()?;
    drop_privileges(UNPRIVILEGED, UNPRIVILEGED)?;

    let mut outputs: Vec<Box<dyn Output>> = Vec::new();
    #[cfg(feature = "parquet")]
    if let Some(directory) = &arguments.parquet {
        let age = Duration::from_secs(arguments.rotate);
        outputs.push(Box::new(files::Files::open(directory, age, &stream)?));
    }
    #[cfg(feature = "otlp")]
    if let Some(endpoint) = &arguments.otlp {
        let interval = Duration::from_secs(arguments.otlp_interval);
        outputs.push(Box::new(telemetry::Telemetry::start(endpoint.clone(), arguments.queue, interval, &stream)?));
    }
    #[cfg(feature = "prometheus")]
    if let Some(listener) = listener {
        outputs.push(Box::new(exporter::Exporter::start(listener, arguments.max_workloads, &stream)?));
    }
    let stopped = interrupted.stops(stream.stop_handle())?;
    say_ready(&stream);
    let mut queue = stream.into_queue(arguments.queue, Overflow::DropNewest)?;
    let mut events = Vec::with_capacity(256);
    let notifier = Notifier::ready(INTERVAL)?;
    let mut next = Instant::now();
    while !queue.is_finished() {
        queue.recv_batch_timeout(next.saturating_duration_since(Instant::now()), &mut events)?;
        for event in &events {
            outputs.iter_mut().for_each(|output| output.event(event));
        }
        events.clear();
        if Instant::now() >= next && !stopped() {
            outputs.iter_mut().try_for_each(|output| output.tick())?;
            notifier.alive()?;
            next = Instant::now() + INTERVAL;
        }
    }
    notifier.stopping()?;
    outputs.iter_mut().for_each(|output| output.finish());
    say_stats(&queue.stats());
    Ok(())
}

/// Returns whether every event is stored or sent.
fn stores(arguments: &Arguments) -> bool {
    let _ = arguments;
    #[cfg(feature = "otlp")]
    if arguments.otlp.is_some() {
        return true;
    }
    #[cfg(feature = "parquet")]
    if arguments.parquet.is_some() {
        return true;
    }
    false
}

/// Returns the fields of events that are stored or sent.
fn stored_fields(arguments: &Arguments) -> Result<retrans_sdk::FieldSet, Box<dyn Error>> {
    let fields = retrans_sdk::FieldSet::default() | "cgroup,cookie,netns".parse()?;
    #[cfg(feature = "parquet")]
    if arguments.drops {
        return Ok(fields | retrans_sdk::FieldSet::drops());
    }
    let _ = arguments;
    Ok(fields)
}
