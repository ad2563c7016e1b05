// SPDX-License-Identifier: MIT OR Apache-2.0
//! The project's own programs as the book calls them: each is there, has the options, and reads the terms as a filter.

use std::process::Command;

use retrans_sdk::Filter;

use crate::page::root;

/// The subcommands of `retrans`.
const SUBCOMMANDS: [&str; 8] = ["check", "demo", "doctor", "histogram", "reconcile", "replay", "top", "watch"];

/// Where cargo has put the program of that name.
pub(crate) fn built(name: &str) -> Option<&'static str> {
    (name == "retrans").then_some(env!("CARGO_BIN_EXE_retrans"))
}

/// Whether the program takes these arguments, as far as its help and the grammar tell.
pub(crate) fn takes(name: &str, arguments: &[String]) -> Result<(), String> {
    let path = built(name).ok_or_else(|| format!("no program {name}"))?;
    let (subcommand, arguments) = arguments.split_first().ok_or("no subcommand")?;
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
fn what_a_program_does_not_take_is_found() {
    let takes = |command: &str| {
        let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
        takes(&words[0], &words[1..])
    };
    assert_eq!(takes("retrans watch kind=rto --or dport=1 --count 3"), Ok(()));
    assert!(takes("retrans watch --counts 3").is_err());
    assert!(takes("retrans watch kind=rt0").is_err());
    assert!(takes("retrans replay examples/retrans/recordings/none.kv").is_err());
    assert!(takes("retrans wotch").is_err());
    assert!(takes("wotch").is_err());
}
