// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel matrix: runs the lab's scenarios, the live tests and the demo on a list of kernels.
//!
//! The host (`matrix`) fetches the kernels and an emulator, builds the programs with cargo, packs
//! them into an initramfs, boots each kernel, and compares or records the results. The guest
//! (`matrix_guest`) is process 1 there: it runs everything and writes a line for each result.

pub mod accelerator;
pub mod apt_sources;
pub mod boot;
pub mod build;
pub mod debian;
pub mod guest;
pub mod image;
pub mod inputs;
pub mod list;
pub mod live_tests;
pub mod log;
pub mod owners;
pub mod patched_kernels;
pub mod results;
pub mod table;
pub mod verdict;

#[cfg(test)]
mod scratch;
