// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results of many plays.

use std::collections::BTreeMap;
use std::fmt;

use retrans_lab::{Error, Result};
use retrans_sdk::RetransKind;

use crate::check::Report;

/// The share of attempts of an unknown kind must be below 1 in this number.
const UNKNOWN: usize = 100;

/// The share of scripts that are not supported must be below 1 in this number.
const UNSUPPORTED: usize = 10;

/// The plays of one script, with the name of each variant.
pub type Plays = Vec<(String, Result<Report>)>;

/// The results of all scripts.
#[derive(Debug, Default)]
pub struct Summary {
    /// The plays by script.
    pub scripts: BTreeMap<String, Plays>,
    /// The scripts that are not supported, with the reason.
    pub unsupported: BTreeMap<String, Error>,
}

impl Summary {
    /// Returns what is wrong: a play that failed, or what makes the whole prove too little. Faults
    /// of attempts are printed with the plays.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let sum = |of: fn(&Report) -> usize| self.reports().map(of).sum::<usize>();
        let (attempts, unknown) = (sum(|report| report.events.len()), sum(Report::unknown));
        require(self.scripts.values().flatten().all(|(_, report)| report.is_ok()), "a play failed");
        require(sum(|report| report.faults().count()) == 0, "an attempt differs from the kernel");
        require(attempts > 0, "there were no attempts");
        require(unknown * UNKNOWN < attempts.max(1), "too many attempts are of an unknown kind");
        require(sum(|report| report.compared) > 0, "no kind was compared with a call stack");
        require(self.reports().any(Report::is_followed), "no play followed its script to the end");
        let all = self.scripts.len() + self.unsupported.len();
        require(self.unsupported.len() * UNSUPPORTED < all.max(1), "too many scripts are not supported");
        problems
    }

    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.scripts.values().flat_map(reports)
    }

    /// Returns two numbers of scripts: those for all of whose plays this holds, and those for which
    /// it holds for some plays only.
    fn scripts_with(&self, holds: impl Fn(&Report) -> bool) -> (usize, usize) {
        let (mut all, mut some) = (0, 0);
        for plays in self.scripts.values() {
            let (count, of) = (reports(plays).filter(|report| holds(report)).count(), reports(plays).count());
            all += usize::from(count == of && of > 0);
            some += usize::from(0 < count && count < of);
        }
        (all, some)
    }
}

fn reports(plays: &Plays) -> impl Iterator<Item = &Report> {
    plays.iter().filter_map(|(_, report)| report.as_ref().ok())
}

/// Returns the number of attempts, and of those of each kind, as text.
fn kinds<'a>(reports: impl Iterator<Item = &'a Report>) -> String {
    let mut kinds = BTreeMap::<String, usize>::new();
    for event in reports.flat_map(|report| &report.events) {
        *kinds.entry(event.kind.to_string()).or_default() += 1;
    }
    let each: String = kinds.iter().map(|(kind, count)| format!(" {kind}={count}")).collect();
    format!("attempts={}{each}", kinds.values().sum::<usize>())
}

/// Returns a line with the results of one script.
#[must_use]
pub fn line(plays: &Plays) -> String {
    let followed = reports(plays).filter(|report| report.is_followed()).count();
    let faults = reports(plays).flat_map(Report::faults).count();
    let wrong = if faults > 0 { format!(" WRONG={faults}") } else { String::new() };
    format!("plays={} followed={followed} {}{wrong}", reports(plays).count(), kinds(reports(plays)))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, reason) in &self.unsupported {
            writeln!(f, "not played: {name}: {reason}")?;
        }
        for (variant, report) in self.scripts.values().flatten() {
            match report {
                Err(error) => writeln!(f, "not played: {variant}: {error}")?,
                Ok(report) => {
                    for event in report.of_kind(RetransKind::Unknown) {
                        writeln!(f, "unknown kind: {variant}: {event}")?;
                    }
                    for fault in report.faults() {
                        writeln!(f, "WRONG: {variant}: {fault}")?;
                    }
                }
            }
        }
        let count = |holds: fn(&Report) -> bool| self.reports().filter(|report| holds(report)).count();
        let sum = |of: fn(&Report) -> usize| self.reports().map(of).sum::<usize>();
        let plays = self.reports().count();
        let all = self.scripts.len() + self.unsupported.len();
        let played = self.scripts_with(|_| true).0;
        writeln!(f, "scripts: {all}, played: {played} in {plays} plays, not played: {}", all - played)?;
        let (every, some) = self.scripts_with(Report::is_followed);
        let followed = count(Report::is_followed);
        writeln!(f, "followed to the end: {followed} of {plays} plays; {every} scripts always, {some} sometimes")?;
        let (every, some) = self.scripts_with(|report| !report.events.is_empty());
        writeln!(
            f,
            "with attempts: {} scripts, {} plays; {}",
            every + some,
            count(|report| !report.events.is_empty()),
            kinds(self.reports())
        )?;
        let traced = count(|report| report.trace.is_none());
        writeln!(f, "order, addresses, state and errno equal the trace: {traced} of {plays} plays")?;
        let (compared, contradict) = (sum(|report| report.compared), sum(|report| report.contradictions.len()));
        writeln!(f, "kinds: {compared} compared with their call stacks, {contradict} contradict them")?;
        let attempts = sum(|report| report.events.len());
        let unknown = sum(Report::unknown);
        let percent = unknown as f64 * 100.0 / attempts.max(1) as f64;
        writeln!(f, "kinds unknown: {unknown} of {attempts} ({percent:.2} %)")?;
        writeln!(f, "counters equal: {} of {plays} plays", count(|report| report.counters.is_none()))?;
        let disturbed = count(|report| report.was_disturbed && report.faults().next().is_some());
        writeln!(f, "differ, and the kernel skipped BPF programs: {disturbed} plays")?;
        write!(f, "checks in Python, not run: {}", sum(|report| report.played.assertions))?;
        self.problems().iter().try_for_each(|problem| write!(f, "\nFAILED: {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use retrans_sdk::{Event, RetransResult};

    use super::*;
    use crate::player::Played;

    fn report(kind: RetransKind) -> Report {
        let mut event = Event::sample(RetransResult::Success);
        event.kind = kind;
        Report {
            played: Played { is_complete: true, ..Played::default() },
            events: vec![event],
            trace: None,
            counters: None,
            contradictions: Vec::new(),
            compared: 1,
            was_disturbed: false,
        }
    }

    fn summary(plays: impl IntoIterator<Item = Result<Report>>) -> Summary {
        let plays = plays.into_iter().map(|report| ("a variant".to_owned(), report)).collect();
        Summary { scripts: BTreeMap::from([("a script".to_owned(), plays)]), ..Summary::default() }
    }

    #[test]
    fn a_run_that_proves_too_little_fails() {
        let good = || Ok(report(RetransKind::Rto));
        assert_eq!(summary([good()]).problems(), [""; 0]);
        let change = |change: fn(&mut Report)| {
            let mut report = report(RetransKind::Rto);
            change(&mut report);
            summary([Ok(report)]).problems()
        };
        let differs = "an attempt differs from the kernel";
        assert_eq!(change(|report| report.trace = Some(String::new())), [differs]);
        assert_eq!(change(|report| report.counters = Some(String::new())), [differs]);
        assert_eq!(change(|report| report.contradictions.push(String::new())), [differs]);
        assert_eq!(change(|report| report.compared = 0), ["no kind was compared with a call stack"]);
        assert_eq!(change(|report| report.played.is_complete = false), ["no play followed its script to the end"]);
        assert_eq!(change(|report| report.events.clear())[0], "there were no attempts");
        assert_eq!(summary([good(), Err(Error::new("failed"))]).problems(), ["a play failed"]);
        let unknown = summary([good(), Ok(report(RetransKind::Unknown))]).problems();
        assert_eq!(unknown, ["too many attempts are of an unknown kind"]);
        let mut unsupported = summary([good()]);
        unsupported.unsupported.insert("another".to_owned(), Error::new("not supported"));
        assert_eq!(unsupported.problems(), ["too many scripts are not supported"]);
        assert!(unsupported.to_string().ends_with("\nFAILED: too many scripts are not supported"));
    }
}
