// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cross-checks every outcome that this kernel supports, all at once: against the kernel's trace of
//! the same tracepoints and the counters of the namespaces.

use std::time::Duration;

use retrans_lab::cross_check::{Failures, counters_match, text_matches};
use retrans_lab::observe::{concerns, open, settle, undisturbed, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Counters, Family, KernelSupport, Netns, Outcome, Pair, Result, Scenario, Subject, TraceInstance};
use retrans_sdk::Event;

/// The maximum number of disturbed runs.
const RUNS: u32 = 4;

#[test]
#[ignore = "live: needs root, run by make test"]
fn every_outcome_matches_the_kernel() -> Result<()> {
    let mut runs = 0;
    let (Seen { lab, subjects, events, counted, failures, .. }, mut traced) = loop {
        let (seen, traced) = undisturbed(run)?;
        runs += 1;
        // The kernel skips and counts an attempt that is made while the program runs for another on
        // the same CPU. This happens rarely, except on an emulated CPU.
        match seen.missed {
            0 => break (seen, traced),
            missed if runs < RUNS => eprintln!("running again: the stream missed {missed} attempts"),
            missed => panic!("the stream missed {missed} attempts, and some in each of {RUNS} runs"),
        }
    };
    traced.retain(|event| {
        subjects.iter().any(|subject| (event.local(), event.remote()) == (subject.local, subject.remote))
    });

    for subject in &subjects {
        assert!(events.iter().any(|event| concerns(subject, event)), "{subject:?}");
    }
    text_matches(&events, &traced, failures)?;
    for (ns, counted) in lab.namespaces().zip(counted) {
        counters_match(&events, ns.inode(), counted, failures)?;
    }
    Ok(())
}

struct Seen {
    lab: Lab,
    subjects: Vec<Subject>,
    /// The events of the lab.
    events: Vec<Event>,
    /// The change of the counters of each namespace.
    counted: Vec<Counters>,
    failures: Failures,
    /// The number of attempts that the stream missed, by the kernel's count.
    missed: u64,
}

fn run(trace: &mut TraceInstance) -> Result<Seen> {
    let mut lab = Lab::new()?;
    // Inode numbers of namespaces, and so the addresses derived from them, may be reused: earlier
    // events are discarded.
    trace.read()?;
    let mut stream = open()?;
    let failures = Failures::reported_by(&stream, trace)?;
    let before = lab.counters()?;
    lab.start()?;

    let subjects: Vec<_> = lab.scenarios.iter().map(Scenario::subject).collect();
    let mut events = until(&mut stream, PATIENCE, |seen| {
        subjects.iter().all(|subject| seen.iter().any(|event| concerns(subject, event)))
    })?;
    // Longer, so that sockets make several attempts each.
    std::thread::sleep(Duration::from_secs(1));
    lab.finish()?;
    let stats = settle(&mut stream, &mut events)?;
    assert_eq!(stats.lost, 0, "{stats}");
    // Before Linux 5.12 the kernel does not count them, and only the comparison shows them.
    let missed = stats.missed.unwrap_or(0);
    events.retain(|event| lab.namespaces().any(|ns| event.netns == Some(ns.inode())));
    let counted = lab.counters()?.into_iter().zip(before).map(|(after, before)| after - before).collect();
    Ok(Seen { lab, subjects, events, counted, failures, missed })
}

/// Runs every outcome that traffic provokes and the kernel supports, in namespaces of its own.
struct Lab {
    pairs: Vec<Pair>,
    scenarios: Vec<Scenario>,
}

impl Lab {
    fn new() -> Result<Self> {
        let shared = Pair::new()?;
        let mut lab = Self { pairs: vec![shared.clone()], scenarios: Vec::new() };
        let support = KernelSupport::probe();
        for (index, outcome) in Outcome::ALL.into_iter().filter(|outcome| outcome.is_common()).enumerate() {
            // `outcomes` tests each outcome.
            if support.missing_for(outcome).is_some() {
                continue;
            }
            if outcome.needs_own_pair() {
                let pair = Pair::new()?;
                let family = Family::ALL[index % Family::ALL.len()];
                lab.scenarios.push(Scenario::prepare(&pair, family, outcome)?);
                lab.pairs.push(pair);
            } else {
                for family in Family::ALL {
                    lab.scenarios.push(Scenario::prepare(&shared, family, outcome)?);
                }
            }
        }
        Ok(lab)
    }

    fn start(&mut self) -> Result<()> {
        self.scenarios.iter_mut().try_for_each(Scenario::start)
    }

    fn finish(&mut self) -> Result<()> {
        // The last fault is lifted first.
        while let Some(scenario) = self.scenarios.pop() {
            scenario.finish()?;
        }
        Ok(())
    }

    fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        self.pairs.iter().flat_map(|pair| [pair.client(), pair.server()])
    }

    fn counters(&self) -> Result<Vec<Counters>> {
        self.namespaces().map(Counters::read).collect()
    }
}
