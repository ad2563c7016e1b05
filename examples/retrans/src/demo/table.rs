// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table, with one row per outcome.

use std::fmt::{self, Display};

use nix::errno::Errno;
use retrans_lab::{Outcome, Probes};
use retrans_sdk::{Event, RetransResult};

use crate::demo::scenarios::DemoScenario;
use crate::table::dropper;

const HEAD: [&str; COLUMNS] =
    ["scenario", "result", "class", "kind", "err", "errno", "events", DROPPER, "matches kernel"];
const COLUMNS: usize = 9;
/// The column that is left out if no row has a value, as in recordings without drops.
const DROPPER: &str = "dropped by";

pub(crate) struct Row {
    cells: [String; COLUMNS],
    /// The reason why the row is not as expected.
    pub(crate) fault: Option<String>,
}

/// The events of a scenario: the event that shows the outcome, and the number of all events.
#[derive(Default)]
pub(crate) struct Shown {
    event: Option<Event>,
    events: usize,
}

impl Shown {
    pub(crate) fn add(&mut self, scenario: &DemoScenario, event: &Event) {
        self.events += 1;
        if self.event.is_none() && shows(scenario.outcome, event) {
            self.event = Some(*event);
        }
    }

    /// Returns whether an event shows the outcome.
    pub(crate) fn has_event(&self) -> bool {
        self.event.is_some()
    }

    pub(crate) fn of(scenario: &DemoScenario, events: &[Event]) -> Self {
        let mut shown = Self::default();
        events.iter().for_each(|event| shown.add(scenario, event));
        shown
    }
}

impl Row {
    /// Returns the row of a scenario. `matches` is the result of the cross-checks. It is `None` for
    /// a recording, which has no cross-checks.
    pub(crate) fn new(scenario: &DemoScenario, shown: &Shown, matches: Option<Result<(), String>>) -> Self {
        let Some(event) = &shown.event else {
            let why = matches.and_then(Result::err).map(|why| format!("; {why}")).unwrap_or_default();
            return Self::missing(scenario, format!("not among {} events{why}", shown.events));
        };
        let cells = [
            scenario.words.to_owned(),
            event.result.to_string(),
            event.class().to_string(),
            event.kind.to_string(),
            event.err.map_or_else(|| "-".to_owned(), |err| err.to_string()),
            name_of(event.err),
            shown.events.to_string(),
            dropper(event).unwrap_or_else(|| "-".to_owned()),
            match &matches {
                Some(Ok(())) => "yes".to_owned(),
                Some(Err(_)) => "NO".to_owned(),
                None => "-".to_owned(),
            },
        ];
        Self { cells, fault: matches.and_then(Result::err).map(|why| format!("{}: {why}", scenario.name())) }
    }

    /// Returns the row of a scenario that has no event, or could not be performed.
    pub(crate) fn missing(scenario: &DemoScenario, why: impl Display) -> Self {
        let mut cells = [const { String::new() }; COLUMNS];
        cells[0] = scenario.words.to_owned();
        cells[1] = "MISSING".to_owned();
        Self { cells, fault: Some(format!("{}: {why}", scenario.name())) }
    }

    /// Returns the row of a scenario that cannot be observed or performed on this kernel, which is
    /// not a fault.
    pub(crate) fn without(scenario: &DemoScenario, why: &str) -> Self {
        let mut cells = [const { String::new() }; COLUMNS];
        cells[0] = scenario.words.to_owned();
        cells[1] = why.to_owned();
        Self { cells, fault: None }
    }

    /// Returns whether the row contains an event.
    pub(crate) fn has_event(&self) -> bool {
        !self.cells[COLUMNS - 1].is_empty()
    }
}

/// Returns whether this event of a scenario shows the outcome. Compares the class, the kind and
/// `err`, because an attach method may report a less precise result. For a missing copy, that is
/// `nobufs`, which even has another class. The cross-checks of a live run are stricter.
fn shows(outcome: Outcome, event: &Event) -> bool {
    let expected = outcome.expected(outcome.defining_attempt(Probes::Off), Probes::Off);
    let is_result = match expected.result {
        RetransResult::PskbCopyNobufs => matches!(event.result, RetransResult::PskbCopyNobufs | RetransResult::Nobufs),
        result => event.class() == result.class(),
    };
    is_result && (event.kind, event.err) == (expected.kind, Some(expected.err))
}

fn name_of(err: Option<i32>) -> String {
    match err {
        None | Some(0) => "-".to_owned(),
        // Not an errno: the return value of a qdisc or device (linux/netdevice.h).
        Some(1) => "NET_XMIT_DROP".to_owned(),
        Some(err) => format!("{:?}", Errno::from_raw(-err)),
    }
}

pub(crate) struct Table<'a>(pub(crate) &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let lines = || std::iter::once(&head).chain(self.0.iter().map(|row| &row.cells));
        let widths: [usize; COLUMNS] =
            std::array::from_fn(|column| lines().map(|cells| cells[column].len()).max().unwrap_or(0));
        let has_value = |row: &Row| HEAD.iter().zip(&row.cells).any(|(head, cell)| *head == DROPPER && cell.len() > 1);
        let has_droppers = self.0.iter().any(has_value);
        for cells in lines() {
            let columns = cells.iter().zip(widths).zip(HEAD);
            let columns = columns.filter(|(_, head)| has_droppers || *head != DROPPER);
            let padded = columns.map(|((cell, width), head)| match head {
                "err" | "events" => format!("{cell:>width$}"),
                _ => format!("{cell:width$}"),
            });
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrans_sdk::RetransKind;

    #[test]
    fn a_less_precise_result_shows_the_outcome() {
        let of_kind = |result: &str, err: i32, kind: RetransKind| {
            let line = format!(
                "ts=1.000000000 result={result} err={err} kind={kind} family=inet saddr=10.0.0.1 sport=4000 daddr=10.0.0.2 \
                 dport=443 state=established segs=1"
            );
            line.parse::<Event>().expect("an event")
        };
        let of = |result: &str, err: i32| of_kind(result, err, RetransKind::Rto);
        // The last version of the proposal has no name for a missing copy.
        for result in ["pskb_copy_nobufs", "nobufs"] {
            assert!(shows(Outcome::PskbCopyNobufs, &of(result, -105)), "{result}");
        }
        for result in ["unclone_nomem", "nomem"] {
            assert!(shows(Outcome::UncloneNomem, &of(result, -12)), "{result}");
        }
        let other = of_kind("nobufs", -105, RetransKind::Syn);
        for event in [of("nobufs", -12), of("err_default", -105), other] {
            assert!(!shows(Outcome::PskbCopyNobufs, &event), "{event}");
        }
    }
}
