// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits the frequency of expensive work on a thread that reads events.

use std::time::{Duration, Instant};

/// The minimum interval, even if the work is cheap.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The interval in multiples of the duration of the work, which limits the work to 2% of the time.
const COST_FACTOR: u32 = 50;

/// Limits the frequency of work by the duration of the work.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    next: Option<Instant>,
}

impl Throttle {
    /// Runs the work and returns its result; `None` if the interval has not elapsed.
    pub(crate) fn run<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        let began = Instant::now();
        if self.next.is_some_and(|next| began < next) {
            return None;
        }
        let done = work();
        let ended = Instant::now();
        self.next = ended.checked_add(pause_after(ended - began));
        Some(done)
    }
}

fn pause_after(duration: Duration) -> Duration {
    duration.saturating_mul(COST_FACTOR).max(MIN_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expensive_work_is_done_less_often() {
        assert_eq!(pause_after(Duration::ZERO), MIN_INTERVAL);
        assert_eq!(pause_after(Duration::from_millis(40)), Duration::from_secs(2));
        assert_eq!(pause_after(Duration::MAX), Duration::MAX);
        let mut throttle = Throttle::default();
        assert_eq!(throttle.run(|| 1), Some(1));
        assert_eq!(throttle.run(|| 2), None);
        std::thread::sleep(MIN_INTERVAL);
        assert_eq!(throttle.run(|| 3), Some(3));
    }
}
