// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attempts as a table, and the counters in words.

use std::fmt::Write as _;
use std::net::SocketAddr;

use retrans_sdk::event::{Clock, Verdict};
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::stats::Failures;
use retrans_sdk::{Event, Stats};

use crate::output::Paint;
use crate::utc::{self, Precision};

/// The lengths of the longest result and the longest kind in the tables.
const RESULT: usize = 16;
const KIND: usize = 17;
/// The length of `255.255.255.255:65535`. After a longer address, the column stays wider.
const ADDRESS: usize = 21;
const STATE: usize = 12;

/// Prints an attempt per row.
pub(crate) struct Table {
    paint: Paint,
    owners: bool,
    clock: Clock,
    local: usize,
    remote: usize,
}

impl Table {
    pub(crate) fn new(paint: Paint, owners: bool, clock: Clock) -> Self {
        Self { paint, owners, clock, local: ADDRESS, remote: ADDRESS }
    }

    /// Sets the clock of the times.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Returns the header row, with its end of line.
    pub(crate) fn header(&self) -> String {
        let Self { local, remote, .. } = *self;
        let time = if self.clock == Clock::Realtime { "TIME (UTC)" } else { "TIME (s)" };
        let mut row = format!(
            "{:<12}  {:<RESULT$}  {:<KIND$}  {:<local$}    {:<remote$}  {:<STATE$}",
            time, "RESULT", "KIND", "LOCAL", "REMOTE", "STATE"
        );
        if self.owners {
            row += "  OWNER";
        }
        self.paint.bold(row.trim_end()) + "\n"
    }

    /// Returns the row of a verdict, with its end of line.
    pub(crate) fn verdict(&mut self, verdict: &Verdict) -> String {
        let [local, remote] = [(verdict.saddr, verdict.sport), (verdict.daddr, verdict.dport)]
            .map(|ends| SocketAddr::from(ends).to_string());
        self.local = self.local.max(local.len());
        self.remote = self.remote.max(remote.len());
        let reason = verdict.why.map(|why| why.to_string()).or(verdict.proof.map(|proof| proof.to_string()));
        let mut row = format!(
            "{:<12}  {:<RESULT$}  {:<KIND$}  {local:<w1$} → {remote:<w2$}  {:<STATE$}",
            utc::time(verdict.ts, self.clock, Precision::Milliseconds),
            verdict.verdict.to_string(),
            reason.unwrap_or_default(),
            verdict.state.to_string(),
            w1 = self.local + 1,
            w2 = self.remote,
        );
        let details = [
            verdict.attempts.map(|attempts| count(attempts.into(), "attempt")),
            verdict.segs.map(|segs| count(segs.into(), "segment")),
            verdict.stall_ms.map(|ms| format!("stalled for {ms} ms")),
            verdict.unacked.filter(|bytes| *bytes > 0).map(|bytes| format!("{bytes} bytes unacknowledged")),
        ];
        row += "  ";
        row += &details.into_iter().flatten().collect::<Vec<_>>().join(", ");
        row.push('\n');
        row
    }

    /// Returns the row of an attempt, with its end of line. `path` is the path of its cgroup.
    pub(crate) fn row(&mut self, event: &Event, path: Option<&str>) -> String {
        let [local, remote] =
            [(event.saddr, event.sport), (event.daddr, event.dport)].map(|ends| SocketAddr::from(ends).to_string());
        self.local = self.local.max(local.len());
        self.remote = self.remote.max(remote.len());
        let result = self.paint.class(event.class(), &format!("{:<RESULT$}", event.result.to_string()));
        let mut row = format!(
            "{:<12}  {result}  {:<KIND$}  {local:<w1$} → {remote:<w2$}  {:<STATE$}",
            utc::time(event.ts, self.clock, Precision::Milliseconds),
            event.kind.to_string(),
            event.state.to_string(),
            w1 = self.local + 1,
            w2 = self.remote,
        );
        if self.owners {
            row += "  ";
            row += &owner(event, path);
        }
        row.truncate(row.trim_end().len());
        if let Some(dropper) = dropper(event) {
            row += &format!("  dropped by {dropper}");
        }
        row.push('\n');
        row
    }
}

/// Returns the reason, place and device of the drop inside an attempt, as far as they are known.
pub(crate) fn dropper(event: &Event) -> Option<String> {
    let reason = event.drop_reason.map(|reason| reason.to_string());
    let place = event.drop_at.map(|place| format!("at {}", place.function()));
    let device = event.drop_dev.map(|device| format!("on {device}"));
    let parts: Vec<_> = [reason, place, device].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn owner(event: &Event, path: Option<&str>) -> String {
    let process = event.pid.map(|pid| match &event.comm {
        Some(comm) => format!("{comm}[{pid}]"),
        None => format!("[{pid}]"),
    });
    match (process, path) {
        (Some(process), Some(path)) => format!("{process} {path}"),
        (Some(text), None) => text,
        (None, Some(path)) => path.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

/// Returns `1 attempt`, `2 attempts`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Returns the counters of all attempts in words.
pub(crate) fn summary(stats: &Stats) -> String {
    let mut text = format!("{} seen", count(stats.seen, "attempt"));
    // Writing to a string cannot fail.
    let _ = match stats.failures {
        Failures::Observed(failures) => write!(text, ", {failures} failed"),
        _ => write!(text, "; failures are not observable with this attach method"),
    };
    let _ = writeln!(text, "; {} shown.", stats.delivered);
    let withheld = [
        (stats.filtered, "excluded by the filter"),
        (stats.limited, "over the rate limit"),
        (stats.lost, "lost: the ring buffer was full"),
        (stats.rejected, "rejected by the predicate"),
        (stats.dropped, "dropped in this process"),
        (stats.missed.unwrap_or_default(), "missed: the kernel skipped the BPF program"),
        (stats.skipped.unwrap_or_default(), "lines skipped"),
        (stats.waiting(), "not read before the end"),
    ];
    for (number, why) in withheld.into_iter().filter(|(number, _)| *number > 0) {
        let _ = writeln!(text, "  {number} {why}");
    }
    if !stats.counts.is_empty() {
        let _ = writeln!(text, "\n{:<RESULT$}  {:<KIND$}  {:>8}  {:>8}", "RESULT", "KIND", "ATTEMPTS", "SEGMENTS");
    }
    for counted in &stats.counts {
        let result = counted.result.map_or_else(|| "other".to_owned(), |result| result.name().to_string());
        let kind = counted.kind.to_string();
        let _ = writeln!(text, "{result:<RESULT$}  {kind:<KIND$}  {:>8}  {:>8}", counted.attempts, counted.segs);
    }
    text
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use retrans_sdk::event::KernelStr;
    use retrans_sdk::{RetransResult, Stream};

    use super::*;

    const PLAIN: Paint = Paint { colors: false };

    fn event(text: &str) -> Event {
        text.parse().expect("a line")
    }

    fn events() -> [Event; 3] {
        [
            event(
                "ts=1795444066.718984846 result=denied err=-1 kind=rto family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 \
                 state=established segs=1 owner=connect pid=4242 comm=curl",
            ),
            event(
                "ts=1795444067.000000000 result=pskb_copy_nobufs err=-105 kind=zero_window_probe family=inet6 saddr=2001:db8::1 \
                 sport=65535 daddr=2001:db8:ffff:ffff:ffff:ffff:ffff:ffff dport=65535 state=new_syn_recv segs=1",
            ),
            event(
                "ts=1795444067.500000000 result=success err=0 kind=tlp family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 dport=443 \
                 state=close_wait segs=1",
            ),
        ]
    }

    #[test]
    fn rows_are_aligned() {
        let mut table = Table::new(PLAIN, true, Clock::Realtime);
        let rows: String = events()
            .iter()
            .zip([Some("/user.slice"), None, None])
            .map(|(event, path)| table.row(event, path))
            .collect();
        assert_snapshot!(table.header() + &rows);
        let mut table = Table::new(PLAIN, false, Clock::Realtime);
        assert!(!(table.header() + &table.row(&events()[0], None)).contains("curl"));
    }

    #[test]
    fn a_row_names_the_dropper() {
        let mut table = Table::new(PLAIN, false, Clock::Realtime);
        let [mut dropped, ..] = events();
        assert!(!table.row(&dropped, None).contains("dropped by"));
        dropped.drop_reason = Some("QDISC_DROP".parse().expect("a reason"));
        dropped.drop_dev = KernelStr::new(b"eth0");
        assert!(table.row(&dropped, None).ends_with("  dropped by QDISC_DROP on eth0\n"));
        dropped.drop_at = Some("__dev_queue_xmit+0xdd1".parse().expect("a symbol"));
        assert!(table.row(&dropped, None).ends_with("  dropped by QDISC_DROP at __dev_queue_xmit on eth0\n"));
    }

    #[test]
    fn verdicts_are_aligned_with_attempts() {
        let verdicts = [
            "what=verdict ts=1795444068.000000000 verdict=ended why=timed_out cookie=17 netns=1 family=inet saddr=10.0.0.1 \
             sport=4000 daddr=10.0.0.2 dport=443 state=established attempts=5 segs=6 total_retrans=6 stall_ms=3011 unacked=100 \
             sk_err=110",
            "what=verdict ts=1795444068.500000000 verdict=unneeded proof=dsack cookie=17 netns=1 family=inet saddr=10.0.0.1 \
             sport=4000 daddr=10.0.0.2 dport=443 state=established segs=1 total_retrans=1",
        ];
        let mut table = Table::new(PLAIN, false, Clock::Realtime);
        let [event, ..] = events();
        let rows = table.row(&event, None);
        let rows = verdicts.iter().fold(rows, |rows, line| rows + &table.verdict(&line.parse().expect("a verdict")));
        assert_snapshot!(table.header() + &rows);
    }

    #[test]
    fn times_of_an_unknown_clock_are_seconds() {
        let mut table = Table::new(PLAIN, false, Clock::Unknown);
        let [mut event, ..] = events();
        event.ts = "17783.867820".parse().expect("seconds");
        let row = table.row(&event, None);
        assert!(table.header().starts_with("TIME (s)      RESULT  "), "{}", table.header());
        assert!(row.starts_with("17783.867     denied  "), "{row}");
    }

    #[test]
    fn a_class_has_its_color() {
        let mut table = Table::new(Paint { colors: true }, false, Clock::Realtime);
        assert!(table.row(&events()[0], None).contains("\u{1b}[31mdenied "));
        assert!(table.row(&events()[2], None).contains("\u{1b}[32msuccess "));
    }

    #[test]
    fn the_counters_are_in_words() {
        let filter = "result!=success".parse().expect("a filter");
        let (script, mut stream) = Stream::builder().filter(filter).mock().expect("a stream");
        for result in [RetransResult::Success, RetransResult::Denied, RetransResult::Denied] {
            script.push(Event::sample(result));
        }
        script.finish();
        assert_eq!(stream.iter().count(), 2);
        assert_snapshot!(summary(&stream.stats()));
    }
}
