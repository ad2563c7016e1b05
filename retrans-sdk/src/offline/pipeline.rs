// SPDX-License-Identifier: MIT OR Apache-2.0
//! Applies filter, rate limit, field set and counters to offline events, in the same way as the BPF
//! programs before they write a record.

use std::sync::Arc;

use crate::event::Event;
use crate::event::field_set::FieldSet;
use crate::event::result::RESULT_SLOTS;
use crate::filter::Filter;
use crate::rate_limit::TokenBucket;
use crate::stats::user_counters::{Disposition, UserCounters};

pub(crate) struct Pipeline {
    pub(crate) filter: Filter,
    pub(crate) fields: FieldSet,
    pub(crate) limit: Option<TokenBucket>,
    /// The time at which the bucket of each result will be full again, in nanoseconds of the
    /// events' timestamps, as in `bpf/output.bpf.h`.
    pub(crate) full_at: [u64; RESULT_SLOTS],
    pub(crate) counters: Arc<UserCounters>,
}

impl Pipeline {
    /// Counts an event. If it passes and there is room, returns it with only the selected fields.
    pub(crate) fn pass(&mut self, mut event: Event, has_room: bool) -> Option<Event> {
        let disposition = if !self.filter.matches(&event) {
            Disposition::Filtered
        } else if !self.is_within_limit(&event) {
            Disposition::Limited
        } else if !has_room {
            Disposition::Lost
        } else {
            Disposition::Submitted
        };
        self.counters.count(&event, disposition);
        (disposition == Disposition::Submitted).then(|| {
            self.fields.restrict(&mut event);
            event
        })
    }

    fn is_within_limit(&mut self, event: &Event) -> bool {
        let Some(limit) = self.limit else { return true };
        let Some(full_at) = self.full_at.get_mut(self.counters.slots().slot_of(event.result)) else { return true };
        limit.take(event.ts.as_nanos(), full_at)
    }
}
