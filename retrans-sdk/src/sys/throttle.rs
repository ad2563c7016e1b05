// SPDX-License-Identifier: MIT OR Apache-2.0
//! How often something dear may be done on a thread that has events to read.

use std::time::{Duration, Instant};

/// At most every so often, however cheap it is.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// What it takes is at most this part of the time that passes.
const COST_FACTOR: u32 = 50;

/// Lets work be done once, and then not again until a time has passed that is many times what it took.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    next: Option<Instant>,
}

impl Throttle {
    /// Does it, unless that would be too often.
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

fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(COST_FACTOR).max(MIN_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_work_is_done_less_often() {
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
