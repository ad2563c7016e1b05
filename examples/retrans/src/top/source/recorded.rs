// SPDX-License-Identifier: MIT OR Apache-2.0
//! A recording, replayed at its own pace.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use retrans_sdk::event::{Clock as TimestampClock, Timestamp};
use retrans_sdk::format::Escaped;
use retrans_sdk::offline::RecordedLines;
use retrans_sdk::offline::Recording;
use retrans_sdk::{Event, Filter};

use super::{About, Progress};
use crate::args::{Input, check_for_recording};
use crate::status::beginning;
use crate::top::model::Counters;

/// The maximum gap between two events. Longer gaps are shortened to it.
const LONGEST_GAP: Duration = Duration::from_secs(10);

pub(crate) struct Recorded {
    lines: RecordedLines,
    /// The next event, which was read but is not due yet.
    next: Option<Event>,
    filter: Filter,
    clock: Clock,
    read: u64,
    filtered: u64,
    pub(super) about: About,
    pub(super) progress: Progress,
}

/// The time in the recording. It stops at the end.
struct Clock {
    speed: f64,
    /// An instant, and the time in the recording at that instant.
    set: (Instant, Timestamp),
}

impl Clock {
    fn set_to(&mut self, ts: Timestamp) {
        self.set = (Instant::now(), ts);
    }

    fn now(&self) -> Timestamp {
        // At infinite speed, the clock shows the time of the last event.
        let passed = if self.speed.is_finite() { self.set.0.elapsed().as_secs_f64() * self.speed } else { 0.0 };
        Timestamp::from_nanos(self.set.1.as_nanos().saturating_add((passed * 1e9) as u64))
    }
}

impl Recorded {
    pub(super) fn open(path: &Path, speed: f64, input: Input, filter: &Filter) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", Escaped::path(path)));
        check_for_recording(filter).map_err(io::Error::other)?;
        let file = File::open(path).map_err(named)?;
        // A regular file never blocks the display, and can be read again for another filter.
        if !file.metadata().map_err(named)?.is_file() {
            return Err(named(io::Error::other("not a regular file")));
        }
        let about = About {
            what: format!("recording {}", Escaped::path(path)),
            observes_failures: None,
            unobservable: Vec::new(),
            clock: TimestampClock::Unknown,
        };
        let mut recorded = Self {
            lines: input.configure(Recording::from_reader(file)).lines().map_err(io::Error::other)?,
            next: None,
            filter: filter.clone(),
            clock: Clock { speed, set: (Instant::now(), Timestamp::from_nanos(0)) },
            read: 0,
            filtered: 0,
            about,
            progress: Progress::GoesOn,
        };
        recorded.advance();
        recorded.about.clock = recorded.lines.clock();
        if let Some(detected) = beginning(&recorded.lines) {
            recorded.about.what += &format!(" ({} from line {})", detected.format, detected.line);
        }
        let first = recorded.next.map_or(Timestamp::from_nanos(0), |event| event.ts);
        recorded.clock.set_to(first);
        Ok(recorded)
    }

    /// Reads the next event.
    fn advance(&mut self) {
        match self.lines.next() {
            Some(Ok(line)) => {
                self.read += 1;
                self.next = Some(line.event);
                return;
            }
            Some(Err(error)) => self.progress = Progress::Broken(error.to_string()),
            None => self.progress = Progress::Ended,
        }
        self.next = None;
        self.clock.speed = 0.0;
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn take(&mut self, deadline: Instant, mut each: impl FnMut(&Event)) {
        while let Some(event) = self.next
            && Instant::now() < deadline
        {
            let now = self.clock.now();
            if event.ts > now {
                let gap = Duration::from_nanos(event.ts.as_nanos() - now.as_nanos());
                if self.clock.speed.is_infinite() {
                    self.clock.set_to(event.ts);
                } else if gap > LONGEST_GAP {
                    let before = event.ts.as_nanos() - LONGEST_GAP.as_nanos() as u64;
                    self.clock.set_to(Timestamp::from_nanos(before));
                    break;
                } else {
                    break;
                }
            }
            if self.filter.matches(&event) {
                each(&event);
            } else {
                self.filtered += 1;
            }
            // At the end, the clock stops at the last event.
            let at = self.clock.now().max(event.ts);
            self.advance();
            if self.next.is_none() {
                self.clock.set_to(at);
            }
        }
    }

    pub(super) fn counters(&self) -> Counters {
        // There are no counters of losses, because a recording does not contain them.
        let delivered = self.read - self.filtered - u64::from(self.next.is_some());
        let mut values = vec![("read", self.read), ("filtered", self.filtered), ("delivered", delivered)];
        if self.lines.skipped() > 0 {
            values.push(("skipped", self.lines.skipped()));
        }
        let losses = self.lines.text_losses();
        values.extend(
            [("text_lost", losses.entries), ("text_lost_unknown", losses.unknown)]
                .into_iter()
                .filter(|(_, lost)| *lost > 0),
        );
        Counters { values: values.into_iter().map(|(key, value)| (key, Some(value))).collect(), seen: None }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("it can be written");
        file
    }

    fn line(ts: &str, result: &str) -> String {
        crate::top::model::tests::event(ts, result, "rto", "10.0.0.1").to_string() + "\n"
    }

    fn take(recorded: &mut Recorded) -> usize {
        let mut count = 0;
        recorded.take(Instant::now() + Duration::from_secs(60), |_| count += 1);
        count
    }

    #[test]
    fn events_are_returned_at_the_requested_speed() {
        let file = file(&(line("100", "denied") + &line("100.2", "denied") + &line("109", "denied")));
        let mut recorded = Recorded::open(file.path(), 1.0, Input::default(), &Filter::default()).expect("a recording");
        assert_eq!(recorded.now().as_nanos() / 100_000_000, 1000);
        assert_eq!(take(&mut recorded), 1);
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(take(&mut recorded), 1);
        assert_eq!((take(&mut recorded), &recorded.progress), (0, &Progress::GoesOn));

        let mut recorded =
            Recorded::open(file.path(), f64::INFINITY, Input::default(), &Filter::default()).expect("a recording");
        assert_eq!((take(&mut recorded), &recorded.progress), (3, &Progress::Ended));
        assert_eq!(recorded.now(), Timestamp::from_nanos(109_000_000_000), "the clock has stopped");
    }

    #[test]
    fn a_long_gap_is_shortened() {
        let file = file(&(line("100", "denied") + &line("1000000", "denied")));
        let mut recorded = Recorded::open(file.path(), 1.0, Input::default(), &Filter::default()).expect("a recording");
        assert_eq!(take(&mut recorded), 1);
        let left = 1_000_000_000_000_000 - recorded.now().as_nanos();
        assert!((9_000_000_000..=10_000_000_000).contains(&left), "{left}");
    }

    #[test]
    fn the_counters_add_up_to_the_lines_read() {
        let text = line("1", "denied") + &line("2", "success") + &line("3", "denied") + "no line\n";
        let file = file(&text);
        let filter = "result=denied".parse().expect("a filter");
        let mut recorded = Recorded::open(file.path(), f64::INFINITY, Input::default(), &filter).expect("a recording");
        assert_eq!(take(&mut recorded), 2);
        let values: Vec<_> =
            recorded.counters().values.into_iter().map(|(_, value)| value.expect("a number")).collect();
        assert_eq!(values, [3, 1, 2]);
        assert_eq!(recorded.progress, Progress::Broken("line 4: column 1: `no` is not key=value".to_owned()));
    }

    #[test]
    fn a_device_is_refused() {
        let error = Recorded::open(Path::new("/dev/null"), 1.0, Input::default(), &Filter::default())
            .map(drop)
            .expect_err("a device");
        assert_eq!(error.to_string(), "/dev/null: not a regular file");
    }
}
