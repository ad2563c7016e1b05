// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Parquet files: their places, contents, rotation, and what remains after a crash. DuckDB runs
//! the views.
#![cfg(feature = "parquet")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array as _, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retrans_fleet::store::{CountsRecorder, Origin, Rotation, Store};
use retrans_sdk::event::Timestamp;
use retrans_sdk::host::{HostId, Workload};
use retrans_sdk::offline::Recording;
use retrans_sdk::stats::Netns;
use retrans_sdk::{Event, RetransResult, Stream};

/// 2026-03-01T00:00:00Z.
const MIDNIGHT: u64 = 1_772_323_200_000_000_000;
const DAY: u64 = 86_400_000_000_000;

fn host(name: &str) -> HostId {
    let mut host = HostId::read();
    host.name = name.to_owned();
    host
}

fn origin() -> Origin {
    Origin { source: "tp_err".to_owned(), kernel: "6.18.0".to_owned(), observes_failures: true }
}

fn open(directory: &Path, name: &str) -> Store {
    Store::open(directory, host(name), origin(), Rotation::default()).expect("a store")
}

fn event(result: &str, at: u64) -> Event {
    let err = if result == "success" { 0 } else { -1 };
    let line = format!(
        "ts=1.500000000 result={result} err={err} kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=192.0.2.7 dport=443 \
         state=established segs=1 cookie=18446744073709551615"
    );
    let mut event: Event = line.parse().expect("a line");
    event.ts = Timestamp::from_nanos(at);
    event
}

/// Returns the files of a table, relative to the directory, in order.
fn files(directory: &Path, table: &str) -> Vec<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let days = entries(&directory.join(table));
    let hosts = days.flat_map(|day| entries(&day).collect::<Vec<_>>());
    let mut files: Vec<_> = hosts.flat_map(|host| entries(&host).collect::<Vec<_>>()).collect();
    files.sort();
    files
}

fn read(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("a file")).expect("complete");
    reader.build().expect("readable").map(|batch| batch.expect("a batch")).collect()
}

fn rows(directory: &Path, table: &str) -> usize {
    files(directory, table).iter().flat_map(|path| read(path)).map(|batch| batch.num_rows()).sum()
}

/// Returns the events of the recording of all scenarios.
fn recorded() -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retrans/recordings/lab.kv");
    let mut stream = Recording::from_reader(File::open(path).expect("the recording")).start().expect("a stream");
    stream.iter().map(|event| event.expect("a line")).collect()
}

#[test]
fn every_event_is_stored_with_its_values() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut events = recorded();
    assert!(events.len() > 50, "{}", events.len());
    let mut store = open(directory.path(), "web 1");
    let mut workload = Workload::from_cgroup_path(Path::new("/system.slice/ssh.service"));
    workload.pod = Some("cart-0".to_owned());
    let workload = Arc::new(workload);
    for event in &events {
        store.push(event, Some(Arc::clone(&workload))).expect("written");
    }
    store.finish().expect("complete");
    assert_eq!((store.written(), store.lost(), store.torn()), (events.len() as u64, 0, 0));
    events.sort_by_key(|event| event.ts);
    let files = files(directory.path(), "events");
    let boot = HostId::read().boot_id.expect("a boot");
    for (index, path) in files.iter().enumerate() {
        let path = path.strip_prefix(directory.path()).expect("below it").to_string_lossy().into_owned();
        assert!(path.starts_with("events/date=20") && path.contains("/host=web%201/"), "{path}");
        assert!(path.ends_with(&format!("/{boot}-000000.parquet")), "{index} {path}");
    }
    let batches: Vec<_> = files.iter().flat_map(|path| read(path)).collect();
    let texts = |name: &str| -> Vec<String> {
        let column = |batch: &RecordBatch| {
            let array = batch.column_by_name(name).expect("a column").as_string::<i32>().clone();
            (0..array.len())
                .map(|row| if array.is_null(row) { "-".to_owned() } else { array.value(row).to_owned() })
                .collect::<Vec<_>>()
        };
        batches.iter().flat_map(column).collect()
    };
    let each = |get: fn(&Event) -> String| events.iter().map(get).collect::<Vec<_>>();
    assert_eq!(texts("result"), each(|event| event.result.to_string()));
    assert_eq!(texts("kind"), each(|event| event.kind.to_string()));
    assert_eq!(texts("daddr"), each(|event| event.daddr.to_string()));
    assert_eq!(texts("ca_name"), each(|event| event.ca_name.map_or("-".to_owned(), |name| name.to_string())));
    assert_eq!(texts("drop_reason"), each(|event| event.drop_reason.map_or("-".to_owned(), |name| name.to_string())));
    assert!(texts("unit").iter().all(|unit| unit == "ssh.service") && texts("pod").iter().all(|pod| pod == "cart-0"));
    let nanos = |batch: &RecordBatch| batch["ts_ns"].as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(batches.iter().flat_map(nanos).collect::<Vec<_>>(), each_nanos(&events));
    let cookies = |batch: &RecordBatch| batch["cookie"].as_primitive::<UInt64Type>().iter().collect::<Vec<_>>();
    let expected: Vec<_> = events.iter().map(|event| event.cookie).collect();
    assert_eq!(batches.iter().flat_map(cookies).collect::<Vec<_>>(), expected);

    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&files[0]).expect("a file")).expect("complete");
    let metadata = reader.metadata().file_metadata().key_value_metadata().expect("metadata");
    let metadata: BTreeMap<_, _> = metadata.iter().map(|pair| (&*pair.key, pair.value.as_deref())).collect();
    assert_eq!(metadata["retrans.source"], Some("tp_err"));
    assert_eq!(metadata["retrans.observes_failures"], Some("true"));
    assert_eq!(metadata["host.boot_id"], Some(&*boot));
    let size: u64 = files.iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
    println!("{} events of the recording: {size} bytes, with all columns and the metadata", events.len());
}

fn each_nanos(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| i64::try_from(event.ts.as_nanos()).expect("before 2262")).collect()
}

#[test]
fn midnight_age_and_size_end_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path(), "a");
    store.push(&event("success", MIDNIGHT + 5), None).expect("written");
    store.push(&event("denied", MIDNIGHT - 1), None).expect("written");
    store.finish().expect("complete");
    let days = |directory: &Path| -> Vec<String> {
        let day = |path: &PathBuf| path.iter().find_map(|part| part.to_str()?.strip_prefix("date=").map(str::to_owned));
        files(directory, "events").iter().filter_map(day).collect()
    };
    assert_eq!(days(directory.path()), ["2026-02-28", "2026-03-01"], "in order, although the events were not");

    // By age: a file is begun by the first tick after an event.
    let directory = tempfile::tempdir().expect("a directory");
    let rotation = Rotation { age: Duration::from_millis(30), ..Rotation::default() };
    let mut store = Store::open(directory.path(), host("a"), origin(), rotation).expect("a store");
    store.push(&event("success", MIDNIGHT), None).expect("written");
    store.tick().expect("written");
    assert_eq!(rows_of_complete(directory.path()), 0, "it is not over");
    std::thread::sleep(rotation.age);
    store.tick().expect("complete");
    assert_eq!(rows_of_complete(directory.path()), 1);
    store.push(&event("success", MIDNIGHT + DAY), None).expect("written");
    store.finish().expect("complete");
    assert_eq!(rows_of_complete(directory.path()), 2);

    // By size.
    let directory = tempfile::tempdir().expect("a directory");
    let rotation = Rotation { bytes: 100_000, ..Rotation::default() };
    let mut store = Store::open(directory.path(), host("a"), origin(), rotation).expect("a store");
    let number = 400_000;
    for index in 0..number {
        let mut event = event_like(index);
        event.cookie = Some(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        store.push(&event, None).expect("written");
    }
    store.finish().expect("complete");
    assert_eq!(rows_of_complete(directory.path()), number as usize);
    let sizes: Vec<_> =
        files(directory.path(), "events").iter().map(|path| fs::metadata(path).expect("a file").len()).collect();
    assert!(sizes.len() > 1 && sizes.iter().all(|size| *size < 16 << 20), "{sizes:?}");
}

fn rows_of_complete(directory: &Path) -> usize {
    let complete = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    files(directory, "events").into_iter().filter(complete).flat_map(|path| read(&path)).map(|b| b.num_rows()).sum()
}

/// Returns a copy of one event with other numbers, as parsing each would take most of the time.
fn event_like(index: u64) -> Event {
    use std::sync::OnceLock;
    static BASE: OnceLock<Vec<Event>> = OnceLock::new();
    let base =
        BASE.get_or_init(|| vec![event("success", MIDNIGHT), event("denied", MIDNIGHT), event("nomem", MIDNIGHT)]);
    let mut event = base[usize::from(index.is_multiple_of(50)) + usize::from(index.is_multiple_of(5000))];
    event.ts = Timestamp::from_nanos(MIDNIGHT + index * 1_000_003);
    event.sport = (index % 60_000) as u16;
    event
}

#[test]
fn a_torn_file_is_removed_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut killed = open(directory.path(), "a");
    killed.push(&event("success", MIDNIGHT), None).expect("written");
    killed.tick().expect("begun");
    // Without `finish`, as when the process is killed.
    drop(killed);
    let mut other = open(directory.path(), "b");
    other.push(&event("success", MIDNIGHT), None).expect("written");
    other.tick().expect("begun");
    assert_eq!(files(directory.path(), "events").len(), 2);
    assert_eq!(rows_of_complete(directory.path()), 0, "a torn file is not visible");
    let mut store = open(directory.path(), "a");
    assert_eq!(store.torn(), 1, "only its own");
    store.push(&event("success", MIDNIGHT), None).expect("written");
    store.finish().expect("complete");
    other.finish().expect("complete");
    assert_eq!(rows_of_complete(directory.path()), 2);
}

#[test]
fn rows_that_cannot_be_written_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path(), "a");
    let table = directory.path().join("events");
    fs::remove_dir(&table).expect("it is empty");
    fs::write(&table, "not a directory").expect("a file");
    store.push(&event("success", MIDNIGHT), None).expect("in memory");
    store.push(&event("success", MIDNIGHT + 1), None).expect("in memory");
    let error = store.finish().expect_err("no directory").to_string();
    assert!(error.starts_with("cannot write ") && error.contains("/events/"), "{error}");
    assert_eq!((store.written(), store.lost()), (0, 2));
    // It continues when the cause is gone.
    fs::remove_file(&table).expect("it is there");
    store.push(&event("success", MIDNIGHT), None).expect("in memory");
    store.finish().expect("complete");
    assert_eq!((store.written(), store.lost()), (1, 2));
    let error = Store::open("/proc/none", host("a"), origin(), Rotation::default()).expect_err("no directory");
    assert!(error.to_string().starts_with("cannot write /proc/none"), "{error}");
}

#[test]
fn the_rows_of_a_day_do_not_depend_on_the_file_of_the_day_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path(), "a");
    store.push(&event("success", MIDNIGHT - 1), None).expect("in memory");
    store.tick().expect("begun");
    // The file cannot be renamed.
    fs::remove_dir_all(directory.path().join("events/date=2026-02-28")).expect("it is there");
    store.push(&event("success", MIDNIGHT), None).expect("in memory");
    store.push(&event("success", MIDNIGHT + DAY), None).expect("in memory");
    let error = store.finish().expect_err("no directory").to_string();
    assert!(error.contains("/date=2026-02-28/"), "{error}");
    assert_eq!((store.written(), store.lost()), (2, 1));
    assert_eq!(rows_of_complete(directory.path()), 2);
}

#[test]
fn two_agents_of_a_host_do_not_share_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path(), "a");
    store.push(&event("success", MIDNIGHT), None).expect("in memory");
    store.tick().expect("begun");
    let error = Store::open(directory.path(), host("a"), origin(), Rotation::default()).expect_err("locked");
    assert!(error.to_string().ends_with("/.host=a.lock: another agent writes the files of the host a"), "{error}");
    drop(open(directory.path(), "b"));
    store.finish().expect("its temporary file still exists");
    assert_eq!((store.written(), rows_of_complete(directory.path())), (1, 1));
    drop(store);
    assert_eq!(open(directory.path(), "a").torn(), 0);
}

#[test]
fn a_name_is_used_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let boot = HostId::read().boot_id.expect("a boot");
    let mut store = open(directory.path(), "a");
    for number in 0..3 {
        store.push(&event("success", MIDNIGHT), None).expect("in memory");
        store.finish().expect("complete");
        let files = files(directory.path(), "events");
        assert!(files.len() == 1 && files[0].ends_with(format!("{boot}-{number:06}.parquet")), "{files:?}");
        // As a program does that moves complete files to another place.
        fs::remove_file(&files[0]).expect("it is there");
    }
    fs::write(directory.path().join(format!("events/date=2026-03-01/host=a/{boot}-000003.parquet")), "")
        .expect("a file of an earlier agent");
    store.push(&event("success", MIDNIGHT), None).expect("in memory");
    store.finish().expect("complete");
    assert!(files(directory.path(), "events")[1].ends_with(format!("{boot}-000004.parquet")));
}

#[test]
fn counts_survive_the_loss_of_events() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, mut stream) =
        Stream::builder().filter("result!=denied".parse().expect("a filter")).mock().expect("a mock");
    let parts = (host("a"), origin(), Rotation::default());
    let netns = Netns::current().expect("/proc");
    let mut recorder = CountsRecorder::new(directory.path(), parts, stream.stats_reader(), netns, None);
    for result in [RetransResult::Success, RetransResult::Success, RetransResult::Denied] {
        source.push_result(result);
    }
    assert_eq!(stream.try_iter().take(1).count(), 1);
    recorder.record().expect("written");
    source.push_result(RetransResult::Success);
    source.finish();
    assert_eq!(stream.iter().count(), 2);
    recorder.record().expect("written again");
    let files = files(directory.path(), "counts");
    assert_eq!(files.len(), 1, "one file, which was replaced: {files:?}");
    let expected = [("delivered", 3), ("denied", 1), ("filtered", 1), ("seen", 4), ("success", 3)];
    assert_eq!(counted(directory.path()), expected.map(|(name, sum)| (name.to_owned(), sum)));
    // A minute without attempts has a row, which shows that the agent ran.
    let before = rows(directory.path(), "counts");
    recorder.record().expect("written");
    assert_eq!(rows(directory.path(), "counts"), before + 1);
}

/// Returns the sums of the table `counts` by result, or by disposition.
fn counted(directory: &Path) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::new();
    for batch in files(directory, "counts").iter().flat_map(|path| read(path)) {
        let (results, dispositions) = (batch["result"].as_string::<i32>(), batch["disposition"].as_string::<i32>());
        let attempts = batch["attempts"].as_primitive::<UInt64Type>();
        for row in 0..batch.num_rows() {
            let name = if results.is_null(row) { dispositions.value(row) } else { results.value(row) };
            *sums.entry(name.to_owned()).or_insert(0) += attempts.value(row);
        }
    }
    sums.into_iter().collect()
}

#[test]
fn the_attempts_before_the_recorder_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, mut stream) = Stream::builder().mock().expect("a mock");
    source.push_result(RetransResult::Denied);
    assert_eq!(stream.try_iter().take(1).count(), 1);
    let parts = (host("a"), origin(), Rotation::default());
    let netns = Netns::current().expect("/proc");
    let mut recorder = CountsRecorder::new(directory.path(), parts, stream.stats_reader(), netns, None);
    recorder.record().expect("written");
    let expected = ["delivered", "denied", "seen"].map(|name| (name.to_owned(), 1));
    assert_eq!(counted(directory.path()), expected);
}

#[test]
fn counts_that_cannot_be_written_are_written_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, mut stream) = Stream::builder().mock().expect("a mock");
    let rotation = Rotation { age: Duration::from_millis(200), ..Rotation::default() };
    let netns = Netns::current().expect("/proc");
    let parts = (host("a"), origin(), rotation);
    let mut recorder = CountsRecorder::new(directory.path(), parts, stream.stats_reader(), netns, None);
    let mut attempt = || {
        source.push_result(RetransResult::Denied);
        assert_eq!(stream.try_iter().take(1).count(), 1);
    };
    let denied = || counted(directory.path()).into_iter().find(|(name, _)| name == "denied").map(|(_, sum)| sum);

    // The directory cannot be created.
    let table = directory.path().join("counts");
    fs::write(&table, "not a directory").expect("a file");
    attempt();
    recorder.record().expect_err("no directory");
    fs::remove_file(&table).expect("it is there");
    recorder.record().expect("written");
    assert_eq!(denied(), Some(1), "the interval is in the next one");

    // The file cannot be written, also when its time is over.
    let place = files(directory.path(), "counts")[0].parent().expect("a directory").to_owned();
    let moved = directory.path().join("moved");
    fs::rename(&place, &moved).expect("renamed");
    fs::write(&place, "not a directory").expect("a file");
    attempt();
    recorder.record().expect_err("no directory");
    std::thread::sleep(rotation.age);
    attempt();
    recorder.record().expect_err("no directory");
    fs::remove_file(&place).expect("it is there");
    fs::rename(&moved, &place).expect("renamed");
    recorder.record().expect("written");
    assert_eq!((files(directory.path(), "counts").len(), denied()), (2, Some(3)));

    // The directory was removed while its file was current.
    fs::remove_dir_all(&table).expect("it is there");
    attempt();
    recorder.record().expect("written");
    assert!(denied() >= Some(1), "{:?}", denied());
}

/// Prints the rate of writing. The limit is that of a slow machine that others use as well.
#[test]
#[ignore = "measures: run by make fleet-test"]
fn writing_is_fast() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path(), "a");
    let events: Vec<_> = (0..1_000_000).map(event_like).collect();
    let began = Instant::now();
    for event in &events {
        store.push(event, None).expect("written");
    }
    store.finish().expect("complete");
    let rate = events.len() as f64 / began.elapsed().as_secs_f64();
    let size: u64 =
        files(directory.path(), "events").iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
    println!("{rate:.0} events/s, {:.1} bytes an event on disk", size as f64 / events.len() as f64);
    assert!(rate > 20_000.0, "{rate}");
}

/// Returns the rows of tables and views. `PYTHON` is a Python with the package duckdb.
fn duckdb(directory: &Path, names: &[&str]) -> String {
    let script = "
import duckdb, sys
connection = duckdb.connect()
connection.execute('SET TimeZone = \\'UTC\\'')
connection.execute('SET VARIABLE retrans = ?'.replace('?', repr(sys.argv[1])))
for path in ('tables.sql', 'views.sql'):
    connection.execute(open(path).read())
for name in sys.argv[2:]:
    cursor = connection.execute('SELECT * FROM ' + name + ' ORDER BY ALL')
    print(name, [column[0] for column in cursor.description])
    for row in cursor.fetchall():
        print('  ', *row)
";
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-c", script]).arg(directory).args(names);
    let output = command.output().expect("PYTHON, which make fleet-test sets");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "requires DuckDB, run by make fleet-test"]
fn duckdb_reads_a_number_as_the_name_of_a_host() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = open(directory.path(), "42");
    store.push(&event("success", MIDNIGHT), None).expect("in memory");
    store.finish().expect("complete");
    let (source, mut stream) = Stream::builder().mock().expect("a mock");
    let netns = Netns::current().expect("/proc");
    let parts = (host("42"), origin(), Rotation::default());
    let mut recorder = CountsRecorder::new(directory.path(), parts, stream.stats_reader(), netns, None);
    source.push_result(RetransResult::Success);
    source.finish();
    assert_eq!(stream.iter().count(), 1);
    recorder.record().expect("written");
    let text = duckdb(
        directory.path(),
        &[
            "(SELECT DISTINCT host, typeof(host), date, typeof(date) FROM events)",
            "(SELECT DISTINCT host, typeof(host), typeof(date) FROM counts)",
            "completeness",
        ],
    );
    println!("{text}");
    assert!(text.contains("\n   42 VARCHAR 2026-03-01 DATE\n"), "{text}");
    assert!(text.contains("\n   42 VARCHAR DATE\n"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("   42 ")), "{text}");
}

/// Runs DuckDB on files of two hosts.
#[test]
#[ignore = "requires DuckDB, run by make fleet-test"]
fn duckdb_answers_the_ten_questions() {
    let directory = tempfile::tempdir().expect("a directory");
    // Host a: the route of one connection flaps. Host b: success, then a refusal.
    for (name, results) in [("a", &["success", "route_fail", "success"][..]), ("b", &["success", "denied"])] {
        let mut store = open(directory.path(), name);
        for (at, result) in (0..).zip(results) {
            let mut event = event(result, MIDNIGHT + at * 1_000);
            event.cgroup = Some(7);
            event.drop_reason = (*result == "denied").then(|| "NETFILTER_DROP".parse().expect("a reason"));
            let workload = Workload::from_cgroup_path(Path::new("/system.slice/ssh.service"));
            store.push(&event, (name == "a").then(|| Arc::new(workload))).expect("written");
        }
        store.finish().expect("complete");
        let (source, mut stream) = Stream::builder().mock().expect("a mock");
        let netns = Netns::current().expect("/proc");
        let parts = (host(name), origin(), Rotation::default());
        let mut recorder = CountsRecorder::new(directory.path(), parts, stream.stats_reader(), netns, None);
        for result in results {
            source.push_result(result.parse().expect("a result"));
        }
        source.finish();
        assert_eq!(stream.iter().count(), results.len());
        recorder.record().expect("written");
    }
    let views = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("views.sql")).expect("the views");
    let names: Vec<_> =
        views.lines().filter_map(|line| line.strip_prefix("CREATE VIEW ")?.strip_suffix(" AS")).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    let text = duckdb(directory.path(), &names);
    println!("{text}");
    for row in [
        "   2026-03-01 00:00:00+00:00 192.0.2.0/24 denied 1 1\n",
        "   2026-03-01 00:00:00+00:00 192.0.2.0/24 route_fail 1 1\n",
        "   route_fail 2026-03-01 00:00:00.000001+00:00 a 192.0.2.7\n",
        "   a 192.0.2.0/24 2\n",
        "   rto denied 1\n",
        "   rto route_fail 1\n",
        "   a 2026-03-01 00:00:00+00:00 3 1.0\n",
        "   a success established 1\n",
        "   b denied established 1\n",
        "   b NETFILTER_DROP None None 1\n",
        "   a  ssh.service 3 1\n",
        "   b  unknown 2 1\n",
    ] {
        assert!(text.contains(row), "no {row}in {text}");
    }
    // The counters of the mocks are of today, and the events of another day.
    let complete: Vec<_> = text.lines().skip_while(|line| !line.starts_with("completeness")).skip(1).collect();
    assert_eq!(complete.len(), 2, "{text}");
    assert!(complete[0].ends_with(" 3 0 0 0 0 3 0") && complete[1].ends_with(" 2 0 0 0 0 2 0"), "{text}");
}
