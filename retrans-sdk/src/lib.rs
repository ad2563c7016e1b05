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

/// What a stream attaches to in the kernel, what it can observe from there, and why.
pub mod attach {
    pub use crate::kernel::attach_method::AttachMethod;
    pub use crate::kernel::attachment::{Attachment, Candidate, CandidateOutcome, Timing, Unobservable};
    pub use crate::kernel::diagnosis::{Capability, Diagnosis, Verdict};
    pub use crate::kernel::owner_hooks::OwnerHooks;
    pub use crate::kernel::socket_set::SocketSet;
    pub use crate::kernel::support::Support;
    pub use crate::sys::privileges::drop_privileges;
}
