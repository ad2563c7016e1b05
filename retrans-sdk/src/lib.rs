// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed TCP retransmission events from the Linux kernel.
//!
//! A [`Stream`] reports the result of every TCP retransmission attempt of the host as a typed
//! [`Event`]: when, why, on which connection, and whether the segment was sent, or the reason that
//! it was not. BPF programs record the attempts in the kernel; this crate contains them, loads and
//! attaches them.
//!
//! ```no_run
//! use retrans_sdk::{RetransResult, Stream};
//!
//! fn main() -> Result<(), retrans_sdk::Error> {
//!     let mut stream = Stream::builder().open()?;
//!     for event in stream.iter() {
//!         let event = event?;
//!         match event.result {
//!             RetransResult::Success => {}
//!             // Prints ts=… result=… err=… kind=… saddr=… sport=… daddr=… dport=… and further keys.
//!             _ => println!("{event}"),
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Requirements
//!
//! | when | what |
//! |---|---|
//! | at build time | Rust 1.88, clang 14 or newer with the BPF target (`CLANG` selects one), and the headers of libelf and zlib |
//! | at run time | Linux 5.10 or newer on x86-64 or arm64, with BTF (`CONFIG_DEBUG_INFO_BTF`), and libelf and zlib |
//! | to open a stream | CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN; not to read it, nor for recordings and mocks |
//!
//! Kernels differ in what they show. [`Live::attachment`](stream::Live::attachment) reports what a
//! stream observes and why, and [`Diagnosis`](attach::Diagnosis) reports it without a stream. What
//! is not observed is never reported as zero: see [`Unobservable`](attach::Unobservable).
//!
//! # Next steps
//!
//! **Filter in the kernel.** A [`Filter`] is parsed from text or built from the functions of
//! [`filter::key`]. Attempts that it excludes cost no record.
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
//! **Read counters.** Every attempt is counted in the kernel by result and kind, also if it is
//! filtered or lost. [`StreamBuilder::open_counters`] opens the counters without events.
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
//! **Read asynchronously.** With the feature `tokio`, `Stream::into_async` returns an async stream
//! of batches. Without a runtime, [`Stream::into_queue`] reads on a thread of its own.
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
//! **Replay recordings.** Events print as key=value lines, and a [`Recording`](offline::Recording)
//! reads them again, as well as JSON and the kernel's own trace text.
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
//! **Test your application.** A mock pushes synthetic events, without a kernel and without
//! privileges.
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
//! None is enabled by default.
//!
//! | feature | adds |
//! |---|---|
//! | `check` | the module `check`: compares tables of names with kernel headers and BTF |
//! | `json` | `Recording` reads JSON lines; enables `serde` |
//! | `log` | `format::emit::log`: an event as a record of the `log` crate |
//! | `serde` | `Serialize` and `Deserialize` for [`Event`], with the keys of the key=value line |
//! | `tokio` | `Stream::into_async` |
//! | `tracing` | `format::emit::tracing`: an event of the `tracing` crate |
//! | `zstd` | `Recording` reads files compressed with zstd |
//! | `full` | all of these |
//!
//! # Modules
//!
//! | module | contains |
//! |---|---|
//! | [`stream`] | [`Stream`], [`StreamBuilder`], queues, counters, the async stream, stop handles |
//! | [`event`] | [`Event`] and the types of its fields |
//! | [`filter`] | [`Filter`], from text or built in Rust |
//! | [`stats`] | [`Stats`], and the reconciliation with the kernel's own counters |
//! | [`attach`] | what a stream is attached to and can observe; [`Diagnosis`](attach::Diagnosis) |
//! | [`offline`] | recordings and mocks |
//! | [`mod@format`] | key=value lines, JSON, records for `tracing` and `log` |
//! | [`mod@reason_table`] | the trait behind tables of named numbers, such as [`RetransResult`]; the [macro](macro@reason_table) defines your own |
// Code that is embedded in an application must neither abort it nor print.
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

/// How a stream attaches to the kernel, and what it can observe from there.
pub mod attach {
    pub use crate::kernel::attach_method::AttachMethod;
    pub use crate::kernel::attachment::{Attachment, Candidate, CandidateOutcome, Timing, Unobservable};
    pub use crate::kernel::diagnosis::{Capability, Diagnosis, Verdict};
    pub use crate::kernel::owner_hooks::OwnerHooks;
    pub use crate::kernel::socket_set::SocketSet;
    pub use crate::kernel::support::Support;
    pub use crate::sys::privileges::drop_privileges;
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
