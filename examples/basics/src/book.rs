// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of the book that contain `rust` blocks, which are compiled as documentation tests.
//! `examples/retrans/tests/book` checks that no page is missing.

#[doc = include_str!("../../../docs/quick-start.md")]
mod quick_start {}

#[doc = include_str!("../../../docs/owners.md")]
mod owners {}
#[doc = include_str!("../../../docs/verdicts.md")]
mod verdicts {}

#[doc = include_str!("../../../docs/filters.md")]
mod filters {}

#[doc = include_str!("../../../docs/accounting.md")]
mod accounting {}

#[doc = include_str!("../../../docs/security.md")]
mod security {}

#[doc = include_str!("../../../docs/embedding/agent.md")]
mod agent {}

#[doc = include_str!("../../../docs/embedding/privileges.md")]
mod privileges {}

#[doc = include_str!("../../../docs/embedding/sidecar.md")]
mod sidecar {}

#[doc = include_str!("../../../docs/embedding/tests.md")]
mod tests {}

#[doc = include_str!("../../../docs/embedding/threads.md")]
mod threads {}

#[doc = include_str!("../../../docs/embedding/tokio.md")]
mod awaiting {}

#[doc = include_str!("../../../docs/kernels.md")]
mod kernels {}

#[doc = include_str!("../../../docs/recording.md")]
mod recording {}
