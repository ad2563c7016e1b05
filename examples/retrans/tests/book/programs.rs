// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks how the book calls the project's own program: the subcommand and the options exist, and
//! the terms are a filter.

use std::process::Command;

use retrans_sdk::Filter;

use crate::page::root;

/// The subcommands of `retrans`.
const SUBCOMMANDS: [&str; 12] = [
    "check",
    "completions",
    "demo",
    "doctor",
    "explain",
    "histogram",
    "man",
    "reconcile",
    "replay",
    "report",
    "top",
    "watch",
];

/// Returns the path of the program that cargo has built with this name.
pub(crate) fn built(name: &str) -> Option<&'static str> {
    (name == "retrans").then_some(env!("CARGO_BIN_EXE_retrans"))
}

/// Checks that the program accepts these arguments, as far as its help and the grammar show.
pub(crate) fn accepts(name: &str, arguments: &[String]) -> Result<(), String> {
    let path = built(name).ok_or_else(|| format!("no program {name}"))?;
    let (subcommand, arguments) = arguments.split_first().ok_or("no subcommand")?;
    if matches!(&**subcommand, "--help" | "--version") && arguments.is_empty() {
        return Ok(());
    }
    if !SUBCOMMANDS.contains(&&**subcommand) {
        return Err(format!("{name} has no subcommand {subcommand}"));
    }
    let output = Command::new(path).args([subcommand, "--help"]).output().map_err(|error| error.to_string())?;
    let help = String::from_utf8_lossy(&output.stdout);
    let is_option = |word: &str| help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|known| known == word);
    let mut terms = Vec::new();
    for argument in arguments {
        if argument.starts_with("--") {
            if !is_option(argument) {
                return Err(format!("{name} {subcommand} has no {argument}"));
            }
            if argument == "--or" {
                terms.push("--or");
            }
        } else if argument.contains('=') {
            terms.push(argument);
        } else if argument.starts_with("examples/") && !root().join(argument).exists() {
            return Err(format!("no file {argument}"));
        }
    }
    terms.join(" ").parse::<Filter>().map(drop).map_err(|error| error.to_string())
}

#[test]
fn arguments_that_the_program_rejects_are_found() {
    let accepts = |command: &str| {
        let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
        accepts(&words[0], &words[1..])
    };
    assert_eq!(accepts("retrans watch kind=rto --or dport=1 --count 3"), Ok(()));
    assert_eq!(accepts("retrans --help"), Ok(()));
    assert!(accepts("retrans --halp").is_err());
    assert!(accepts("retrans watch --counts 3").is_err());
    assert!(accepts("retrans watch kind=rt0").is_err());
    assert!(accepts("retrans replay examples/retrans/recordings/none.kv").is_err());
    assert!(accepts("retrans wotch").is_err());
    assert!(accepts("wotch").is_err());
}
