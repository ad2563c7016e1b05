// SPDX-License-Identifier: MIT OR Apache-2.0
//! Performs all acts.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use retrans_lab::run::Progress;
use retrans_lab::{Error, KernelSupport, ScenarioRun, TraceInstance};
use retrans_sdk::Stream;
use retrans_sdk::format::Line;

use crate::demo::acts::{ACTS, Act};
use crate::demo::table::{Row, Shown};

/// The maximum number of tries: the kernel may skip the BPF programs for an attempt (see
/// `ScenarioRun::was_disturbed`).
const TRIES: u32 = 3;

/// The result of all acts.
pub(crate) struct Acted {
    /// The acts that apply to this kernel.
    pub(crate) acts: Vec<&'static Act>,
    /// One row per act.
    pub(crate) rows: Vec<Row>,
    pub(crate) took: Duration,
    trials: Vec<Performed>,
}

/// The result of one act.
enum Performed {
    NotYet,
    Done(Box<ScenarioRun>),
    Failed(Error),
    /// Not performed, because the attach method observes only successes.
    Unobservable,
    /// Not performed, because the kernel lacks what the act requires.
    Impossible(&'static str),
}

pub(crate) fn act(stream: &mut Stream, observes_failures: bool, say: impl Fn(Progress, usize)) -> Result<Acted, Error> {
    let began = Instant::now();
    let lacks = KernelSupport::probe();
    let mut trace = TraceInstance::new()?;
    let is_ours = |act: &&Act| !act.is_of_the_lab_kernel() || lacks.missing_for(act.outcome).is_none();
    let acts: Vec<_> = ACTS.iter().filter(is_ours).collect();
    let mut trials: Vec<_> = acts
        .iter()
        .map(|act| match lacks.missing_for(act.outcome) {
            Some(what) => Performed::Impossible(what),
            None if !observes_failures && !act.is_success() => Performed::Unobservable,
            None => Performed::NotYet,
        })
        .collect();
    for _ in 0..TRIES {
        let again = |performed: &Performed| match performed {
            Performed::NotYet => true,
            Performed::Done(trial) => trial.was_disturbed() && trial.verify().is_err(),
            _ => false,
        };
        let missing: Vec<_> = (0..acts.len()).filter(|&index| again(&trials[index])).collect();
        if missing.is_empty() {
            break;
        }
        for (index, trial) in
            missing.iter().zip(perform(stream, &mut trace, missing.iter().map(|&index| acts[index]), &say))
        {
            trials[*index] = match trial {
                Ok(trial) => Performed::Done(Box::new(trial)),
                Err(error) => Performed::Failed(error),
            };
        }
    }
    let rows = acts.iter().zip(&trials).map(|(act, trial)| row(act, trial)).collect();
    Ok(Acted { acts, rows, took: began.elapsed(), trials })
}

/// Performs all acts at once. If one of them fails, performs them one by one to find out which.
fn perform<'a>(
    stream: &mut Stream,
    trace: &mut TraceInstance,
    acts: impl Iterator<Item = &'a Act>,
    say: impl Fn(Progress, usize),
) -> Vec<Result<ScenarioRun, Error>> {
    let wanted: Vec<_> = acts.map(|act| (act.outcome, act.family)).collect();
    if let Ok(trials) = ScenarioRun::run_all(stream, trace, &wanted, |progress| say(progress, wanted.len())) {
        return trials.into_iter().map(Ok).collect();
    }
    let mut alone = |want| -> Result<ScenarioRun, Error> {
        let trials = ScenarioRun::run_all(stream, trace, &[want], |_| {})?;
        trials.into_iter().next().ok_or_else(|| Error::new("no trial"))
    };
    wanted.into_iter().map(&mut alone).collect()
}

fn row(act: &Act, performed: &Performed) -> Row {
    match performed {
        Performed::NotYet => Row::missing(act, "not performed"),
        Performed::Failed(error) => Row::missing(act, error),
        Performed::Unobservable => Row::without(act, "unobservable"),
        Performed::Impossible(what) => Row::without(act, what),
        Performed::Done(trial) => {
            let matches = trial.verify().map_err(|error| error.to_string());
            Row::new(act, &Shown::of(act, &trial.events), Some(matches))
        }
    }
}

impl Acted {
    /// Writes the events to a file, which appears complete or not at all.
    pub(crate) fn record(&self, path: &Path) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let mut file = BufWriter::new(File::create_new(&temporary)?);
        for (act, performed) in self.acts.iter().zip(&self.trials) {
            let Performed::Done(trial) = performed else { continue };
            for event in &trial.events {
                let unknown = vec![(Act::KEY.to_owned(), act.name())];
                writeln!(file, "{}", Line { event: *event, unknown })?;
            }
        }
        file.flush()?;
        fs::rename(&temporary, path)
    }
}
