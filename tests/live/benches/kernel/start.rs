// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the time from the start of a program until it is attached, and its memory then,
//! compared with bpftrace.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use retrans_lab::{Context, Error, Result};
use retrans_sdk::Stream;
use retrans_tests::bench::{Bars, median};

use crate::REPETITIONS;
use crate::memory::Memory;
use crate::tool::{Says, Tool};

pub(crate) fn measure(bars: &mut Bars) -> Result<()> {
    let open: Vec<f64> = (0..REPETITIONS).map(|_| open()).collect::<Result<_>>()?;
    let open = say("open_to_attached", &open);

    let retrans = retrans()?;
    let ours = of("watch", "ready", || Tool::start(&[&retrans, "watch"], Says::Stderr))?;
    of("bpftrace", "ready", Tool::bpftrace)?;

    bars.at_most("open_to_attached_ms", open, 40.0);
    bars.at_most("watch_anonymous_kib", ours.anonymous, 2048.0);
    // The rest is pages of the program's file, which the kernel can drop, and which all
    // processes of the file share. One file contains all subcommands.
    bars.at_most("watch_resident_beside_ring_kib", ours.resident - ours.ring, 8192.0);
    Ok(())
}

/// Returns the time to open a stream, in milliseconds.
fn open() -> Result<f64> {
    let began = Instant::now();
    let stream = Stream::builder().open().context("cannot open a stream")?;
    let took = began.elapsed();
    drop(stream);
    Ok(took.as_secs_f64() * 1e3)
}

/// Prints the start time of a program and its memory, as medians.
fn of(name: &str, ready: &str, start: impl Fn() -> Result<Tool>) -> Result<Memory> {
    let (mut took, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let tool = start()?;
        took.push(tool.until(ready)?.as_secs_f64() * 1e3);
        // Wait until its first waits are over.
        std::thread::sleep(Duration::from_millis(200));
        memory.push(Memory::of(tool.pid())?);
    }
    say(&format!("{name}_exec_to_ready"), &took);
    let memory = Memory::median(&memory);
    println!("measured={name}_memory {memory} repetitions={REPETITIONS}");
    Ok(memory)
}

fn say(name: &str, ms: &[f64]) -> f64 {
    let least = ms.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = median(ms);
    println!("measured={name} median_ms={median:.1} least_ms={least:.1} most_ms={most:.1} repetitions={}", ms.len());
    median
}

/// Returns the path of `retrans`, built by cargo into the same directory.
fn retrans() -> Result<String> {
    let ours = env::current_exe().context("cannot find the path of this program")?;
    let target: PathBuf = ours.ancestors().skip(2).take(1).collect();
    let retrans = target.join("retrans");
    if !retrans.is_file() {
        let how = "cargo build --locked --release --package retrans-cli";
        return Err(Error::new(format!("there is no {retrans:?}: `{how}`")));
    }
    retrans.into_os_string().into_string().map_err(|path| Error::new(format!("{path:?} is not valid UTF-8")))
}
