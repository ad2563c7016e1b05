// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a live stream is asked for, before anything is loaded.

use std::time::Duration;

use crate::event::field_set::FieldSet;
use crate::event::record::RECORD_LEN;
use crate::filter::KernelFilter;
use crate::kernel::Companions;
use crate::kernel::attach_method::AttachMethod;
use crate::rate_limit::TokenBucket;

/// The size of the ring unless asked otherwise: room for about 5,000 records, 4,500 with owners.
pub const DEFAULT_RING_SIZE: u32 = 1 << 20;

/// By how much an event may come late for the sake of others that come with it, unless asked otherwise.
pub const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(10);

/// As many bytes in the ring wake the reader before that, unless asked otherwise: some 300 records.
pub const DEFAULT_WAKEUP_BYTES: u32 = 1 << 16;

/// What is asked of a source.
pub(crate) struct Config {
    pub(crate) filter: KernelFilter,
    pub(crate) limit: Option<TokenBucket>,
    /// The inode number of the namespace whose attempts are added up.
    pub(crate) summed_netns: Option<u32>,
    /// `None` for the counters only.
    pub(crate) ring: Option<RingConfig>,
    /// What takes `CLOCK_BOOTTIME` to the epoch, in nanoseconds.
    pub(crate) epoch_offset: u64,
    /// This one or none.
    pub(crate) forced: Option<AttachMethod>,
    /// What may be attached beside it.
    pub(crate) companions: Companions,
    /// Whether events shall have the process that the socket belongs to.
    pub(crate) owners: bool,
}

/// How records come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingConfig {
    /// In bytes.
    pub(crate) size: u32,
    /// The optional fields of a record.
    pub(crate) fields: FieldSet,
    /// By how much the reader may come late on its own accord; zero: each record wakes it.
    pub(crate) max_delay: Duration,
    /// And so many bytes waiting wake it meanwhile.
    pub(crate) wakeup_bytes: u32,
}

/// When the kernel side wakes a reader that is awake, as it has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wakeup {
    /// Once so many bytes are waiting; 0: it does not know of readers that are.
    pub(crate) bytes: u32,
    /// Of which one record in so many of a CPU takes notice: a power of two.
    pub(crate) interval: u32,
}

impl RingConfig {
    /// Of a host with so many CPUs.
    pub(crate) fn wakeup(&self, cpus: u32) -> Wakeup {
        /// To look takes as long as to write a quarter of a record.
        const MOST: u32 = 16;
        if self.max_delay.is_zero() {
            return Wakeup { bytes: 0, interval: 1 };
        }
        // There must be room left when it is woken.
        let bytes = self.wakeup_bytes.clamp(1, self.size / 2);
        // All that the CPUs hand in between two looks is a quarter of that at most.
        let records = bytes / RECORD_LEN as u32 / 4 / cpus.max(1);
        Wakeup { bytes, interval: 1 << records.clamp(1, MOST).ilog2() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_woken_while_there_is_room_left() {
        let wakeup = |size, wakeup_bytes, max_delay| {
            let Wakeup { bytes, interval } =
                RingConfig { size, fields: FieldSet::all(), max_delay, wakeup_bytes }.wakeup(4);
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
