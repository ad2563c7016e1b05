// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records the counters in the table `counts`.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use retrans_sdk::event::Timestamp;
use retrans_sdk::host::HostId;
use retrans_sdk::stats::{Netns, Reconciler, StatsReader};
use retrans_sdk::{RetransKind, RetransResult, Stats};

use crate::store::{COUNTS, Count, Origin, Rotation, StoreError};
use crate::store::{columns, date_of, free_path, properties, table_directory, write_file};

/// The interval that a row describes.
const INTERVAL: Duration = Duration::from_secs(60);

/// Writes the increase of the counters in each minute to the table `counts`. Bounded: it holds the
/// rows of one file.
#[derive(Debug)]
pub struct CountsRecorder {
    directory: PathBuf,
    host: HostId,
    origin: Origin,
    rotation: Rotation,
    reader: StatsReader,
    netns: Netns,
    reconciler: Option<Reconciler>,
    last: Snapshot,
    current: Option<Current>,
}

/// The counters at one time.
#[derive(Debug)]
struct Snapshot {
    at: Instant,
    stats: Stats,
    retrans_segs: Option<u64>,
    seen: Option<u64>,
}

/// The file that is written again each minute.
#[derive(Debug)]
struct Current {
    path: PathBuf,
    date: String,
    opened: Instant,
    rows: Vec<Count>,
}

impl CountsRecorder {
    /// Records the counters of `reader` from now on, with those of the namespace `netns`.
    #[must_use]
    pub fn new(
        directory: impl Into<PathBuf>,
        (host, origin, rotation): (HostId, Origin, Rotation),
        reader: StatsReader,
        netns: Netns,
        reconciler: Option<Reconciler>,
    ) -> Self {
        let last = Snapshot::new(&reader, &netns, reconciler.as_ref());
        Self { directory: directory.into(), host, origin, rotation, reader, netns, reconciler, last, current: None }
    }

    /// Records a minute if it is over. Call it regularly, such as every second.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be written. Its rows are kept, and written with the next
    /// minute.
    pub fn tick(&mut self) -> Result<(), StoreError> {
        if self.last.at.elapsed() >= INTERVAL { self.record() } else { Ok(()) }
    }

    /// Records the time since the last minute.
    ///
    /// # Errors
    ///
    /// As [`tick`](Self::tick).
    pub fn record(&mut self) -> Result<(), StoreError> {
        let now = Snapshot::new(&self.reader, &self.netns, self.reconciler.as_ref());
        let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let until = Timestamp::from_nanos(u64::try_from(until).unwrap_or(u64::MAX));
        let rows = increases(&self.last, &now, until);
        self.last = now;
        let day = date_of(until);
        let over = |current: &Current| current.date != day || current.opened.elapsed() >= self.rotation.age;
        if self.current.as_ref().is_some_and(over) {
            self.current = None;
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => {
                let directory = table_directory(&self.directory, COUNTS, &day, &self.host)?;
                let path = free_path(&directory, self.host.boot_id.as_deref());
                none.insert(Current { path, date: day, opened: Instant::now(), rows: Vec::new() })
            }
        };
        current.rows.extend(rows);
        let batch = columns::batch(columns::counts(&current.rows, self.host.boot_id.as_deref()));
        let batch = batch.map_err(|error| StoreError { path: current.path.clone(), cause: error.into() })?;
        write_file(&current.path, &batch, properties(&self.host, &self.origin))
    }
}

impl Snapshot {
    fn new(reader: &StatsReader, netns: &Netns, reconciler: Option<&Reconciler>) -> Self {
        // The kernel counts an attempt some microseconds before or after the programs do. If one is
        // in progress now, the next interval contains the difference.
        let reconciled = reconciler.and_then(|reconciler| reconciler.reconcile(Duration::ZERO).ok());
        Self {
            at: Instant::now(),
            stats: reader.read(),
            retrans_segs: netns.counters().ok().map(|counters| counters.retrans_segs),
            seen: reconciled.map(|reconciled| reconciled.retrans_segs.seen),
        }
    }
}

/// Returns the rows of an interval: one for all attempts, which exists even if there were none, one
/// for each disposition, and one for each result and kind.
fn increases(last: &Snapshot, now: &Snapshot, until: Timestamp) -> Vec<Count> {
    let seconds = (now.at - last.at).as_secs_f64();
    let retrans_segs = last.retrans_segs.zip(now.retrans_segs);
    let retrans_segs_seen = last.seen.zip(now.seen).map(|(before, after)| after.saturating_sub(before));
    let row = |disposition, attempts| Count {
        until,
        seconds,
        result: None,
        class: None,
        kind: None,
        disposition,
        attempts,
        segs: None,
        retrans_segs,
        retrans_segs_seen,
    };
    let dispositions = |stats: &Stats| {
        let Stats { filtered, limited, lost, rejected, dropped, delivered, .. } = *stats;
        [
            ("filtered", filtered),
            ("limited", limited),
            ("lost", lost),
            ("rejected", rejected),
            ("dropped", dropped),
            ("delivered", delivered),
        ]
    };
    let mut rows = vec![row(Some("seen"), now.stats.seen.saturating_sub(last.stats.seen))];
    for ((name, before), (_, after)) in dispositions(&last.stats).into_iter().zip(dispositions(&now.stats)) {
        if after > before {
            rows.push(row(Some(name), after - before));
        }
    }
    for count in &now.stats.counts {
        let before = last.stats.counts.iter().find(|last| last.result == count.result && last.kind == count.kind);
        let (attempts, segs) = before.map_or((0, 0), |before| (before.attempts, before.segs));
        if count.attempts > attempts {
            let of_result = Some(count.kind);
            rows.push(of_count(row(None, count.attempts - attempts), count.result, of_result, count.segs - segs));
        }
    }
    rows
}

fn of_count(row: Count, result: Option<RetransResult>, kind: Option<RetransKind>, segs: u64) -> Count {
    let class = result.map(RetransResult::class);
    // The common count of unlisted results has no result.
    let result = result.map_or_else(|| "-".to_owned(), |result| result.to_string());
    Count { result: Some(result), class, kind, segs: Some(segs), ..row }
}
