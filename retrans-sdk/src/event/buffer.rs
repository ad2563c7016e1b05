// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reusable buffer of events. Events are decoded in place, and remain there until they are
//! delivered.
//!
//! # Design
//!
//! Building an event elsewhere and copying it would need three times as long.

use crate::event::Event;

/// The maximum number of events that are read from the ring buffer at once, which bounds the memory
/// used.
pub(crate) const BATCH: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct EventBuffer {
    /// The events in use, followed by unused ones.
    all: Vec<Event>,
    used: usize,
}

impl EventBuffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { all: vec![Event::blank(); capacity], used: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    /// Adds the event that `fill` writes in place. Adds no event if `fill` fails.
    #[inline(always)]
    pub(crate) fn push_with<E>(&mut self, fill: impl FnOnce(&mut Event) -> Result<(), E>) -> Result<(), E> {
        if self.used == self.all.len() {
            self.all.push(Event::blank());
        }
        if let Some(slot) = self.all.get_mut(self.used) {
            fill(slot)?;
            self.used += 1;
        }
        Ok(())
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: Event) {
        match self.all.get_mut(self.used) {
            Some(slot) => *slot = event,
            None => self.all.push(event),
        }
        self.used += 1;
    }

    pub(crate) fn events(&self) -> &[Event] {
        self.all.get(..self.used).unwrap_or_default()
    }

    pub(crate) fn events_mut(&mut self) -> &mut [Event] {
        self.all.get_mut(..self.used).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_whose_fill_failed_is_not_added() {
        let mut events = EventBuffer::with_capacity(1);
        let put = |segs| {
            move |event: &mut Event| {
                event.segs = segs;
                Ok::<_, u32>(())
            }
        };
        assert_eq!((events.push_with(put(1)), events.push_with(put(2))), (Ok(()), Ok(())));
        assert_eq!(events.push_with(|_| Err(3)), Err(3));
        let segs = |events: &EventBuffer| events.events().iter().map(|event| event.segs).collect::<Vec<_>>();
        assert_eq!(segs(&events), [1, 2]);
        events.clear();
        assert_eq!(segs(&events), [0u32; 0]);
        assert_eq!(events.push_with(put(4)), Ok(()));
        assert_eq!(segs(&events), [4]);
    }
}
