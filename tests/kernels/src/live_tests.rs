// SPDX-License-Identifier: MIT OR Apache-2.0
//! The live tests in a guest. Each test runs, or is ignored with the feature that the kernel lacks.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use retrans_lab::command::{Ended, end_of};
use retrans_lab::{Context, Discard, Error, Hold, KernelSupport, Outcome, Refusal, Result};

use crate::image::GUEST_TESTS;
use crate::log::{Test, TestResult};

/// Requirements of the tests that not every kernel meets, found out by trying ([`KernelSupport`]).
/// An entry is a prefix of names. A test without an entry runs on every kernel.
const REQUIREMENTS: &[(&str, &[Requirement])] = &[
    ("applications::", &[As(DENIED)]),
    ("attach_methods::a_failed_synack_is_reported", &[As(Outcome::SynackDenied)]),
    ("drops::", &[As(NFTABLES)]),
    ("field::fastopen_after_syn_timeout", &[As(Outcome::FastopenAfterSynTimeout)]),
    ("field::mtu_in_syn_sent", &[As(Outcome::MtuInSynSent)]),
    ("field::reroute_fail", &[As(Outcome::RerouteFail)]),
    ("field::resume_by_pacing", &[As(Outcome::ResumeByPacing)]),
    ("field::resume_still_queued", &[As(Outcome::ResumeStillQueued)]),
    ("field::zero_window_then_drain", &[As(Outcome::ZeroWindowThenDrain)]),
    ("histogram::", &[As(DENIED)]),
    ("kernel_text::trace_pipe_output_is_replayed", &[As(DENIED), As(TBF)]),
    ("leftovers::nothing_is_left_after_drop", &[As(TBF)]),
    ("leftovers::the_host_is_not_changed", &[As(TBF)]),
    ("leftovers::nothing_is_left_after_a_panic", &[As(TBF)]),
    ("lifecycle::streams_with_different_filters_are_independent", &[As(DENIED)]),
    ("lifecycle::two_streams_report_the_same", &[As(DENIED)]),
    ("rate_limit::", &[As(DENIED)]),
    ("overrun::", &[As(DENIED)]),
    ("overrun::a_hundred_thousand_attempts_are_accounted_for", &[As(EGRESS)]),
    ("owners::", &[As(DENIED)]),
    ("privilege::cap_bpf_and_cap_perfmon_suffice", &[As(DENIED)]),
    ("privilege::counters_are_readable_without_capabilities", &[As(DENIED)]),
    ("reconcile::", &[As(DENIED), As(TBF)]),
    ("reconcile::a_million_segments_add_up", &[As(EGRESS)]),
    ("reconcile::unproven_attempts_are_reported_as_unknown", &[SegmentRoutes]),
    ("reconcile::unknown_attempts_are_printed", &[SegmentRoutes]),
    // They drop the nth packet, like that scenario.
    ("synack_cookie::", &[As(Outcome::Fast)]),
    ("socket_fields::", &[NetnsCookies, As(Outcome::Fast)]),
    // nftables marks the packets of its listener.
    ("socket_fields::synack_fields_are_the_accepted_sockets", &[As(NFTABLES)]),
    // They drop the nth packet, like that scenario.
    ("verdicts::proofs::a_timestamp_proves", &[As(Outcome::Fast)]),
    ("verdicts::a_spurious_timeout_was_unneeded", &[As(Outcome::Fast)]),
    ("filter_harness::", &[Loops]),
    ("wakeups::", &[Loops]),
    ("replay::the_output_of_watch_is_replayed", &[As(DENIED)]),
    ("watch::trace_pipe::fifty_attempts", &[As(DENIED), As(TBF)]),
    ("watch::command_line::json_has_the_keys_and_values_of_the_line", &[As(DENIED)]),
    ("top::live::", &[As(DENIED), As(TBF)]),
    ("watch::filters::", &[As(DENIED), As(TBF)]),
];

/// A requirement of a test.
#[derive(Clone, Copy)]
enum Requirement {
    /// The requirements of this scenario.
    As(Outcome),
    /// The BPF helper `bpf_loop`, since Linux 5.17.
    Loops,
    /// Routes with IPv6 segment routing.
    SegmentRoutes,
    /// The socket option SO_NETNS_COOKIE, since Linux 5.14.
    NetnsCookies,
}
use Requirement::{As, Loops, NetnsCookies, SegmentRoutes};

impl Requirement {
    /// Returns the missing feature, if the kernel does not meet the requirement.
    fn lacking(self, lacks: &KernelSupport) -> Option<&'static str> {
        match self {
            As(outcome) => lacks.missing_for(outcome),
            Loops => lacks.missing_bpf_loop(),
            SegmentRoutes => lacks.missing_segment_routes(),
            NetnsCookies => lacks.missing_netns_cookies(),
        }
    }
}

const DENIED: Outcome = Outcome::Denied(Refusal::Drop);
const NFTABLES: Outcome = Outcome::Denied(Refusal::Reject);
const EGRESS: Outcome = Outcome::XmitDrop(Discard::Egress);
const TBF: Outcome = Outcome::InHostQueue(Hold::Qdisc);

/// The number of tests that run at the same time. They wait for timers most of the time.
const THREADS: &str = "8";

/// The limit for all tests of a program.
const LIMIT: Duration = Duration::from_secs(400);

/// Tests without a second run, because counts must add up and wake-ups must arrive every time. If
/// one of them fails, the boot fails, and is repeated as a whole.
const ONCE: [&str; 5] =
    ["accounting::", "overrun::", "reconcile::", "wakeups::no_record_is_stuck", "wakeups::no_wakeup_is_lost"];

/// The limit for the second run of another test. The next constant is the maximum number of second
/// runs of a program: more failures are not an accident.
const AGAIN: Duration = Duration::from_secs(150);
const MOST_AGAIN: usize = 2;

/// Runs the tests whose names have this prefix, one program at a time like `cargo test`. Returns
/// their results in the order of their names. If a test failed, the output of its program goes to
/// standard error.
///
/// # Errors
/// Returns an error if the guest has no list of the tests, or if a requirement names a test that
/// does not exist.
pub(super) fn run(lacks: &KernelSupport, prefix: &str) -> Result<Vec<Test>> {
    let list = fs::read_to_string(GUEST_TESTS).with_context(|| format!("cannot read {GUEST_TESTS}"))?;
    let all: Vec<_> = list.lines().filter_map(|line| line.split_once(' ')).collect();
    let prefixes = REQUIREMENTS.iter().map(|(prefix, _)| *prefix).chain(ONCE);
    let stale = prefixes.into_iter().find(|prefix| !all.iter().any(|(name, _)| name.starts_with(prefix)));
    if let Some(prefix) = stale {
        return Err(Error::new(format!("no test has the prefix {prefix}, which a requirement names")));
    }
    let mut programs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for &(name, program) in all.iter().filter(|(name, _)| name.starts_with(prefix)) {
        programs.entry(program).or_default().push(name);
    }
    let mut tests = Vec::new();
    for (program, names) in programs {
        let began = Instant::now();
        tests.extend(of_program(program, &names, lacks)?);
        eprintln!("{program}: {:.1} s", began.elapsed().as_secs_f64());
    }
    tests.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tests)
}

/// Returns the feature that the kernel lacks for a test.
fn lacking(name: &str, lacks: &KernelSupport) -> Option<&'static str> {
    let requirements = REQUIREMENTS.iter().filter(|(prefix, _)| name.starts_with(prefix)).flat_map(|(_, all)| *all);
    requirements.into_iter().find_map(|requirement| requirement.lacking(lacks))
}

/// Returns the name of a test without the name of its program.
fn inner(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, inner)| inner)
}

fn of_program(program: &str, names: &[&str], lacks: &KernelSupport) -> Result<Vec<Test>> {
    let lacking: BTreeMap<&str, &str> = names.iter().filter_map(|name| Some((*name, lacking(name, lacks)?))).collect();
    let possible: Vec<_> = names.iter().copied().filter(|name| !lacking.contains_key(name)).collect();
    let ran = ran(program, &possible, THREADS, LIMIT);
    let (mut tests, mut again) = (Vec::new(), 0);
    for name in names {
        let mut test = Test { name: (*name).to_owned(), result: TestResult::NoResult, again: false };
        match (lacking.get(name), ran.get(name)) {
            (Some(why), _) => test.result = TestResult::Ignored((*why).to_owned()),
            (None, Some(TestResult::Passed)) => test.result = TestResult::Passed,
            (None, Some(result)) if again == MOST_AGAIN || is_once(name) => test.result = result.clone(),
            // An emulated kernel may be late by seconds, in particular while other tests run. The
            // log records that this was the second run.
            _ => {
                test.result = self::ran(program, &[name], "1", AGAIN).remove(name).unwrap_or(TestResult::NoResult);
                test.again = true;
                again += 1;
            }
        }
        tests.push(test);
    }
    Ok(tests)
}

fn is_once(name: &str) -> bool {
    ONCE.iter().any(|prefix| name.starts_with(prefix))
}

/// Runs these tests and returns their results. If a test did not pass, the output of the program
/// goes to standard error.
fn ran<'a>(program: &str, names: &[&'a str], threads: &str, limit: Duration) -> BTreeMap<&'a str, TestResult> {
    if names.is_empty() {
        // Without a name the program would run all of its tests.
        return BTreeMap::new();
    }
    let mut command = Command::new(program);
    command.args(["--ignored", "--exact", "--test-threads", threads]).args(names.iter().map(|name| inner(name)));
    let (said, stderr) = match end_of(limit, command) {
        Ok(Ended { stdout, stderr, .. }) => (stdout, stderr),
        // The error contains its output.
        Err(error) => (error.to_string(), String::new()),
    };
    let ran: BTreeMap<_, _> = names.iter().map(|name| (*name, result_of(&said, inner(name)))).collect();
    if ran.values().any(|result| *result != TestResult::Passed) {
        eprintln!("{said}{stderr}");
    }
    ran
}

/// Reads the result of a test from the output of its program.
fn result_of(said: &str, test: &str) -> TestResult {
    let result = said.lines().find_map(|line| line.strip_prefix("test ")?.strip_prefix(test)?.strip_prefix(" ... "));
    match result {
        Some("ok") => TestResult::Passed,
        Some(_) => TestResult::Failed,
        None => TestResult::NoResult,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_did_not_end_has_no_result() {
        let said =
            "\nrunning 3 tests\ntest a ... ok\ntest b::a ... FAILED\ntest b has been running for over 60 seconds\n";
        assert_eq!(result_of(said, "a"), TestResult::Passed);
        assert_eq!(result_of(said, "b::a"), TestResult::Failed);
        assert_eq!(result_of(said, "b"), TestResult::NoResult);
        assert_eq!(result_of("", "a"), TestResult::NoResult);
    }

    #[test]
    fn inner_removes_the_name_of_the_program() {
        assert_eq!(inner("watch::filters::a_filter"), "filters::a_filter");
    }
}
