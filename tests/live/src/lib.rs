// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the benches share. The live tests use the lab alone.

pub mod bench;
