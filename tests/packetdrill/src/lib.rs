// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays packetdrill scripts, and cross-checks the attempts that a stream reports.
//!
//! The scripts of the kernel's selftests produce traffic that the scenarios of the lab do not. Each
//! is played in its own network namespace, with a TUN device whose other end is the script's peer.
//! The reported attempts are compared with the kernel's trace and its call stacks, and with the
//! counters of the namespace.
//!
//! This is a driver and not a conformance test. A kernel that departs from the script is not a
//! failure: the difference is counted, and the peer goes on as the script states. Python checks,
//! windows, options and ECN bits are not compared. A reported attempt that contradicts the kernel
//! is a failure.

pub mod archive;
pub mod call;
pub mod check;
mod connection;
mod execute;
mod net;
pub mod parse;
pub mod player;
pub mod script;
pub mod summary;
