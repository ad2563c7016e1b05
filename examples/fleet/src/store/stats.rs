// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records the counters in the table `counts`.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use retrans_sdk::event::Timestamp;
use retrans_sdk::host::HostId;
use retrans_sdk::stats::{Netns, Reconciler, StatsReader};
use retrans_sdk::{RetransKind, RetransResult, Stats};

use crate::store::{COUNTS, Count, Origin, Rotation, StoreError};
use crate::store::{FreePaths, columns, date_of, properties, table_directory, write_file};

/// The interval that a row describes.
const INTERVAL: Duration = Duration::from_secs(60);
/// The maximum number of attempts to read RetransSegs and its increase at the same value.
const BASELINE_TRIES: usize = 10;

/// Writes the increase of the counters in each minute to the table `counts`. Bounded: it holds the
/// rows of one file. While a file cannot be written when it ends, its interval grows instead.
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
    /// The time of the last call of [`record`](Self::record). An interval that could not be
    /// recorded is tried again, and its error reported, once a minute.
    tried: Instant,
    current: Option<Current>,
    paths: FreePaths,
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
    /// True if the file contains all rows.
    written: bool,
}

impl CountsRecorder {
    /// Records the counters of `reader` since its stream was opened, with those of the namespace
    /// `netns`.
    #[must_use]
    pub fn new(
        directory: impl Into<PathBuf>,
        (host, origin, rotation): (HostId, Origin, Rotation),
        reader: StatsReader,
        netns: Netns,
        reconciler: Option<Reconciler>,
    ) -> Self {
        let last = Snapshot::baseline(&netns, reconciler.as_ref());
        let tried = last.at;
        let (current, paths) = (None, FreePaths::default());
        let directory = directory.into();
        Self { directory, host, origin, rotation, reader, netns, reconciler, last, tried, current, paths }
    }

    /// Records a minute if it is over. Call it regularly, such as every second.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be written. Its rows are kept, and written with the next
    /// minute. An interval whose file cannot be begun is part of the next interval.
    pub fn tick(&mut self) -> Result<(), StoreError> {
        if self.tried.elapsed() >= INTERVAL { self.record() } else { Ok(()) }
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
        self.tried = now.at;
        let day = date_of(until);
        let over = |current: &Current| current.date != day || current.opened.elapsed() >= self.rotation.age;
        if self.current.as_ref().is_some_and(over) {
            // After an error, its rows are tried again. This interval is not over yet.
            self.write()?;
            self.current = None;
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => {
                let directory = table_directory(&self.directory, COUNTS, &day, &self.host)?;
                let path = self.paths.next(directory, self.host.boot_id.as_deref());
                none.insert(Current { path, date: day, opened: now.at, rows: Vec::new(), written: true })
            }
        };
        current.rows.extend(increases(&self.last, &now, until));
        current.written = false;
        self.last = now;
        self.write()
    }

    /// Writes the rows of the current file, unless the file contains them.
    fn write(&mut self) -> Result<(), StoreError> {
        let Some(current) = self.current.as_mut().filter(|current| !current.written) else { return Ok(()) };
        // If the directory was removed, each further try would fail.
        table_directory(&self.directory, COUNTS, &current.date, &self.host)?;
        let batch = columns::batch(columns::counts(&current.rows, self.host.boot_id.as_deref()));
        let batch = batch.map_err(|error| StoreError { path: current.path.clone(), cause: error.into() })?;
        write_file(&current.path, &batch, properties(&self.host, &self.origin))?;
        current.written = true;
        Ok(())
    }
}

impl Snapshot {
    /// Returns the counters at the time when the stream was opened. Attempts since then are in the
    /// first interval.
    fn baseline(netns: &Netns, reconciler: Option<&Reconciler>) -> Self {
        let read = || netns.counters().ok().map(|counters| counters.retrans_segs);
        let since_open = || {
            let reconciled = reconciler.and_then(|reconciler| reconciler.reconcile(Duration::ZERO).ok());
            reconciled.map(|reconciled| reconciled.retrans_segs.kernel)
        };
        let (mut now, mut increase) = (read(), since_open());
        for _ in 0..BASELINE_TRIES {
            let after = read();
            if after == now {
                break;
            }
            (now, increase) = (after, since_open());
        }
        Self {
            at: Instant::now(),
            stats: Stats::default(),
            retrans_segs: now.map(|now| now.saturating_sub(increase.unwrap_or(0))),
            seen: increase.map(|_| 0),
        }
    }

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
