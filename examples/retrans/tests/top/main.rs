// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives the `top` program in a terminal, as somebody at the keyboard does.

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
