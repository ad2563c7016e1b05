// SPDX-License-Identifier: MIT OR Apache-2.0
//! The live tests in a guest: each is run, or it is said what the kernel lacks for it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use retrans_tests::command::{Ended, end_of};
use retrans_tests::{Context, Discard, Error, Hold, Lacks, Outcome, Refusal, Result};

use crate::image::GUEST_TESTS;
use crate::log::{Ran, Test};

/// What the tests take that not every kernel has: whether it is there is found out by trying ([`Lacks`]). All tests of a program
/// where no test is named. What is not in here runs on every kernel.
const TAKE: &[(&str, &[Taken])] = &[
    ("applications::", &[As(DENIED)]),
    ("histogram::", &[As(DENIED)]),
    ("kernel_text::what_tracefs_prints", &[As(DENIED), As(TBF)]),
    ("leftovers::out_of_scope", &[As(TBF)]),
    ("leftovers::the_host_is_as_it_was", &[As(TBF)]),
    ("leftovers::panic", &[As(TBF)]),
    ("lifecycle::streams_with_different_filters", &[As(DENIED)]),
    ("lifecycle::two_streams_see_the_same", &[As(DENIED)]),
    ("limit::", &[As(DENIED)]),
    ("overrun::", &[As(DENIED)]),
    ("overrun::of_a_hundred_thousand_attempts", &[As(EGRESS)]),
    ("owners::", &[As(DENIED)]),
    ("privilege::bpf_and_perfmon_are_enough", &[As(DENIED)]),
    ("privilege::counters_are_read_without_any", &[As(DENIED)]),
    ("reconcile::", &[As(DENIED), As(TBF)]),
    ("reconcile::a_million_segments_add_up", &[As(EGRESS)]),
    ("reconcile::what_nothing_proves_is_unknown_and_said", &[SegmentRoutes]),
    ("reconcile::what_is_unknown_is_printed", &[SegmentRoutes]),
    // The n-th packet is dropped, as in that outcome.
    ("synack_cookie::", &[As(Outcome::Fast)]),
    ("whose::", &[NetnsCookies, As(Outcome::Fast)]),
    // Whose listener's packets nftables marks.
    ("whose::of_a_synack_they_are_the_accepted_sockets", &[As(NFTABLES)]),
    ("filter_harness::", &[Loops]),
    ("wakeups::", &[Loops]),
    ("replay::what_watch_has_written", &[As(DENIED)]),
    ("watch::beside_trace::fifty_attempts", &[As(DENIED), As(TBF)]),
    ("watch::command_line::json_has_the_keys_and_values_of_the_line", &[As(DENIED)]),
    ("top::live::", &[As(DENIED), As(TBF)]),
    ("watch::filters::", &[As(DENIED), As(TBF)]),
];

/// What a test takes.
#[derive(Clone, Copy)]
enum Taken {
    /// What this outcome takes.
    As(Outcome),
    /// The helper by which a BPF program loops, of Linux 5.17.
    Loops,
    /// Routes by IPv6 segments.
    SegmentRoutes,
    /// That a socket tells the cookie of its namespace, of Linux 5.14.
    NetnsCookies,
}
use Taken::{As, Loops, NetnsCookies, SegmentRoutes};

impl Taken {
    /// What the kernel lacks of it.
    fn lacking(self, lacks: &Lacks) -> Option<&'static str> {
        match self {
            As(outcome) => lacks.needed_by(outcome),
            Loops => lacks.helper_for_loops(),
            SegmentRoutes => lacks.segment_routes(),
            NetnsCookies => lacks.netns_cookies(),
        }
    }
}

const DENIED: Outcome = Outcome::Denied(Refusal::Drop);
const NFTABLES: Outcome = Outcome::Denied(Refusal::Reject);
const EGRESS: Outcome = Outcome::XmitDrop(Discard::Egress);
const TBF: Outcome = Outcome::InHostQueue(Hold::Qdisc);

/// Most of the time of most tests is waiting for timers.
const THREADS: &str = "8";

/// For all tests of a program.
const LIMIT: Duration = Duration::from_secs(400);

/// What counts must add up, and what is woken for must come, each time: these are not run once more. If one fails the row does, and is booted
/// again as a whole.
const ONCE: [&str; 5] =
    ["accounting::", "overrun::", "reconcile::", "wakeups::no_record_is_stuck", "wakeups::no_wake_up_is_lost"];

/// For one of the others that is run once more, and for how many of a program that is done: more are no accident.
const AGAIN: Duration = Duration::from_secs(150);
const MOST_AGAIN: usize = 2;

/// Runs those whose names begin so, a program at a time as `cargo test` does, and gives what came of each, in the order of their names. What a
/// program wrote is on standard error if one of its tests failed.
///
/// # Errors
/// When the guest has no list of them, or what a test takes is said of one that does not exist.
pub(super) fn run(lacks: &Lacks, prefix: &str) -> Result<Vec<Test>> {
    let list = fs::read_to_string(GUEST_TESTS).with_context(|| format!("cannot read {GUEST_TESTS}"))?;
    let all: Vec<_> = list.lines().filter_map(|line| line.split_once(' ')).collect();
    let prefixes = TAKE.iter().map(|(prefix, _)| *prefix).chain(ONCE);
    let stale = prefixes.into_iter().find(|prefix| !all.iter().any(|(name, _)| name.starts_with(prefix)));
    if let Some(prefix) = stale {
        return Err(Error::new(format!("no test is called {prefix}…, of which something is said here")));
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

/// What the kernel lacks for a test.
fn lacking(name: &str, lacks: &Lacks) -> Option<&'static str> {
    let takes = TAKE.iter().filter(|(prefix, _)| name.starts_with(prefix)).flat_map(|(_, takes)| *takes);
    takes.into_iter().find_map(|taken| taken.lacking(lacks))
}

/// The name of a test in its program.
fn inner(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, inner)| inner)
}

fn of_program(program: &str, names: &[&str], lacks: &Lacks) -> Result<Vec<Test>> {
    let lacking: BTreeMap<&str, &str> = names.iter().filter_map(|name| Some((*name, lacking(name, lacks)?))).collect();
    let possible: Vec<_> = names.iter().copied().filter(|name| !lacking.contains_key(name)).collect();
    let ran = ran(program, &possible, THREADS, LIMIT);
    let (mut tests, mut again) = (Vec::new(), 0);
    for name in names {
        let mut test = Test { name: (*name).to_owned(), came: Ran::NoResult, again: false };
        match (lacking.get(name), ran.get(name)) {
            (Some(why), _) => test.came = Ran::Lacking((*why).to_owned()),
            (None, Some(Ran::Passed)) => test.came = Ran::Passed,
            (None, Some(came)) if again == MOST_AGAIN || is_once(name) => test.came = came.clone(),
            // What is emulated may be late by seconds, with others beside it all the more. That it did not pass at once is in the log.
            _ => {
                test.came = self::ran(program, &[name], "1", AGAIN).remove(name).unwrap_or(Ran::NoResult);
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

/// What came of each of these. What the program wrote is on standard error if not all passed.
fn ran<'a>(program: &str, names: &[&'a str], threads: &str, limit: Duration) -> BTreeMap<&'a str, Ran> {
    if names.is_empty() {
        // Without a name it would run all.
        return BTreeMap::new();
    }
    let mut command = Command::new(program);
    command.args(["--ignored", "--exact", "--test-threads", threads]).args(names.iter().map(|name| inner(name)));
    let (said, stderr) = match end_of(limit, command) {
        Ok(Ended { stdout, stderr, .. }) => (stdout, stderr),
        // With what it wrote.
        Err(error) => (error.to_string(), String::new()),
    };
    let ran: BTreeMap<_, _> = names.iter().map(|name| (*name, result_of(&said, inner(name)))).collect();
    if ran.values().any(|came| *came != Ran::Passed) {
        eprintln!("{said}{stderr}");
    }
    ran
}

/// From what the program prints of each test.
fn result_of(said: &str, test: &str) -> Ran {
    let result = said.lines().find_map(|line| line.strip_prefix("test ")?.strip_prefix(test)?.strip_prefix(" ... "));
    match result {
        Some("ok") => Ran::Passed,
        Some(_) => Ran::Failed,
        None => Ran::NoResult,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_did_not_end_has_no_result() {
        let said =
            "\nrunning 3 tests\ntest a ... ok\ntest b::a ... FAILED\ntest b has been running for over 60 seconds\n";
        assert_eq!(result_of(said, "a"), Ran::Passed);
        assert_eq!(result_of(said, "b::a"), Ran::Failed);
        assert_eq!(result_of(said, "b"), Ran::NoResult);
        assert_eq!(result_of("", "a"), Ran::NoResult);
    }

    #[test]
    fn a_name_in_its_program() {
        assert_eq!(inner("watch::filters::a_filter"), "filters::a_filter");
    }
}
