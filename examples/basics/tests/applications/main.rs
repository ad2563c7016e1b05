// SPDX-License-Identifier: MIT OR Apache-2.0
//! The five small applications, each run: on the lab's recording, and on what the lab does.

mod flat;
mod live;
mod replayed;
mod small;
