// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `watch` as a user does.

mod command_line;
mod filters;
mod owners;
mod running;
mod trace_pipe;
