// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab: two hosts on one wire, and scenarios that make TCP retransmit between them.
//!
//! A [`Pair`] is two network namespaces joined by a link. A [`Scenario`] opens a connection across
//! it, injects a fault, and returns which socket will retransmit and what the kernel will report. A
//! [`TraceInstance`] reads the kernel's own record of the same retransmissions with their call
//! stacks, and [`Counters`] reads the totals of a namespace. So the code under test is compared
//! with independent sources.
//!
//! ```no_run
//! use std::time::Duration;
//! use retrans_lab::{Family, Outcome, Pair, Scenario, TraceInstance};
//!
//! # fn main() -> retrans_lab::Result<()> {
//! let pair = Pair::new()?;
//! let mut trace = TraceInstance::new()?;
//! let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
//! let events = trace.until(Duration::from_secs(5), |seen| seen.iter().any(|e| scenario.concerns(e)))?;
//! scenario.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here outlives the process, however it ends. Only file descriptors keep the namespaces,
//! and the kernel removes links, rules and qdiscs with them. Every socket is closed with a reset,
//! so that no FIN is left to be retransmitted. The kernel would keep a trace instance, so a helper
//! process removes it.
//!
//! Requires root, and the programs `ip`, `tc` and `nft`; [`privilege::check`] reports what is
//! missing. [`KernelSupport`] finds out which scenarios the kernel cannot run, for example because
//! /dev/net/tun does not exist.

pub mod bulk_traffic;
pub mod cgroup;
mod cleanup_dir;
pub mod command;
pub mod cross_check;
pub mod error;
pub mod fault;
pub mod filters;
pub mod injection;
pub mod kernel_enum;
pub mod late_mark;
mod link;
pub mod netlink;
pub mod netns;
mod netns_cookie;
pub mod netns_watch;
pub mod observe;
pub mod packets;
pub mod pair;
pub mod privilege;
pub mod program;
pub mod record_injector;
pub mod router;
pub mod run;
pub mod scenario;
pub mod seg6;
pub mod snmp;
pub mod support;
pub mod tcp;
pub mod trace;
pub mod tracefs;
pub mod tun;
pub mod wait;

pub use bulk_traffic::BulkTraffic;
pub use error::{Context, Error, Result};
pub use fault::Fault;
pub use netns::Netns;
pub use netns_cookie::netns_cookie;
pub use netns_watch::NetnsWatch;
pub use packets::Packets;
pub use pair::{Pair, Probes};
pub use router::Router;
pub use run::{ScenarioRun, Trial};
pub use scenario::{Discard, Dropper, Expected, Hold, Outcome, Refusal, RouteFault, Scenario, Subject, WindowFault};
pub use snmp::Counters;
pub use support::{KernelSupport, has_symbol};
pub use tcp::{Conn, Endpoint, Family};
pub use trace::{DropTrace, PrintedFailures, TraceEvent, TraceInstance, TracedDrop, Tracepoint, Trigger, trigger};
