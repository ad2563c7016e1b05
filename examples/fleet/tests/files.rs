// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Parquet files of a live agent: they equal the kernel's counters, and what a killed agent
//! leaves.
#![cfg(all(feature = "prometheus", feature = "parquet"))]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Counters, Error, Pair, Result, privilege};

use crate::common::{Agent, Faults, provoke, settled};

const FAULTS: Faults = Faults { refused: 60, dropped: 30 };

/// Returns the files of a table with this extension.
fn files(directory: &Path, table: &str, extension: &str) -> Vec<PathBuf> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let hosts = entries(directory.join(table)).flat_map(entries);
    hosts.flat_map(entries).filter(|path| path.extension().is_some_and(|known| known == extension)).collect()
}

/// Returns the sum of a column by class; by disposition in a row without class.
fn sums(directory: &Path, table: &str, column: Option<&str>) -> Result<BTreeMap<String, u64>> {
    let mut sums = BTreeMap::new();
    for path in files(directory, table, "parquet") {
        let file = File::open(&path).context("no file")?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
        for batch in reader.context("a torn file is visible")? {
            let batch = batch.context("a torn file is visible")?;
            let classes = batch["class"].as_string::<i32>();
            for row in 0..batch.num_rows() {
                let name = match classes.is_null(row) {
                    true => batch["disposition"].as_string::<i32>().value(row),
                    false => classes.value(row),
                };
                // The rows of dispositions have no segments.
                let value = match column.map(|column| batch[column].as_primitive::<UInt64Type>()) {
                    Some(column) if column.is_null(row) => 0,
                    Some(column) => column.value(row),
                    None => 1,
                };
                *sums.entry(name.to_owned()).or_insert(0) += value;
            }
        }
    }
    Ok(sums)
}

fn stored(directory: &Path) -> Result<u64> {
    Ok(sums(directory, "events", None)?.values().sum())
}

/// Returns the value after a key in what an agent printed.
fn printed(text: &str, line: &str, key: &str) -> Result<u64> {
    let line = text.lines().find(|known| known.starts_with(line));
    let value = line.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')));
    value
        .and_then(|value| value.trim_end_matches(':').parse().ok())
        .ok_or_else(|| Error::new(format!("no {key} in {text}")))
}

#[test]
#[ignore = "live: needs root, run by make fleet-test"]
fn files_equal_the_counters_and_survive_a_kill() -> Result<()> {
    privilege::check()?;
    let temporary = tempfile::tempdir().context("no directory")?;
    // The agent drops its user.
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).context("cannot change a mode")?;
    let directory = temporary.path().join("store");
    let place = directory.to_str().ok_or_else(|| Error::new("a path in UTF-8"))?;
    let pair = Pair::new()?;

    // An agent that is ended.
    let before = Counters::read(pair.client())?;
    let agent = Agent::start_with(pair.client(), &["--parquet", place, "--rotate", "1", "--drops"])?;
    provoke(&pair, FAULTS)?;
    settled(&agent)?;
    wait_for("a file", PATIENCE, || Ok((!files(&directory, "events", "parquet").is_empty()).then_some(())))?;
    provoke(&pair, FAULTS)?;
    settled(&agent)?;
    let kernel = Counters::read(pair.client())? - before;
    let text = agent.stop()?;
    let complete = stored(&directory)?;
    assert!(complete > 0 && complete == printed(&text, "store written=", "written")?, "{complete} {text}");
    let counted = sums(&directory, "counts", Some("attempts"))?;
    let (seen, filtered) = (counted["seen"], counted.get("filtered").copied().unwrap_or(0));
    let dropped = counted.get("dropped").copied().unwrap_or(0) + counted.get("lost").copied().unwrap_or(0);
    assert_eq!(complete + dropped, seen - filtered, "{counted:?} {text}");
    let by_class = sums(&directory, "counts", Some("segs"))?;
    assert_eq!(by_class["ok"] + by_class["drop"], kernel.retrans_segs, "{by_class:?}");
    println!("{complete} events stored, {} segments as the kernel counted", kernel.retrans_segs);

    // An agent that is killed while it writes a file.
    let mut agent = Agent::start_with(pair.client(), &["--parquet", place, "--rotate", "3600"])?;
    provoke(&pair, FAULTS)?;
    settled(&agent)?;
    wait_for("a file", PATIENCE, || Ok((!files(&directory, "events", "tmp").is_empty()).then_some(())))?;
    agent.child.kill().context("cannot kill")?;
    agent.child.wait().context("cannot wait")?;
    assert_eq!(stored(&directory)?, complete, "the other files are complete");
    assert_eq!(files(&directory, "events", "tmp").len(), 1, "one rotation is lost");
    let agent = Agent::start_with(pair.client(), &["--parquet", place])?;
    assert!(files(&directory, "events", "tmp").is_empty(), "it is removed");
    let text = agent.stop()?;
    assert_eq!(printed(&text, "store removed", "torn")?, 1, "and counted: {text}");
    Ok(())
}
