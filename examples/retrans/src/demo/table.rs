// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table, with one row per outcome.

use std::fmt::{self, Display};

use nix::errno::Errno;
use retrans_lab::{Outcome, Probes};
use retrans_sdk::Event;

use crate::demo::scenarios::DemoScenario;

const HEAD: [&str; COLUMNS] = ["scenario", "result", "class", "kind", "err", "errno", "events", "matches kernel"];
const COLUMNS: usize = 8;

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
/// `err`, because an attach method may report a less precise result of the same class. The
/// cross-checks of a live run are stricter.
fn shows(outcome: Outcome, event: &Event) -> bool {
    let expected = outcome.expected(outcome.defining_attempt(Probes::Off), Probes::Off);
    (event.class(), event.kind, event.err) == (expected.result.class(), expected.kind, Some(expected.err))
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
        for cells in lines() {
            let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match HEAD[column] {
                "err" | "events" => format!("{cell:>width$}"),
                _ => format!("{cell:width$}"),
            });
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}
