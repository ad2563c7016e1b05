// SPDX-License-Identifier: MIT OR Apache-2.0
//! A live stream with a reader thread, so that the ring buffer is read while the display is drawn.

use std::time::Instant;

use retrans_sdk::attach::Attachment;
use retrans_sdk::event::{Clock, Timestamp};
use retrans_sdk::stream::{Overflow, Queue};
use retrans_sdk::{Error, Event, FieldSet, Filter, Stats, Stream};
use rustix::time::{ClockId, clock_gettime};

use super::About;
use crate::args::Attach;

/// The capacity of the queue. Events in excess of it are counted as `dropped`.
const QUEUE: usize = 1 << 14;

pub(crate) struct Live {
    queue: Queue,
    pub(super) about: About,
    /// The clock of the display.
    clock: DisplayClock,
}

/// The wall clock as of the start, continued by the monotonic clock. The counts per second would
/// have gaps, or count two seconds as one, if they followed a step of the wall clock.
struct DisplayClock {
    /// The offset from CLOCK_BOOTTIME to the epoch at the start.
    epoch: u64,
}

impl DisplayClock {
    /// Returns the time of the display at a CLOCK_BOOTTIME.
    fn now(&self, boottime: u64) -> Timestamp {
        Timestamp::from_nanos(boottime.wrapping_add(self.epoch))
    }

    /// Converts the time of an event, whose offset is now `epoch`, to the time of the display. An
    /// event cannot be later than now: one that was decoded just before a step backward would be.
    fn convert(&self, ts: Timestamp, epoch: u64, now: Timestamp) -> Timestamp {
        let stepped = epoch.wrapping_sub(self.epoch) as i64;
        let ts = ts.as_nanos().checked_add_signed(stepped.saturating_neg()).unwrap_or_default();
        Timestamp::from_nanos(ts).min(now)
    }
}

/// Returns the offset from CLOCK_BOOTTIME to the epoch.
fn epoch() -> u64 {
    nanos(ClockId::Realtime).wrapping_sub(nanos(ClockId::Boottime))
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Live {
    pub(super) fn open(attach: &Attach, drops: bool, filter: &Filter) -> Result<Self, Error> {
        let fields = FieldSet::default() | if drops { FieldSet::drops() } else { FieldSet::none() };
        let builder = Stream::builder().filter(filter.clone()).fields(fields);
        let stream = attach.configure(builder).open()?;
        let attachment = stream.live().map(|live| live.attachment());
        let about = About {
            what: attachment.map(ToString::to_string).unwrap_or_default(),
            observes_failures: attachment.map(Attachment::observes_failures),
            unobservable: attachment.iter().flat_map(|of| of.unobservable()).map(|what| what.to_string()).collect(),
            clock: Clock::Realtime,
        };
        Ok(Self {
            queue: stream.into_queue(QUEUE, Overflow::DropNewest)?,
            about,
            clock: DisplayClock { epoch: epoch() },
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now(nanos(ClockId::Boottime))
    }

    pub(super) fn take(&mut self, deadline: Instant, mut each: impl FnMut(&Event)) -> Result<(), Error> {
        let epoch = epoch();
        while Instant::now() < deadline {
            match self.queue.try_recv()? {
                Some(mut event) => {
                    event.ts = self.clock.convert(event.ts, epoch, self.now());
                    each(&event);
                }
                None => break,
            }
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        self.queue.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_display_continues_after_a_step_of_the_wall_clock() {
        const EPOCH: u64 = 1_795_444_000_000_000_000;
        let at = |epoch: u64, boottime: u64| Timestamp::from_nanos(epoch.wrapping_add(boottime));
        let clock = DisplayClock { epoch: EPOCH };
        for step in [0i64, 3_600_000_000_000, -3_600_000_000_000] {
            let epoch = EPOCH.wrapping_add_signed(step);
            let now = clock.now(20);
            assert_eq!(now, at(EPOCH, 20));
            assert_eq!(clock.convert(at(epoch, 15), epoch, now), at(EPOCH, 15), "{step}");
            // Decoded before the step, and taken from the queue after it.
            assert!(clock.convert(at(EPOCH, 15), epoch, now) <= now, "{step}");
        }
    }
}
