// SPDX-License-Identifier: MIT OR Apache-2.0
//! The output `--prometheus`.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use prometheus_client::registry::Registry;
use retrans_fleet::http;
use retrans_fleet::metrics::{Information, NetnsMetrics, WorkloadAttempts, WorkloadMetrics};
use retrans_sdk::stats::Netns;
use retrans_sdk::stream::Live;
use retrans_sdk::{Event, Stream};

use crate::Output;

/// Listens on an address.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}").into())
}

/// Serves the metrics of a stream.
pub(crate) struct Exporter {
    attempts: WorkloadAttempts,
    server: JoinHandle<()>,
}

impl Exporter {
    pub(crate) fn start(listener: TcpListener, max_workloads: usize, stream: &Stream) -> Result<Self, Box<dyn Error>> {
        let attempts = WorkloadAttempts::new(max_workloads);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(stream.stats_reader()));
        registry.register_collector(Box::new(WorkloadMetrics::new(stream.stats_reader(), attempts.clone())));
        let reconciler = stream.live().and_then(Live::reconciler);
        registry.register_collector(Box::new(NetnsMetrics::new(Netns::current()?, reconciler)));
        if let Some(live) = stream.live() {
            registry.register_collector(Box::new(Information::new(live.attach_method())));
        }
        let server = http::serve(listener, registry)?;
        Ok(Self { attempts, server })
    }
}

impl Output for Exporter {
    fn event(&mut self, event: &Event) {
        self.attempts.observe(event);
    }

    fn tick(&mut self) -> Result<(), Box<dyn Error>> {
        if self.server.is_finished() {
            return Err("the thread that serves the metrics has ended".into());
        }
        self.attempts.refresh();
        Ok(())
    }

    fn finish(&mut self) {}
}
