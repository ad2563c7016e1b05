// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of a live stream.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::field_set::FieldSet;
use crate::event::record::DEFAULT_LEN;
use crate::filter::KernelFilter;
use crate::kernel::Companions;
use crate::kernel::attach_method::AttachMethod;
use crate::rate_limit::TokenBucket;
use crate::stats::groups::Grouping;
use crate::sys::clock::EpochOffset;

/// The default size of the ring buffer in bytes: 1 MiB, which has room for about 5,000 records, or
/// 4,500 with socket owners.
pub const DEFAULT_RING_SIZE: u32 = 1 << 20;

/// The default maximum delivery delay: 10 ms.
pub const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(10);

/// The default number of bytes in the ring buffer that wake the reader before the maximum delay: 64
/// KiB, about 300 records.
pub const DEFAULT_WAKEUP_BYTES: u32 = 1 << 16;

/// The configuration of the BPF programs.
pub(crate) struct Config {
    pub(crate) filter: KernelFilter,
    pub(crate) limit: Option<TokenBucket>,
    /// The inode number of the network namespace to reconcile.
    pub(crate) summed_netns: Option<u32>,
    /// The key by which attempts are counted in groups.
    pub(crate) grouping: Option<Grouping>,
    /// The ring buffer; `None` to count only.
    pub(crate) ring: Option<RingConfig>,
    /// The offset from `CLOCK_BOOTTIME` to the Unix epoch.
    pub(crate) epoch: EpochOffset,
    /// The only attach method to use.
    pub(crate) forced: Option<AttachMethod>,
    /// The companions that may be attached.
    pub(crate) companions: Companions,
    /// True if the allocation site of -ENOMEM is located by a program at `tcp_fragment()`.
    pub(crate) locate_nomem: bool,
    /// True if no program is attached to function entries, as if the compiler had inlined the
    /// functions. Only tests set it.
    pub(crate) without_entries: bool,
    /// True if socket owners are resolved.
    pub(crate) owners: bool,
    /// True if the packets are recorded that the host drops inside attempts.
    pub(crate) drops: bool,
    /// True if verdicts are reported.
    pub(crate) verdicts: bool,
    /// The file to read BTF from instead of /sys/kernel/btf/vmlinux.
    pub(crate) btf: Option<PathBuf>,
}

/// The configuration of the ring buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingConfig {
    /// The size in bytes.
    pub(crate) size: u32,
    /// The optional fields of a record.
    pub(crate) fields: FieldSet,
    /// The maximum delivery delay; with zero each record wakes the reader.
    pub(crate) max_delay: Duration,
    /// The number of bytes that wake the reader earlier.
    pub(crate) wakeup_bytes: u32,
}

/// The condition under which the BPF programs wake a reader that is awake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wakeup {
    /// The minimum number of bytes in the ring buffer; with 0 each record wakes the reader.
    pub(crate) bytes: u32,
    /// The programs check the condition for every Nth record of a CPU; N is a power of two.
    pub(crate) interval: u32,
}

impl RingConfig {
    /// Returns the wake-up settings on a host with this number of CPUs.
    pub(crate) fn wakeup(&self, cpus: u32) -> Wakeup {
        /// A check lasts as long as writing a quarter of a record.
        const MAX_INTERVAL: u32 = 16;
        if self.max_delay.is_zero() {
            return Wakeup { bytes: 0, interval: 1 };
        }
        // There must be room left when the reader is woken.
        let bytes = self.wakeup_bytes.clamp(1, self.size / 2);
        // All records that the CPUs submit between two checks occupy at most a quarter of it.
        let record = self.fields.record_length().max(DEFAULT_LEN) as u32;
        let records = bytes / record / 4 / cpus.max(1);
        Wakeup { bytes, interval: 1 << records.clamp(1, MAX_INTERVAL).ilog2() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_woken_while_there_is_room_left() {
        let wakeup = |size, wakeup_bytes, max_delay| {
            let Wakeup { bytes, interval } =
                RingConfig { size, fields: FieldSet::default(), max_delay, wakeup_bytes }.wakeup(4);
            (bytes, interval)
        };
        assert_eq!(wakeup(DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES, DEFAULT_MAX_DELAY), (1 << 16, 16));
        assert_eq!(wakeup(DEFAULT_RING_SIZE, 0, DEFAULT_MAX_DELAY), (1, 1));
        assert_eq!(wakeup(DEFAULT_RING_SIZE, u32::MAX, DEFAULT_MAX_DELAY), (1 << 19, 16));
        assert_eq!(wakeup(4096, DEFAULT_WAKEUP_BYTES, DEFAULT_MAX_DELAY), (2048, 1));
        assert_eq!(wakeup(1 << 16, DEFAULT_WAKEUP_BYTES, DEFAULT_MAX_DELAY), (1 << 15, 8));
        assert_eq!(wakeup(4096, 1000, DEFAULT_MAX_DELAY), (1000, 1));
        assert_eq!(wakeup(DEFAULT_RING_SIZE, DEFAULT_WAKEUP_BYTES, Duration::ZERO), (0, 1));
    }
}
