// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory of a process, from /proc.

use std::fmt;
use std::fs;

use retrans_lab::{Context, Error, Result};
use retrans_sdk::stream::DEFAULT_RING_SIZE;
use retrans_tests::bench::median;

/// Sizes in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The resident set.
    pub(crate) resident: f64,
    /// Its private part.
    pub(crate) anonymous: f64,
    /// Its file-backed part, such as programs and libraries, which may be shared.
    pub(crate) files: f64,
    pub(crate) shared: f64,
    /// The part of the ring buffer. It counts twice, since its data is mapped twice in a row, and
    /// is kernel memory anyway.
    pub(crate) ring: f64,
}

impl Memory {
    pub(crate) fn of(process: u32) -> Result<Self> {
        let read = |file| {
            let path = format!("/proc/{process}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let status = read("status")?;
        let of = |key| value(&status, key).ok_or_else(|| Error::new(format!("no {key} in /proc/{process}/status")));
        let [resident, anonymous, files, shared] = [of("VmRSS:")?, of("RssAnon:")?, of("RssFile:")?, of("RssShmem:")?];
        Ok(Self { resident, anonymous, files, shared, ring: ring(&read("smaps")?) })
    }

    /// Returns the medians.
    pub(crate) fn median(all: &[Self]) -> Self {
        let of = |part: fn(&Self) -> f64| median(&all.iter().map(part).collect::<Vec<_>>());
        Self {
            resident: of(|m| m.resident),
            anonymous: of(|m| m.anonymous),
            files: of(|m| m.files),
            shared: of(|m| m.shared),
            ring: of(|m| m.ring),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, anonymous, files, shared, ring } = self;
        write!(
            f,
            "rss_kib={resident} rss_anon_kib={anonymous} rss_file_kib={files} rss_shmem_kib={shared} ring_kib={ring}"
        )
    }
}

fn value(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// Returns the resident size of the ring buffer: of the mappings of BPF maps that are at least as
/// large. The counters are smaller.
fn ring(smaps: &str) -> f64 {
    let ring = f64::from(DEFAULT_RING_SIZE) / 1024.0;
    let (mut is_map, mut is_ring, mut sum) = (false, false, 0.0);
    for line in smaps.lines() {
        // A mapping starts with its addresses; its attributes start with a name and a colon.
        if line.split(' ').next().is_some_and(|first| !first.ends_with(':')) {
            is_map = line.contains("bpf-map");
        } else if let Some(size) = value(line, "Size:") {
            is_ring = is_map && size >= ring;
        } else if is_ring {
            sum += value(line, "Rss:").unwrap_or_default();
        }
    }
    sum
}
