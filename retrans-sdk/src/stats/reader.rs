// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the counters of the BPF programs and of user space, from any thread at any time.
//!
//! # Design
//!
//! `missed` is read from /proc/self/fdinfo of the BPF programs' file descriptors, which requires no
//! capability. Opening a program by its id would require CAP_SYS_ADMIN.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::event::clock::Clock;
use crate::event::kind::RetransKind;
use crate::event::result::{RESULT_SLOTS, ResultSlots};
use crate::event::transmit::Transmit;
use crate::stats::groups::{GroupCount, Grouping, Groups};
use crate::stats::layout::{COUNTER_WORDS, KIND_SLOTS, NetnsStats, PASSED_WORDS, word};

use crate::stats::user_counters::UserCounters;
use crate::stats::{Count, Failures, Stats, TextLosses, TransmitCount, VerdictStats};
use crate::sys::mmap::Words;

/// The counters of the BPF programs, one element for each CPU, mapped into this process.
pub(crate) struct KernelCounters {
    words: Words,
    /// The counts of attempts that passed the filter; `None` without a filter.
    passed: Option<Words>,
    /// The counts by a key, if they were requested.
    groups: Option<Groups>,
    cpus: usize,
}

impl KernelCounters {
    /// Maps an array map of `cpus` elements of `struct retrans_counters`, one of
    /// `struct retrans_passed`, and the groups.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        passed: Option<BorrowedFd<'_>>,
        groups: Option<(BorrowedFd<'_>, Grouping)>,
        cpus: usize,
    ) -> Result<Self, Error> {
        let passed = passed.map(|fd| Words::map(fd, cpus * PASSED_WORDS)).transpose()?;
        let map = |(fd, of)| Words::map(fd, Groups::words(of)).map(|words| Groups::new(words, of));
        let groups = groups.map(map).transpose()?;
        Words::map(fd, cpus * COUNTER_WORDS).map(|words| Self { words, passed, groups, cpus })
    }

    /// Returns the sum of a counter over all CPUs.
    fn sum(&self, word: usize) -> u64 {
        (0..self.cpus).map(|cpu| self.words.load(cpu * COUNTER_WORDS + word)).sum()
    }

    /// Returns the sum of a counter of passed attempts over all CPUs.
    fn passed(&self, word: usize) -> Option<u64> {
        let passed = self.passed.as_ref()?;
        Some((0..self.cpus).map(|cpu| passed.load(cpu * PASSED_WORDS + word)).sum())
    }
}

/// The failures that the attachment of a stream observes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObservedFailures {
    /// Failures of attempts of full sockets.
    pub(crate) any: bool,
    /// Failures of SYN-ACKs.
    pub(crate) synack: bool,
    /// True if only programs at function exits report failures, and the tracepoint does not.
    pub(crate) at_exit_only: bool,
}

impl ObservedFailures {
    /// Returns whether all failures are observed, given the number of attempts that only the
    /// tracepoint reported. Such an attempt shows that the compiler inlined the function, or that
    /// the kernel skipped a program. Then an attempt that failed may not have been reported.
    const fn is_complete(self, tracepoint_only: u64) -> bool {
        self.any && !(self.at_exit_only && tracepoint_only > 0)
    }
}

/// The counters of user space.
#[derive(Default)]
pub(crate) struct DeliveryCounters {
    pub(crate) rejected: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) verdicts: AtomicU64,
}

struct Shared {
    attempts: Attempts,
    user: DeliveryCounters,
}

/// The counters of attempts.
enum Attempts {
    /// Counted by the BPF programs.
    InKernel {
        counters: Box<KernelCounters>,
        slots: ResultSlots,
        /// The programs that `missed` reads; `None` if the kernel does not count skipped programs.
        programs: Option<Vec<OwnedFd>>,
        observes: ObservedFailures,
    },
    /// Counted in user space, for an offline stream.
    Offline(Arc<UserCounters>),
}

impl Attempts {
    fn sum(&self, word: usize) -> u64 {
        match self {
            Self::InKernel { counters, .. } => counters.sum(word),
            Self::Offline(counters) => counters.get(word),
        }
    }

    /// Returns a counter of the attempts that passed the filter; `None` if there is no filter.
    fn passed(&self, word: usize) -> Option<u64> {
        match self {
            Self::InKernel { counters, .. } => counters.passed(word),
            Self::Offline(counters) => Some(counters.passed(word)),
        }
    }

    fn slots(&self) -> &ResultSlots {
        match self {
            Self::InKernel { slots, .. } => slots,
            Self::Offline(counters) => counters.slots(),
        }
    }

    /// Returns the counts by result and kind of the table whose words the function `load` returns.
    /// Returns `None` if `load` returns `None`.
    fn counts(&self, load: impl Fn(usize) -> Option<u64>) -> Option<Vec<Count>> {
        let mut counts = Vec::new();
        for slot in 0..RESULT_SLOTS {
            for kind in 0..KIND_SLOTS {
                let at = (slot * KIND_SLOTS + kind) * 2;
                let attempts = load(at)?;
                if attempts != 0 {
                    counts.push(Count {
                        result: self.slots().result_of(slot),
                        kind: RetransKind::from_raw(kind as u32),
                        attempts,
                        segs: load(at + 1)?,
                    });
                }
            }
        }
        Some(counts)
    }
}

/// A handle that reads the counters of a stream from any thread, while the stream is in use and
/// after it is dropped.
///
/// It keeps the memory of the counters and the detached BPF programs alive until the last clone is
/// dropped.
#[derive(Clone)]
pub struct StatsReader(Arc<Shared>);

impl std::fmt::Debug for StatsReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StatsReader").field(&self.read()).finish()
    }
}

impl StatsReader {
    pub(crate) fn new(
        counters: KernelCounters,
        slots: ResultSlots,
        programs: Option<Vec<OwnedFd>>,
        observes: ObservedFailures,
    ) -> Self {
        Self::of(Attempts::InKernel { counters: Box::new(counters), slots, programs, observes })
    }

    pub(crate) fn offline(counters: Arc<UserCounters>) -> Self {
        Self::of(Attempts::Offline(counters))
    }

    fn of(attempts: Attempts) -> Self {
        Self(Arc::new(Shared { attempts, user: DeliveryCounters::default() }))
    }

    pub(crate) fn user(&self) -> &DeliveryCounters {
        &self.0.user
    }

    pub(crate) fn observes_failures(&self) -> bool {
        match &self.0.attempts {
            Attempts::InKernel { observes, counters, .. } => observes.is_complete(counters.sum(word::TRACEPOINT_ONLY)),
            Attempts::Offline(counters) => counters.observes_failures(),
        }
    }

    fn tracepoint_only(&self) -> Option<u64> {
        match &self.0.attempts {
            Attempts::InKernel { observes, counters, .. } => {
                observes.at_exit_only.then(|| counters.sum(word::TRACEPOINT_ONLY))
            }
            Attempts::Offline(_) => None,
        }
    }

    fn observes_synack_failures(&self) -> bool {
        match &self.0.attempts {
            Attempts::InKernel { observes, .. } => observes.synack,
            Attempts::Offline(counters) => counters.observes_synack_failures(),
        }
    }

    pub(crate) fn missed(&self) -> Option<u64> {
        match &self.0.attempts {
            Attempts::InKernel { programs, .. } => {
                programs.as_ref().and_then(|programs| programs.iter().map(missed).sum())
            }
            Attempts::Offline(_) => None,
        }
    }

    fn skipped(&self) -> Option<u64> {
        match &self.0.attempts {
            Attempts::InKernel { .. } => None,
            Attempts::Offline(counters) => counters.skipped(),
        }
    }

    fn text_losses(&self) -> Option<TextLosses> {
        match &self.0.attempts {
            Attempts::InKernel { .. } => None,
            Attempts::Offline(counters) => counters.text_losses(),
        }
    }

    fn clock(&self) -> Clock {
        match &self.0.attempts {
            Attempts::InKernel { .. } => Clock::Realtime,
            Attempts::Offline(counters) => counters.clock(),
        }
    }

    pub(crate) fn netns_stats(&self) -> NetnsStats {
        let sum = |index: usize| self.0.attempts.sum(word::NETNS + index);
        NetnsStats {
            retrans_segs: sum(0),
            retrans_fail: sum(1),
            syn_retrans: sum(2),
            in_host_queue: sum(3),
            unknown_attempts: sum(4),
            unknown_segs: sum(5),
            fast_retrans: sum(6),
            slow_start_retrans: sum(7),
            loss_probes: sum(8),
            timeouts: sum(9),
            unknown_kind_attempts: sum(10),
            unknown_kind_segs: sum(11),
        }
    }

    /// Returns the attempts that passed the filter by the key of
    /// [`StreamBuilder::count_by`](crate::StreamBuilder::count_by) and by result. Counts of zero
    /// are left out. Returns `None` if this was not requested, and for an offline stream.
    ///
    /// While no attempt is in progress, the sum of the attempts is the sum of the attempts in
    /// [`Stats::passed`]. Requires no system call and no capability.
    #[must_use]
    pub fn groups(&self) -> Option<Vec<GroupCount>> {
        match &self.0.attempts {
            Attempts::InKernel { counters, slots, .. } => {
                counters.groups.as_ref().map(|groups| groups.read(|slot| slots.result_of(slot)))
            }
            Attempts::Offline(_) => None,
        }
    }

    /// Returns the current counters of verdicts.
    pub(crate) fn verdicts(&self) -> VerdictStats {
        let Shared { attempts, user } = &*self.0;
        // Parts are read before their total.
        let delivered = user.verdicts.load(Ordering::Acquire);
        let submitted = attempts.sum(word::VERDICTS_SUBMITTED);
        let lost = attempts.sum(word::VERDICTS_LOST);
        VerdictStats { submitted, lost, delivered, untracked: attempts.sum(word::VERDICTS_UNTRACKED) }
    }

    /// Returns the current counters.
    ///
    /// Reads one small file in /proc for each BPF program, which contains the number of its skipped
    /// runs.
    #[must_use]
    pub fn read(&self) -> Stats {
        let Shared { attempts, user } = &*self.0;
        // Parts are read before totals, so that no sum of parts exceeds its total.
        let [rejected, dropped, delivered] =
            [&user.rejected, &user.dropped, &user.delivered].map(|c| c.load(Ordering::Acquire));
        let submitted = attempts.sum(word::SUBMITTED);
        let lost = attempts.sum(word::LOST);
        let limited = attempts.sum(word::LIMITED);
        let filtered = attempts.sum(word::FILTERED);

        // Passed attempts are read before seen attempts, for the same reason.
        let passed = attempts.counts(|at| attempts.passed(at));
        let counts = attempts.counts(|at| Some(attempts.sum(word::COUNTS + at))).unwrap_or_default();
        let transmits = Transmit::ALL.iter().map(|entry| {
            let at = word::TRANSMITS + entry.number as usize * 2;
            TransmitCount { transmit: entry.variant, attempts: attempts.sum(at), segs: attempts.sum(at + 1) }
        });
        let transmits = transmits.filter(|count| count.attempts != 0).collect();
        Stats {
            seen: attempts.sum(word::SEEN),
            filtered,
            limited,
            lost,
            submitted,
            rejected,
            dropped,
            delivered,
            missed: self.missed(),
            tracepoint_only: self.tracepoint_only(),
            skipped: self.skipped(),
            text_losses: self.text_losses(),
            clock: self.clock(),
            failures: Failures::of(&counts, self.observes_failures()),
            synack_failures: Failures::of_kind(&counts, RetransKind::Synack, self.observes_synack_failures()),
            passed: passed.unwrap_or_else(|| counts.clone()),
            counts,
            transmits,
        }
    }
}

/// Returns the `recursion_misses` of a program, from the /proc entry of its descriptor, which
/// requires no capability.
fn missed(program: &OwnedFd) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_no_exit_reported_withdraws_the_claim() {
        let exits = ObservedFailures { any: true, synack: true, at_exit_only: true };
        assert!(exits.is_complete(0) && !exits.is_complete(1));
        // The tracepoint reports failures as well.
        let tracepoint = ObservedFailures { at_exit_only: false, ..exits };
        assert!(tracepoint.is_complete(0) && tracepoint.is_complete(1));
        let successes = ObservedFailures { any: false, ..tracepoint };
        assert!(!successes.is_complete(0));
    }
}
