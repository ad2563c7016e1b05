// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `demo` as a user does: live, as a replay, and interrupted.

mod closed_stdout;
mod interrupted;
mod replayed;

use std::process::{Command, Stdio};

use retrans_lab::{Outcome, Probes};

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrans"));
    command.arg("demo");
    command.stdin(Stdio::null());
    command
}

/// Returns the rows of the table, without the header: they end at the first empty line.
fn rows(stdout: &str) -> Vec<&str> {
    stdout
        .lines()
        .skip_while(|line| !line.starts_with("scenario"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect()
}

/// The outcomes with Linux's default settings that the demo shows in addition to the common ones.
const WITH_DEFAULTS: [Outcome; 4] =
    [Outcome::MtuCutDefault, Outcome::SlowStartAfterCut, Outcome::Fastopen, Outcome::RtoByIcmp];

/// Returns the outcomes that do not require a kernel built for them.
fn outcomes() -> Vec<Outcome> {
    Outcome::ALL.into_iter().filter(|outcome| outcome.is_common()).chain(WITH_DEFAULTS).collect()
}

/// Returns the class, kind and err of an outcome's row. The result before them may be a coarser
/// one.
fn expected_words(outcome: Outcome) -> String {
    let expected = outcome.expected(outcome.defining_attempt(Probes::Off), Probes::Off);
    format!("{} {} {}", expected.result.class(), expected.kind, expected.err)
}

/// Asserts that each outcome has its row. Ignores the columns after `err`.
fn assert_a_row_each(stdout: &str) {
    let rows = rows(stdout);
    assert_eq!(rows.len(), outcomes().len(), "{stdout}");
    for (row, outcome) in rows.iter().zip(outcomes()) {
        let words = row.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!(" {} ", expected_words(outcome))), "{outcome}: {row}");
    }
}
