// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the five small applications, on the lab's recording and on live attempts.

mod flat;
mod live;
mod replayed;
mod small;
