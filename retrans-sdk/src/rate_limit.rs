// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rate limit of each result: a token bucket.

const NANOS: u64 = 1_000_000_000;

/// A rate limit for each result: a token bucket in the kernel.
///
/// [`StreamBuilder::rate_limit`](crate::StreamBuilder::rate_limit) sets it. Attempts in excess of
/// the limit are counted as [`limited`](crate::Stats::limited).
///
/// # Examples
///
/// ```
/// use retrans_sdk::stream::RateLimit;
/// use retrans_sdk::{RetransResult, Stream};
///
/// let limit = RateLimit { per_second: 10, burst: 2 };
/// let (source, mut stream) = Stream::builder().rate_limit(limit).mock()?;
/// // Three attempts at the same time.
/// for _ in 0..3 {
///     source.push_result(RetransResult::Denied);
/// }
/// source.finish();
/// assert_eq!((stream.iter().count(), stream.stats().limited), (2, 1));
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The long-term rate of one result, in events per second. Clamped to the range from 1 to
    /// 1,000,000,000.
    pub per_second: u32,
    /// The number of events of one result that may pass at once. Clamped to at least 1.
    pub burst: u32,
}

/// The same limit in the form that the BPF programs use, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenBucket {
    /// The time in which one token accrues.
    pub(crate) interval: u64,
    /// The time in which an empty bucket fills.
    pub(crate) burst: u64,
}

impl From<RateLimit> for TokenBucket {
    fn from(limit: RateLimit) -> Self {
        let interval = NANOS / u64::from(limit.per_second).clamp(1, NANOS);
        Self { interval, burst: interval * u64::from(limit.burst.max(1)) }
    }
}

impl TokenBucket {
    /// Removes a token at `now` from a bucket that will be full at `full_at`. Returns false if the
    /// bucket is empty. `bpf/output.bpf.h` uses the same algorithm.
    pub(crate) fn take(self, now: u64, full_at: &mut u64) -> bool {
        // A fill time that is more than `burst` ahead means that time went back, as in concatenated
        // recordings.
        if *full_at > now.saturating_add(self.burst) {
            *full_at = now;
        }
        let then = now.max(*full_at).saturating_add(self.interval);
        if then - now > self.burst {
            return false;
        }
        *full_at = then;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_converts_to_durations() {
        let limit = |per_second, burst| {
            let TokenBucket { interval, burst } = RateLimit { per_second, burst }.into();
            (interval, burst)
        };
        assert_eq!(limit(10, 5), (100_000_000, 500_000_000));
        assert_eq!(limit(0, 0), (NANOS, NANOS));
        // Never zero, which would disable the limit.
        assert_eq!(limit(u32::MAX, 1), (1, 1));
        assert_eq!(limit(1, u32::MAX), (NANOS, NANOS * u64::from(u32::MAX)));
    }
}
