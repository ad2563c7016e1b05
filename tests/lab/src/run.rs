// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios run side by side, each in namespaces of its own, and what stream and witnesses have of each.

use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

use retrans_sdk::attach::Attachment;
use retrans_sdk::event::Transmit;
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{Event, RetransKind, Stream};

use crate::cross_check::{Failures, counters_match, text_matches};
use crate::kernel_enum::CANCELED;
use crate::observe::{attachment, concerns, drain, open, printed_family, reaches_transmit};
use crate::scenario::FAST_BYTES;
use crate::wait::PATIENCE;
use crate::{
    Context, Counters, Error, Expected, Family, Outcome, Pair, Result, Scenario, Subject, TraceEvent, TraceInstance,
};

/// One scenario that was run, in a pair that nobody else used.
#[derive(Debug)]
pub struct ScenarioRun {
    /// What was provoked.
    pub outcome: Outcome,
    /// With which addresses.
    pub family: Family,
    /// The socket.
    pub subject: Subject,
    /// All that the stream had of the pair's namespaces, in order.
    pub events: Vec<Event>,
    /// What the kernel calls the results that no table has, event by event.
    pub named: Vec<String>,
    /// All that the kernel's text had of the socket, in order.
    pub traced: Vec<TraceEvent>,
    /// By how much the counters of both namespaces rose.
    pub counted: Vec<(u32, Counters)>,
    /// Where the stream was attached.
    pub attachment: Attachment,
    /// Whether stream and text tell of attempts that failed.
    pub failures: Failures,
    /// How many attempts the kernel did not run the programs for, by its own account, during the run: of whichever trial.
    pub missed: u64,
    /// When it was started.
    pub began: SystemTime,
    /// When it was over.
    pub ended: SystemTime,
}

impl ScenarioRun {
    /// Runs them all at a time, until each has had its attempts or [`PATIENCE`] is over, and says to `progress` how far it is.
    /// The stream must let everything through.
    ///
    /// # Errors
    /// When the lab cannot be built, or stream or trace cannot be read. Events that do not come are none:
    /// [`verify`](Self::verify) says so.
    pub fn run_all(
        stream: &mut Stream,
        trace: &mut TraceInstance,
        wanted: &[(Outcome, Family)],
        mut progress: impl FnMut(Progress),
    ) -> Result<Vec<Self>> {
        let failures = Failures::reported_by(stream, trace)?;
        let missed = |stream: &Stream| stream.stats().missed.unwrap_or(0);
        let missed_before = missed(stream);
        let mut all = Vec::new();
        for want in wanted {
            all.push(Running::prepare(*want, failures)?);
            progress(Progress::Prepared(all.len()));
        }
        // The numbers of the namespaces, and so their addresses, may have been others' before.
        trace.read()?;
        drain(stream)?;
        all.iter_mut().try_for_each(Running::start)?;

        let mut seen = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            for event in stream.recv_batch_timeout(Duration::from_millis(50)).context("cannot read the stream")? {
                keep(&mut all, event);
            }
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
        let traced = trace.read()?;
        if trace.lost()? != 0 {
            return Err(Error::new("the kernel's text is not complete"));
        }
        let missed = missed(stream) - missed_before;
        all.into_iter().map(|running| running.report(&traced, missed, stream)).collect()
    }

    /// Runs one alone, and again where it differs and [was disturbed](Self::was_disturbed).
    ///
    /// # Errors
    /// For want of privileges, when no stream can be opened, and as [`run_all`](Self::run_all).
    pub fn undisturbed(outcome: Outcome, family: Family) -> Result<Self> {
        const RUNS: u32 = 5;
        for left in (0..RUNS).rev() {
            let trials = Self::run_all(&mut open()?, &mut TraceInstance::new()?, &[(outcome, family)], |_| {})?;
            let trial = trials.into_iter().next().ok_or_else(|| Error::new("no trial"))?;
            if left == 0 || !trial.was_disturbed() || trial.verify().is_ok() {
                return Ok(trial);
            }
            eprintln!("once more, for it was disturbed: {outcome} over {family:?}");
        }
        unreachable!("the last run is the last")
    }

    /// [Verifies](Self::verify) it, and where it differs and was disturbed another of its sort that is run [alone](Self::undisturbed).
    ///
    /// # Errors
    /// As there.
    pub fn verify_undisturbed(&self) -> Result<()> {
        match self.verify() {
            Err(_) if self.was_disturbed() => Self::undisturbed(self.outcome, self.family)?.verify(),
            verified => verified,
        }
    }

    /// Whether the kernel kept the programs from running, or may have ([`undisturbed`](crate::observe::undisturbed)), so that
    /// nothing can be said of the stream.
    ///
    /// It does so, and counts it, for an attempt that a softirq makes while the programs run for another on the same CPU.
    /// (Seen where a CPU is emulated, so that a program's first run takes long.)
    pub fn was_disturbed(&self) -> bool {
        self.missed > 0 || self.traced.iter().any(|event| event.of_process_1)
    }

    /// Holds what the stream had against what was to be expected, against the kernel's text and against the counters.
    ///
    /// # Errors
    /// What differs.
    pub fn verify(&self) -> Result<()> {
        let told = self.events.iter().map(|event| format!("{event}\n"));
        let lines: String = told.chain(self.traced.iter().map(|event| format!("{}\n", event.line))).collect();
        let differs = |what: String| Error::new(format!("{} over {:?}: {what} in\n{lines}", self.outcome, self.family));
        let attempts = observable(self.outcome, self.failures);
        if self.events.len() < attempts {
            return Err(differs(format!("{} attempts instead of {attempts}", self.events.len())));
        }
        // From its second attempt on a scenario has the same over and over.
        let expected = (0..self.events.len() + 2).map(|index| self.outcome.expected(index).seen_from(&self.attachment));
        let mut expected = expected.filter(|expected| self.failures.streamed || expected.err == 0);
        for (index, event) in self.events.iter().enumerate() {
            let expected = expected.next().ok_or_else(|| differs(format!("event {index} is one too many")))?;
            // Of a SYN-ACK it is always known.
            let tells_err = self.attachment.observes_err() || event.kind == RetransKind::Synack;
            if event.err.is_some() != tells_err {
                return Err(differs(format!("event {index} has err {:?}", event.err)));
            }
            let told = Expected {
                result: event.result,
                kind: event.kind,
                err: event.err.unwrap_or(expected.err),
                state: event.state,
                sk_err_soft: event.sk_err_soft,
            };
            if told != expected {
                return Err(differs(format!("event {index} has {told:?} instead of {expected:?}")));
            }
            // Without the errno a name that stands for several causes proves nothing, and one that nobody knows neither.
            let transmit = match reaches_transmit(event) {
                Some(_) if event.err.is_none() && event.result.entry().is_none() => Some(Transmit::Unknown),
                Some(reached) => Some(if reached { Transmit::Yes } else { Transmit::No }),
                None => Some(Transmit::Unknown),
            };
            if event.transmit != transmit {
                return Err(differs(format!("event {index} is not of transmit {transmit:?}")));
            }
            let whose = (event.family(), event.mapped) == printed_family(self.family)
                && concerns(&self.subject, event)
                && event.netns == Some(self.subject.netns);
            if !whose {
                return Err(differs(format!("event {index} is not of {:?}", self.subject)));
            }
        }
        let unnamed = self.events.iter().filter(|event| event.result.entry().is_none()).count();
        if unnamed != self.named.len() || self.named.iter().any(|name| name != CANCELED) {
            return Err(differs(format!("by the kernel's names, {:?}", self.named)));
        }
        // Where nothing is to be seen of it, that must not be because nothing happened.
        if attempts == 0 && self.counted.iter().all(|(_, counted)| counted.timeouts == 0) {
            return Err(differs("no timer expired".to_owned()));
        }
        text_matches(&self.events, &self.traced, self.failures)?;
        let agrees = |&(netns, counted): &(u32, Counters)| counters_match(&self.events, netns, counted, self.failures);
        self.counted.iter().try_for_each(agrees)
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many scenarios are prepared.
    Prepared(usize),
    /// So many have had their attempts.
    Seen(usize),
}

/// How many of an outcome's attempts the stream has at least.
fn observable(outcome: Outcome, failures: Failures) -> usize {
    (0..outcome.attempts()).filter(|&index| failures.streamed || outcome.expected(index).err == 0).count()
}

/// A scenario under way.
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
    fn prepare((outcome, family): (Outcome, Family), failures: Failures) -> Result<Self> {
        let pair = Pair::new()?;
        let scenario = Scenario::prepare(&pair, family, outcome)?;
        let (subject, before) = (scenario.subject(), counters(&pair)?);
        let (scenario, began) = (Some(scenario), SystemTime::now());
        Ok(Self { pair, before, scenario, outcome, family, subject, events: Vec::new(), failures, began })
    }

    fn start(&mut self) -> Result<()> {
        self.began = SystemTime::now();
        if let Some(scenario) = &mut self.scenario {
            scenario.start()?;
            // A Fast Open connection has its cookie only now.
            self.subject = scenario.subject();
        }
        Ok(())
    }

    fn has_its_attempts(&self) -> bool {
        self.events.iter().filter(|event| concerns(&self.subject, event)).count()
            >= observable(self.outcome, self.failures)
    }

    fn finish(&mut self) -> Result<()> {
        let Some(scenario) = self.scenario.take() else { return Ok(()) };
        if let (Outcome::Fast, true, Some(conn)) = (self.outcome, self.has_its_attempts(), scenario.conn()) {
            // Once everything has arrived there is nothing left to retransmit: one attempt too many would be seen.
            conn.server().read_exact(&mut [0; FAST_BYTES]).context("cannot read what was sent")?;
        }
        scenario.finish()
    }

    fn report(self, traced: &[TraceEvent], missed: u64, stream: &Stream) -> Result<ScenarioRun> {
        let ended = SystemTime::now();
        let after = counters(&self.pair)?;
        let namespaces = [self.pair.client().inode(), self.pair.server().inode()];
        let counted =
            namespaces.into_iter().zip(after.into_iter().zip(self.before).map(|(after, before)| after - before));
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

/// Gives an event to the trial in whose namespaces it happened; also by the cookie, so that one with a wrong namespace is
/// not overlooked.
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
