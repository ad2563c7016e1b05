// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts the attempts of offline streams in user space, in the same way as the BPF programs count
//! the attempts of live streams.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::event::Event;
use crate::event::clock::Clock;
use crate::event::kind::RetransKind;
use crate::event::result::{ResultSlots, RetransResult};
use crate::stats::TextLosses;
use crate::stats::layout::{COUNTER_WORDS, KIND_SLOTS, PASSED_WORDS, TRANSMIT_SLOTS, word};

/// Adds to a counter. Only the thread that reads the stream may call it.
#[inline]
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    // There is one writer, so no atomic addition is required. Its locked instruction would cost
    // more than the rest of the delivery of an event.
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Release);
}

#[inline]
pub(crate) fn add_one(counter: &AtomicU64) {
    add(counter, 1);
}

/// The counter to which an attempt is assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    Filtered,
    Limited,
    Lost,
    Submitted,
}

/// The counters, in words as in [`crate::stats::layout::word`]. There must be one writer at a time.
pub(crate) struct UserCounters {
    words: [AtomicU64; COUNTER_WORDS],
    /// The attempts that passed the filter, as in `struct retrans_passed`.
    passed: [AtomicU64; PASSED_WORDS],
    slots: ResultSlots,
    /// True if it is known that failed attempts would be part of the stream.
    observes_failures: AtomicBool,
    /// The same for SYN-ACKs.
    observes_synack_failures: AtomicBool,
    /// True if the stream is kernel text.
    is_kernel_text: AtomicBool,
    /// The number of trace entries that the text reports as lost.
    text_lost: AtomicU64,
    /// The number of reports without a number.
    text_lost_unknown: AtomicU64,
    /// The number of skipped lines; `None` if the stream does not consist of lines.
    skipped: Option<AtomicU64>,
    /// True if the events have wall-clock time.
    is_realtime: AtomicBool,
}

impl UserCounters {
    pub(crate) fn new(observes_failures: bool, has_lines: bool) -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; COUNTER_WORDS],
            passed: [const { AtomicU64::new(0) }; PASSED_WORDS],
            slots: ResultSlots::new(),
            observes_failures: observes_failures.into(),
            observes_synack_failures: observes_failures.into(),
            is_kernel_text: AtomicBool::new(false),
            text_lost: AtomicU64::new(0),
            text_lost_unknown: AtomicU64::new(0),
            skipped: has_lines.then(AtomicU64::default),
            is_realtime: (!has_lines).into(),
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

    /// Counts an attempt in the same order as the BPF programs: each total before its parts.
    pub(crate) fn count(&self, event: &Event, disposition: Disposition) {
        let segs = event.segs.into();
        self.add(word::SEEN, 1);
        // Numbers without a slot are counted as unknown.
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
            if event.kind == RetransKind::Synack {
                self.observes_synack_failures.store(true, Ordering::Release);
            }
        }
        let disposition = match disposition {
            Disposition::Filtered => word::FILTERED,
            Disposition::Limited => word::LIMITED,
            Disposition::Lost => word::LOST,
            Disposition::Submitted => word::SUBMITTED,
        };
        self.add(disposition, 1);
    }

    /// Records that failed attempts would be part of the stream.
    pub(crate) fn set_observes_failures(&self) {
        self.observes_failures.store(true, Ordering::Release);
    }

    pub(crate) fn observes_failures(&self) -> bool {
        self.observes_failures.load(Ordering::Acquire)
    }

    pub(crate) fn observes_synack_failures(&self) -> bool {
        self.observes_synack_failures.load(Ordering::Acquire)
    }

    /// Records that the stream is kernel text.
    pub(crate) fn set_kernel_text(&self) {
        self.is_kernel_text.store(true, Ordering::Release);
    }

    /// Counts trace entries that the text reports as lost; `None` if it reports no number.
    pub(crate) fn lose_text(&self, count: Option<u64>) {
        match count {
            Some(count) => {
                let lost = self.text_lost.load(Ordering::Relaxed).saturating_add(count);
                self.text_lost.store(lost, Ordering::Release);
            }
            None => add(&self.text_lost_unknown, 1),
        }
    }

    pub(crate) fn text_losses(&self) -> Option<TextLosses> {
        self.is_kernel_text.load(Ordering::Acquire).then(|| TextLosses {
            entries: self.text_lost.load(Ordering::Acquire),
            unknown: self.text_lost_unknown.load(Ordering::Acquire),
        })
    }

    /// Sets the clock of the events.
    pub(crate) fn set_clock(&self, clock: Clock) {
        self.is_realtime.store(clock == Clock::Realtime, Ordering::Release);
    }

    pub(crate) fn clock(&self) -> Clock {
        if self.is_realtime.load(Ordering::Acquire) { Clock::Realtime } else { Clock::Unknown }
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
