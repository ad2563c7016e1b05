// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attempts counted on this side, as the kernel side counts those that it sees: for streams whose events somebody tells.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::event::Event;
use crate::event::kind::RetransKind;
use crate::event::result::{ResultSlots, RetransResult};
use crate::stats::layout::{COUNTER_WORDS, KIND_SLOTS, PASSED_WORDS, TRANSMIT_SLOTS, word};
use crate::stats::reader::add;

/// What became of an attempt behind the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    Filtered,
    Limited,
    Lost,
    Submitted,
}

/// Words as in [`crate::stats::layout::word`]. One writer at a time.
pub(crate) struct UserCounters {
    words: [AtomicU64; COUNTER_WORDS],
    /// What passed the filter, as in `struct retrans_passed`.
    passed: [AtomicU64; PASSED_WORDS],
    slots: ResultSlots,
    /// Whether failures would be told, as far as is known.
    observes_failures: AtomicBool,
    /// Events that a kernel's text says were lost before it was written, if it is one.
    missed: AtomicU64,
    counts_missed: AtomicBool,
    /// It says that there were some, and not how many.
    missed_more: AtomicBool,
    /// Lines that were none, if there are lines.
    skipped: Option<AtomicU64>,
}

impl UserCounters {
    pub(crate) fn new(observes_failures: bool, has_lines: bool) -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; COUNTER_WORDS],
            passed: [const { AtomicU64::new(0) }; PASSED_WORDS],
            slots: ResultSlots::new(),
            observes_failures: observes_failures.into(),
            missed: AtomicU64::new(0),
            counts_missed: AtomicBool::new(false),
            missed_more: AtomicBool::new(false),
            skipped: has_lines.then(AtomicU64::default),
        }
    }

    pub(crate) fn get(&self, word: usize) -> u64 {
        self.words.get(word).map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(crate) fn passed(&self, word: usize) -> u64 {
        self.passed.get(word).map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub(crate) fn slots(&self) -> &ResultSlots {
        &self.slots
    }

    fn add(&self, word: usize, count: u64) {
        add_at(&self.words, word, count);
    }

    /// In the order of the kernel side: a whole before its parts.
    pub(crate) fn count(&self, event: &Event, disposition: Disposition) {
        let segs = event.segs.into();
        self.add(word::SEEN, 1);
        // All numbers without a kind of their own are of none that is proven.
        let kind = match event.kind.raw() as usize {
            kind if kind < KIND_SLOTS => kind,
            _ => RetransKind::Unknown.raw() as usize,
        };
        let at = (self.slots.slot_of(event.result) * KIND_SLOTS + kind) * 2;
        self.add(word::COUNTS + at, 1);
        self.add(word::COUNTS + at + 1, segs);
        if disposition != Disposition::Filtered {
            add_at(&self.passed, at, 1);
            add_at(&self.passed, at + 1, segs);
        }
        let transmit = match event.transmit.map_or(0, |transmit| transmit.raw() as usize) {
            transmit if transmit < TRANSMIT_SLOTS => transmit,
            _ => 0,
        };
        let at = word::TRANSMITS + transmit * 2;
        self.add(at, 1);
        self.add(at + 1, segs);
        if event.result != RetransResult::Success {
            self.set_observes_failures();
        }
        let disposition = match disposition {
            Disposition::Filtered => word::FILTERED,
            Disposition::Limited => word::LIMITED,
            Disposition::Lost => word::LOST,
            Disposition::Submitted => word::SUBMITTED,
        };
        self.add(disposition, 1);
    }

    /// That there are none would be said.
    pub(crate) fn set_observes_failures(&self) {
        self.observes_failures.store(true, Ordering::Release);
    }

    pub(crate) fn observes_failures(&self) -> bool {
        self.observes_failures.load(Ordering::Acquire)
    }

    /// So many were lost before they came here; `None`: nobody knows how many.
    pub(crate) fn miss(&self, count: Option<u64>) {
        match count {
            Some(count) => {
                let missed = self.missed.load(Ordering::Relaxed).saturating_add(count);
                self.missed.store(missed, Ordering::Release);
            }
            None => self.missed_more.store(true, Ordering::Release),
        }
        self.counts_missed.store(true, Ordering::Release);
    }

    pub(crate) fn missed(&self) -> Option<u64> {
        let is_known = self.counts_missed.load(Ordering::Acquire) && !self.missed_more.load(Ordering::Acquire);
        is_known.then(|| self.missed.load(Ordering::Acquire))
    }

    pub(crate) fn skip(&self) {
        if let Some(skipped) = &self.skipped {
            add(skipped, 1);
        }
    }

    pub(crate) fn skipped(&self) -> Option<u64> {
        self.skipped.as_ref().map(|skipped| skipped.load(Ordering::Acquire))
    }
}

fn add_at(words: &[AtomicU64], word: usize, count: u64) {
    if let Some(word) = words.get(word) {
        add(word, count);
    }
}
