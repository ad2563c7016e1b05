// SPDX-License-Identifier: MIT OR Apache-2.0
//! The matrix: the lab's trials, the live tests and the demo on a row of kernels, each booted under emulation.
//!
//! The host (`matrix`) fetches kernels and emulator, has cargo build the programs, packs them into an initramfs, boots, and makes
//! a table of what came of it. The guest (`matrix_guest`) is process 1 there, runs trials and tests, and writes a line for each.

pub mod boot;
pub mod build;
pub mod debian;
pub mod guest;
pub mod image;
pub mod list;
pub mod live_tests;
pub mod log;
pub mod owners;
pub mod patched_kernels;
pub mod table;
pub mod verdict;
