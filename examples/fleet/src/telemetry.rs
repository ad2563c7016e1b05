// SPDX-License-Identifier: MIT OR Apache-2.0
//! The output `--otlp`.

use std::error::Error;
use std::time::{Duration, Instant};

use retrans_examples::say;
use retrans_fleet::otlp::{Endpoint, Exporter};
use retrans_sdk::host::{HostId, Workloads};
use retrans_sdk::{Event, Stream};

use crate::Output;

/// The interval between two printed errors.
const REPORT: Duration = Duration::from_secs(60);

/// Sends the events and the counters of a stream to a collector.
pub(crate) struct Telemetry {
    exporter: Exporter,
    workloads: Workloads,
    next_report: Instant,
}

impl Telemetry {
    pub(crate) fn start(
        endpoint: Endpoint,
        capacity: usize,
        interval: Duration,
        stream: &Stream,
    ) -> Result<Self, Box<dyn Error>> {
        let exporter = Exporter::start(endpoint, &HostId::read(), stream.stats_reader(), capacity, interval)?;
        Ok(Self { exporter, workloads: Workloads::new(), next_report: Instant::now() })
    }
}

impl Output for Telemetry {
    fn event(&mut self, event: &Event) {
        let workload = event.cgroup.map(|cgroup| self.workloads.workload(cgroup));
        self.exporter.push(event, workload);
    }

    fn tick(&mut self) -> Result<(), Box<dyn Error>> {
        self.workloads.refresh();
        if Instant::now() >= self.next_report
            && let (sent, Some(error)) = self.exporter.sent()
        {
            say(format_args!("retrans-agent: {error} ({sent})"));
            self.next_report = Instant::now() + REPORT;
        }
        Ok(())
    }

    fn finish(&mut self) {
        say(format_args!("otlp {}", self.exporter.finish()));
    }
}
