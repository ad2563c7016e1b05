// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines that a guest writes.
//!
//! Each line is a word and `key=value` pairs: `kernel` once, from the host; `guest` once; `demo`
//! with its exit status, and once for each line of its table; `check` with the differences between
//! the kernel's enums and the tables; `families` with the families that the scenarios run over;
//! `source` for each attach method that opened; `cell` for each scenario, family and attach method;
//! `kinds` for each attach method, with the number of its attempts; `test` for each live test;
//! `done` with the number of cells and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use retrans_lab::{Context, Error, Family, Outcome, Result, Trial};

use crate::patched_kernels;

/// Returns the name of a family.
pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
        Family::Mapped => "mapped",
    }
}

/// The attempts of the scenarios that an attach method reported as expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// The name of the attach method.
    pub source: String,
    /// The number of attempts.
    pub attempts: usize,
    /// The number of attempts whose kind is unknown.
    pub unknown: usize,
    /// The number of attempts whose kind was compared with a call stack.
    pub compared: usize,
    /// True if the streams had observed the exits of all attempts of the scenarios, so that no
    /// failure was unobservable.
    pub observed: bool,
}

/// Returns the value of the key `failures`.
pub(crate) fn failures_word(observed: bool) -> &'static str {
    if observed { "observed" } else { "unobservable" }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, attempts, unknown, compared, observed } = self;
        let failures = failures_word(*observed);
        write!(f, "kinds source={source} failures={failures} attempts={attempts} unknown={unknown} compared={compared}")
    }
}

/// The limit for the attempts whose kind may be unknown: less than one in this number.
const UNKNOWN_LIMIT: usize = 100;

/// Returns the limit for the attempts whose kind is compared with a call stack: one in this number.
///
/// Before Linux 6.17, the tracepoint writes a stack for successes only: for 155 of 340 attempts of
/// 6.1. Linux 5.10 writes no stack for an attempt that interrupts the idle task, and only one in 33
/// in a guest interrupts another one.
fn compared_limit(series: &str) -> usize {
    if series == "5.10" { 100 } else { 4 }
}

/// The result of one scenario over one family by one attach method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The release of the kernel.
    pub kernel: String,
    /// The attach method of the stream.
    pub source: String,
    /// The scenario and the setting of tail loss probes ([`Trial::name`]).
    pub outcome: String,
    /// The address family.
    pub family: String,
    /// The stream's report.
    pub result: CellResult,
    /// True if this is the result of a repetition, in which the scenario ran without those that had
    /// succeeded.
    pub again: bool,
}

/// The report of a stream on a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellResult {
    /// The stream reported this number of events, all as expected, and both cross-checks match.
    Matches(usize),
    /// The same as [`Matches`](Self::Matches), but this attach method does not see the attempts
    /// that define the scenario. The number counts the other attempts of the socket.
    Unobservable(usize),
    /// This kernel cannot run the scenario. The string is the reason.
    Impossible(String),
    /// Anything else, after this number of events.
    Differs(usize),
}

impl Cell {
    /// Returns the reason why this kernel cannot run the scenario, if it cannot.
    pub fn impossible(&self) -> Option<&str> {
        match &self.result {
            CellResult::Impossible(why) => Some(why),
            _ => None,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, source, outcome, family, result, again } = self;
        write!(f, "cell kernel={kernel} source={source} outcome={outcome} family={family} ")?;
        match result {
            CellResult::Matches(events) => write!(f, "events={events} matches=yes"),
            CellResult::Unobservable(events) => write!(f, "events={events} matches=yes why=unobservable"),
            CellResult::Impossible(why) => write!(f, "events=- matches=- why={}", why.replace(' ', "_")),
            CellResult::Differs(events) => write!(f, "events={events} matches=no"),
        }?;
        if *again { f.write_str(" again=yes") } else { Ok(()) }
    }
}

/// A live test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its program and its name: `program::test`.
    pub name: String,
    /// Its result.
    pub result: TestResult,
    /// True if this is the result of a second run, in which the test ran alone.
    pub again: bool,
}

/// The result of a live test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestResult {
    /// Passed.
    Passed,
    /// Failed.
    Failed,
    /// The program printed no result: it died or exceeded the limit.
    NoResult,
    /// The test was ignored because this kernel lacks a requirement. The string names it.
    Ignored(String),
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "test name={} ", self.name)?;
        match &self.result {
            TestResult::Passed if self.again => write!(f, "result=ok again=yes"),
            TestResult::Passed => write!(f, "result=ok"),
            TestResult::Failed => write!(f, "result=failed"),
            TestResult::NoResult => write!(f, "result=failed why=no_result"),
            TestResult::Ignored(why) => write!(f, "result=ignored why={}", why.replace(' ', "_")),
        }
    }
}

/// An attach method with which a stream could be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name, such as `tp_enum_alone`.
    pub name: String,
    /// The probe that is attached in addition to it.
    pub companion: Option<String>,
    /// True if it sees attempts that failed.
    pub observes_failures: bool,
}

/// One line of the demo's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoRow {
    /// The scenario, in the words of the demo.
    pub scenario: String,
    /// The other cells, without the number of events, which varies from boot to boot.
    pub result: DemoResult,
}

/// The demo's report on a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemoResult {
    /// Result, class, kind, errno, and whether the kernel's own text matches.
    Events(String),
    /// This kernel cannot run the scenario. The string is the reason.
    Impossible(String),
}

/// The results of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The name of the kernel in the list: the first two parts of its version, and for a patched
    /// kernel also its numbering.
    pub series: String,
    /// The packages that were booted, as `NAME=VERSION`, separated by commas.
    pub packages: String,
    /// The release that the kernel reports.
    pub release: String,
    /// Differences between the kernel's enums and the tables.
    pub findings: Vec<String>,
    /// The names of the families that the scenarios ran over.
    pub families: Vec<String>,
    /// The attach methods that opened, in the order in which they were tried.
    pub methods: Vec<Method>,
    /// The scenarios.
    pub cells: Vec<Cell>,
    /// The attempts of each attach method.
    pub kinds: Vec<Kinds>,
    /// The live tests.
    pub tests: Vec<Test>,
    /// True if the demo exited with status 0.
    pub demo: bool,
    /// The lines of the demo's table.
    pub demo_rows: Vec<DemoRow>,
}

impl Log {
    /// Reads the lines.
    ///
    /// # Errors
    /// Returns an error if a line is malformed, missing, or duplicate.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut series, mut packages, mut release, mut demo, mut done) = (None, None, None, None, false);
        let (mut methods, mut cells, mut findings, mut tests) = (Vec::new(), Vec::new(), None, Vec::new());
        let (mut families, mut demo_lines, mut kinds) = (None, Vec::new(), Vec::new());
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let refused = || format!("malformed line: {line:?}");
            if done {
                return Err(Error::new(format!("after the end: {line:?}")));
            }
            match word {
                "kernel" => {
                    packages = Some(owned(&pairs(rest), "packages").with_context(refused)?);
                    series = Some(owned(&pairs(rest), "series").with_context(refused)?);
                }
                "guest" => release = Some(owned(&pairs(rest), "release").with_context(refused)?),
                "check" => findings = Some(findings_of(&owned(&pairs(rest), "findings").with_context(refused)?)),
                "families" => {
                    families =
                        Some(families_of(&owned(&pairs(rest), "names").with_context(refused)?).with_context(refused)?)
                }
                "source" => methods.push(method(&pairs(rest)).with_context(refused)?),
                "cell" => cells.push(cell(&pairs(rest)).with_context(refused)?),
                "kinds" => kinds.push(kinds_of(&pairs(rest)).with_context(refused)?),
                "test" => tests.push(test(&pairs(rest)).with_context(refused)?),
                "demo" => match rest.strip_prefix("| ") {
                    Some(line) => demo_lines.push(line),
                    None => demo = Some(owned(&pairs(rest), "exit").with_context(refused)? == "0"),
                },
                "done" => {
                    for (what, there) in [("cells", cells.len()), ("tests", tests.len())] {
                        let count: usize = owned(&pairs(rest), what)?.parse().with_context(refused)?;
                        if count != there {
                            return Err(Error::new(format!("{there} {what}, not {count}")));
                        }
                    }
                    done = true;
                }
                _ => return Err(Error::new(refused())),
            }
        }
        if !done {
            let last = text.lines().last().unwrap_or("nothing");
            return Err(Error::new(format!("the log is incomplete; its last line: {last}")));
        }
        let series = series.ok_or_else(|| Error::new("no kernel line"))?;
        let release = release.ok_or_else(|| Error::new("no guest line"))?;
        let packages = packages.ok_or_else(|| Error::new("no packages"))?;
        let demo = demo.ok_or_else(|| Error::new("no demo line"))?;
        let findings = findings.ok_or_else(|| Error::new("no check line"))?;
        let families = families.ok_or_else(|| Error::new("no families line"))?;
        let demo_rows = demo_rows(&demo_lines)?;
        let log = Self { series, packages, release, findings, families, methods, cells, kinds, tests, demo, demo_rows };
        log.is_whole().map(|()| log)
    }

    /// Returns descriptions of everything that failed.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self
            .cells
            .iter()
            .filter(|cell| matches!(cell.result, CellResult::Differs(_)))
            .map(|cell| format!("{} over {} from {}", cell.outcome, cell.family, cell.source))
            .collect();
        if !self.cells.iter().any(|cell| matches!(cell.result, CellResult::Matches(_))) {
            faults.push("no trial".to_owned());
        }
        for Kinds { source, attempts, unknown, compared, observed } in &self.kinds {
            let should_observe = self.methods.iter().any(|method| method.name == *source && method.observes_failures);
            if *observed != should_observe {
                let failures = failures_word(*observed);
                faults.push(format!("the failures of attempts from {source} became {failures}"));
            }
            // Without failures, fewer kinds are proven.
            if *observed && *unknown > 0 && unknown * UNKNOWN_LIMIT >= *attempts {
                faults.push(format!("{unknown} of {attempts} attempts from {source} have an unknown kind"));
            }
            if compared * compared_limit(&self.series) < *attempts {
                faults.push(format!("only {compared} of {attempts} attempts from {source} have a call stack"));
            }
        }
        let failed = self.tests.iter().filter(|test| matches!(test.result, TestResult::Failed | TestResult::NoResult));
        faults.extend(failed.map(|test| test.name.clone()));
        if !self.demo {
            faults.push("the demo".to_owned());
        }
        let differs = patched_kernels::numbering_of(&self.series).map_or(&[][..], |numbering| numbering.differs);
        if self.findings != differs {
            faults.push(format!("the kernel's enums differ from the tables in {:?}", self.findings));
        }
        faults
    }

    /// Returns whether at least one attach method reported this scenario as expected, without tail
    /// loss probes.
    pub fn has(&self, outcome: Outcome) -> bool {
        let name = outcome.to_string();
        self.cells.iter().any(|cell| cell.outcome == name && matches!(cell.result, CellResult::Matches(_)))
    }

    /// Returns the number of live tests that passed.
    pub fn passed(&self) -> usize {
        self.tests.iter().filter(|test| test.result == TestResult::Passed).count()
    }

    /// Returns the first test that exists only in the log or only in the tree.
    pub fn differs_from(&self, tree: &[&str]) -> Option<String> {
        let here: BTreeSet<_> = self.tests.iter().map(|test| &*test.name).collect();
        let there: BTreeSet<_> = tree.iter().copied().collect();
        here.symmetric_difference(&there).next().map(|test| (*test).to_owned())
    }

    /// Checks that each attach method has exactly one result for each scenario over each of the
    /// families.
    fn is_whole(&self) -> Result<()> {
        let mut seen = BTreeMap::new();
        for cell in &self.cells {
            if cell.kernel != self.release {
                return Err(Error::new(format!("a cell of another kernel: {cell}")));
            }
            *seen.entry((&*cell.source, cell.outcome.clone(), &*cell.family)).or_insert(0) += 1;
        }
        for Method { name: source, .. } in &self.methods {
            if self.kinds.iter().filter(|kinds| kinds.source == *source).count() != 1 {
                return Err(Error::new(format!("not exactly one line of kinds from {source}")));
            }
            for outcome in Trial::names() {
                for family in &self.families {
                    if seen.remove(&(&**source, outcome.clone(), &**family)) != Some(1) {
                        return Err(Error::new(format!(
                            "not exactly one cell of {outcome} over {family} from {source}"
                        )));
                    }
                }
            }
        }
        match seen.keys().next() {
            Some(cell) => Err(Error::new(format!("unexpected cell: {cell:?}"))),
            None => Ok(()),
        }
    }
}

/// Returns the line with the differences between the kernel's enums and the tables.
pub fn findings_line(findings: &[String]) -> String {
    let said = findings.iter().map(|finding| finding.replace(' ', "+")).collect::<Vec<_>>().join(";");
    format!("check findings={}", if said.is_empty() { "-" } else { &said })
}

fn findings_of(said: &str) -> Vec<String> {
    said.split(';').filter(|finding| *finding != "-").map(|finding| finding.replace('+', " ")).collect()
}

/// Reads the names of families, at least one, without repetition and in the order of
/// [`Family::ALL`].
fn families_of(names: &str) -> Result<Vec<String>> {
    let known = Family::ALL.map(family_name);
    let named: Vec<_> = known.into_iter().filter(|name| names.split(',').any(|other| other == *name)).collect();
    if named.is_empty() || named.join(",") != names {
        return Err(Error::new(format!("not families: {names:?}")));
    }
    Ok(named.into_iter().map(str::to_owned).collect())
}

fn method(pairs: &Pairs<'_>) -> Result<Method> {
    let companion = owned(pairs, "companion")?;
    let observes_failures = failures(pairs)?;
    Ok(Method { name: owned(pairs, "source")?, companion: (companion != "-").then_some(companion), observes_failures })
}

/// Returns true if failures are observed, and false if they are unobservable.
fn failures(pairs: &Pairs<'_>) -> Result<bool> {
    match &*owned(pairs, "failures")? {
        "observed" => Ok(true),
        "unobservable" => Ok(false),
        other => Err(Error::new(format!("failures are neither observed nor unobservable: {other}"))),
    }
}

/// Reads the demo's table. Its first line contains the names of the columns. Leaves out the numbers
/// of events, and the droppers, whose functions differ between builds of a kernel (the live tests
/// compare them with the kernel's text).
fn demo_rows(lines: &[&str]) -> Result<Vec<DemoRow>> {
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let Some((head, lines)) = lines.split_first() else { return Ok(Vec::new()) };
    let head = cells(head);
    if !head.iter().any(|name| name == "events") {
        return Err(Error::new("the demo's table has no column of events"));
    }
    let is_recorded = |name: &str| !["events", "dropped by"].contains(&name);
    let row = |line: &&str| {
        let mut row = cells(line);
        let result = match row.len() {
            2 => DemoResult::Impossible(row.swap_remove(1)),
            columns if columns == head.len() => {
                let cells = row.drain(1..).zip(&head[1..]).filter(|(_, name)| is_recorded(name));
                DemoResult::Events(cells.map(|(cell, _)| cell).collect::<Vec<_>>().join(" "))
            }
            _ => return Err(Error::new(format!("not a line of the demo's table: {line:?}"))),
        };
        Ok(DemoRow { scenario: row.swap_remove(0), result })
    };
    lines.iter().map(row).collect()
}

type Pairs<'a> = BTreeMap<&'a str, &'a str>;

fn pairs(text: &str) -> Pairs<'_> {
    text.split(' ').filter_map(|word| word.split_once('=')).collect()
}

fn owned(pairs: &Pairs<'_>, key: &str) -> Result<String> {
    let value = pairs.get(key).ok_or_else(|| Error::new(format!("no {key}")))?;
    Ok((*value).to_owned())
}

fn cell(pairs: &Pairs<'_>) -> Result<Cell> {
    let events = || owned(pairs, "events")?.parse().context("not a number of events");
    let result = match (*pairs.get("matches").unwrap_or(&""), pairs.get("why")) {
        ("yes", None) => CellResult::Matches(events()?),
        ("yes", Some(&"unobservable")) => CellResult::Unobservable(events()?),
        ("-", Some(why)) => CellResult::Impossible(why.replace('_', " ")),
        ("no", None) => CellResult::Differs(events()?),
        _ => return Err(Error::new("a scenario with no valid result")),
    };
    let [kernel, source, outcome, family] = ["kernel", "source", "outcome", "family"].map(|key| owned(pairs, key));
    let again = pairs.get("again") == Some(&"yes");
    Ok(Cell { kernel: kernel?, source: source?, outcome: outcome?, family: family?, result, again })
}

fn kinds_of(pairs: &Pairs<'_>) -> Result<Kinds> {
    let number = |key| owned(pairs, key)?.parse().with_context(|| format!("{key} is not a number"));
    let [attempts, unknown, compared] = [number("attempts")?, number("unknown")?, number("compared")?];
    Ok(Kinds { source: owned(pairs, "source")?, attempts, unknown, compared, observed: failures(pairs)? })
}

fn test(pairs: &Pairs<'_>) -> Result<Test> {
    let result = match (*pairs.get("result").unwrap_or(&""), pairs.get("why")) {
        ("ok", None) => TestResult::Passed,
        ("failed", None) => TestResult::Failed,
        ("failed", Some(&"no_result")) => TestResult::NoResult,
        ("ignored", Some(why)) => TestResult::Ignored(why.replace('_', " ")),
        _ => return Err(Error::new("no result of a test")),
    };
    let again = pairs.get("again") == Some(&"yes");
    Ok(Test { name: owned(pairs, "name")?, result, again })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a log of a series. The closure `result` returns each result.
    pub(crate) fn log(series: &str, sources: &[&str], result: impl Fn(&str, Outcome) -> CellResult) -> String {
        let mut lines =
            format!("kernel series={series} packages=p={series}.9-1\nguest release={series}.9\ncheck findings=-\n");
        lines += &format!("families names={}\n", Family::ALL.map(family_name).join(","));
        let mut count = 0;
        for source in sources {
            lines += &format!("source source={source} companion=- failures=observed\n");
            let name = (*source).to_owned();
            let kinds = Kinds { source: name, attempts: 300, unknown: 2, compared: 75, observed: true };
            lines += &format!("{kinds}\n");
            for (outcome, probes) in Trial::all() {
                for family in Family::ALL.map(family_name).map(str::to_owned) {
                    let [kernel, source] = [&format!("{series}.9"), *source].map(str::to_owned);
                    let (result, outcome) = (result(&source, outcome), Trial::name(outcome, probes));
                    lines += &format!("{}\n", Cell { kernel, source, outcome, family, result, again: false });
                    count += 1;
                }
            }
        }
        lines
            + &format!(
                "demo exit=0\ndemo | scenario  result  events  match\ndemo | a loss   success       3  yes\n\
                 test name=a::b result=ok\ndone cells={count} tests=1\n"
            )
    }

    #[test]
    fn the_result_of_each_test_is_read() {
        let log = |result: &str| {
            let log = log("6.1", &["tp_err"], |_, _| CellResult::Matches(3));
            Log::parse(&log.replace("result=ok", result))
        };
        let passed = log("result=ok").unwrap();
        assert_eq!((passed.passed(), passed.faults()), (1, vec![]));
        for failed in ["result=failed", "result=failed why=no_result"] {
            let failed = log(failed).unwrap();
            assert_eq!((failed.passed(), failed.faults()), (0, vec!["a::b".to_owned()]));
        }
        for none in ["result=ignored", "result=perhaps", "result=ok why=so"] {
            assert!(log(none).is_err(), "{none}");
        }
        let again = log("result=ok again=yes").unwrap();
        assert_eq!((again.passed(), again.tests[0].again), (1, true));
        assert_eq!(again.tests[0].to_string(), "test name=a::b result=ok again=yes");
        let lacking = log("result=ignored why=no_tbf").unwrap();
        assert_eq!(lacking.tests[0].to_string(), "test name=a::b result=ignored why=no_tbf");
        assert_eq!((lacking.passed(), lacking.faults()), (0, vec![]));
        assert_eq!(passed.differs_from(&["a::b"]), None);
        assert_eq!(passed.differs_from(&["a::b", "a::c"]).as_deref(), Some("a::c"));
        assert_eq!(passed.differs_from(&[]).as_deref(), Some("a::b"));
    }

    #[test]
    fn the_demos_table_is_read_without_its_counts() {
        let row = |scenario: &str, result| DemoRow { scenario: scenario.to_owned(), result };
        let head = "scenario                 result   kind  events  matches kernel";
        let rows = demo_rows(&[
            head,
            "a segment is lost, so    success  rto        3  yes",
            "the egress drops it      no egress hook",
        ]);
        let expected = [
            row("a segment is lost, so", DemoResult::Events("success rto yes".to_owned())),
            row("the egress drops it", DemoResult::Impossible("no egress hook".to_owned())),
        ];
        assert_eq!(rows.unwrap(), expected);
        let with_droppers = demo_rows(&[
            "scenario  result   events  dropped by                      matches kernel",
            "a rule    denied        3  NETFILTER_DROP at nft_do_chain  yes",
        ]);
        assert_eq!(with_droppers.unwrap(), [row("a rule", DemoResult::Events("denied yes".to_owned()))]);
        assert_eq!(demo_rows(&[]).unwrap(), []);
        assert!(demo_rows(&[head, "a  b  c"]).is_err());
        assert!(demo_rows(&["no such column"]).is_err());
    }

    #[test]
    fn a_written_log_is_read_back() {
        for result in [
            CellResult::Matches(3),
            CellResult::Unobservable(1),
            CellResult::Impossible("no egress hook".to_owned()),
            CellResult::Differs(1),
        ] {
            let log = Log::parse(&log("6.1", &["tp_err", "fexit"], |_, _| result.clone())).unwrap();
            assert_eq!((&*log.series, &*log.release, log.demo), ("6.1", "6.1.9", true));
            assert_eq!(log.methods.iter().map(|method| &*method.name).collect::<Vec<_>>(), ["tp_err", "fexit"]);
            assert!(log.cells.iter().all(|cell| cell.result == result));
            assert_eq!(log.faults().is_empty(), matches!(result, CellResult::Matches(_)));
        }
    }

    #[test]
    fn a_repeated_scenario_is_read_back() {
        let whole = log("6.1", &["tp_err"], |_, _| CellResult::Matches(3));
        let cell = whole.lines().find(|line| line.starts_with("cell ")).unwrap();
        let again = Log::parse(&whole.replacen(cell, &format!("{cell} again=yes"), 1)).unwrap();
        let repeated: Vec<_> = again.cells.iter().filter(|cell| cell.again).map(ToString::to_string).collect();
        assert_eq!(repeated, [format!("{cell} again=yes")]);
        assert!(Log::parse(&whole).unwrap().cells.iter().all(|cell| !cell.again));
    }

    #[test]
    fn unknown_kinds_and_missing_stacks_are_faults() {
        let whole = log("6.1", &["tp_err"], |_, _| CellResult::Matches(3));
        let line = "kinds source=tp_err failures=observed attempts=300 unknown=2 compared=75";
        let faults = |with: &str, whole: &str| Log::parse(&whole.replace(line, with)).unwrap().faults();
        assert_eq!(faults(line, &whole), Vec::<String>::new());
        let unknown = line.replace("unknown=2", "unknown=3");
        assert_eq!(faults(&unknown, &whole), ["3 of 300 attempts from tp_err have an unknown kind"]);
        let few = line.replace("compared=75", "compared=74");
        assert_eq!(faults(&few, &whole), ["only 74 of 300 attempts from tp_err have a call stack"]);
        let old = log("5.10", &["tp_err"], |_, _| CellResult::Matches(3));
        for (compared, faulty) in [("compared=3", false), ("compared=2", true)] {
            assert_eq!(faults(&line.replace("compared=75", compared), &old).is_empty(), !faulty, "{compared}");
        }
        let another = line.replace("tp_err", "fexit");
        let neither = line.replace("=observed", "=perhaps");
        for wrong in ["", &another, &neither, "kinds source=tp_err failures=observed attempts=many"] {
            assert!(Log::parse(&whole.replace(line, wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn failures_that_become_unobservable_are_a_fault() {
        let whole = log("5.10", &["kretprobe"], |_, _| CellResult::Matches(3));
        let line = "kinds source=kretprobe failures=observed";
        let disturbed =
            whole.replace(line, "kinds source=kretprobe failures=unobservable").replace("unknown=2", "unknown=9");
        let faults = Log::parse(&disturbed).unwrap().faults();
        assert_eq!(faults, ["the failures of attempts from kretprobe became unobservable"]);
        let blind = disturbed.replace("companion=- failures=observed", "companion=- failures=unobservable");
        assert_eq!(Log::parse(&blind).unwrap().faults(), Vec::<String>::new());
    }

    #[test]
    fn findings_are_read_back() {
        let findings = ["TCP_RETRANS_NOMEM = 4 is in no table", "TCP_CA_X is missing"].map(str::to_owned).to_vec();
        let line = findings_line(&findings);
        assert_eq!(line, "check findings=TCP_RETRANS_NOMEM+=+4+is+in+no+table;TCP_CA_X+is+missing");
        let whole = log("6.1", &["tp_err"], |_, _| CellResult::Matches(3)).replace("check findings=-", &line);
        let log = Log::parse(&whole).unwrap();
        assert_eq!(log.findings, findings);
        assert_eq!(log.faults().len(), 1);
        assert_eq!(findings_line(&[]), "check findings=-");
    }

    #[test]
    fn an_incomplete_log_is_rejected() {
        let whole = log("6.1", &["tp_err"], |_, _| CellResult::Matches(3));
        let lines: Vec<_> = whole.lines().collect();
        for left_out in [0, 1, 2, 3, 4, 5, 6, lines.len() - 5, lines.len() - 4, lines.len() - 2, lines.len() - 1] {
            let rest: String =
                lines.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, line)| format!("{line}\n")).collect();
            assert!(Log::parse(&rest).is_err(), "without {:?}", lines[left_out]);
        }
        assert!(Log::parse(&format!("{whole}{}\n", lines[5])).is_err(), "more after the end");
        assert!(Log::parse(&whole.replacen("events=3 matches=yes", "events=3 matches=perhaps", 1)).is_err());
        let another = whole.replacen("cell kernel=6.1.9", "cell kernel=6.1.8", 1);
        assert!(Log::parse(&another).unwrap_err().to_string().starts_with("a cell of another kernel"));
        assert!(Log::parse("").is_err());
    }

    /// Returns the log of a guest that ran the scenarios over one family.
    pub(crate) fn sample(whole: &str, family: &str) -> String {
        let families = format!("families names={}", Family::ALL.map(family_name).join(","));
        let of_family = |line: &&str| !line.starts_with("cell ") || line.contains(&format!(" family={family} "));
        let lines: Vec<_> = whole.lines().filter(of_family).collect();
        let cells = lines.iter().filter(|line| line.starts_with("cell ")).count();
        let (_, tests) = whole.rsplit_once(" tests=").unwrap();
        let lines = lines.join("\n").replace(&families, &format!("families names={family}"));
        format!("{}done cells={cells} tests={tests}", lines.rsplit_once("done ").unwrap().0)
    }

    #[test]
    fn a_log_contains_exactly_the_families_that_it_names() {
        let whole = log("6.1", &["tp_err"], |_, _| CellResult::Matches(3));
        let one = sample(&whole, "inet6");
        assert_eq!(Log::parse(&one).unwrap().families, ["inet6"]);
        for names in ["inet", "inet,inet6", "inet6,inet6", "inet6,", "", "mapped,inet6", "ipv6"] {
            assert!(Log::parse(&one.replace("names=inet6", &format!("names={names}"))).is_err(), "{names}");
        }
        assert!(Log::parse(&whole.replace("names=inet,inet6,mapped", "names=inet6")).is_err());
    }
}
