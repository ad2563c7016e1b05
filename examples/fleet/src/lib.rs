// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of the agent `retrans-agent`, which exports the retransmission attempts of a host to
//! the systems that observe many hosts.
//!
//! The agent reads two sources: the counters of the BPF programs, and a bounded queue of events. An
//! event that the queue drops is still in the counters.

// They panic if the output is closed or full.
#![deny(clippy::print_stderr, clippy::print_stdout)]

#[cfg(feature = "prometheus")]
pub mod http;
#[cfg(feature = "prometheus")]
pub mod metrics;
pub mod notify;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "parquet")]
pub mod store;
