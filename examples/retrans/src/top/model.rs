// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counts since a source was opened. This module does not read a clock.

use retrans_sdk::event::Timestamp;
use retrans_sdk::{Event, RetransKind, RetransResult, Stats};

use crate::top::droppers::Droppers;
use crate::top::rates::Rates;
use crate::top::remotes::{MOST, Remotes};
use crate::top::seconds::Seconds;

/// The counters of a source in display order. `None` for a counter that the kernel does not report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) values: Vec<(&'static str, Option<u64>)>,
    /// Attempts by result as the BPF programs counted them, before the filter and any loss. `None`
    /// for a recording.
    pub(crate) seen: Option<Vec<(Option<RetransResult>, u64)>>,
}

/// The counters of attempts that are not shown for other reasons than the filter.
pub(crate) const LOSSES: [&str; 3] = ["lost", "dropped", "missed"];

impl Counters {
    pub(crate) fn of(stats: &Stats) -> Self {
        let mut seen: Vec<(Option<RetransResult>, u64)> = Vec::new();
        for count in &stats.counts {
            match seen.iter_mut().find(|(result, _)| *result == count.result) {
                Some((_, attempts)) => *attempts += count.attempts,
                None => seen.push((count.result, count.attempts)),
            }
        }
        Self { values: stats.counters().collect(), seen: Some(seen) }
    }

    pub(crate) fn losses(&self) -> u64 {
        self.values.iter().filter(|(key, _)| LOSSES.contains(key)).filter_map(|(_, value)| *value).sum()
    }
}

/// The counts since a source was opened, in bounded memory.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) since: Timestamp,
    pub(crate) counters: Counters,
    pub(crate) results: Rates<RetransResult>,
    pub(crate) kinds: Rates<RetransKind>,
    pub(crate) losses: Seconds,
    pub(crate) remotes: Remotes,
    pub(crate) droppers: Droppers,
}

impl Model {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self {
            since,
            counters: Counters::default(),
            results: Rates::default(),
            kinds: Rates::default(),
            losses: Seconds::default(),
            remotes: Remotes::new(MOST),
            droppers: Droppers::default(),
        }
    }

    pub(crate) fn count(&mut self, event: &Event) {
        self.results.count(event.result, event.ts);
        self.kinds.count(event.kind, event.ts);
        self.remotes.count(event);
        self.droppers.count(event);
    }

    /// Stores the counters as read at `now`. Losses since the last call are counted at `now`.
    pub(crate) fn read(&mut self, counters: Counters, now: Timestamp) {
        self.losses.add(now, counters.losses().saturating_sub(self.losses.total()));
        self.counters = counters;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an event. `ts` is in seconds since the epoch.
    pub(crate) fn event(ts: &str, result: &str, kind: &str, daddr: &str) -> Event {
        let ts: Timestamp = ts.parse().expect("seconds");
        let (family, saddr) = if daddr.contains(':') { ("inet6", "fd00::99") } else { ("inet", "10.9.9.9") };
        format!(
            "ts={ts} result={result} err=- kind={kind} family={family} saddr={saddr} sport=40000 daddr={daddr} dport=443 \
             state=established segs=1"
        )
        .parse()
        .expect("a line")
    }

    #[test]
    fn losses_are_counted_when_they_are_read() {
        let mut model = Model::new(Timestamp::from_nanos(0));
        let reading = |lost, missed| Counters {
            values: vec![("seen", Some(100)), ("lost", Some(lost)), ("dropped", Some(1)), ("missed", missed)],
            seen: None,
        };
        model.read(reading(0, None), Timestamp::from_nanos(1));
        assert_eq!(model.losses.total(), 1);
        model.read(reading(3, Some(2)), Timestamp::from_nanos(5_000_000_000));
        model.read(reading(3, Some(2)), Timestamp::from_nanos(6_000_000_000));
        assert_eq!((model.losses.total(), model.counters.losses()), (6, 6));
        let last = model.losses.last(7, Timestamp::from_nanos(0), Timestamp::from_nanos(6_000_000_000));
        assert_eq!(last, [1, 0, 0, 0, 0, 5, 0].map(Some));
    }
}
