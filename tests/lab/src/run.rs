// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs scenarios concurrently, each in its own namespaces, and verifies what the stream reported
//! of each.

use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

use retrans_sdk::attach::Attachment;
use retrans_sdk::event::Transmit;
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{Event, RetransKind, Stream};

use crate::cross_check::{Failures, counters_match, kinds_match, text_matches, trigger_of};
use crate::kernel_enum::CANCELED;
use crate::observe::{attachment, concerns, drain, open, printed_family, reaches_transmit};
use crate::scenario::FAST_BYTES;
use crate::wait::PATIENCE;
use crate::{
    Context, Counters, Error, Expected, Family, Outcome, Pair, Probes, Result, Scenario, Subject, TraceEvent,
    TraceInstance,
};

/// A scenario to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trial {
    /// The outcome to provoke.
    pub outcome: Outcome,
    /// The address family.
    pub family: Family,
    /// The setting of tail loss probes.
    pub probes: Probes,
}

impl Trial {
    /// Returns the name of an outcome with this setting, such as `rto` without probes, and
    /// `rto/defaults` with Linux's defaults.
    pub fn name(outcome: Outcome, probes: Probes) -> String {
        match probes {
            Probes::Off => outcome.to_string(),
            Probes::Default => format!("{outcome}/defaults"),
        }
    }

    /// Returns all outcomes with [their settings](Outcome::settings).
    pub fn all() -> impl Iterator<Item = (Outcome, Probes)> {
        Outcome::ALL.into_iter().flat_map(|outcome| outcome.settings().iter().map(move |probes| (outcome, *probes)))
    }

    /// Returns the names of all outcomes with their settings.
    pub fn names() -> impl Iterator<Item = String> {
        Self::all().map(|(outcome, probes)| Self::name(outcome, probes))
    }
}

/// A trial without probes.
impl From<(Outcome, Family)> for Trial {
    fn from((outcome, family): (Outcome, Family)) -> Self {
        Self { outcome, family, probes: Probes::Off }
    }
}

/// Prints the name and the family.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {:?}", Self::name(self.outcome, self.probes), self.family)
    }
}

/// The result of one scenario, which was run in its own pair.
#[derive(Debug)]
pub struct ScenarioRun {
    /// The outcome that was provoked.
    pub outcome: Outcome,
    /// The address family.
    pub family: Family,
    /// The setting of tail loss probes.
    pub probes: Probes,
    /// The socket that retransmitted.
    pub subject: Subject,
    /// The events of the pair's namespaces, in order.
    pub events: Vec<Event>,
    /// The kernel's names of the results that no table contains, event by event.
    pub named: Vec<String>,
    /// The trace lines of the socket, in order.
    pub traced: Vec<TraceEvent>,
    /// The increase of the counters of each namespace, by inode number.
    pub counted: Vec<(u32, Counters)>,
    /// The attachment of the stream.
    pub attachment: Attachment,
    /// States whether stream and trace report failed attempts.
    pub failures: Failures,
    /// The number of attempts during the run for which the kernel did not run the programs, or the
    /// ring buffer had no room, over all scenarios and all other traffic.
    pub missed: u64,
    /// The time at which the scenario was started.
    pub began: SystemTime,
    /// The time at which the scenario ended.
    pub ended: SystemTime,
}

impl ScenarioRun {
    /// Runs all scenarios concurrently and reports the progress to `progress`. It ends when each
    /// scenario has had its attempts, or when [`PATIENCE`] is over. The stream must not filter.
    ///
    /// # Errors
    /// Returns an error if the lab cannot be set up, or the stream or the trace cannot be read.
    /// Missing events are not an error here: [`verify`](Self::verify) reports them.
    pub fn run_all(
        stream: &mut Stream,
        trace: &mut TraceInstance,
        wanted: &[impl Copy + Into<Trial>],
        mut progress: impl FnMut(Progress),
    ) -> Result<Vec<Self>> {
        let failures = Failures::reported_by(stream, trace)?;
        let missed = |stream: &Stream| stream.stats().missed.unwrap_or(0);
        let missed_before = missed(stream);
        let mut all = Vec::new();
        for want in wanted {
            all.push(Running::prepare((*want).into(), failures)?);
            progress(Progress::Prepared(all.len()));
        }
        // The kernel may reuse the inode numbers of namespaces, and so the addresses derived from
        // them. Earlier events are discarded.
        trace.read()?;
        drain(stream)?;
        let lost_before = stream.stats().lost;
        let mut traced = Vec::new();
        for index in 0..all.len() {
            all[index].start()?;
            // The start of many scenarios is long enough to fill the ring buffer. The trace also
            // contains the attempts of every other namespace.
            drain(stream)?.into_iter().for_each(|event| keep(&mut all, event));
            traced.append(&mut trace.read()?);
        }

        let mut seen = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            for event in stream.recv_batch_timeout(Duration::from_millis(50)).context("cannot read the stream")? {
                keep(&mut all, event);
            }
            traced.append(&mut trace.read()?);
            let done = all.iter().filter(|running| running.has_its_attempts()).count();
            if done > seen {
                progress(Progress::Seen(done));
                seen = done;
            }
            if done == all.len() || Instant::now() >= deadline {
                break;
            }
        }
        all.iter_mut().try_for_each(Running::finish)?;
        drain(stream)?.into_iter().for_each(|event| keep(&mut all, event));
        traced.append(&mut trace.read()?);
        if trace.lost()? != 0 {
            return Err(Error::new("the trace is incomplete: the kernel dropped events"));
        }
        let missed = missed(stream) - missed_before + (stream.stats().lost - lost_before);
        all.into_iter().map(|running| running.report(&traced, missed, stream)).collect()
    }

    /// Runs these scenarios concurrently, and again if one does not verify and [was
    /// disturbed](Self::was_disturbed).
    ///
    /// # Errors
    /// Returns an error without the required privileges, an error if no stream can be opened, and
    /// the errors of [`run_all`](Self::run_all).
    pub fn undisturbed(trials: &[Trial]) -> Result<Vec<Self>> {
        const RUNS: u32 = 5;
        for left in (0..RUNS).rev() {
            let runs = Self::run_all(&mut open()?, &mut TraceInstance::new()?, trials, |_| {})?;
            let was_disturbed = |run: &&Self| run.was_disturbed() && run.verify().is_err();
            match runs.iter().find(was_disturbed) {
                Some(run) if left > 0 => eprintln!("repeated, since it was disturbed: {}", run.trial()),
                _ => return Ok(runs),
            }
        }
        unreachable!("the last run is the last")
    }

    /// [Verifies](Self::verify) the run. If it differs and was disturbed, verifies another run of
    /// the same scenario [alone](Self::undisturbed).
    ///
    /// # Errors
    /// Returns the errors of [`verify`](Self::verify) and [`undisturbed`](Self::undisturbed).
    pub fn verify_undisturbed(&self) -> Result<()> {
        match self.verify() {
            Err(_) if self.was_disturbed() => {
                Self::undisturbed(&[self.trial()])?.iter().try_for_each(ScenarioRun::verify)
            }
            verified => verified,
        }
    }

    /// Returns the scenario that was run.
    pub fn trial(&self) -> Trial {
        Trial { outcome: self.outcome, family: self.family, probes: self.probes }
    }

    /// Returns the number of events with an unknown kind.
    pub fn unknown_kinds(&self) -> usize {
        self.events.iter().filter(|event| event.kind == RetransKind::Unknown).count()
    }

    /// Checks the events against the trace ([`text_matches`]) and the kind of each against its call
    /// stack ([`kinds_match`]), and returns the number of compared stacks.
    ///
    /// # Errors
    /// Returns an error that describes the first difference.
    pub fn compared_stacks(&self) -> Result<usize> {
        let its = self.counted.iter().find(|(netns, _)| *netns == self.subject.netns);
        let (_, counted) = its.ok_or_else(|| Error::new(format!("{}: no counters", self.trial())))?;
        text_matches(&self.events, &self.traced, self.failures)?;
        kinds_match(&self.events, &self.traced, counted, self.failures)
            .map_err(|error| Error::new(format!("{}: {error}", self.trial())))
    }

    /// Returns whether the kernel skipped the programs, or may have skipped them
    /// ([`undisturbed`](crate::observe::undisturbed)). Such a run proves nothing about the stream.
    ///
    /// The kernel skips and counts an attempt that a softirq makes while the programs run for
    /// another attempt on the same CPU. This was seen on an emulated CPU, where the first run of a
    /// program is slow.
    pub fn was_disturbed(&self) -> bool {
        self.missed > 0 || self.traced.iter().any(|event| event.of_process_1)
    }

    /// Compares the events with the expected ones, with the trace and with the counters.
    ///
    /// # Errors
    /// Returns an error that describes the first difference.
    pub fn verify(&self) -> Result<()> {
        let streamed = self.events.iter().map(|event| format!("{event}\n"));
        let lines: String = streamed.chain(self.traced.iter().map(|event| format!("{}\n", event.line))).collect();
        let differs = |what: String| Error::new(format!("{}: {what} in\n{lines}", self.trial()));
        let attempts = observable(self.outcome, self.probes, self.failures);
        if self.events.len() < attempts {
            return Err(differs(format!("{} attempts instead of at least {attempts}", self.events.len())));
        }
        // From its second attempt on, a scenario repeats the same attempt.
        let expected = (0..self.events.len() + 2)
            .map(|index| self.outcome.expected(index, self.probes).over(self.family).seen_from(&self.attachment));
        let mut expected = expected.filter(|expected| self.failures.stream_shows(expected));
        for (index, event) in self.events.iter().enumerate() {
            let expected = expected.next().ok_or_else(|| differs(format!("unexpected event {index}")))?;
            let expected = expected.with_pending(event.pending, &self.attachment);
            let cause = trigger_of(event, &self.events, &self.traced, self.failures);
            let expected = if index > 0 { expected.with_cause(cause, event) } else { expected };
            // The errno of a SYN-ACK is always known.
            let tells_err = self.attachment.observes_err() || event.kind == RetransKind::Synack;
            if event.err.is_some() != tells_err {
                return Err(differs(format!("event {index} has err {:?}", event.err)));
            }
            let reported = Expected {
                result: event.result,
                kind: event.kind,
                err: event.err.unwrap_or(expected.err),
                state: event.state,
                sk_err_soft: event.sk_err_soft,
            };
            if reported != expected {
                return Err(differs(format!("event {index} has {reported:?} instead of {expected:?}")));
            }
            // Without the errno, a name that has several causes proves nothing. Neither does an
            // unlisted name.
            let transmit = match reaches_transmit(event) {
                Some(_) if event.err.is_none() && event.result.entry().is_none() => Some(Transmit::Unknown),
                Some(reached) => Some(if reached { Transmit::Yes } else { Transmit::No }),
                None => Some(Transmit::Unknown),
            };
            if event.transmit != transmit {
                return Err(differs(format!(
                    "event {index} has transmit {:?} instead of {transmit:?}",
                    event.transmit
                )));
            }
            let whose = (event.family(), event.mapped) == printed_family(self.family)
                && concerns(&self.subject, event)
                && event.netns == Some(self.subject.netns);
            if !whose {
                return Err(differs(format!("event {index} does not belong to {:?}", self.subject)));
            }
        }
        let unnamed = self.events.iter().filter(|event| event.result.entry().is_none()).count();
        if unnamed != self.named.len() || self.named.iter().any(|name| name != CANCELED) {
            return Err(differs(format!("unexpected kernel names {:?}", self.named)));
        }
        // If no attempt is observable, the counters must prove that there was one.
        if attempts == 0 && self.counted.iter().all(|(_, counted)| counted.timeouts == 0) {
            return Err(differs("no timer expired".to_owned()));
        }
        self.compared_stacks()?;
        let agrees = |&(netns, counted): &(u32, Counters)| counters_match(&self.events, netns, counted, self.failures);
        self.counted.iter().try_for_each(agrees)
    }
}

/// The progress of [`ScenarioRun::run_all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This number of scenarios is prepared.
    Prepared(usize),
    /// This number of scenarios has had its attempts.
    Seen(usize),
}

/// Returns the minimum number of an outcome's attempts that the stream can observe.
fn observable(outcome: Outcome, probes: Probes, failures: Failures) -> usize {
    let is_observable = |&index: &usize| failures.stream_shows(&outcome.expected(index, probes));
    (0..outcome.attempts(probes)).filter(is_observable).count()
}

/// A scenario in progress.
struct Running {
    pair: Pair,
    before: Vec<Counters>,
    scenario: Option<Scenario>,
    outcome: Outcome,
    family: Family,
    subject: Subject,
    events: Vec<Event>,
    failures: Failures,
    began: SystemTime,
}

impl Running {
    fn prepare(trial: Trial, failures: Failures) -> Result<Self> {
        let Trial { outcome, family, probes } = trial;
        let pair = Pair::with_probes(probes)?;
        let scenario = Scenario::prepare(&pair, family, outcome)?;
        let (subject, before) = (scenario.subject(), counters(&pair)?);
        let (scenario, began) = (Some(scenario), SystemTime::now());
        Ok(Self { pair, before, scenario, outcome, family, subject, events: Vec::new(), failures, began })
    }

    fn start(&mut self) -> Result<()> {
        self.began = SystemTime::now();
        if let Some(scenario) = &mut self.scenario {
            scenario.start()?;
            // The cookie of a Fast Open connection is known only after the start.
            self.subject = scenario.subject();
        }
        Ok(())
    }

    fn has_its_attempts(&self) -> bool {
        // If no attempt is observable, a timer must expire before the end of the run.
        if observable(self.outcome, self.pair.probes(), self.failures) == 0 {
            let expired = |(after, before): (Counters, Counters)| (after - before).timeouts > 0;
            return counters(&self.pair).is_ok_and(|after| after.into_iter().zip(self.before.clone()).any(expired));
        }
        self.events.iter().filter(|event| concerns(&self.subject, event)).count()
            >= observable(self.outcome, self.pair.probes(), self.failures)
    }

    fn finish(&mut self) -> Result<()> {
        let Some(scenario) = self.scenario.take() else { return Ok(()) };
        if let (Outcome::Fast, true, Some(conn)) = (self.outcome, self.has_its_attempts(), scenario.conn()) {
            // After all data has arrived nothing is left to retransmit, so a further attempt would
            // be noticed.
            conn.server().read_exact(&mut [0; FAST_BYTES]).context("cannot read the data")?;
        }
        scenario.finish()
    }

    fn report(self, traced: &[TraceEvent], missed: u64, stream: &Stream) -> Result<ScenarioRun> {
        let ended = SystemTime::now();
        let after = counters(&self.pair)?;
        let namespaces = [self.pair.client().inode(), self.pair.server().inode()];
        let counted =
            namespaces.into_iter().zip(after.into_iter().zip(self.before).map(|(after, before)| after - before));
        let probes = self.pair.probes();
        let Self { outcome, family, subject, events, failures, began, .. } = self;
        let its = |event: &&TraceEvent| (event.local(), event.remote()) == (subject.local, subject.remote);
        let traced = traced.iter().filter(its).cloned().collect();
        let counted = counted.collect();
        let named =
            events.iter().filter_map(|event| stream.live()?.kernel_name(event.result)).map(str::to_owned).collect();
        let attachment = attachment(stream).clone();
        Ok(ScenarioRun {
            outcome,
            family,
            probes,
            subject,
            events,
            named,
            traced,
            counted,
            attachment,
            failures,
            missed,
            began,
            ended,
        })
    }
}

fn counters(pair: &Pair) -> Result<Vec<Counters>> {
    [pair.client(), pair.server()].into_iter().map(Counters::read).collect()
}

/// Adds an event to the run in whose namespaces it happened. It also matches the socket cookie, so
/// that an event with a wrong namespace is not overlooked.
fn keep(all: &mut [Running], event: Event) {
    let whose = |running: &&mut Running| {
        let of_the_pair =
            [running.pair.client(), running.pair.server()].iter().any(|ns| event.netns == Some(ns.inode()));
        of_the_pair || (event.cookie.is_some() && event.cookie == running.subject.cookie)
    };
    if let Some(running) = all.iter_mut().find(whose) {
        running.events.push(event);
    }
}
