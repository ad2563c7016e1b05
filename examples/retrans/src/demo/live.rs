// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs all scenarios.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use retrans_lab::run::Progress;
use retrans_lab::{Error, KernelSupport, ScenarioRun, TraceInstance};
use retrans_sdk::Stream;
use retrans_sdk::format::Line;

use crate::demo::scenarios::{DemoScenario, SCENARIOS};
use crate::demo::table::{Row, Shown};

/// The maximum number of tries: the kernel may skip the BPF programs for an attempt (see
/// `ScenarioRun::was_disturbed`).
const TRIES: u32 = 3;

/// The result of all scenarios.
pub(crate) struct Finished {
    /// The scenarios that apply to this kernel.
    pub(crate) scenarios: Vec<&'static DemoScenario>,
    /// One row per scenario.
    pub(crate) rows: Vec<Row>,
    pub(crate) took: Duration,
    trials: Vec<Performed>,
}

/// The result of one scenario.
enum Performed {
    NotYet,
    Done(Box<ScenarioRun>),
    Failed(Error),
    /// Not performed, because the attach method observes only successes.
    Unobservable,
    /// Not performed, because the kernel lacks what the scenario requires.
    Impossible(&'static str),
}

pub(crate) fn run(
    stream: &mut Stream,
    observes_failures: bool,
    say: impl Fn(Progress, usize),
) -> Result<Finished, Error> {
    let began = Instant::now();
    let lacks = KernelSupport::probe();
    let mut trace = TraceInstance::new()?;
    let is_ours =
        |scenario: &&DemoScenario| !scenario.is_of_the_lab_kernel() || lacks.missing_for(scenario.outcome).is_none();
    let scenarios: Vec<_> = SCENARIOS.iter().filter(is_ours).collect();
    let mut trials: Vec<_> = scenarios
        .iter()
        .map(|scenario| match lacks.missing_for(scenario.outcome) {
            Some(what) => Performed::Impossible(what),
            None if !observes_failures && !scenario.is_success() => Performed::Unobservable,
            None => Performed::NotYet,
        })
        .collect();
    for _ in 0..TRIES {
        let again = |performed: &Performed| match performed {
            Performed::NotYet => true,
            Performed::Done(trial) => trial.was_disturbed() && trial.verify().is_err(),
            _ => false,
        };
        let missing: Vec<_> = (0..scenarios.len()).filter(|&index| again(&trials[index])).collect();
        if missing.is_empty() {
            break;
        }
        for (index, trial) in
            missing.iter().zip(perform(stream, &mut trace, missing.iter().map(|&index| scenarios[index]), &say))
        {
            trials[*index] = match trial {
                Ok(trial) => Performed::Done(Box::new(trial)),
                Err(error) => Performed::Failed(error),
            };
        }
    }
    let rows = scenarios.iter().zip(&trials).map(|(scenario, trial)| row(scenario, trial)).collect();
    Ok(Finished { scenarios, rows, took: began.elapsed(), trials })
}

/// Runs all scenarios at once. If one of them fails, runs them one by one to find out which.
fn perform<'a>(
    stream: &mut Stream,
    trace: &mut TraceInstance,
    scenarios: impl Iterator<Item = &'a DemoScenario>,
    say: impl Fn(Progress, usize),
) -> Vec<Result<ScenarioRun, Error>> {
    let wanted: Vec<_> = scenarios.map(|scenario| (scenario.outcome, scenario.family)).collect();
    if let Ok(trials) = ScenarioRun::run_all(stream, trace, &wanted, |progress| say(progress, wanted.len())) {
        return trials.into_iter().map(Ok).collect();
    }
    let mut alone = |want| -> Result<ScenarioRun, Error> {
        let trials = ScenarioRun::run_all(stream, trace, &[want], |_| {})?;
        trials.into_iter().next().ok_or_else(|| Error::new("no trial"))
    };
    wanted.into_iter().map(&mut alone).collect()
}

fn row(scenario: &DemoScenario, performed: &Performed) -> Row {
    match performed {
        Performed::NotYet => Row::missing(scenario, "not performed"),
        Performed::Failed(error) => Row::missing(scenario, error),
        Performed::Unobservable => Row::without(scenario, "unobservable"),
        Performed::Impossible(what) => Row::without(scenario, what),
        Performed::Done(trial) => {
            let matches = trial.verify().map_err(|error| error.to_string());
            Row::new(scenario, &Shown::of(scenario, &trial.events), Some(matches))
        }
    }
}

impl Finished {
    /// Writes the events to a file, which appears complete or not at all.
    pub(crate) fn record(&self, path: &Path) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let mut file = BufWriter::new(File::create_new(&temporary)?);
        for (scenario, performed) in self.scenarios.iter().zip(&self.trials) {
            let Performed::Done(trial) = performed else { continue };
            for event in &trial.events {
                let unknown = vec![(DemoScenario::KEY.to_owned(), scenario.name())];
                writeln!(file, "{}", Line { event: *event, unknown })?;
            }
        }
        file.flush()?;
        fs::rename(&temporary, path)
    }
}
