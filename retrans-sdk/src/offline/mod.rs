// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events that do not come from the running kernel: recordings, and mocks for tests.

pub(crate) mod channel;
pub(crate) mod mock;
pub(crate) mod pipeline;
pub(crate) mod replay;

pub use self::mock::MockSource;
pub use self::replay::{BadLines, ClockOffset, DetectedFormat, Format, RecordedItem, RecordedLines, Recording};
