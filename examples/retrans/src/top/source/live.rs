// SPDX-License-Identifier: MIT OR Apache-2.0
//! A live stream with a reader thread, so that the ring buffer is read while the display is drawn.

use std::time::Instant;

use retrans_sdk::attach::{AttachMethod, Attachment};
use retrans_sdk::event::Timestamp;
use retrans_sdk::stream::{Overflow, Queue};
use retrans_sdk::{Error, Event, Filter, Stats, Stream};
use rustix::time::{ClockId, clock_gettime};

use super::About;

/// The capacity of the queue. Events in excess of it are counted as `dropped`.
const QUEUE: usize = 1 << 14;

pub(crate) struct Live {
    queue: Queue,
    pub(super) about: About,
    /// The offset from CLOCK_BOOTTIME, the clock of the events, to the epoch.
    epoch: u64,
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Live {
    pub(super) fn open(forced: Option<AttachMethod>, filter: &Filter) -> Result<Self, Error> {
        let builder = Stream::builder().filter(filter.clone());
        let stream = forced.into_iter().fold(builder, retrans_sdk::StreamBuilder::attach_method).open()?;
        let attachment = stream.live().map(|live| live.attachment());
        let about = About {
            what: attachment.map(ToString::to_string).unwrap_or_default(),
            observes_failures: attachment.map(Attachment::observes_failures),
            unobservable: attachment.iter().flat_map(|of| of.unobservable()).map(|what| what.to_string()).collect(),
        };
        let epoch = nanos(ClockId::Realtime).wrapping_sub(nanos(ClockId::Boottime));
        Ok(Self { queue: stream.into_queue(QUEUE, Overflow::DropNewest)?, about, epoch })
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_nanos(nanos(ClockId::Boottime).wrapping_add(self.epoch))
    }

    pub(super) fn take(&mut self, deadline: Instant, mut each: impl FnMut(&Event)) -> Result<(), Error> {
        while Instant::now() < deadline {
            match self.queue.try_recv()? {
                Some(event) => each(&event),
                None => break,
            }
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        self.queue.stats()
    }
}
