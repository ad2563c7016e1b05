// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stores events and counts in Parquet files.
//!
//! # Design
//!
//! ```text
//! DIRECTORY/events/date=YYYY-MM-DD/host=NAME/BOOT-NUMBER.parquet
//! DIRECTORY/counts/date=YYYY-MM-DD/host=NAME/BOOT-NUMBER.parquet
//! ```
//!
//! The directories of many hosts can be copied into one, because the names of host and boot make
//! each path unique. Engines read `date` and `host` as columns.
//!
//! A file is written as `….parquet.tmp`, synchronized and renamed, so that every file with the
//! final name is complete. An agent that is killed leaves one temporary file, whose rows are lost.
//! The next start removes it and counts it. It must not remove the file of an agent that runs, so
//! an agent locks `DIRECTORY/.host=NAME.lock` while it runs, and a second one does not start.
//!
//! The table `counts` contains the increase of the counters in each minute. Its totals include the
//! attempts whose events were limited, lost or dropped, and it contains RetransSegs of the
//! namespace at the beginning and the end of the minute. So the events can be checked later. The
//! file of the current period is written again each minute, because it is small: a killed agent
//! loses one minute of counts.

mod columns;
mod stats;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use retrans_sdk::event::{PercentEncoded, Timestamp};
use retrans_sdk::host::{HostId, Workload};
use retrans_sdk::{Event, ResultClass, RetransKind};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub use self::stats::CountsRecorder;

/// The version of the tables. It is incremented when a query for the previous version would fail.
pub const SCHEMA_VERSION: &str = "1";

/// The number of rows that are sorted and encoded at a time.
const BATCH: usize = 8192;
/// The size of the encoded rows in memory at which they are written to the file.
const ROW_GROUP_BYTES: usize = 4 << 20;
/// The columns whose values seldom repeat, so that a dictionary would only cost time and space.
/// Their differences are small.
const DELTAS: [&str; 4] = ["ts", "ts_ns", "seq", "end_seq"];

/// Limits of a file. The first that is reached ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The maximum time between its first and its last event.
    pub age: Duration,
    /// The size in bytes.
    pub bytes: u64,
}

impl Default for Rotation {
    /// 15 minutes or 64 MiB.
    fn default() -> Self {
        Self { age: Duration::from_secs(900), bytes: 64 << 20 }
    }
}

/// A row of the table `events`.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) event: Event,
    pub(crate) workload: Option<Arc<Workload>>,
}

/// A row of the table `counts`: the increase of a counter until `until`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Count {
    pub(crate) until: Timestamp,
    /// The length of the interval.
    pub(crate) seconds: f64,
    pub(crate) result: Option<String>,
    pub(crate) class: Option<ResultClass>,
    pub(crate) kind: Option<RetransKind>,
    /// Absent in a row of a result and kind.
    pub(crate) disposition: Option<&'static str>,
    pub(crate) attempts: u64,
    pub(crate) segs: Option<u64>,
    /// RetransSegs of the agent's namespace at the beginning and the end of the interval.
    pub(crate) retrans_segs: Option<(u64, u64)>,
    /// The increase of RetransSegs that the observed attempts of this namespace explain.
    pub(crate) retrans_segs_seen: Option<u64>,
}

/// An error of the store.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write {}: {}", self.path.display(), self.cause)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

impl StoreError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { path: path.to_owned(), cause: error.into() }
    }

    fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> Self {
        move |error| Self { path: path.to_owned(), cause: error.into() }
    }
}

/// Information about the stream, which every file contains as key-value metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The attach method.
    pub source: String,
    /// The kernel (`uname -r`).
    pub kernel: String,
    /// True if failed attempts are observed. Without them, no failed attempts in a file is not
    /// evidence.
    pub observes_failures: bool,
}

/// Writes events to Parquet files. Bounded: it holds at most one batch of events, and one row group
/// of encoded rows.
///
/// Dropping it without [`finish`](Self::finish) loses the rows of the current file.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    host: HostId,
    origin: Origin,
    rotation: Rotation,
    rows: Vec<Row>,
    current: Option<Current>,
    paths: FreePaths,
    /// Locked until it is closed.
    _lock: File,
    torn: u64,
    written: u64,
    lost: u64,
}

/// The file that is being written.
struct Current {
    writer: ArrowWriter<File>,
    path: PathBuf,
    date: String,
    opened: Instant,
    rows: u64,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a directory, and creates it if it is missing. Removes the temporary files that an
    /// earlier agent of this host left.
    ///
    /// # Errors
    ///
    /// Returns an error if the directory cannot be created, read, written or locked, and if another
    /// store of this host is open in the directory.
    pub fn open(
        directory: impl Into<PathBuf>,
        host: HostId,
        origin: Origin,
        rotation: Rotation,
    ) -> Result<Self, StoreError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(StoreError::at(&directory))?;
        // Before any temporary file is removed: it may belong to an agent that runs.
        let lock = lock(&directory, &host)?;
        let mut torn = 0;
        for table in [EVENTS, COUNTS] {
            let path = directory.join(table);
            fs::create_dir_all(&path).map_err(StoreError::at(&path))?;
            torn += remove_torn(&path, &host).map_err(StoreError::at(&path))?;
        }
        // Reports a directory that is not writable now instead of after the first event.
        let probe = directory.join(format!(".{}", std::process::id()));
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(StoreError::at(&directory))?;
        Ok(Self {
            directory,
            host,
            origin,
            rotation,
            rows: Vec::with_capacity(BATCH),
            current: None,
            paths: FreePaths::default(),
            _lock: lock,
            torn,
            written: 0,
            lost: 0,
        })
    }

    /// Returns the number of temporary files that an earlier agent left, and that
    /// [`open`](Self::open) removed: the rotations whose rows are lost.
    #[must_use]
    pub const fn torn(&self) -> u64 {
        self.torn
    }

    /// Returns the number of rows in complete files.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Returns the number of rows that an error lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Adds an event.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be written. Its rows are counted as
    /// [`lost`](Self::lost). The next event begins a new file.
    pub fn push(&mut self, event: &Event, workload: Option<Arc<Workload>>) -> Result<(), StoreError> {
        self.rows.push(Row { event: *event, workload });
        if self.rows.len() >= BATCH { self.write_rows() } else { Ok(()) }
    }

    /// Ends the current file if its time is over. Call it regularly, such as every second.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn tick(&mut self) -> Result<(), StoreError> {
        if self.current.is_none() && !self.rows.is_empty() {
            // Begins the file, whose age counts from here.
            self.write_rows()?;
        }
        match &self.current {
            Some(current) if current.opened.elapsed() >= self.rotation.age => self.rotate(),
            _ => Ok(()),
        }
    }

    /// Writes the remaining events, and completes the current file.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.rotate()
    }

    fn rotate(&mut self) -> Result<(), StoreError> {
        // After an error, the rows may be in the next file.
        let written = self.write_rows();
        let completed = self.complete();
        written.and(completed)
    }

    /// Writes the events in memory, sorted by time. Begins another file on another day. Continues
    /// after an error, and returns the first one.
    fn write_rows(&mut self) -> Result<(), StoreError> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by_key(|row| row.event.ts);
        let mut left = &rows[..];
        let mut result = Ok(());
        while let Some(first) = left.first() {
            let day = date_of(first.event.ts);
            let same = left.iter().take_while(|row| date_of(row.event.ts) == day).count();
            let (now, later) = left.split_at(same);
            left = later;
            let written = self.write_day(&day, now);
            result = result.and(written);
        }
        // Keeps the allocation.
        rows.clear();
        self.rows = rows;
        result
    }

    fn write_day(&mut self, day: &str, rows: &[Row]) -> Result<(), StoreError> {
        // An event that was reported after the first one of the next day stays with that day's
        // file, so that midnight ends one file only.
        let ended = match &self.current {
            Some(current) if current.date.as_str() < day => self.complete(),
            _ => Ok(()),
        };
        // The rows of another day are written even if the file of the day before is lost.
        let appended = self.append(day, rows);
        if appended.is_err() {
            self.lost += rows.len() as u64;
            self.discard();
        }
        let completed = match &self.current {
            Some(current) if current.writer.bytes_written() as u64 >= self.rotation.bytes => self.complete(),
            _ => Ok(()),
        };
        ended.and(appended).and(completed)
    }

    fn append(&mut self, day: &str, rows: &[Row]) -> Result<(), StoreError> {
        let boot = self.host.boot_id.as_deref();
        let current = match &mut self.current {
            Some(current) => current,
            none => {
                let path = self.paths.next(table_directory(&self.directory, EVENTS, day, &self.host)?, boot);
                let schema = Arc::new(columns::schema(&columns::events(&[], None)));
                let file = File::create_new(temporary(&path)).map_err(StoreError::at(&path))?;
                let writer = ArrowWriter::try_new(file, schema, Some(properties(&self.host, &self.origin)))
                    .map_err(StoreError::parquet(&path))?;
                none.insert(Current { writer, path, date: day.to_owned(), opened: Instant::now(), rows: 0 })
            }
        };
        let batch = columns::batch(columns::events(rows, boot))
            .map_err(ParquetError::from)
            .map_err(StoreError::parquet(&current.path))?;
        current.writer.write(&batch).map_err(StoreError::parquet(&current.path))?;
        if current.writer.in_progress_size() >= ROW_GROUP_BYTES {
            current.writer.flush().map_err(StoreError::parquet(&current.path))?;
        }
        // Not before an error, after which the caller counts these rows.
        current.rows += rows.len() as u64;
        Ok(())
    }

    /// Completes the current file.
    fn complete(&mut self) -> Result<(), StoreError> {
        let Some(Current { writer, path, rows, .. }) = self.current.take() else { return Ok(()) };
        let result = writer.into_inner().map_err(StoreError::parquet(&path)).and_then(|file| publish(file, &path));
        match &result {
            Ok(()) => self.written += rows,
            Err(_) => {
                self.lost += rows;
                // If this fails as well, the next start removes the file.
                let _ = fs::remove_file(temporary(&path));
            }
        }
        result
    }

    /// Gives up the current file after an error.
    fn discard(&mut self) {
        if let Some(current) = self.current.take() {
            self.lost += current.rows;
            let _ = fs::remove_file(temporary(&current.path));
        }
    }
}

const EVENTS: &str = "events";
const COUNTS: &str = "counts";

/// Returns the name under which a file is written.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Synchronizes a file, and gives it its final name.
fn publish(file: File, path: &Path) -> Result<(), StoreError> {
    file.sync_all()
        .and_then(|()| fs::rename(temporary(path), path))
        // The name is in the directory.
        .and_then(|()| path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()))
        .map_err(StoreError::at(path))
}

/// Writes a whole file.
fn write_file(path: &Path, batch: &RecordBatch, properties: WriterProperties) -> Result<(), StoreError> {
    let file = File::create(temporary(path)).map_err(StoreError::at(path))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(StoreError::parquet(path))?;
    writer.write(batch).map_err(StoreError::parquet(path))?;
    publish(writer.into_inner().map_err(StoreError::parquet(path))?, path)
}

fn properties(host: &HostId, origin: &Origin) -> WriterProperties {
    let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let optional = |key: &str, value: &Option<String>| value.as_ref().map(|value| pair(key, value));
    let metadata = [
        pair("retrans.schema", SCHEMA_VERSION),
        pair("retrans.agent", env!("CARGO_PKG_VERSION")),
        pair("retrans.source", &origin.source),
        pair("retrans.kernel", &origin.kernel),
        pair("retrans.observes_failures", if origin.observes_failures { "true" } else { "false" }),
        pair("host.name", &host.name),
    ]
    .into_iter()
    .chain(optional("host.machine_id", &host.machine_id))
    .chain(optional("host.boot_id", &host.boot_id));
    let mut properties = WriterProperties::builder()
        // 3 is the default of zstd.
        .set_compression(ZstdLevel::try_new(3).map_or(Compression::UNCOMPRESSED, Compression::ZSTD))
        .set_key_value_metadata(Some(metadata.collect()));
    for name in DELTAS {
        let column = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

/// Returns the name of a host as a part of a path.
fn host_directory(host: &HostId) -> String {
    // `/` and leading dots have a meaning in a path. The others are encoded as in a key=value line.
    let name = PercentEncoded(host.name.as_bytes()).to_string().replace('/', "%2F");
    match name.strip_prefix('.') {
        Some(rest) => format!("host=%2E{rest}"),
        None => format!("host={name}"),
    }
}

/// Creates and returns the directory of a table, a day and a host.
fn table_directory(directory: &Path, table: &str, day: &str, host: &HostId) -> Result<PathBuf, StoreError> {
    let path = directory.join(table).join(format!("date={day}")).join(host_directory(host));
    fs::create_dir_all(&path).map_err(StoreError::at(&path))?;
    Ok(path)
}

/// Returns paths that no file has: `BOOT-NUMBER.parquet`.
#[derive(Debug, Default)]
struct FreePaths {
    /// The directory of the last path.
    directory: PathBuf,
    /// The first number of this directory that was not tried. A search from 0 for each file would
    /// require more time with each file of a day.
    number: u64,
}

impl FreePaths {
    fn next(&mut self, directory: PathBuf, boot_id: Option<&str>) -> PathBuf {
        if self.directory != directory {
            *self = Self { directory, number: 0 };
        }
        let boot = boot_id.unwrap_or("unknown");
        loop {
            let path = self.directory.join(format!("{boot}-{:06}.parquet", self.number));
            self.number += 1;
            if !path.exists() && !temporary(&path).exists() {
                return path;
            }
        }
    }
}

/// Locks the files of a host until the returned file is closed.
fn lock(directory: &Path, host: &HostId) -> Result<File, StoreError> {
    let path = directory.join(format!(".{}.lock", host_directory(host)));
    // It is never removed: a removed file and a new one with its name could both be locked.
    // Only its owner can open it, because a lock does not require write permission.
    let file = File::options().create(true).append(true).mode(0o600).open(&path).map_err(StoreError::at(&path))?;
    // `File::try_lock` requires Rust 1.89.
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => {
            let cause = format!("another agent writes the files of the host {}", host.name);
            Err(StoreError { path, cause: cause.into() })
        }
        Err(error) => Err(StoreError::at(&path)(error.into())),
    }
}

/// Removes the temporary files of a host in a table, and returns their number.
fn remove_torn(table: &Path, host: &HostId) -> io::Result<u64> {
    let mut removed = 0;
    for day in fs::read_dir(table)? {
        let Ok(files) = fs::read_dir(day?.path().join(host_directory(host))) else { continue };
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Returns the date of a time, in UTC.
fn date_of(ts: Timestamp) -> String {
    // Days since the epoch to a date, by Howard Hinnant's algorithm for the Gregorian calendar.
    let days = ts.as_nanos() / 86_400_000_000_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
