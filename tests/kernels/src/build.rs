// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the project's programs with cargo: the live tests, and the programs that they and the
//! guest run.
//!
//! # Design
//!
//! In a guest the tests are at the paths where cargo built them, so that they find the programs
//! that they start in the same way as on the host. They are stripped, because each would be 20 MB
//! larger otherwise.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use retrans_lab::command::run;
use retrans_lab::{Context, Error, Result};

use crate::image::{in_path, remove};

/// The package whose programs are left out. The tests of a proc-macro crate start only if the
/// compiler's libraries are available, and this crate has no live tests.
const LEFT_OUT: &str = "retrans-macros/Cargo.toml";

/// Tests that do not run in a guest. The guest's scenarios and its demo cover them, or they need a
/// minute there and do not depend on the kernel.
const NOT_IN_A_GUEST: [&str; 12] = [
    "outcomes::",
    "attach_methods::each_method_reports_the_same_or_why_it_is_unsupported",
    "filter_cost::demanding_filters_load_with_each_attach_method",
    "demo::",
    "watch::trace_pipe::fifty_attempts_are_those_of_trace_pipe",
    // `filter_harness` covers each key on each kernel.
    "accounting::filtered_events_are_counted",
    "filter_harness::each_mutation_is_detected",
    // The matrix includes kernels without modules.
    "without_modules::",
    // A guest has neither setcap nor the other programs that these tests need.
    "service::",
    "owners::short_connections_do_not_evict_a_long_one",
    // Its scripts depend on the time, and a guest may be late by seconds.
    "own_scripts::",
    // An emulated CPU has no time left next to a flood.
    "applications::live::the_agent_ends_under_a_flood",
];

/// A program and its path. Tests find the programs that they run by their paths.
#[derive(Debug)]
pub struct Program {
    /// The name of the cargo target.
    pub name: String,
    /// The path where it was built, which is also its path in the guest.
    pub place: PathBuf,
    /// A copy without debug information, which is most of the file.
    pub stripped: PathBuf,
}

/// The programs of a guest.
#[derive(Debug)]
pub struct Built {
    /// The users' programs, the guest's process 1, and the programs of the live tests.
    pub programs: Vec<Program>,
    /// The live tests, as `program::test`, and the path of their program.
    pub tests: Vec<(String, PathBuf)>,
}

impl Built {
    /// Builds the programs from the checkout `tree` with cargo and this profile. Writes the files
    /// for a guest to the directory `scratch`.
    ///
    /// # Errors
    /// Returns an error if they cannot be built.
    pub fn new(tree: &Path, profile: Profile, scratch: &Path) -> Result<Self> {
        let executables = compile(tree, profile)?;
        remove(scratch)?;
        fs::create_dir_all(scratch).with_context(|| format!("cannot create {scratch:?}"))?;

        let (mut programs, mut tests) = (Vec::new(), Vec::new());
        for executable in executables {
            let its = executable.guest_tests()?;
            let Executable { name, path, is_test } = executable;
            if is_test {
                if its.is_empty() {
                    continue;
                }
                tests.extend(its.into_iter().map(|test| (test, path.clone())));
            }
            let file = path.file_name().ok_or_else(|| Error::new(format!("{path:?} is not a program")))?;
            let stripped = scratch.join(file);
            let mut strip = Command::new(in_path("strip")?);
            strip.arg("--strip-debug").arg("-o").args([&stripped, &path]);
            run(strip)?;
            programs.push(Program { name, place: path, stripped });
        }
        let names: BTreeSet<_> = tests.iter().map(|(name, _)| name).collect();
        if tests.is_empty() || names.len() < tests.len() {
            return Err(Error::new(format!("no tests, or duplicate test names: {names:?}")));
        }
        tests.sort();
        Ok(Self { programs, tests })
    }

    /// Returns the program of this name that is not a test.
    ///
    /// # Errors
    /// Returns an error if there is no such program.
    pub fn program(&self, name: &str) -> Result<&Program> {
        let is_test = |program: &Program| self.tests.iter().any(|(_, place)| *place == program.place);
        let found = self.programs.iter().find(|program| program.name == name && !is_test(program));
        found.ok_or_else(|| Error::new(format!("cargo did not build the program {name}")))
    }
}

/// The profile that cargo builds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The profile of `cargo test`, so that the programs that the live tests have built are used.
    Dev,
    /// The profile with optimization.
    Release,
}

/// Returns the names of the live tests that run in a guest, as `program::test`.
///
/// # Errors
/// Returns an error if they cannot be built.
pub fn guest_tests(tree: &Path, profile: Profile) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for executable in compile(tree, profile)? {
        all.extend(executable.guest_tests()?);
    }
    Ok(all)
}

/// Builds with the flags of `make test`, so that nothing is built twice.
fn compile(tree: &Path, profile: Profile) -> Result<Vec<Executable>> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--no-run", "--locked", "--workspace", "--all-features", "--tests"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    cargo.args(["--quiet", "--message-format", "json-render-diagnostics"]);
    let output = cargo.current_dir(tree).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("cannot run cargo")?;
    if !output.status.success() {
        return Err(Error::new(format!("cargo cannot build the tests ({})", output.status)));
    }
    executables(&String::from_utf8_lossy(&output.stdout))
}

#[derive(Debug, PartialEq)]
struct Executable {
    name: String,
    path: PathBuf,
    is_test: bool,
}

impl Executable {
    /// Returns the program's live tests that run in a guest.
    fn guest_tests(&self) -> Result<Vec<String>> {
        if !self.is_test {
            return Ok(Vec::new());
        }
        let all = ignored_tests(&self.path)?.into_iter().map(|test| format!("{}::{test}", self.name));
        Ok(all.filter(|test| !NOT_IN_A_GUEST.iter().any(|those| test.starts_with(those))).collect())
    }
}

/// Reads the executables from cargo's messages.
fn executables(messages: &str) -> Result<Vec<Executable>> {
    let mut all = Vec::new();
    for line in messages.lines() {
        let message: Json = serde_json::from_str(line).with_context(|| format!("not a cargo message: {line:?}"))?;
        if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) {
            if message["manifest_path"].as_str().is_some_and(|manifest| manifest.ends_with(LEFT_OUT)) {
                continue;
            }
            let is_test = message["profile"]["test"] == true;
            all.push(Executable { name: name.to_owned(), path: PathBuf::from(path), is_test });
        }
    }
    Ok(all)
}

/// Returns the ignored tests of a program, which are the live ones.
fn ignored_tests(program: &Path) -> Result<Vec<String>> {
    let mut list = Command::new(program);
    list.args(["--ignored", "--list", "--format", "terse"]);
    Ok(run(list)?.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_messages_are_read() {
        let messages = r#"{"reason":"build-script-executed","package_id":"x"}
            {"reason":"compiler-artifact","target":{"kind":["lib"],"name":"lab"},"profile":{"test":false},"executable":null}
            {"reason":"compiler-artifact","target":{"kind":["bin"],"name":"watch"},"profile":{"test":false},"executable":"/t/watch"}
            {"reason":"compiler-artifact","target":{"kind":["test"],"name":"watch"},"profile":{"test":true},"executable":"/t/deps/watch-1"}
            {"reason":"compiler-artifact","manifest_path":"/t/retrans-macros/Cargo.toml","target":{"kind":["test"],"name":"ui"},"profile":{"test":true},"executable":"/t/deps/ui-1"}
            {"reason":"build-finished","success":true}"#;
        let executable =
            |path: &str, is_test| Executable { name: "watch".to_owned(), path: PathBuf::from(path), is_test };
        let expected = [executable("/t/watch", false), executable("/t/deps/watch-1", true)];
        assert_eq!(executables(messages).unwrap(), expected);
        assert!(executables("error: no such package").is_err());
    }

    #[test]
    fn ignored_tests_are_found() {
        // This program has no ignored tests.
        assert_eq!(ignored_tests(&env::current_exe().unwrap()).unwrap(), [""; 0]);
    }
}
