// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the observed attempts of a network namespace with the counters of the namespace.
//!
//! # Design
//!
//! The BPF programs add up the attempts of the namespace before the filter (`bpf/stats.bpf.h`).
//! Therefore a stream with any filter can be reconciled, and lost records do not matter. A stream
//! that is not reconciled has no additional cost.
//!
//! The kernel counts an attempt before the BPF programs run. Therefore both sides are read twice,
//! in alternation. The two sides belong to the same moment only if neither of them changed.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::event::transmit::Transmit;
use crate::stats::TransmitCount;
use crate::stats::layout::NetnsStats;
use crate::stats::netns::{Mib, Netns};
use crate::stats::reader::StatsReader;
use crate::text::reason_table::KeyVal;

/// The maximum time to wait for a baseline without attempts in progress.
const BASELINE_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval between two readings.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Both sides at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Reading {
    kernel: Mib,
    seen: NetnsStats,
    /// True if neither side changed while they were read.
    at_rest: bool,
}

/// A handle that compares the observed attempts of a network namespace with the namespace's own
/// counters, since the stream was opened.
///
/// [`StreamBuilder::reconcile`](crate::StreamBuilder::reconcile) requests it, and
/// [`Live::reconciler`](crate::stream::Live::reconciler) or
/// [`Counters::reconciler`](crate::stream::Counters::reconciler) returns it. It can be used from
/// any thread, without capabilities, while the stream is in use. It includes every observed attempt
/// in the namespace, regardless of filter, rate limit and lost events.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use retrans_sdk::Stream;
/// use retrans_sdk::stats::Netns;
///
/// let stream = Stream::builder().reconcile(Netns::current()?).open()?;
/// if let Some(reconciler) = stream.live().and_then(|live| live.reconciler()) {
///     println!("{}", reconciler.reconcile(Duration::from_secs(1))?);
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Reconciler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stats: StatsReader,
    netns: Netns,
    baseline: Reading,
}

impl Reconciler {
    /// Reads the baseline. Requires that the programs are attached.
    pub(crate) fn new(stats: StatsReader, netns: Netns) -> Result<Self, Error> {
        let baseline = baseline(|| read(&netns, &stats))?;
        Ok(Self(Arc::new(Shared { stats, netns, baseline })))
    }

    /// Returns the inode number of the namespace.
    #[must_use]
    pub fn netns(&self) -> u32 {
        self.0.netns.inode()
    }

    /// Compares both sides.
    ///
    /// The kernel counts an attempt some microseconds before the BPF programs run, so a difference
    /// may be temporary while attempts are made. Therefore this method repeats the comparison for
    /// up to `patience` (at most one day), until the result is exact. It returns the last result.
    /// It does not repeat the comparison if no exact result is possible; see
    /// [`Reconciliation::is_exact`].
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::System`](crate::ErrorKind::System) if the counters of the namespace
    /// cannot be read.
    pub fn reconcile(&self, patience: Duration) -> Result<Reconciliation, Error> {
        let Shared { stats, netns, baseline } = &*self.0;
        let deadline = Instant::now() + patience.min(Duration::from_secs(86_400));
        loop {
            let now = read(netns, stats)?;
            let compared = Reconciliation::of(baseline, &now, stats.observes_failures(), stats.missed());
            let hopeless = !baseline.at_rest || !compared.observes_failures || compared.unknown.attempts > 0;
            if compared.is_exact() || hopeless || Instant::now() >= deadline {
                return Ok(compared);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Reads each side twice, in alternation. If neither changed, both belong to the same moment.
fn read(netns: &Netns, stats: &StatsReader) -> Result<Reading, Error> {
    let (kernel, seen) = (netns.read()?, stats.netns_stats());
    let at_rest = (netns.read()?, stats.netns_stats()) == (kernel, seen);
    Ok(Reading { kernel, seen, at_rest })
}

/// Returns a reading that did not change for one interval. Then there is no attempt that the kernel
/// has counted and the BPF programs have not observed yet: it would have changed the reading.
fn baseline(mut read: impl FnMut() -> Result<Reading, Error>) -> Result<Reading, Error> {
    let deadline = Instant::now() + BASELINE_TIMEOUT;
    let mut before = read()?;
    loop {
        std::thread::sleep(POLL_INTERVAL);
        let now = read()?;
        if now.at_rest && now == before {
            return Ok(now);
        }
        if Instant::now() >= deadline {
            return Ok(Reading { at_rest: false, ..now });
        }
        before = now;
    }
}

/// The increase of one counter since the stream was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Sum {
    /// The increase of the namespace's counter.
    pub kernel: u64,
    /// The increase expected from the observed attempts.
    pub seen: u64,
}

impl Sum {
    const fn since(baseline: (u64, u64), now: (u64, u64)) -> Self {
        Self { kernel: now.0.wrapping_sub(baseline.0), seen: now.1.wrapping_sub(baseline.1) }
    }

    /// Returns the kernel's increase minus the expected increase. It is negative if the kernel
    /// counted less.
    #[must_use]
    pub const fn difference(self) -> i64 {
        self.kernel.wrapping_sub(self.seen) as i64
    }
}

/// The observed attempts of a network namespace, compared with the namespace's own counters since
/// the stream was opened.
///
/// Retransmitted SYN-ACKs are included on both sides. Failures of SYN-ACKs are included on neither
/// side, since the kernel does not count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconciliation {
    /// `RetransSegs`: the segments of attempts that reached the transmit step.
    pub retrans_segs: Sum,
    /// `TCPRetransFail`: the segments of attempts whose transmit step failed with an error other
    /// than -EBUSY.
    pub retrans_fail: Sum,
    /// `TCPSynRetrans`: SYNs and SYN-ACKs that reached the transmit step.
    pub syn_retrans: Sum,
    /// `TCPSpuriousRtxHostQueues`: attempts that failed because an earlier copy was still in a
    /// queue of this host. The kernel also counts tail loss probes that it cancels for this reason
    /// before they become attempts ([`untraced_probes`](Self::untraced_probes)).
    pub spurious_rtx_host_queues: Sum,
    /// Attempts for which it is not known whether they reached the transmit step. The sums do not
    /// include them.
    pub unknown: TransmitCount,
    /// True if failed attempts are observed.
    pub observes_failures: bool,
    /// [`Stats::missed`](crate::Stats::missed): attempts of the whole host for which the kernel
    /// skipped a program.
    pub missed: Option<u64>,
    /// True if no attempt was in progress at the baseline and now. If false, a difference may be
    /// temporary.
    pub settled: bool,
}

impl Reconciliation {
    fn of(baseline: &Reading, now: &Reading, observes_failures: bool, missed: Option<u64>) -> Self {
        let sum = |kernel: fn(&Mib) -> u64, seen: fn(&NetnsStats) -> u64| {
            Sum::since((kernel(&baseline.kernel), seen(&baseline.seen)), (kernel(&now.kernel), seen(&now.seen)))
        };
        Self {
            retrans_segs: sum(|mib| mib.retrans_segs, |netns| netns.retrans_segs),
            retrans_fail: sum(|mib| mib.retrans_fail, |netns| netns.retrans_fail),
            syn_retrans: sum(|mib| mib.syn_retrans, |netns| netns.syn_retrans),
            spurious_rtx_host_queues: sum(|mib| mib.spurious_rtx_host_queues, |netns| netns.in_host_queue),
            unknown: TransmitCount {
                transmit: Transmit::Unknown,
                attempts: now.seen.unknown_attempts - baseline.seen.unknown_attempts,
                segs: now.seen.unknown_segs - baseline.seen.unknown_segs,
            },
            observes_failures,
            missed,
            settled: baseline.at_rest && now.at_rest,
        }
    }

    /// Returns the number of tail loss probes that the kernel cancelled before they became
    /// attempts, because an earlier copy was still in a queue of this host.
    /// `TCPSpuriousRtxHostQueues` includes these probes. No tracepoint and no function of the
    /// kernel reports them.
    #[must_use]
    pub const fn untraced_probes(&self) -> u64 {
        self.spurious_rtx_host_queues.kernel.saturating_sub(self.spurious_rtx_host_queues.seen)
    }

    /// Returns true if both sides match. This requires that failures are observed, and that there
    /// is no difference other than [`untraced_probes`](Self::untraced_probes), no
    /// [unknown](Self::unknown) attempt, and no attempt in progress.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.settled
            && self.observes_failures
            && self.unknown.attempts == 0
            && self.retrans_segs.difference() == 0
            && self.retrans_fail.difference() == 0
            && self.syn_retrans.difference() == 0
            && self.spurious_rtx_host_queues.difference() >= 0
    }
}

/// Prints lines of `key=value`: one for each counter, one for unknown attempts, and one for the
/// quality of the comparison.
impl fmt::Display for Reconciliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal = [
            ("RetransSegs", self.retrans_segs),
            ("TCPRetransFail", self.retrans_fail),
            ("TCPSynRetrans", self.syn_retrans),
        ];
        for (counter, sum) in equal {
            let Sum { kernel, seen } = sum;
            writeln!(f, "counter={counter} kernel={kernel} seen={seen} difference={}", sum.difference())?;
        }
        let Sum { kernel, seen } = self.spurious_rtx_host_queues;
        let excess = ("difference", self.spurious_rtx_host_queues.difference());
        let (key, value) = if excess.1 < 0 { excess } else { ("untraced_probes", self.untraced_probes() as i64) };
        writeln!(f, "counter=TCPSpuriousRtxHostQueues kernel={kernel} seen={seen} {}", KeyVal { key, value })?;
        writeln!(f, "{}", self.unknown)?;
        let yes = |yes| if yes { "yes" } else { "no" };
        let failures = if self.observes_failures { "observed" } else { "unobservable" };
        write!(f, "exact={} settled={} failures={failures} missed=", yes(self.is_exact()), yes(self.settled))?;
        match self.missed {
            Some(missed) => missed.fmt(f),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(kernel: [u64; 4], seen: [u64; 6]) -> Reading {
        let [retrans_segs, retrans_fail, syn_retrans, spurious_rtx_host_queues] = kernel;
        let kernel = Mib { retrans_segs, retrans_fail, syn_retrans, spurious_rtx_host_queues };
        let [retrans_segs, retrans_fail, syn_retrans, in_host_queue, unknown_attempts, unknown_segs] = seen;
        let seen =
            NetnsStats { retrans_segs, retrans_fail, syn_retrans, in_host_queue, unknown_attempts, unknown_segs };
        Reading { kernel, seen, at_rest: true }
    }

    fn compared(kernel: [u64; 4], seen: [u64; 6]) -> Reconciliation {
        let baseline = reading([100, 10, 5, 7], [1, 0, 1, 0, 0, 0]);
        Reconciliation::of(&baseline, &reading(kernel, seen), true, Some(0))
    }

    #[test]
    fn equal_increases_are_exact() {
        let exact = compared([120, 14, 6, 12], [21, 4, 2, 3, 0, 0]);
        assert!(exact.is_exact(), "{exact}");
        assert_eq!(exact.untraced_probes(), 2);
        assert_eq!(
            exact.to_string(),
            "counter=RetransSegs kernel=20 seen=20 difference=0\n\
             counter=TCPRetransFail kernel=4 seen=4 difference=0\n\
             counter=TCPSynRetrans kernel=1 seen=1 difference=0\n\
             counter=TCPSpuriousRtxHostQueues kernel=5 seen=3 untraced_probes=2\n\
             transmit=unknown attempts=0 segs=0\n\
             exact=yes settled=yes failures=observed missed=0"
        );
    }

    #[test]
    fn any_difference_is_not_exact() {
        let good = ([120, 14, 6, 12], [21, 4, 2, 3, 0, 0]);
        for index in 0..4 {
            let mut kernel = good.0;
            kernel[index] += 1;
            // Additional probes are not a difference.
            assert_eq!(compared(kernel, good.1).is_exact(), index == 3);
        }
        for index in 0..5 {
            let mut seen = good.1;
            seen[index] += if index == 3 { 3 } else { 1 };
            assert!(!compared(good.0, seen).is_exact(), "{index}");
        }
        let fewer = compared(good.0, [21, 4, 2, 9, 0, 0]);
        assert!(fewer.to_string().contains("TCPSpuriousRtxHostQueues kernel=5 seen=9 difference=-4\n"), "{fewer}");
    }

    #[test]
    fn unsettled_or_unobservable_is_never_exact() {
        let (baseline, now) = (reading([0; 4], [0; 6]), reading([0; 4], [0; 6]));
        assert!(Reconciliation::of(&baseline, &now, true, None).is_exact());
        assert!(!Reconciliation::of(&baseline, &now, false, None).is_exact());
        let moving = Reading { at_rest: false, ..now };
        assert!(!Reconciliation::of(&baseline, &moving, true, None).is_exact());
        assert!(!Reconciliation::of(&moving, &now, true, None).is_exact());
    }

    #[test]
    fn the_baseline_is_the_first_stable_reading() {
        let mut readings = [[1, 0, 0, 0], [2, 0, 0, 0], [2, 0, 0, 0]].into_iter().map(|kernel| reading(kernel, [0; 6]));
        let found = baseline(|| Ok(readings.next().expect("two were the same"))).expect("no error");
        assert_eq!(found, reading([2, 0, 0, 0], [0; 6]));
        assert_eq!(readings.count(), 0);
    }
}
