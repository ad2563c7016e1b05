// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `watch` as a user does.

mod beside_trace;
mod command_line;
mod filters;
mod running;
mod whose;
