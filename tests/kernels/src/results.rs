// SPDX-License-Identifier: MIT OR Apache-2.0
//! The recorded results of the kernel matrix: `tests/kernels/results.tsv`.
//!
//! # Design
//! The file is evidence, so it contains only results that a second boot must repeat. The number of
//! events of a scenario, the duration of a boot and the tests that passed in their second run vary
//! from boot to boot. They are printed, and not recorded. The file has one form: the code that
//! writes it also reads it, and a line that this code would not have written is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::str::FromStr;

use retrans_lab::{Error, Result, Trial};

use crate::list::order;
use crate::log::{Cell, CellResult, DemoResult, Log, TestResult};

/// The path of the file in the tree.
pub const PATH: &str = "tests/kernels/results.tsv";

/// The first lines of the file.
const HEADER: &str = "\
# SPDX-License-Identifier: MIT OR Apache-2.0
# The results of the kernel matrix, written by `make matrix`; do not edit. docs/kernel-matrix.md explains them.
#
# kernel   the kernel's name in kernels.list
# kind     kernel: what was booted, and `inputs`, the hash of the sources that it was booted with (`-`: older than the hash)
#          check: differences between the kernel's enums and the SDK's tables
#          attach: an attach method that a stream could be opened with
#          scenario: whether the stream reported a scenario as the kernel did, over IPv4, IPv6 and mapped addresses
#          test: a live test
#          demo: a line of the demo's table
# name     of the scenario or test; a scenario with Linux's default tail loss probes has the suffix `/defaults`, and none without probes
# methods  the attach methods that the result is the same for
# result   yes, unobservable (the attempts failed, and the method sees none), impossible: why, passed, ignored: why, or a text
#
# Counts of events, durations and second runs vary from boot to boot. They are not recorded.
# A later boot is compared in all but the lines of kind `kernel`.
";

const COLUMNS: &str = "kernel\tkind\tname\tmethods\tresult";

/// The subject of a line. The variants are in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The kernel that was booted.
    Kernel,
    /// The kernel's enums.
    Check,
    /// An attach method.
    Attach,
    /// A scenario by an attach method.
    Scenario,
    /// A live test.
    Test,
    /// A line of the demo.
    Demo,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Kernel, Self::Check, Self::Attach, Self::Scenario, Self::Test, Self::Demo];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Check => "check",
            Self::Attach => "attach",
            Self::Scenario => "scenario",
            Self::Test => "test",
            Self::Demo => "demo",
        })
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.to_string() == word);
        found.ok_or_else(|| Error::new(format!("unknown kind `{word}`")))
    }
}

/// The subject of a result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The kind of line.
    pub kind: Kind,
    /// The scenario, the test, or another name.
    pub name: String,
    /// The attach method, or `-`.
    pub method: String,
}

impl Key {
    fn new(kind: Kind, name: &str, method: &str) -> Self {
        Self { kind, name: name.to_owned(), method: method.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        if self.method == NONE { Ok(()) } else { write!(f, " by {}", self.method) }
    }
}

/// Used where a column does not apply, or if nothing is known.
const NONE: &str = "-";
const PACKAGES: &str = "packages";
const RELEASE: &str = "release";
const INPUTS: &str = "inputs";

/// The results of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    results: BTreeMap<Key, String>,
}

impl Row {
    /// Creates a row from the log of a guest.
    pub fn of(log: &Log, inputs: &str) -> Self {
        let mut row = Self::default();
        let mut put = |kind, name: &str, method: &str, result: String| {
            row.results.insert(Key::new(kind, name, method), result);
        };
        put(Kind::Kernel, PACKAGES, NONE, log.packages.clone());
        put(Kind::Kernel, RELEASE, NONE, log.release.clone());
        put(Kind::Kernel, INPUTS, NONE, inputs.to_owned());
        let findings = if log.findings.is_empty() { "same".to_owned() } else { log.findings.join("; ") };
        put(Kind::Check, "enums", NONE, findings);
        for method in &log.methods {
            let sees = if method.observes_failures { "observes failures" } else { "observes successes only" };
            let with = method.companion.as_ref().map(|companion| format!(", with {companion}"));
            put(Kind::Attach, "stream", &method.name, format!("{sees}{}", with.unwrap_or_default()));
            for outcome in Trial::names() {
                let cells = log.cells.iter().filter(|cell| cell.source == method.name && cell.outcome == outcome);
                put(Kind::Scenario, &outcome, &method.name, of_families(&cells.collect::<Vec<_>>(), &log.families));
            }
        }
        for test in &log.tests {
            let result = match &test.result {
                TestResult::Passed => "passed".to_owned(),
                TestResult::Failed | TestResult::NoResult => "failed".to_owned(),
                TestResult::Ignored(why) => format!("ignored: {why}"),
            };
            put(Kind::Test, &test.name, NONE, result);
        }
        for line in &log.demo_rows {
            let result = match &line.result {
                DemoResult::Events(words) => words.clone(),
                DemoResult::Impossible(why) => impossible(why),
            };
            put(Kind::Demo, &line.scenario, NONE, result);
        }
        row
    }

    /// Returns the row as if the scenarios had run over these families only.
    #[must_use]
    pub fn over(&self, families: &[String]) -> Self {
        let of = |family: &String, result: &str| {
            let parts = result.split("; ").find_map(|part| part.strip_prefix(&format!("{family} ")));
            (family.clone(), parts.unwrap_or(result).to_owned())
        };
        let project = |result: &str| one_or_each(&families.iter().map(|family| of(family, result)).collect::<Vec<_>>());
        let mut row = self.clone();
        let scenarios = row.results.iter_mut().filter(|(key, _)| key.kind == Kind::Scenario);
        scenarios.for_each(|(_, result)| *result = project(result));
        row
    }

    fn get(&self, kind: Kind, name: &str, method: &str) -> Option<&str> {
        self.results.get(&Key::new(kind, name, method)).map(String::as_str)
    }

    /// Returns the packages that were booted.
    pub fn packages(&self) -> &str {
        self.get(Kind::Kernel, PACKAGES, NONE).unwrap_or(NONE)
    }

    /// Returns the hash of the inputs that the row was booted with.
    pub fn inputs(&self) -> &str {
        self.get(Kind::Kernel, INPUTS, NONE).unwrap_or(NONE)
    }

    /// Returns the attach methods that opened, in alphabetical order, and whether each observes
    /// failures.
    pub fn methods(&self) -> Vec<(&str, bool)> {
        self.of_kind(Kind::Attach).map(|(key, sees)| (&*key.method, sees.starts_with("observes failures"))).collect()
    }

    /// Returns the result of a scenario by an attach method.
    pub fn scenario(&self, scenario: &str, method: &str) -> Option<&str> {
        self.get(Kind::Scenario, scenario, method)
    }

    /// Returns the results of this kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Key, &str)> {
        self.results.iter().filter(move |(key, _)| key.kind == kind).map(|(key, result)| (key, result.as_str()))
    }

    fn names(&self, kind: Kind) -> BTreeSet<&str> {
        self.of_kind(kind).map(|(key, _)| &*key.name).collect()
    }

    /// Returns the reason why this row is older than the tree: another hash of the inputs, or other
    /// names of scenarios or live tests.
    pub fn stale(&self, tree: &Tree) -> Option<String> {
        let names = |what: &str, kind, tree: &BTreeSet<String>| {
            let (recorded, tree) = (self.names(kind), tree.iter().map(String::as_str).collect());
            let first = recorded.symmetric_difference(&tree).next()?;
            let place = if recorded.contains(first) { "the row" } else { "the tree" };
            Some(format!("{what} {first} is only in {place}"))
        };
        names("scenario", Kind::Scenario, &tree.scenarios).or_else(|| names("test", Kind::Test, &tree.tests)).or_else(
            || match self.inputs() {
                NONE => Some("recorded before inputs were hashed".to_owned()),
                inputs if inputs != tree.inputs => Some("the inputs have changed since".to_owned()),
                _ => None,
            },
        )
    }

    /// Compares a boot of the same kernel with this row, except for the lines on the booted
    /// packages. If `tests` is false, live tests are left out.
    ///
    /// A scenario, test or line of the demo whose name exists on only one side is a
    /// [`Difference::Name`]: the tree has added or removed it. Anything else that exists on only
    /// one side, such as an attach method that no longer opens, is a change.
    pub fn compare(&self, booted: &Self, tests: bool) -> Vec<Difference> {
        let compared = |key: &&Key| key.kind != Kind::Kernel && (tests || key.kind != Kind::Test);
        let keys: BTreeSet<&Key> = self.results.keys().chain(booted.results.keys()).filter(compared).collect();
        let has_name = |row: &Self, key: &Key| row.names(key.kind).contains(&*key.name);
        let difference = |key: &Key| {
            let (recorded, now) = (self.results.get(key), booted.results.get(key));
            if recorded == now {
                return None;
            }
            let is_name = matches!(key.kind, Kind::Scenario | Kind::Test | Kind::Demo)
                && (!has_name(self, key) || !has_name(booted, key));
            let is_recorded = recorded.is_some();
            if is_name {
                return Some(Difference::Name { key: key.clone(), is_recorded });
            }
            Some(Difference::Changed { key: key.clone(), recorded: recorded.cloned(), now: now.cloned() })
        };
        keys.into_iter().filter_map(difference).collect()
    }
}

/// The state of the tree, which a current row must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The hash of the inputs.
    pub inputs: String,
    /// The scenarios of the lab.
    pub scenarios: BTreeSet<String>,
    /// The live tests that run in a guest.
    pub tests: BTreeSet<String>,
}

/// A difference between a boot and the recorded results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The result differs, or exists on only one side.
    Changed {
        /// The subject of the result.
        key: Key,
        /// The result that is recorded.
        recorded: Option<String>,
        /// The result of the boot.
        now: Option<String>,
    },
    /// A scenario, a test or a line of the demo whose name exists on only one side.
    Name {
        /// The subject of the result.
        key: Key,
        /// True if the name is in the recorded row.
        is_recorded: bool,
    },
}

impl Difference {
    /// Returns whether a recorded result may be lost, so that a person must accept the change.
    pub fn is_loss(&self) -> bool {
        match self {
            // Every change is a loss, except that a scenario now occurs or a test now passes.
            Self::Changed { key, recorded: Some(_), now } => match key.kind {
                Kind::Scenario => now.as_deref() != Some("yes"),
                Kind::Test => now.as_deref() != Some("passed"),
                _ => true,
            },
            _ => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |result: &Option<String>| result.clone().unwrap_or_else(|| "nothing".to_owned());
        match self {
            Self::Changed { key, recorded, now } => write!(f, "{key}: recorded {}, now {}", word(recorded), word(now)),
            Self::Name { key, is_recorded: true } => write!(f, "{key}: recorded, but not in this boot"),
            Self::Name { key, is_recorded: false } => write!(f, "{key}: not recorded"),
        }
    }
}

fn impossible(why: &str) -> String {
    format!("impossible: {why}")
}

/// Returns the results of one scenario over these families.
fn of_families(cells: &[&Cell], families: &[String]) -> String {
    let result = |cell: &Cell| match &cell.result {
        CellResult::Matches(_) => "yes".to_owned(),
        CellResult::Unobservable(_) => "unobservable".to_owned(),
        CellResult::Impossible(why) => impossible(why),
        CellResult::Differs(_) => "failed".to_owned(),
    };
    let of_family = |family: &String| {
        let cell = cells.iter().find(|cell| cell.family == *family);
        (family.clone(), cell.map_or_else(|| "failed".to_owned(), |cell| result(cell)))
    };
    one_or_each(&families.iter().map(of_family).collect::<Vec<_>>())
}

/// Returns one word if all families have the same result, else one for each family.
fn one_or_each(all: &[(String, String)]) -> String {
    match all {
        [(_, first), rest @ ..] if rest.iter().all(|(_, it)| it == first) => first.clone(),
        _ => all.iter().map(|(family, result)| format!("{family} {result}")).collect::<Vec<_>>().join("; "),
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    rows: BTreeMap<String, Row>,
}

impl Results {
    /// Reads the file.
    ///
    /// # Errors
    /// Returns an error with the number of the first line that differs from the output of
    /// [`Display`](fmt::Display), or with the line that a kernel lacks.
    pub fn parse(text: &str) -> Result<Self> {
        let mut results = Self::default();
        let mut has_columns = false;
        for (index, line) in text.lines().enumerate() {
            let at = |error: Error| Error::new(format!("line {}: {error}", index + 1));
            if line.starts_with('#') {
                continue;
            }
            if has_columns {
                results.take(line).map_err(at)?;
            } else if line == COLUMNS {
                has_columns = true;
            } else {
                return Err(at(Error::new(format!("the columns are not {COLUMNS:?}"))));
            }
        }
        for (kernel, row) in &results.rows {
            for name in [PACKAGES, RELEASE, INPUTS] {
                if row.get(Kind::Kernel, name, NONE).is_none() {
                    return Err(Error::new(format!("{kernel} has no line of its {name}")));
                }
            }
            if row.of_kind(Kind::Attach).next().is_none() {
                return Err(Error::new(format!("{kernel} has no attach method")));
            }
        }
        let right = results.to_string();
        let differs = (1..).zip(text.lines().zip(right.lines())).find(|(_, (is, right))| is != right);
        if let Some((number, (_, right))) = differs {
            return Err(Error::new(format!(
                "line {number}: out of place, or edited: `make matrix` writes {right:?} here"
            )));
        }
        if text != right {
            return Err(Error::new(format!(
                "line {}: the end is not as `make matrix` writes it",
                text.lines().count()
            )));
        }
        Ok(results)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let [kernel, kind, name, methods, result] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(Error::new(format!("not five columns: {line:?}")));
        };
        order(kernel).ok_or_else(|| Error::new(format!("not the name of a kernel: {kernel:?}")))?;
        let kind = kind.parse()?;
        check_result(kind, name, result)?;
        let row = self.rows.entry(kernel.to_owned()).or_default();
        for method in methods.split(',') {
            let key = Key::new(kind, name, method);
            if row.results.insert(key.clone(), result.to_owned()).is_some() {
                return Err(Error::new(format!("duplicate result of {key} on {kernel}")));
            }
        }
        Ok(())
    }

    /// Returns the kernels and their rows, older ones first.
    pub fn rows(&self) -> Vec<(&str, &Row)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(kernel, row)| (kernel.as_str(), row)).collect();
        rows.sort_by_key(|(kernel, _)| order(kernel));
        rows
    }

    /// Returns the row of a kernel.
    pub fn row(&self, kernel: &str) -> Option<&Row> {
        self.rows.get(kernel)
    }

    /// Sets the row of a kernel.
    pub fn set(&mut self, kernel: &str, row: Row) {
        self.rows.insert(kernel.to_owned(), row);
    }

    /// Removes the rows of kernels that are no longer in the list.
    pub fn retain(&mut self, list: &[&str]) {
        self.rows.retain(|kernel, _| list.contains(&kernel.as_str()));
    }

    /// Checks that the list and the rows contain the same kernels.
    ///
    /// # Errors
    /// Returns an error that names a kernel of the list without a row, or a row whose kernel is not
    /// in the list.
    pub fn check_kernels(&self, list: &[&str]) -> Result<()> {
        if let Some(kernel) = list.iter().find(|kernel| !self.rows.contains_key(**kernel)) {
            return Err(Error::new(format!("{kernel} has no row: `make matrix KERNELS={kernel}` records it")));
        }
        match self.rows.keys().find(|kernel| !list.contains(&kernel.as_str())) {
            Some(kernel) => Err(Error::new(format!("{kernel} has a row, but is not in the list of kernels"))),
            None => Ok(()),
        }
    }

    /// Returns the stale rows, each with the reason.
    pub fn stale(&self, tree: &Tree) -> Vec<(&str, String)> {
        self.rows().into_iter().filter_map(|(kernel, row)| Some((kernel, row.stale(tree)?))).collect()
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}{COLUMNS}")?;
        for (kernel, row) in self.rows() {
            // Attach methods with the same result share a line.
            let mut lines: Vec<(&Key, String, &str)> = Vec::new();
            for (key, result) in &row.results {
                let same = lines
                    .iter_mut()
                    .find(|(other, _, its)| (other.kind, &other.name) == (key.kind, &key.name) && its == result);
                match same {
                    Some((_, methods, _)) => write!(methods, ",{}", key.method)?,
                    None => lines.push((key, key.method.clone(), result)),
                }
            }
            for (key, methods, result) in lines {
                writeln!(f, "{kernel}\t{}\t{}\t{methods}\t{result}", key.kind, key.name)?;
            }
        }
        Ok(())
    }
}

/// Checks that a line contains a valid result. Only passed results are recorded, in the words with
/// which a later boot is compared.
fn check_result(kind: Kind, name: &str, result: &str) -> Result<()> {
    let has_reason = |prefix: &str| result.strip_prefix(prefix).is_some_and(|why| !why.is_empty());
    let is_good = match kind {
        Kind::Scenario => {
            let word = |word: &str| {
                ["yes", "unobservable"].contains(&word)
                    || word.strip_prefix("impossible: ").is_some_and(|it| !it.is_empty())
            };
            let of_family = |part: &str| part.split_once(' ').is_some_and(|(_, result)| word(result));
            word(result) || result.split("; ").all(of_family)
        }
        Kind::Test => result == "passed" || has_reason("ignored: "),
        Kind::Kernel if name == INPUTS => {
            result == NONE || result.len() == 64 && result.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        _ => !result.is_empty(),
    };
    if is_good && !name.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("not a result of {kind} {name}: {result:?}")))
}

#[cfg(test)]
pub(crate) mod tests {
    use retrans_lab::{Family, Outcome, Probes};

    use super::*;
    use crate::log::family_name;
    use crate::log::tests::{log, sample};

    /// Returns the row of a boot. The closure `result` returns the result of each cell.
    pub(crate) fn row(series: &str, methods: &[&str], result: impl Fn(&str, Outcome) -> CellResult) -> Row {
        Row::of(&Log::parse(&log(series, methods, result)).unwrap(), &"0".repeat(64))
    }

    fn results() -> Results {
        let mut results = Results::default();
        results.set("6.12", row("6.12", &["tp_err", "fexit"], |_, _| CellResult::Matches(2)));
        results.set(
            "6.2",
            row("6.2", &["tp_success", "fexit", "kretprobe"], |method, outcome| match (method, outcome) {
                (_, Outcome::XmitDrop(_)) => CellResult::Impossible("no egress hook".to_owned()),
                ("tp_success", Outcome::FragNomem) => CellResult::Unobservable(1),
                _ => CellResult::Matches(1),
            }),
        );
        results
    }

    fn tree() -> Tree {
        Tree { inputs: "0".repeat(64), scenarios: Trial::names().collect(), tests: BTreeSet::from(["a::b".to_owned()]) }
    }

    #[test]
    fn the_file_is_read_as_it_is_written() {
        let results = results();
        let text = results.to_string();
        assert_eq!(Results::parse(&text).unwrap(), results);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines[0], COLUMNS);
        assert_eq!(
            lines[1..4].join("\n"),
            format!(
                "6.2\tkernel\tinputs\t-\t{}\n6.2\tkernel\tpackages\t-\tp=6.2.9-1\n6.2\tkernel\trelease\t-\t6.2.9",
                "0".repeat(64)
            )
        );
        for line in [
            "6.2\tscenario\tfrag_nomem\tfexit,kretprobe\tyes",
            "6.2\tscenario\tfrag_nomem\ttp_success\tunobservable",
            "6.2\tscenario\txmit_drop_egress\tfexit,kretprobe,tp_success\timpossible: no egress hook",
            "6.2\tattach\tstream\tfexit,kretprobe,tp_success\tobserves failures",
            "6.2\ttest\ta::b\t-\tpassed",
            "6.2\tdemo\ta loss\t-\tsuccess yes",
            "6.12\tcheck\tenums\t-\tsame",
        ] {
            assert!(lines.contains(&line), "{line}\nnot in\n{text}");
        }
    }

    #[test]
    fn different_results_of_families_are_listed_separately() {
        let text = log("6.1", &["fexit"], |_, _| CellResult::Matches(2));
        let text = text.replace(
            "outcome=rto family=inet6 events=2 matches=yes",
            "outcome=rto family=inet6 events=- matches=- why=no_x",
        );
        let row = Row::of(&Log::parse(&text).unwrap(), "-");
        assert_eq!(row.scenario("rto", "fexit"), Some("inet yes; inet6 impossible: no x; mapped yes"));
        let mut results = Results::default();
        results.set("6.1", row);
        assert_eq!(Results::parse(&results.to_string()).unwrap(), results);
    }

    #[test]
    fn a_sample_is_compared_with_the_same_family_of_the_row() {
        let whole = log("6.1", &["fexit"], |_, _| CellResult::Matches(2)).replace(
            "outcome=rto family=inet6 events=2 matches=yes",
            "outcome=rto family=inet6 events=- matches=- why=no_x",
        );
        let of = |text: &str| Row::of(&Log::parse(text).unwrap(), "-");
        let recorded = of(&whole);
        for (family, other) in [("inet6", "inet"), ("mapped", "inet6")] {
            let families = [family.to_owned()];
            let now = of(&sample(&whole, family));
            assert_eq!(differences(&recorded.over(&families), &now), [""; 0], "{family}");
            let found = differences(&recorded.over(&[other.to_owned()]), &now);
            assert_eq!(found.len(), 1, "{family} compared with {other}: {found:?}");
        }
        let all = Family::ALL.map(family_name).map(str::to_owned);
        assert_eq!(recorded.over(&all), recorded);
    }

    #[test]
    fn a_malformed_file_is_rejected_with_the_line_number() {
        let text = results().to_string();
        let number = |wanted: &str| text.lines().position(|line| line == wanted).unwrap() + 1;
        let line = "6.2\tscenario\trto\tfexit,kretprobe,tp_success\tyes";
        for (instead, why) in [
            ("6.2\tscenario\trto\tyes", "not five columns"),
            ("6.2\tscenario\trto\tfexit,kretprobe,tp_success\tno", "not a result"),
            ("6.2\tscenario\trto\tfexit,kretprobe,tp_success\timpossible: ", "not a result"),
            ("6.2\tscenery\trto\tfexit,kretprobe,tp_success\tyes", "unknown kind"),
            ("six\tscenario\trto\tfexit,kretprobe,tp_success\tyes", "not the name of a kernel"),
            ("6.2\tscenario\trto\tfexit,kretprobe,fexit\tyes", "duplicate result"),
            ("6.2\tscenario\trto\tkretprobe,fexit,tp_success\tyes", "out of place"),
            ("6.2\tscenario\tzzz\tfexit,kretprobe,tp_success\tyes", "out of place"),
        ] {
            let error = Results::parse(&text.replace(line, instead)).unwrap_err().to_string();
            let expected = format!("line {}: {why}", number(line));
            assert!(error.starts_with(&expected), "{instead:?}: {error}, not {expected}");
        }
        let columns = Results::parse(&text.replace(COLUMNS, "kernel\tresult")).unwrap_err().to_string();
        assert!(columns.starts_with(&format!("line {}: the columns", number(COLUMNS))), "{columns}");
        assert!(Results::parse(&format!("{text}\n")).is_err());
        assert!(Results::parse(text.trim_end()).is_err());
        for missing in ["packages", "release", "inputs"] {
            let without: String = text
                .lines()
                .filter(|line| !line.contains(&format!("\t{missing}\t")))
                .map(|line| format!("{line}\n"))
                .collect();
            let error = Results::parse(&without).unwrap_err().to_string();
            assert_eq!(error, format!("6.12 has no line of its {missing}"));
        }
        let no_hash = text.replace(&"0".repeat(64), "00");
        assert!(Results::parse(&no_hash).unwrap_err().to_string().contains("not a result of kernel inputs"));
    }

    #[test]
    fn a_row_is_stale_if_the_inputs_or_the_names_differ() {
        let results = results();
        assert_eq!(results.stale(&tree()), []);
        let reason = |tree: &Tree| results.row("6.2").unwrap().stale(tree);
        let inputs = Tree { inputs: "1".repeat(64), ..tree() };
        assert_eq!(reason(&inputs).as_deref(), Some("the inputs have changed since"));
        assert_eq!(results.stale(&inputs).len(), 2);
        let mut more = tree();
        more.tests.insert("a::c".to_owned());
        assert_eq!(reason(&more).as_deref(), Some("test a::c is only in the tree"));
        let fewer = Tree { tests: BTreeSet::new(), ..tree() };
        assert_eq!(reason(&fewer).as_deref(), Some("test a::b is only in the row"));
        let mut scenarios = tree();
        scenarios.scenarios.insert("new".to_owned());
        assert_eq!(reason(&scenarios).as_deref(), Some("scenario new is only in the tree"));
        let old = Row::of(&Log::parse(&log("6.2", &["fexit"], |_, _| CellResult::Matches(1))).unwrap(), "-");
        assert_eq!(old.stale(&tree()).as_deref(), Some("recorded before inputs were hashed"));
    }

    #[test]
    fn each_kernel_of_the_list_has_a_row() {
        let results = results();
        assert!(results.check_kernels(&["6.2", "6.12"]).is_ok());
        let error = |list: &[&str]| results.check_kernels(list).unwrap_err().to_string();
        assert_eq!(error(&["6.2", "6.12", "7.0"]), "7.0 has no row: `make matrix KERNELS=7.0` records it");
        assert_eq!(error(&["6.2"]), "6.12 has a row, but is not in the list of kernels");
        let mut fewer = results.clone();
        fewer.retain(&["6.2", "7.0"]);
        assert!(fewer.check_kernels(&["6.2"]).is_ok());
    }

    fn differences(recorded: &Row, now: &Row) -> Vec<String> {
        recorded.compare(now, true).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_boot_with_the_same_results_does_not_differ() {
        let recorded = row("6.1", &["tp_err", "fexit"], |_, _| CellResult::Matches(3));
        // Counts, second runs and the booted packages are not compared.
        let text = log("6.1", &["tp_err", "fexit"], |_, _| CellResult::Matches(9));
        let text = text.replace("result=ok", "result=ok again=yes").replace("p=6.1.9-1", "p=6.1.10-1");
        assert_eq!(differences(&recorded, &Row::of(&Log::parse(&text).unwrap(), "-")), [""; 0]);
    }

    #[test]
    fn each_kind_of_difference_is_found() {
        let recorded = row("6.1", &["tp_err", "fexit"], |_, _| CellResult::Matches(3));
        let frag = |result: CellResult| {
            move |_: &str, outcome| if outcome == Outcome::FragNomem { result.clone() } else { CellResult::Matches(3) }
        };
        let now = row("6.1", &["tp_err", "fexit"], frag(CellResult::Impossible("no tun".to_owned())));
        let names = Probes::ALL.map(|probes| Trial::name(Outcome::FragNomem, probes));
        let expected = |name: &String| {
            ["fexit", "tp_err"]
                .map(|method| format!("scenario {name} by {method}: recorded yes, now impossible: no tun"))
        };
        let expected: Vec<_> = names.iter().flat_map(expected).collect();
        assert_eq!(differences(&recorded, &now), expected);
        assert!(recorded.compare(&now, true).iter().all(Difference::is_loss));
        assert!(!now.compare(&recorded, true).iter().any(Difference::is_loss), "a gain is not a loss");
        let now = row("6.1", &["tp_err", "fexit"], frag(CellResult::Unobservable(1)));
        assert_eq!(differences(&recorded, &now)[0], "scenario frag_nomem by fexit: recorded yes, now unobservable");

        let without = row("6.1", &["tp_err"], |_, _| CellResult::Matches(3));
        let lost = recorded.compare(&without, true);
        assert_eq!(lost.len(), 1 + Trial::names().count(), "an attach method and its scenarios");
        assert_eq!(lost[0].to_string(), "attach stream by fexit: recorded observes failures, now nothing");
        assert!(lost.iter().all(Difference::is_loss));
        assert_eq!(without.compare(&recorded, true).len(), lost.len());

        let edited = |from: &str, to: &str| {
            let text = log("6.1", &["tp_err", "fexit"], |_, _| CellResult::Matches(3)).replace(from, to);
            Row::of(&Log::parse(&text).unwrap(), "-")
        };
        let ignored = edited("result=ok", "result=ignored why=no_tbf");
        assert_eq!(differences(&recorded, &ignored), ["test a::b: recorded passed, now ignored: no tbf"]);
        assert!(recorded.compare(&ignored, true)[0].is_loss());
        assert_eq!(recorded.compare(&ignored, false), [], "without live tests");
        let check = edited("findings=-", "findings=TCP_X+is+missing");
        assert_eq!(differences(&recorded, &check), ["check enums: recorded same, now TCP_X is missing"]);
        let demo = edited("a loss   success ", "a loss   denied ");
        assert_eq!(differences(&recorded, &demo), ["demo a loss: recorded success yes, now denied yes"]);
        let attach = edited("companion=-", "companion=fexit");
        assert_eq!(
            differences(&recorded, &attach)[0],
            "attach stream by fexit: recorded observes failures, now observes failures, with fexit"
        );
    }

    #[test]
    fn a_name_on_only_one_side_is_distinguished_from_a_change() {
        let recorded = row("6.1", &["fexit"], |_, _| CellResult::Matches(3));
        let text = log("6.1", &["fexit"], |_, _| CellResult::Matches(3)).replace("name=a::b", "name=a::c");
        let now = Row::of(&Log::parse(&text).unwrap(), "-");
        let found = recorded.compare(&now, true);
        assert!(found.iter().all(|difference| matches!(difference, Difference::Name { .. })), "{found:?}");
        assert_eq!(
            differences(&recorded, &now),
            ["test a::b: recorded, but not in this boot", "test a::c: not recorded"]
        );
    }
}
