// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives the `top` program in a terminal, as somebody at the keyboard does.

mod command_line;
mod live;
mod replayed;
mod restored;
mod screen;
