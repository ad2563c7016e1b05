// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared code of the benches. The live tests use only the lab.

pub mod bench;
