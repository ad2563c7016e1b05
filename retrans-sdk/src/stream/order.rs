// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sorts events by their timestamps, within a window.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::event::Event;

/// Sorts events by [`ts`](Event::ts), within a window.
///
/// Attempts on two CPUs at the same moment may be delivered in the other order than their
/// timestamps. A `TimeOrder` holds each event until an event was pushed whose `ts` is later by at
/// least the window. If it holds more than [`CAPACITY`](Self::CAPACITY) events, it releases the
/// earliest one before that. Events with the same `ts` keep their order. Memory is bounded only if
/// [`pop`](Self::pop) is called until it returns `None` after each [`push`](Self::push).
///
/// A `ts` that is at least 1 s, and more than the window, before the latest one counts as a step of
/// the wall clock. The events before the step are released before those after it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use retrans_sdk::event::Timestamp;
/// use retrans_sdk::stream::TimeOrder;
/// use retrans_sdk::{Event, RetransResult};
///
/// let at = |nanos| {
///     let mut event = Event::sample(RetransResult::Success);
///     event.ts = Timestamp::from_nanos(nanos);
///     event
/// };
/// let mut order = TimeOrder::new(Duration::from_millis(1));
/// let mut times = Vec::new();
/// for nanos in [2_000, 1_500, 2_000_000] {
///     order.push(at(nanos));
///     times.extend(std::iter::from_fn(|| order.pop()).map(|event| event.ts.as_nanos()));
/// }
/// assert_eq!(times, [1_500, 2_000]);
/// // No more events are expected.
/// assert_eq!(order.pop_any().map(|event| event.ts.as_nanos()), Some(2_000_000));
/// assert_eq!(order.late(), 0);
/// ```
#[derive(Debug, Default)]
pub struct TimeOrder {
    window: u64,
    held: BinaryHeap<Held>,
    /// The number of steps of the wall clock.
    steps: u64,
    pushed: u64,
    /// The latest `ts` since the last step.
    latest: u64,
    /// The step and the `ts` of the last released event.
    released: (u64, u64),
    late: u64,
}

/// A held event. The greatest one is the one that is released first.
#[derive(Debug)]
struct Held {
    steps: u64,
    number: u64,
    event: Event,
}

impl Held {
    fn key(&self) -> (u64, u64, u64) {
        (self.steps, self.event.ts.as_nanos(), self.number)
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

impl TimeOrder {
    /// The maximum number of events that are held between two pushes.
    pub const CAPACITY: usize = 65_536;

    /// Creates an empty `TimeOrder` with a window.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX), ..Self::default() }
    }

    /// Adds an event. Call [`pop`](Self::pop) until it returns `None` before the next event.
    pub fn push(&mut self, event: Event) {
        const STEP: u64 = 1_000_000_000;
        let ts = event.ts.as_nanos();
        let behind = self.latest.saturating_sub(ts);
        if behind >= STEP && behind > self.window {
            self.steps += 1;
            self.latest = ts;
        }
        self.latest = self.latest.max(ts);
        self.late += u64::from((self.steps, ts) < self.released);
        self.held.push(Held { steps: self.steps, number: self.pushed, event });
        self.pushed += 1;
    }

    /// Returns the earliest event, if no event within the window can precede it.
    pub fn pop(&mut self) -> Option<Event> {
        let first = self.held.peek()?;
        let age = self.latest.saturating_sub(first.event.ts.as_nanos());
        let is_ready = first.steps < self.steps || age >= self.window || self.held.len() > Self::CAPACITY;
        if is_ready { self.pop_any() } else { None }
    }

    /// Returns the earliest event, whether or not another one may precede it. Use it after the last
    /// event, and if no event has arrived for the window.
    pub fn pop_any(&mut self) -> Option<Event> {
        let Held { steps, event, .. } = self.held.pop()?;
        self.released = self.released.max((steps, event.ts.as_nanos()));
        Some(event)
    }

    /// Returns the number of events that arrived after a later event was released. They are
    /// released out of order: the window was too short, or an event was released early by the
    /// capacity or by [`pop_any`](Self::pop_any). A step of the wall clock is not counted.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::result::RetransResult;
    use crate::event::timestamp::Timestamp;

    /// Returns the timestamps in the order of their release, with the number of late events.
    fn released(window: u64, times: &[u64]) -> (Vec<u64>, u64) {
        let mut order = TimeOrder::new(Duration::from_nanos(window));
        let mut released = Vec::new();
        for ts in times {
            let mut event = Event::sample(RetransResult::Success);
            event.ts = Timestamp::from_nanos(*ts);
            order.push(event);
            while let Some(event) = order.pop() {
                released.push(event.ts.as_nanos());
            }
            assert!(order.held.len() <= TimeOrder::CAPACITY);
        }
        while let Some(event) = order.pop_any() {
            released.push(event.ts.as_nanos());
        }
        (released, order.late())
    }

    #[test]
    fn a_step_of_the_wall_clock_releases_what_precedes_it() {
        let second = 1_000_000_000;
        let times = [9 * second, 9 * second - 5, 3 * second, 3 * second - 2];
        assert_eq!(released(10, &times), (vec![9 * second - 5, 9 * second, 3 * second - 2, 3 * second], 0));
    }

    #[test]
    fn a_late_event_is_counted() {
        assert_eq!(released(10, &[100, 120, 50]), (vec![100, 50, 120], 1));
    }

    #[test]
    fn memory_is_bounded() {
        let times: Vec<u64> = (0..TimeOrder::CAPACITY as u64 + 10).map(|number| 1_000_000 - number).collect();
        let (released, late) = released(u64::MAX, &times);
        assert_eq!((released.len(), late), (times.len(), 9));
    }

    proptest! {
        #[test]
        fn events_within_the_window_are_sorted(jitter in prop::collection::vec(0u64..100, 0..300)) {
            let times: Vec<u64> = jitter.iter().enumerate().map(|(index, jitter)| 1_000 + index as u64 * 10 + jitter).collect();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            prop_assert_eq!(released(100, &times), (sorted, 0));
        }
    }
}
