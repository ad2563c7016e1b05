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

#[cfg(feature = "tokio")]
mod asynchronous;
mod attach_source;
mod attachment;
mod builder;
mod cgroup_paths;
pub mod check;
mod counters;
mod counting;
#[cfg(any(feature = "tracing", feature = "log"))]
pub mod emit;
mod epoch;
mod error;
mod event;
mod feed;
mod field;
mod fields;
mod filter;
mod gate;
#[doc(hidden)]
#[allow(clippy::panic, reason = "for tests")]
pub mod harness;
#[cfg(feature = "serde")]
mod json;
mod kind;
mod line;
mod mapped;
mod mountinfo;
mod netns;
mod owner;
mod pace;
mod put;
mod queue;
mod reconcile;
mod replay;
mod result;
mod script;
mod slots;
mod source;
mod state;
mod stats;
mod stop;
mod stream;
pub mod table;
mod take;
mod tally;
mod tcp_flags;
#[cfg(test)]
mod testing;
mod text;
mod timestamp;
mod told;
mod transmit;
mod unobservable;
mod wire;

pub use retrans_macros::reason_table;

#[cfg(feature = "tokio")]
pub use self::asynchronous::AsyncStream;
pub use self::attach_source::AttachSource;
pub use self::attachment::{Attachment, Outcome, PassedOver, Timing, Tried};
pub use self::builder::{Builder, DEFAULT_MAX_DELAY, DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES};
pub use self::cgroup_paths::CgroupPaths;
pub use self::counters::StatsReader;
pub use self::counting::Counters;
pub use self::error::{Error, ErrorKind};
pub use self::event::Event;
pub use self::field::keys;
pub use self::fields::{Fields, ParseFieldsError};
pub use self::filter::{Filter, FilterError};
#[cfg(feature = "serde")]
pub use self::json::JSON_SCHEMA;
pub use self::kind::RetransKind;
pub use self::line::{Line, LineBuffer, ParseLineError};
pub use self::netns::Netns;
pub use self::owner::{OwnerHooks, OwnerSource};
pub use self::queue::{Overflow, Queue};
pub use self::reconcile::{Reconciler, Reconciliation, Sum};
pub use self::replay::{BadLines, Format, Replay};
pub use self::result::{ResultClass, RetransResult};
pub use self::script::Script;
pub use self::source::{Availability, Capability, Diagnosis, MySockets, Verdict};
pub use self::state::{CaState, Family, TcpState};
pub use self::stats::{Count, Failures, Stats, TransmitCount};
pub use self::stop::StopHandle;
pub use self::stream::{Batch, Drain, Iter, Stream};
pub use self::tcp_flags::{ParseTcpFlagsError, TcpFlags};
pub use self::text::{Encoded, ParseTextError, Text};
pub use self::timestamp::{ParseTimestampError, Timestamp};
pub use self::transmit::Transmit;
pub use self::unobservable::Unobservable;
