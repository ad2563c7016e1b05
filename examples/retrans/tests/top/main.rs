// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `top` in a terminal, and types keys as a user does.

mod command_line;
mod live;
mod replayed;
mod restored;
mod screen;

#[path = "../../src/keys.rs"]
mod keys;
#[path = "../../src/terminal.rs"]
#[expect(dead_code, reason = "this test uses a part of it")]
mod terminal;
