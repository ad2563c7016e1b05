// SPDX-License-Identifier: MIT OR Apache-2.0
#![doc = include_str!("../README.md")]
// Logic that an application embeds neither ends it nor prints.
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

// The expansion of `#[reason_table]` names this crate, also in here.
extern crate self as retrans_sdk;

pub mod check;
mod error;
mod event;
mod filter;
mod format;
#[doc(hidden)]
#[allow(clippy::panic, reason = "for tests")]
pub mod harness;
mod kernel;
mod offline;
mod rate_limit;
mod stats;
mod stream;
mod sys;
#[cfg(test)]
mod testing;
mod text;

pub use retrans_macros::reason_table;

pub use self::error::{Error, ErrorKind};
pub use self::event::Event;
pub use self::event::field_set::{Fields, ParseFieldsError};
pub use self::event::kernel_str::{Encoded, ParseTextError, Text};
pub use self::event::kind::RetransKind;
pub use self::event::owner::OwnerSource;
pub use self::event::result::{ResultClass, RetransResult};
pub use self::event::schema::keys;
pub use self::event::tcp_enums::{CaState, Family, TcpState};
pub use self::event::tcp_flags::{ParseTcpFlagsError, TcpFlags};
pub use self::event::timestamp::{ParseTimestampError, Timestamp};
pub use self::event::transmit::Transmit;
pub use self::filter::{Filter, FilterError};
#[cfg(any(feature = "tracing", feature = "log"))]
pub use self::format::emit;
#[cfg(feature = "serde")]
pub use self::format::json::JSON_SCHEMA;
pub use self::format::kv::{Line, LineBuffer, ParseLineError};
pub use self::kernel::attach_method::AttachSource;
pub use self::kernel::attachment::{Attachment, Outcome, PassedOver, Timing, Tried};
pub use self::kernel::config::{DEFAULT_MAX_DELAY, DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES};
pub use self::kernel::diagnosis::{Capability, Diagnosis, Verdict};
pub use self::kernel::owner_hooks::OwnerHooks;
pub use self::kernel::socket_set::MySockets;
pub use self::kernel::support::Availability;
pub use self::kernel::unobservable::Unobservable;
pub use self::offline::mock::Script;
pub use self::offline::replay::{BadLines, Format, Replay};
pub use self::stats::netns::Netns;
pub use self::stats::reader::StatsReader;
pub use self::stats::reconcile::{Reconciler, Reconciliation, Sum};
pub use self::stats::{Count, Failures, Stats, TransmitCount};
pub use self::stream::builder::Builder;
pub use self::stream::counters::Counters;
pub use self::stream::queue::{Overflow, Queue};
pub use self::stream::stop::StopHandle;
#[cfg(feature = "tokio")]
pub use self::stream::tokio::AsyncStream;
pub use self::stream::{Batch, Drain, Iter, Stream};
pub use self::sys::cgroup_paths::CgroupPaths;
pub use self::text::reason_table as table;
