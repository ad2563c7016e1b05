// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cost of the stream inside and outside the kernel, compared with bpftrace, perf and tracefs.
//! Prints a line for each measurement and each bar, and fails if a bar is not met. Requires root,
//! bpftrace and perf; all traffic is in namespaces of its own.
//!
//! The arguments `in_kernel`, `fragment`, `drops`, `start` and `scale` select parts; without
//! arguments all run.

mod consumer;
mod drops;
mod fragment;
mod in_kernel;
mod memory;
mod on_drop;
mod run_time;
mod sandwich;
mod scale;
mod start;
mod subject;
mod tool;

use std::env;
use std::process::ExitCode;

use retrans_lab::{Error, Result, privilege};
use retrans_tests::bench::{Bars, machine};

/// The number of repetitions of each measurement, of which the median is printed.
const REPETITIONS: usize = 5;

/// A part of the bench: its name and its function.
type Part = (&'static str, fn(&mut Bars) -> Result<()>);

const PARTS: [Part; 5] = [
    ("in_kernel", in_kernel::measure),
    ("fragment", fragment::measure),
    ("drops", drops::measure),
    ("start", start::measure),
    ("scale", scale::measure),
];

fn main() -> ExitCode {
    println!("{}", machine());
    let mut bars = Bars::new();
    match run(&mut bars) {
        Ok(()) => bars.verdict(),
        Err(error) => {
            eprintln!("kernel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(bars: &mut Bars) -> Result<()> {
    privilege::check()?;
    // Cargo adds `--bench`.
    let wanted: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        return Err(Error::new(format!("unknown part `{unknown}`: use in_kernel, fragment, drops, start or scale")));
    }
    PARTS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
        .try_for_each(|(_, part)| part(bars))
}
