// SPDX-License-Identifier: MIT OR Apache-2.0
//! The project's own programs as the book calls them: each is there, has the options, and reads the terms as a filter.

use std::process::Command;

use retrans_sdk::Filter;

use crate::page::root;

/// The binaries of this package, where cargo has put them.
const BINARIES: [(&str, &str); 9] = [
    ("custom_filter", env!("CARGO_BIN_EXE_custom_filter")),
    ("demo", env!("CARGO_BIN_EXE_demo")),
    ("doctor", env!("CARGO_BIN_EXE_doctor")),
    ("header_check", env!("CARGO_BIN_EXE_header_check")),
    ("histogram", env!("CARGO_BIN_EXE_histogram")),
    ("reconcile", env!("CARGO_BIN_EXE_reconcile")),
    ("replay", env!("CARGO_BIN_EXE_replay")),
    ("top", env!("CARGO_BIN_EXE_top")),
    ("watch", env!("CARGO_BIN_EXE_watch")),
];

/// Where cargo has put the program of that name.
pub(crate) fn built(name: &str) -> Option<&'static str> {
    BINARIES.iter().find(|(known, _)| *known == name).map(|(_, path)| *path)
}

/// Whether the program takes these arguments, as far as its help and the grammar tell.
pub(crate) fn takes(name: &str, arguments: &[String]) -> Result<(), String> {
    let path = built(name).ok_or_else(|| format!("no program {name}"))?;
    let output = Command::new(path).arg("--help").output().map_err(|error| error.to_string())?;
    // One without arguments says on stderr that it has none.
    let help = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let is_option = |word: &str| help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|known| known == word);
    let mut terms = Vec::new();
    for argument in arguments {
        if argument.starts_with("--") {
            if !is_option(argument) {
                return Err(format!("{name} has no {argument}"));
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
    let takes =
        |name, arguments: &[&str]| takes(name, &arguments.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    assert_eq!(takes("watch", &["kind=rto", "--or", "dport=1", "--count", "3"]), Ok(()));
    assert!(takes("watch", &["--counts", "3"]).is_err());
    assert!(takes("watch", &["kind=rt0"]).is_err());
    assert!(takes("replay", &["examples/recordings/none.kv"]).is_err());
    assert!(takes("wotch", &[]).is_err());
}
