// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports the result of every TCP retransmission attempt of a Linux host as a typed event.
//!
//! An [`Event`] is one attempt to retransmit a segment. It contains the time, the connection, the
//! [kind](RetransKind) of the attempt, and its [result](RetransResult): success, if the IP layer
//! accepted the segment, or the reason for the failure. BPF programs record the attempts in the
//! kernel. This crate contains the programs, loads and attaches them, and reads their records.
//!
//! ```no_run
//! fn main() -> Result<(), retrans_sdk::Error> {
//!     let mut stream = retrans_sdk::Stream::open()?;
//!     for event in stream.iter() {
//!         println!("{}", event?);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The program prints one key=value line for each attempt:
//!
//! ```text
//! ts=1795455390.141776186 result=route_fail err=-113 kind=rto family=inet saddr=10.9.136.1 sport=39919 …
//! ```
//!
//! # Next steps
//!
//! ## Filter in the kernel
//!
//! A [`Filter`] is parsed from text, or built from the functions of [`filter::key`]. The BPF
//! programs evaluate it, and write no record for an attempt that it excludes.
//!
//! ```no_run
//! use retrans_sdk::filter::key;
//! use retrans_sdk::{RetransResult, Stream};
//!
//! let from_text = "result!=success dport=443,8443".parse()?;
//! let stream = Stream::builder().filter(from_text).open()?;
//!
//! let built = key::result().ne(RetransResult::Success).and(key::dport().eq([443, 8443])).build()?;
//! let stream = Stream::builder().filter(built).open()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Read counters
//!
//! The BPF programs count every observed attempt by result and kind, including those that the
//! filter excludes and those whose event is lost because the ring buffer is full.
//! [`Stream::stats`] returns the counters of a stream.
//! [`StreamBuilder::open_counters`] opens the counters without events.
//!
//! ```no_run
//! use retrans_sdk::Stream;
//!
//! let counters = Stream::builder().open_counters()?;
//! for count in counters.stats().counts {
//!     println!("{count}"); // result=… kind=… attempts=… segs=…
//! }
//! # Ok::<(), retrans_sdk::Error>(())
//! ```
//!
//! ## Read asynchronously
//!
//! With the feature `tokio`, `Stream::into_async` returns an async stream of batches. Without a
//! runtime, [`Stream::into_queue`] reads on a dedicated thread.
//!
#![cfg_attr(feature = "tokio", doc = "```no_run")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! # async fn run() -> Result<(), retrans_sdk::Error> {
//! use retrans_sdk::Stream;
//!
//! let mut stream = Stream::builder().open()?.into_async()?;
//! while let Some(batch) = stream.recv_batch().await {
//!     println!("{} attempts", batch?.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ## Replay recordings
//!
//! A file of key=value lines is a recording. A [`Recording`](offline::Recording) reads it as a
//! stream. It also reads JSON lines and the text of the kernel's own tracing.
//!
//! ```no_run
//! use retrans_sdk::offline::Recording;
//!
//! let mut stream = Recording::open("attempts.kv")?.start()?;
//! for event in stream.iter() {
//!     println!("{}", event?.result);
//! }
//! # Ok::<(), retrans_sdk::Error>(())
//! ```
//!
//! ## Test your application
//!
//! A mock is a stream of synthetic events. It requires no kernel support and no privileges.
//!
//! ```
//! use retrans_sdk::{RetransResult, Stream};
//!
//! let (source, mut stream) = Stream::builder().mock()?;
//! source.push_result(RetransResult::RcvZeroWindow);
//! source.finish();
//! assert_eq!(stream.iter().count(), 1);
//! # Ok::<(), retrans_sdk::Error>(())
//! ```
//!
//! # Features
//!
//! No feature is enabled by default.
//!
//! | feature | adds |
//! |---|---|
//! | `check` | the module `check`, which compares tables of names with kernel headers and BTF |
//! | `json` | JSON lines as input of a `Recording`; enables `serde` |
//! | `log` | `format::emit::log`, which logs an event as a record of the `log` crate |
//! | `prometheus` | `Collector` of the `prometheus-client` crate for [`StatsReader`](stats::StatsReader) |
//! | `serde` | `Serialize` and `Deserialize` for [`Event`], with the keys of the key=value line |
//! | `tokio` | `Stream::into_async` |
//! | `tracing` | `format::emit::tracing`, which emits an event of the `tracing` crate |
//! | `zstd` | files compressed with zstd as input of a `Recording` |
//! | `full` | all of these |
//!
//! # Requirements
//!
//! | for | required |
//! |---|---|
//! | the build | Rust 1.85; clang 14 or newer with the BPF target, found as `clang` or by the variable `CLANG`; a C compiler, make and pkg-config for libbpf; the headers of libelf and zlib |
//! | running a program | the shared libraries of libelf and zlib |
//! | opening a stream | Linux 5.10 or newer on x86-64 or arm64, with BTF (`CONFIG_DEBUG_INFO_BTF`), or with its BTF in a file ([`StreamBuilder::btf_path`]); CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN |
//! | reading an open stream, recordings, mocks | no privileges |
//!
//! The feature `vendored` of `libbpf-rs` links libelf and zlib statically. Add
//! `libbpf-rs = { version = "0.27", features = ["vendored"] }` to your own dependencies. The build
//! then requires autoconf, automake, autopoint, flex, bison and gawk instead of the headers. Such a
//! program contains libelf, which is under LGPL-3.0-or-later or GPL-2.0-or-later.
//!
//! Before Linux 5.11 the BPF maps count against RLIMIT_MEMLOCK, whose default of 64 KiB is too low
//! for a program without CAP_SYS_RESOURCE.
//!
//! rustfmt is not required. `DOCS_RS=1` in the environment builds the documentation without clang.
//!
//! # Limits
//!
//! Kernels differ in what they report. [`Live::attachment`](stream::Live::attachment) reports what
//! an open stream cannot observe, and the reasons. [`Diagnosis`](attach::Diagnosis) reports the
//! same without an open stream. The counter of an outcome that cannot be observed is
//! [unobservable](attach::Unobservable), never zero.
//!
//! # Modules
//!
//! | module | contains |
//! |---|---|
//! | [`stream`] | [`Stream`], [`StreamBuilder`], queues, counters, the async stream, stop handles |
//! | [`event`] | [`Event`] and the types of its fields |
//! | [`filter`] | [`Filter`], from text or built in Rust |
//! | [`stats`] | [`Stats`], and the reconciliation with the kernel's own counters |
//! | [`attach`] | the attach methods, and [`Diagnosis`](attach::Diagnosis) |
//! | [`host`] | the identity of this host, and the workload of a cgroup |
//! | [`offline`] | recordings and mocks |
//! | [`mod@format`] | key=value lines, JSON, records for `tracing` and `log` |
//! | [`mod@reason_table`] | the trait of tables of named numbers, such as [`RetransResult`] |
//!
//! The macro [`reason_table`](macro@reason_table) defines a table of your own.
// Code in an application's process must neither abort it nor print.
#![cfg_attr(
    retrans_docs_only,
    allow(dead_code, unused_imports, reason = "used by the code that loads the BPF programs, which is left out")
)]
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

// The expansion of `#[reason_table]` refers to this crate by name, also inside the crate.
extern crate self as retrans_sdk;

#[cfg(feature = "check")]
pub mod check;
mod error;
pub mod event;
pub mod filter;
pub mod format;
#[cfg(feature = "test-util")]
#[doc(hidden)]
#[allow(clippy::panic, reason = "for tests")]
pub mod harness;
mod kernel;
pub mod offline;
mod rate_limit;
pub mod stats;
pub mod stream;
mod sys;
#[cfg(test)]
mod testing;
mod text;

pub use retrans_macros::reason_table;

pub use self::error::{Error, ErrorKind};
pub use self::event::Event;
pub use self::event::field_set::FieldSet;
pub use self::event::kind::RetransKind;
pub use self::event::result::{ResultClass, RetransResult};
pub use self::filter::Filter;
pub use self::stats::Stats;
pub use self::stream::Stream;
pub use self::stream::builder::StreamBuilder;
pub use self::text::reason_table;

/// The attach methods, what each can observe, and the diagnosis of this kernel.
pub mod attach {
    pub use crate::kernel::attach_method::AttachMethod;
    pub use crate::kernel::attachment::{Attachment, Candidate, CandidateOutcome, Timing, Unobservable};
    pub use crate::kernel::diagnosis::{Capability, Coverage, Diagnosis};
    pub use crate::kernel::owner_hooks::OwnerHooks;
    pub use crate::kernel::socket_set::SocketSet;
    pub use crate::kernel::support::Support;
    pub use crate::kernel::verdict_hooks::VerdictHooks;
    pub use crate::sys::cgroups::CgroupMode;
    pub use crate::sys::privileges::drop_privileges;
}

/// The identity of this host, and the workloads on it.
pub mod host {
    pub use crate::sys::host_id::HostId;
    pub use crate::sys::workload::{ContainerRuntime, QosClass, Workload, Workloads};
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
