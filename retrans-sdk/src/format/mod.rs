// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text forms of an event: the key=value line, JSON, and records for `tracing` and `log`. Also
//! escapes text from outside the program.

#[cfg(any(feature = "tracing", feature = "log"))]
pub mod emit;
#[cfg(feature = "serde")]
pub(crate) mod json;
pub(crate) mod kv;

#[cfg(feature = "serde")]
pub use self::json::JSON_SCHEMA;
pub use self::kv::{Line, LineBuffer, ParseLineError};
pub use crate::text::escape::Escaped;
