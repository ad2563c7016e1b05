// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the observed attempts of a network namespace with the counters of the namespace.
//!
//! # Design
//!
//! The BPF programs add up the attempts of the namespace before the filter (`bpf/stats.bpf.h`).
//! Therefore a stream with any filter can be reconciled, and lost records do not matter. A stream
//! that is not reconciled has no additional cost.
//!
//! The kernel does not count an attempt at the moment at which the BPF programs do: it counts
//! segments and timeouts before, and kinds after them. Therefore both sides are read twice, in
//! alternation. If neither changed, both belong to the same moment.
//!
//! The counters of kinds check the classification: they show which of the kernel's functions made
//! the attempts, and the BPF programs infer this from the socket's state. So four of the sums are
//! by kind: `fast_retrans`, `slow_start_retrans`, `loss_probes` and `timeouts`. Most wrong kinds
//! cause a difference in them. A wrong kind causes none if both kinds belong to the same counter.
//! An attempt of an unknown kind is in none of the four, and may explain a difference.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::transmit::Transmit;
use crate::stats::layout::NetnsStats;
use crate::stats::netns::{Mib, Netns};
use crate::stats::reader::StatsReader;
use crate::stats::{Count, TransmitCount};
use crate::text::reason_table::KeyVal;

/// The maximum time to wait for a baseline without attempts in progress.
const BASELINE_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval between two readings.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Both sides. They belong to one moment if `at_rest`.
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
    /// The kernel counts an attempt some microseconds before or after the BPF programs do, so a
    /// difference may be temporary while attempts are made. Therefore this method repeats the
    /// comparison for up to `patience` (at most one day), until the result is
    /// [exact](Reconciliation::is_exact), and returns the last result. If no exact result is
    /// possible, a [consistent](Reconciliation::is_consistent) one is sufficient.
    ///
    /// When the stream is opened, the SDK waits for up to one second for a moment without attempts
    /// in progress. If there was none, [`settled`](Reconciliation::settled) is always false for
    /// this handle, and the comparison is made once. To compare, open a stream when there are fewer
    /// retransmissions.
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
            let best = if compared.can_be_exact() { compared.is_exact() } else { compared.is_consistent() };
            if best || !baseline.at_rest || Instant::now() >= deadline {
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

/// Returns a reading that did not change for one interval. Then there is no attempt that only one
/// side has counted yet: the other one would have changed the reading.
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

    /// Returns true if the kernel's increase exceeds the expected one by 0 to `more`.
    const fn is_within(self, more: u64) -> bool {
        self.kernel >= self.seen && self.kernel - self.seen <= more
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
    /// `TCPSynRetrans`: SYNs that reached the transmit step, and SYN-ACKs that were sent.
    pub syn_retrans: Sum,
    /// `TCPSpuriousRtxHostQueues`: attempts that failed because an earlier copy was still in a
    /// queue of this host. The kernel also counts tail loss probes that it cancels for this reason
    /// before they become attempts ([`untraced_probes`](Self::untraced_probes)).
    pub spurious_rtx_host_queues: Sum,
    /// `TCPFastRetrans`: the segments of successful attempts of kind [`Fast`](RetransKind::Fast).
    pub fast_retrans: Sum,
    /// `TCPSlowStartRetrans`: the segments of successful attempts in the state Loss that neither
    /// the retransmission timer nor a loss probe made: the kinds
    /// [`SlowStart`](RetransKind::SlowStart), [`Mtu`](RetransKind::Mtu),
    /// [`Resume`](RetransKind::Resume) and, since Linux 6.10 and in some older stable kernels,
    /// [`Fastopen`](RetransKind::Fastopen).
    pub slow_start_retrans: Sum,
    /// `TCPLossProbes`: successful attempts of kind [`Tlp`](RetransKind::Tlp). The kernel also
    /// counts the loss probes that send new data, so its increase may be greater.
    pub loss_probes: Sum,
    /// `TCPTimeouts`: attempts of the kinds [`Rto`](RetransKind::Rto) and
    /// [`Syn`](RetransKind::Syn) with any result. The kernel also counts the timeouts of SYN-ACKs,
    /// those that end a connection, and those whose failed attempt is not observed, so its increase
    /// may be greater.
    pub timeouts: Sum,
    /// Successful attempts of kind [`Unknown`](RetransKind::Unknown). They are in none of the four
    /// sums by kind. The kernel may have counted each of them in one of the four counters, or in
    /// none.
    pub unknown_kind: Count,
    /// Attempts for which it is not known whether they reached the transmit step
    /// ([`Transmit::Unknown`]). The first four sums do not include them.
    pub unknown: TransmitCount,
    /// True if failed attempts are observed.
    pub observes_failures: bool,
    /// [`Stats::missed`](crate::Stats::missed): attempts of the whole host for which the kernel
    /// skipped a program; `None` if the kernel does not count them.
    pub missed: Option<u64>,
    /// True if there was a baseline without attempts in progress, and if neither side changed
    /// during the last reading. If false, a difference may be temporary.
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
            fast_retrans: sum(|mib| mib.fast_retrans, |netns| netns.fast_retrans),
            slow_start_retrans: sum(|mib| mib.slow_start_retrans, |netns| netns.slow_start_retrans),
            loss_probes: sum(|mib| mib.loss_probes, |netns| netns.loss_probes),
            timeouts: sum(|mib| mib.timeouts, |netns| netns.timeouts),
            unknown_kind: Count {
                result: Some(RetransResult::Success),
                kind: RetransKind::Unknown,
                attempts: now.seen.unknown_kind_attempts - baseline.seen.unknown_kind_attempts,
                segs: now.seen.unknown_kind_segs - baseline.seen.unknown_kind_segs,
            },
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

    /// Returns the minimum number of segments in `RetransSegs` whose attempts no program observed.
    /// [`missed`](Self::missed) includes such an attempt only if the kernel counted that it
    /// skipped the program. A hardened kernel may skip a program without counting it.
    ///
    /// It is `None` if failures are not observed, or if an attempt was in progress
    /// ([`settled`](Self::settled)), because the difference then has other causes.
    #[must_use]
    pub const fn unseen_segs(&self) -> Option<u64> {
        if !self.observes_failures || !self.settled {
            return None;
        }
        let Sum { kernel, seen } = self.retrans_segs;
        Some(kernel.saturating_sub(seen).saturating_sub(self.unknown.segs))
    }

    /// Returns true if both sides match. This requires that
    ///
    /// - failures are observed
    /// - there is no attempt with [`transmit=unknown`](Self::unknown), no attempt of an
    ///   [unknown kind](Self::unknown_kind), and no attempt in progress
    /// - `retrans_segs`, `retrans_fail`, `syn_retrans`, `fast_retrans` and `slow_start_retrans`
    ///   have no difference
    /// - `spurious_rtx_host_queues`, `loss_probes` and `timeouts` have no negative difference
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.can_be_exact()
            && self.settled
            && self.retrans_segs.difference() == 0
            && self.retrans_fail.difference() == 0
            && self.syn_retrans.difference() == 0
            && self.fast_retrans.difference() == 0
            && self.slow_start_retrans.difference() == 0
            && self.has_minimums()
    }

    /// Returns true if no counter contradicts the observed attempts and no attempt was in progress
    /// ([`settled`](Self::settled)). An exact comparison is consistent. So is one whose differences
    /// are not greater than what is not known:
    ///
    /// - `retrans_segs` and `retrans_fail` may exceed the observed attempts by the segments with
    ///   [`transmit=unknown`](Self::unknown), and `syn_retrans` by the number of these attempts; or
    ///   all three by any number if failures are not observed
    /// - `fast_retrans` and `slow_start_retrans` may together exceed them by the segments of an
    ///   [unknown kind](Self::unknown_kind)
    /// - `spurious_rtx_host_queues`, `loss_probes` and `timeouts` may exceed them by any number
    #[must_use]
    pub const fn is_consistent(&self) -> bool {
        let (attempts, segs) =
            if self.observes_failures { (self.unknown.attempts, self.unknown.segs) } else { (u64::MAX, u64::MAX) };
        self.settled
            && self.retrans_segs.is_within(segs)
            && self.retrans_fail.is_within(segs)
            && self.syn_retrans.is_within(attempts)
            && self.has_possible_kinds()
            && self.has_minimums()
    }

    /// Returns false if something is not known, whatever the counters are.
    const fn can_be_exact(&self) -> bool {
        self.observes_failures && self.unknown.attempts == 0 && self.unknown_kind.attempts == 0
    }

    /// Returns true if the kernel counted at least the observed attempts where it may count more.
    const fn has_minimums(&self) -> bool {
        self.spurious_rtx_host_queues.difference() >= 0
            && self.loss_probes.difference() >= 0
            && self.timeouts.difference() >= 0
    }

    /// Returns true if attempts of an unknown kind can make up for the differences of the two
    /// counters that count nothing else. One such attempt cannot make up for both.
    const fn has_possible_kinds(&self) -> bool {
        let unknown = self.unknown_kind.segs;
        self.fast_retrans.is_within(unknown)
            && self.slow_start_retrans.is_within(unknown)
            && self.fast_retrans.difference() + self.slow_start_retrans.difference() <= unknown as i64
    }

    /// Returns the key and the value by which the difference of a counter is printed.
    fn printed_difference(&self, sum: Sum, comparison: Comparison) -> KeyVal<i64> {
        let value = sum.difference();
        let key = match comparison {
            Comparison::AtLeast(key) if value >= 0 => key,
            Comparison::EqualByKind if value > 0 && self.has_possible_kinds() => "of_unknown_kind",
            _ => "difference",
        };
        KeyVal { key, value }
    }
}

/// States how a counter must compare with the observed attempts.
#[derive(Clone, Copy)]
enum Comparison {
    Equal,
    /// Equal, except for attempts of an unknown kind.
    EqualByKind,
    /// Greater or equal. Contains the key of the difference.
    AtLeast(&'static str),
}

/// Prints lines of `key=value`: one for each counter, one for attempts with `transmit=unknown`, one
/// for attempts of an unknown kind, and one for the quality of the comparison.
///
/// The line of a counter ends with `difference`, which is 0 if both sides match. Other keys contain
/// a difference that contradicts nothing: `untraced_probes` of TCPSpuriousRtxHostQueues, `excess`
/// of TCPLossProbes and TCPTimeouts, and `of_unknown_kind` of TCPFastRetrans and
/// TCPSlowStartRetrans. For RetransSegs, TCPRetransFail and TCPSynRetrans the key is always
/// `difference`: `consistent` in the last line states whether attempts with `transmit=unknown` can
/// explain it. `-` in the last line means not known.
impl fmt::Display for Reconciliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = [
            ("RetransSegs", self.retrans_segs, Comparison::Equal),
            ("TCPRetransFail", self.retrans_fail, Comparison::Equal),
            ("TCPSynRetrans", self.syn_retrans, Comparison::Equal),
            ("TCPSpuriousRtxHostQueues", self.spurious_rtx_host_queues, Comparison::AtLeast("untraced_probes")),
            ("TCPFastRetrans", self.fast_retrans, Comparison::EqualByKind),
            ("TCPSlowStartRetrans", self.slow_start_retrans, Comparison::EqualByKind),
            ("TCPLossProbes", self.loss_probes, Comparison::AtLeast("excess")),
            ("TCPTimeouts", self.timeouts, Comparison::AtLeast("excess")),
        ];
        for (counter, sum, comparison) in counters {
            let Sum { kernel, seen } = sum;
            let difference = self.printed_difference(sum, comparison);
            writeln!(f, "counter={counter} kernel={kernel} seen={seen} {difference}")?;
        }
        writeln!(f, "{}\n{}", self.unknown, self.unknown_kind)?;
        let yes = |yes| if yes { "yes" } else { "no" };
        let failures = if self.observes_failures { "observed" } else { "unobservable" };
        let (exact, consistent, settled) = (yes(self.is_exact()), yes(self.is_consistent()), yes(self.settled));
        write!(f, "exact={exact} consistent={consistent} settled={settled} failures={failures} missed=")?;
        let or_dash = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        write!(f, "{} unseen_segs={}", or_dash(self.missed), or_dash(self.unseen_segs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counters in the order in which they are printed.
    fn kernel_of(kernel: [u64; 8]) -> Mib {
        let [retrans_segs, retrans_fail, syn_retrans, spurious_rtx_host_queues, ..] = kernel;
        let [.., fast_retrans, slow_start_retrans, loss_probes, timeouts] = kernel;
        Mib {
            retrans_segs,
            retrans_fail,
            syn_retrans,
            spurious_rtx_host_queues,
            fast_retrans,
            slow_start_retrans,
            loss_probes,
            timeouts,
        }
    }

    /// The sums in the same order, then the attempts with `transmit=unknown` and their segments,
    /// then those of an unknown kind.
    fn seen_of(seen: [u64; 12]) -> NetnsStats {
        let [retrans_segs, retrans_fail, syn_retrans, in_host_queue, ..] = seen;
        let [_, _, _, _, fast_retrans, slow_start_retrans, loss_probes, timeouts, ..] = seen;
        let [.., unknown_attempts, unknown_segs, unknown_kind_attempts, unknown_kind_segs] = seen;
        NetnsStats {
            retrans_segs,
            retrans_fail,
            syn_retrans,
            in_host_queue,
            unknown_attempts,
            unknown_segs,
            fast_retrans,
            slow_start_retrans,
            loss_probes,
            timeouts,
            unknown_kind_attempts,
            unknown_kind_segs,
        }
    }

    fn reading(kernel: [u64; 8], seen: [u64; 12]) -> Reading {
        Reading { kernel: kernel_of(kernel), seen: seen_of(seen), at_rest: true }
    }

    /// Both sides since a baseline that is not 0.
    const KERNEL: [u64; 8] = [120, 14, 6, 12, 37, 48, 53, 69];
    const SEEN: [u64; 12] = [21, 4, 2, 3, 8, 9, 2, 6, 0, 0, 0, 0];

    fn compared(kernel: [u64; 8], seen: [u64; 12]) -> Reconciliation {
        let baseline = reading([100, 10, 5, 7, 30, 40, 50, 60], [1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0]);
        Reconciliation::of(&baseline, &reading(kernel, seen), true, Some(0))
    }

    #[test]
    fn equal_increases_are_exact() {
        let exact = compared(KERNEL, SEEN);
        assert!(exact.is_exact() && exact.is_consistent(), "{exact}");
        assert_eq!(exact.untraced_probes(), 2);
        assert_eq!(
            exact.to_string(),
            "counter=RetransSegs kernel=20 seen=20 difference=0\n\
             counter=TCPRetransFail kernel=4 seen=4 difference=0\n\
             counter=TCPSynRetrans kernel=1 seen=1 difference=0\n\
             counter=TCPSpuriousRtxHostQueues kernel=5 seen=3 untraced_probes=2\n\
             counter=TCPFastRetrans kernel=7 seen=7 difference=0\n\
             counter=TCPSlowStartRetrans kernel=8 seen=8 difference=0\n\
             counter=TCPLossProbes kernel=3 seen=1 excess=2\n\
             counter=TCPTimeouts kernel=9 seen=5 excess=4\n\
             transmit=unknown attempts=0 segs=0\n\
             result=success kind=unknown attempts=0 segs=0\n\
             exact=yes consistent=yes settled=yes failures=observed missed=0 unseen_segs=0"
        );
    }

    #[test]
    fn segments_that_no_program_saw_are_counted() {
        let mut kernel = KERNEL;
        kernel[0] += 7;
        let mut more = compared(kernel, SEEN);
        assert_eq!((more.unseen_segs(), more.is_exact()), (Some(7), false));
        assert!(more.to_string().ends_with(" missed=0 unseen_segs=7"), "{more}");
        // Attempts that may have been transmitted may be the reason.
        (more.unknown.attempts, more.unknown.segs) = (1, 5);
        assert_eq!(more.unseen_segs(), Some(2));
        more.unknown.segs = 8;
        assert_eq!(more.unseen_segs(), Some(0));
        for (observes_failures, settled) in [(false, true), (true, false)] {
            let other = Reconciliation { observes_failures, settled, ..more };
            assert_eq!(other.unseen_segs(), None);
            assert!(other.to_string().ends_with(" unseen_segs=-"), "{other}");
        }
        kernel[0] -= 8;
        assert_eq!(compared(kernel, SEEN).unseen_segs(), Some(0), "the kernel counted less");
    }

    #[test]
    fn any_difference_is_not_exact() {
        // TCPSpuriousRtxHostQueues, TCPLossProbes and TCPTimeouts may be greater.
        let may_be_greater = [3, 6, 7];
        for index in 0..KERNEL.len() {
            let mut kernel = KERNEL;
            kernel[index] += 1;
            let more = compared(kernel, SEEN);
            assert_eq!(more.is_exact(), may_be_greater.contains(&index), "{more}");
            assert_eq!(more.is_consistent(), more.is_exact(), "{more}");
        }
        for index in 0..KERNEL.len() {
            let mut seen = SEEN;
            seen[index] += if may_be_greater.contains(&index) { 5 } else { 1 };
            let fewer = compared(KERNEL, seen);
            assert!(!fewer.is_exact() && !fewer.is_consistent(), "{fewer}");
            let line = fewer.to_string().lines().nth(index).map(str::to_owned).expect("a line for each counter");
            assert!(line.contains(" difference=-"), "{line}");
        }
        for index in [8, 10] {
            let mut seen = SEEN;
            (seen[index], seen[index + 1]) = (1, 1);
            let unknown = compared(KERNEL, seen);
            assert!(!unknown.is_exact() && unknown.is_consistent(), "{unknown}");
        }
    }

    #[test]
    fn unknown_attempts_allow_as_many_segments() {
        let unknown = [21, 4, 2, 3, 8, 9, 2, 6, 1, 3, 0, 0];
        let within = compared([123, 17, 7, 12, 37, 48, 53, 69], unknown);
        assert!(!within.is_exact() && within.is_consistent(), "{within}");
        assert!(!compared([124, 14, 6, 12, 37, 48, 53, 69], unknown).is_consistent());
        assert!(!compared([120, 18, 6, 12, 37, 48, 53, 69], unknown).is_consistent());
        assert!(!compared([120, 14, 8, 12, 37, 48, 53, 69], unknown).is_consistent());
        assert!(!compared([119, 14, 6, 12, 37, 48, 53, 69], unknown).is_consistent());
    }

    #[test]
    fn attempts_of_an_unknown_kind_make_up_for_one_counter_only() {
        let unknown = [21, 4, 2, 3, 8, 9, 2, 6, 0, 0, 2, 3];
        for (fast, slow_start) in [(0, 0), (3, 0), (0, 3), (1, 2)] {
            let [fast_kernel, slow_start_kernel] = [7 + fast, 8 + slow_start];
            let within = compared([120, 14, 6, 12, 37 + fast, 48 + slow_start, 53, 69], unknown);
            assert!(!within.is_exact() && within.is_consistent(), "{within}");
            let key = |more| if more == 0 { "difference" } else { "of_unknown_kind" };
            let lines = format!(
                "\ncounter=TCPFastRetrans kernel={fast_kernel} seen=7 {}={fast}\n\
                 counter=TCPSlowStartRetrans kernel={slow_start_kernel} seen=8 {}={slow_start}\n",
                key(fast),
                key(slow_start)
            );
            assert!(within.to_string().contains(&lines), "{within}");
            assert!(within.to_string().contains("\nresult=success kind=unknown attempts=2 segs=3\n"), "{within}");
        }
        for (fast, slow_start) in [(4, 0), (0, 4), (2, 2), (-1, 0), (0, -1), (-1, 3)] {
            let fast_kernel = 37_u64.wrapping_add_signed(fast);
            let slow_start_kernel = 48_u64.wrapping_add_signed(slow_start);
            let beyond = compared([120, 14, 6, 12, fast_kernel, slow_start_kernel, 53, 69], unknown);
            assert!(!beyond.is_exact() && !beyond.is_consistent(), "{beyond}");
            assert!(!beyond.to_string().contains("of_unknown_kind"), "{beyond}");
        }
    }

    #[test]
    fn unobserved_failures_are_consistent_and_never_exact() {
        let baseline = reading([0; 8], [0; 12]);
        let failed = reading([9, 4, 1, 0, 0, 0, 0, 5], [5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        let compared = |observes_failures| Reconciliation::of(&baseline, &failed, observes_failures, None);
        assert!(!compared(true).is_consistent() && compared(false).is_consistent());
        assert!(!compared(false).is_exact());
        // Kinds of successes are compared nevertheless.
        let wrong = reading([9, 4, 1, 0, 1, 0, 0, 5], [5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert!(!Reconciliation::of(&baseline, &wrong, false, None).is_consistent());
    }

    #[test]
    fn unsettled_or_unobservable_is_never_exact() {
        let (baseline, now) = (reading([0; 8], [0; 12]), reading([0; 8], [0; 12]));
        assert!(Reconciliation::of(&baseline, &now, true, None).is_exact());
        assert!(!Reconciliation::of(&baseline, &now, false, None).is_exact());
        let moving = Reading { at_rest: false, ..now };
        assert!(!Reconciliation::of(&baseline, &moving, true, None).is_exact());
        assert!(!Reconciliation::of(&moving, &now, true, None).is_exact());
    }

    #[test]
    fn the_baseline_is_the_first_stable_reading() {
        let mut readings = [1, 2, 2].into_iter().map(|segs| reading([segs, 0, 0, 0, 0, 0, 0, 0], [0; 12]));
        let found = baseline(|| Ok(readings.next().expect("two were the same"))).expect("no error");
        assert_eq!(found, reading([2, 0, 0, 0, 0, 0, 0, 0], [0; 12]));
        assert_eq!(readings.count(), 0);
    }
}
