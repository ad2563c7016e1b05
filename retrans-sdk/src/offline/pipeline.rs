// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel side does to an attempt before it becomes a record, done here to an event that somebody tells: the filter, the
//! limit, the fields, and the counts.

use std::sync::Arc;

use crate::event::Event;
use crate::event::field_set::Fields;
use crate::event::result::{RESULT_SLOTS, slot};
use crate::filter::Filter;
use crate::rate_limit::Limit;
use crate::stats::user_counters::{Fate, Tally};

pub(crate) struct Gate {
    pub(crate) filter: Filter,
    pub(crate) fields: Fields,
    pub(crate) limit: Option<Limit>,
    /// When the bucket of each result will be full again, in nanoseconds of the events' own time: as in `bpf/limit.bpf.h`.
    pub(crate) full_at: [u64; RESULT_SLOTS],
    pub(crate) tally: Arc<Tally>,
}

impl Gate {
    /// Counts it, and gives it back as it is to be seen if it passes and there is room.
    pub(crate) fn pass(&mut self, mut event: Event, has_room: bool) -> Option<Event> {
        let fate = if !self.filter.matches(&event) {
            Fate::Filtered
        } else if !self.is_within_limit(&event) {
            Fate::Limited
        } else if !has_room {
            Fate::Lost
        } else {
            Fate::Submitted
        };
        self.tally.count(&event, fate);
        (fate == Fate::Submitted).then(|| {
            self.fields.restrict(&mut event);
            event
        })
    }

    fn is_within_limit(&mut self, event: &Event) -> bool {
        let Some(Limit { interval, burst }) = self.limit else { return true };
        let Some(full_at) = self.full_at.get_mut(slot(event.result.raw())) else { return true };
        let now = event.ts.as_nanos();
        // A bucket is never emptier than empty: then time went back, as where recordings were put together.
        if *full_at > now.saturating_add(burst) {
            *full_at = now;
        }
        let then = now.max(*full_at).saturating_add(interval);
        if then - now > burst {
            return false;
        }
        *full_at = then;
        true
    }
}
