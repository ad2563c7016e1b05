// SPDX-License-Identifier: MIT OR Apache-2.0
//! The run time of BPF programs by the kernel's statistics, which are off by default.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::{Add, Sub};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use libbpf_rs::libbpf_sys::{BPF_STATS_RUN_TIME, bpf_enable_stats};
use retrans_lab::{Context, Error, Result};
use rustix::io::Errno;

/// Enables the statistics while this value exists. The descriptor is closed with the process,
/// however it ends, which restores the previous state; `kernel.bpf_stats_enabled` would stay
/// changed.
pub(crate) struct Measuring {
    _descriptor: OwnedFd,
}

impl Measuring {
    /// Enables the statistics. Requires Linux 5.8 and CAP_SYS_ADMIN.
    pub(crate) fn begin() -> Result<Self> {
        // libbpf-rs has no safe function for it.
        #[allow(unsafe_code)]
        // SAFETY: the only argument is a number. Returns a new descriptor or a negative errno.
        let descriptor = unsafe {
            match bpf_enable_stats(BPF_STATS_RUN_TIME) {
                fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
                error => Err(Errno::from_raw_os_error(-error)),
            }
        };
        Ok(Self { _descriptor: descriptor.context("cannot enable BPF statistics")? })
    }
}

/// The number of runs of a program and their total time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

impl Sub for Runs {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { count: self.count.saturating_sub(earlier.count), ns: self.ns.saturating_sub(earlier.ns) }
    }
}

impl Add for Runs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { count: self.count + other.count, ns: self.ns + other.ns }
    }
}

/// The runs of programs, by program id.
pub(crate) type Programs = BTreeMap<u32, Runs>;

/// Returns the fdinfo files of a process's program descriptors. The search is slow in a process
/// with many other descriptors.
pub(crate) fn descriptors_of(process: u32) -> Result<BTreeSet<PathBuf>> {
    let directory = format!("/proc/{process}/fd");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let programs = paths.filter(|path| fs::read_link(path).is_ok_and(|to| to.as_os_str() == "anon_inode:bpf-prog"));
    let infos =
        programs.filter_map(|path| Some(format!("/proc/{process}/fdinfo/{}", path.file_name()?.to_str()?).into()));
    Ok(infos.collect())
}

/// Reads the current values. Several descriptors of one program have the same values.
pub(crate) fn programs(descriptors: &BTreeSet<PathBuf>) -> Result<Programs> {
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        parse(&text).ok_or_else(|| Error::new(format!("{} does not contain the runs of a program", path.display())))
    };
    descriptors.iter().map(read).collect()
}

fn parse(fdinfo: &str) -> Option<(u32, Runs)> {
    let of = |key| fdinfo.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    let id = u32::try_from(of("prog_id:")?).ok()?;
    Some((id, Runs { count: of("run_cnt:")?, ns: of("run_time_ns:")? }))
}

/// Returns the time per attempt in all programs between two readings. Several programs may run for
/// an attempt: the one with the most runs counts the attempts.
pub(crate) fn between(earlier: &Programs, later: &Programs) -> Result<Runs> {
    let runs = later.iter().map(|(id, runs)| *runs - earlier.get(id).copied().unwrap_or_default());
    let runs = runs.reduce(|a, b| Runs { count: a.count.max(b.count), ns: a.ns + b.ns });
    runs.ok_or_else(|| Error::new("there is no program to be measured"))
}
