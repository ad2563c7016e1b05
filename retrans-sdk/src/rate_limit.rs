// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rate limit of each result: a token bucket.

const NANOS: u64 = 1_000_000_000;

/// A rate limit for each result: a token bucket in the kernel.
///
/// [`StreamBuilder::rate_limit`](crate::StreamBuilder::rate_limit) sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The long-term rate of one result, in events per second. Clamped to 1..=1,000,000,000.
    pub per_second: u32,
    /// The number of events of one result that may pass at once. Clamped to at least 1.
    pub burst: u32,
}

/// The same limit as the BPF programs have it, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenBucket {
    /// The time that one token takes to accrue.
    pub(crate) interval: u64,
    /// The time that an empty bucket takes to fill.
    pub(crate) burst: u64,
}

impl From<RateLimit> for TokenBucket {
    fn from(limit: RateLimit) -> Self {
        let interval = NANOS / u64::from(limit.per_second).clamp(1, NANOS);
        Self { interval, burst: interval * u64::from(limit.burst.max(1)) }
    }
}

impl TokenBucket {
    /// Takes a token at `now` from a bucket that will be full at `full_at`; false if the bucket is
    /// empty. Same algorithm as `bpf/output.bpf.h`.
    pub(crate) fn take(self, now: u64, full_at: &mut u64) -> bool {
        // A bucket cannot be emptier than empty: time went back, as in concatenated recordings.
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
    fn a_limit_is_kept_as_durations() {
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
