// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what `retrans watch` printed on stderr while it recorded: the attach method, and the
//! counters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use retrans_sdk::format::Escaped;

/// The maximum size of a file. A run prints a few lines.
const MOST_BYTES: u64 = 4 << 20;
/// The maximum number of attach methods that are listed.
const MOST_METHODS: usize = 8;

/// The counters that the page shows, with their meanings.
pub(crate) const COUNTERS: [(&str, &str); 8] = [
    ("seen", "observed by the BPF programs"),
    ("filtered", "excluded by the filter"),
    ("limited", "in excess of the rate limit"),
    ("lost", "lost, because the ring buffer was full"),
    ("rejected", "excluded by a predicate"),
    ("dropped", "dropped, because a queue was full or a stream was closed"),
    ("delivered", "delivered, and written to the recording"),
    ("missed", "not observed, because the kernel skipped a BPF program"),
];

/// The attach methods and counters of runs of `retrans watch`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The number of runs.
    pub(crate) runs: u64,
    /// The number of runs with counters. A run that was killed prints none.
    pub(crate) counted: u64,
    /// The attach methods, such as `tp_err`, each with its number of runs.
    pub(crate) methods: BTreeMap<String, u64>,
    /// The numbers of runs in which failures, and failures of SYN-ACKs, were not observable.
    pub(crate) failures_unobservable: u64,
    pub(crate) synack_failures_unobservable: u64,
    /// The sums of [`COUNTERS`]; `None` if a run did not print one.
    pub(crate) counters: [Option<u64>; COUNTERS.len()],
}

impl Status {
    /// Reads files, and adds their runs.
    ///
    /// # Errors
    ///
    /// Returns an error with the name of a file that cannot be read, is too large, or contains no
    /// line of `retrans watch`.
    pub(crate) fn read(files: &[impl AsRef<Path>]) -> Result<Option<Self>, String> {
        let mut texts = Vec::new();
        for path in files.iter().map(AsRef::as_ref) {
            let fail = |why: String| format!("{}: {why}", Escaped::path(path));
            let mut bytes = Vec::new();
            let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
            read.map_err(|error| fail(error.to_string()))?;
            if bytes.len() as u64 > MOST_BYTES {
                return Err(fail(format!(
                    "larger than {} MiB: is it the stderr of `retrans watch`?",
                    MOST_BYTES >> 20
                )));
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if Self::of(&text).runs == 0 {
                return Err(fail("no line `ready` of `retrans watch`".to_owned()));
            }
            texts.push(text);
        }
        // A file is a part of one text, so that the sums are formed once.
        Ok((!texts.is_empty()).then(|| Self::of(&texts.join("\n"))))
    }

    fn of(text: &str) -> Self {
        let mut status = Self::default();
        // The counters of the current run. A later line of the same run replaces an earlier one.
        let mut last: Option<[Option<u64>; COUNTERS.len()]> = None;
        for line in text.lines() {
            if let Some(pairs) = line.strip_prefix("ready ") {
                status.add(last.take());
                status.runs += 1;
                let value = |key: &str| value(pairs, key);
                let method = value("source").unwrap_or("unknown");
                if status.methods.len() < MOST_METHODS || status.methods.contains_key(method) {
                    *status.methods.entry(method.to_owned()).or_default() += 1;
                }
                status.failures_unobservable += u64::from(value("failures") == Some("unobservable"));
                status.synack_failures_unobservable += u64::from(value("synack_failures") == Some("unobservable"));
            } else if let (Some(pairs), true) = (line.strip_prefix("stats "), status.runs > 0) {
                last = Some(COUNTERS.map(|(key, _)| value(pairs, key).and_then(|number| number.parse().ok())));
            }
        }
        status.add(last);
        status
    }

    fn add(&mut self, run: Option<[Option<u64>; COUNTERS.len()]>) {
        let Some(run) = run else { return };
        let is_first = self.counted == 0;
        self.counted += 1;
        for (sum, number) in self.counters.iter_mut().zip(run) {
            *sum = if is_first { number } else { sum.zip(number).map(|(sum, number)| sum.saturating_add(number)) };
        }
    }

    /// Returns a sum, if every run printed it.
    pub(crate) fn counter(&self, key: &str) -> Option<u64> {
        let at = COUNTERS.iter().position(|(of, _)| *of == key)?;
        self.counters.get(at).copied().flatten().filter(|_| self.counted > 0)
    }
}

fn value<'text>(pairs: &'text str, key: &str) -> Option<&'text str> {
    pairs.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "ready source=tp_err failures=observed synack_failures=unobservable";

    fn stats(seen: u64, lost: u64) -> String {
        format!(
            "stats seen={seen} filtered=1 limited=0 lost={lost} submitted=4 rejected=0 dropped=0 delivered=4 missed=- failures=3"
        )
    }

    #[test]
    fn the_last_counters_of_each_run_are_added() {
        let text = format!(
            "{READY}\n{}\nseen result=success kind=rto attempts=1\n{}\n{READY}\n{}\n",
            stats(3, 1),
            stats(10, 2),
            stats(20, 3)
        );
        let status = Status::of(&text);
        assert_eq!((status.runs, status.counted), (2, 2));
        assert_eq!(
            (status.counter("seen"), status.counter("lost"), status.counter("missed")),
            (Some(30), Some(5), None)
        );
        assert_eq!((status.failures_unobservable, status.synack_failures_unobservable), (0, 2));
        assert_eq!(status.methods, BTreeMap::from([("tp_err".to_owned(), 2)]));
    }

    #[test]
    fn a_run_that_was_killed_has_no_counters() {
        let status = Status::of(&format!("{READY}\n"));
        assert_eq!((status.runs, status.counted, status.counter("seen")), (1, 0, None));
        assert_eq!(Status::of(&stats(1, 1)), Status::default());
    }

    #[test]
    fn a_file_that_is_not_a_status_is_an_error() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("a");
        std::fs::write(&path, "x\n").expect("written");
        let error = Status::read(&[&path]).expect_err("no line");
        assert!(error.ends_with("/a: no line `ready` of `retrans watch`"), "{error}");
        assert!(Status::read(&[folder.path().join("b")]).expect_err("no file").contains("No such file"));
        std::fs::write(&path, vec![b'x'; MOST_BYTES as usize + 1]).expect("written");
        assert!(Status::read(&[&path]).expect_err("too large").contains("larger than 4 MiB"));
        assert_eq!(Status::read(&[] as &[&Path]), Ok(None));
    }
}
