// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict on a boot.

use retrans_lab::Outcome;

use crate::log::Log;

/// The verdict on one boot.
#[derive(Debug)]
pub struct Verdict {
    /// The log of a boot without complaints and faults.
    pub passed: Option<Log>,
    /// Complaints of the kernel or the emulator, and errors of the log.
    pub complaints: Vec<String>,
    /// Failed scenarios, tests, and the demo.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Judges the text of a log. It also considers the complaints on the console, and the live
    /// tests that should have run.
    pub fn of(text: &str, complaints: Vec<String>, tests: &[&str]) -> Self {
        let mut complaints = complaints;
        let log = Log::parse(text).inspect_err(|error| complaints.push(error.to_string())).ok();
        let mut faults = Vec::new();
        if let Some(log) = &log {
            expect_warning(log.has(Outcome::EndSeqError), &mut complaints);
            faults.extend(log.faults());
            let other = log.differs_from(tests);
            complaints.extend(other.map(|test| format!("{test} is in the tree or in the log alone")));
        }
        let good = faults.is_empty() && complaints.is_empty();
        Self { passed: log.filter(|_| good), complaints, faults }
    }
}

/// Requires one warning if it is due, and removes it from the complaints. The kernel must warn only
/// of a segment that ends before `snd_una`, and only once (`WARN_ON_ONCE`).
fn expect_warning(is_due: bool, complaints: &mut Vec<String>) {
    let is_it = |complaint: &String| complaint.starts_with("WARN: ") && complaint.contains(" __tcp_retransmit_skb");
    match complaints.iter().position(is_it) {
        Some(index) if is_due => drop(complaints.remove(index)),
        None if is_due => complaints.push("no warning of a segment that ends before snd_una".to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::complaints_in;
    use crate::log::CellResult;
    use crate::log::tests::log;

    const DUE: &str = "[    9.0] WARNING: CPU: 0 PID: 0 at net/ipv4/tcp_output.c:3400 __tcp_retransmit_skb+0x1/0x2";

    fn log_text(injected: bool) -> String {
        log("6.1", &["tp_err"], |_, outcome| match outcome {
            outcome if outcome.is_injected() && !injected => CellResult::Impossible("no fault injection".to_owned()),
            _ => CellResult::Matches(3),
        })
    }

    fn of(text: &str, console: &str) -> Verdict {
        Verdict::of(text, complaints_in(console), &["a::b"])
    }

    #[test]
    fn a_log_without_complaints_passes() {
        let verdict = of(&log_text(false), "[    0.1] Linux version 6.1\n");
        assert!(verdict.passed.is_some(), "{verdict:?}");
    }

    #[test]
    fn each_complaint_of_the_kernel_fails_the_row() {
        for line in [
            "Kernel panic - not syncing: Fatal exception",
            "[    1.0] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1 dev_queue_xmit+0x1/0x2",
            "[    1.0] BUG: kernel NULL pointer dereference, address: 0",
            "[    1.0] rcu: INFO: rcu_sched self-detected stall on CPU",
            "[    1.0] INFO: task sh:1 blocked for more than 120 seconds.",
            // The expected warning, in a log for which it is not due.
            DUE,
        ] {
            let verdict = of(&log_text(false), line);
            assert!(verdict.passed.is_none() && verdict.complaints.len() == 1, "{line}: {verdict:?}");
        }
    }

    #[test]
    fn end_seq_error_requires_exactly_one_warning() {
        assert!(of(&log_text(true), DUE).passed.is_some());
        let none = of(&log_text(true), "");
        assert_eq!(none.complaints, ["no warning of a segment that ends before snd_una"]);
        assert!(none.passed.is_none());
        let twice = of(&log_text(true), &format!("{DUE}\n{DUE}"));
        assert!(twice.passed.is_none() && twice.complaints.len() == 1, "{twice:?}");
        let another = "[    9.0] WARNING: CPU: 0 PID: 0 at net/core/dev.c:1 dev_queue_xmit+0x1/0x2";
        assert!(of(&log_text(true), &format!("{DUE}\n{another}")).passed.is_none());
    }

    #[test]
    fn the_log_of_a_guest_that_hangs_is_incomplete() {
        let text = log_text(false);
        let torn = text.rsplit_once("test name").unwrap().0;
        let verdict = of(torn, "");
        assert!(verdict.passed.is_none() && verdict.complaints[0].contains("the log is incomplete"), "{verdict:?}");
    }

    #[test]
    fn faults_and_missing_tests_fail_the_row() {
        let failed = log_text(false).replace("result=ok", "result=failed");
        assert_eq!(of(&failed, "").faults, ["a::b"]);
        assert!(of(&log_text(false).replace("demo exit=0", "demo exit=1"), "").passed.is_none());
        let more = Verdict::of(&log_text(false), Vec::new(), &["a::b", "a::c"]);
        assert!(more.passed.is_none() && more.complaints[0].starts_with("a::c is in the tree"), "{more:?}");
    }
}
