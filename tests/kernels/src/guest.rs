// SPDX-License-Identifier: MIT OR Apache-2.0
//! The work of a guest: it runs the scenarios by each attach method, then the live tests, and
//! writes a line for each result.

use std::fs;
use std::io::Write;
use std::time::Instant;

use retrans_lab::observe::{attachment, filter};
use retrans_lab::{
    Context, Error, Family, KernelSupport, Outcome, Probes, Result, ScenarioRun, TraceInstance, Trial, filters,
};
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::harness::with_companion;
use retrans_sdk::stats::Failures;
use retrans_sdk::stream::RateLimit;
use retrans_sdk::{ErrorKind, Stream, StreamBuilder, check};

use crate::live_tests;
use crate::log::{Cell, CellResult, Kinds, failures_word, family_name, findings_line};
use crate::owners;

/// The only line of a guest whose clock is too coarse for the lab. The host boots it again.
pub const COARSE_CLOCK: &str = "coarse clock";

/// The part of its work that a guest does. All parts contain the scenarios and the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Also loads the demanding filters and runs the live tests.
    Everything,
    /// Also loads the demanding filters.
    Scenarios,
    /// A sample, for a kernel whose row has the hash of the same inputs: the scenarios over one
    /// family. Also loads the demanding filters, but only one of them with kprobes, where some
    /// need half a minute in a guest.
    Sample(Family),
}

impl Part {
    /// Returns the argument of the guest.
    #[must_use]
    pub const fn argument(self) -> Option<&'static str> {
        match self {
            Self::Everything => None,
            Self::Scenarios => Some("--scenarios"),
            Self::Sample(Family::V4) => Some("--sample-inet"),
            Self::Sample(Family::V6) => Some("--sample-inet6"),
            Self::Sample(Family::Mapped) => Some("--sample-mapped"),
        }
    }

    /// Returns the families that the scenarios run over.
    fn families(self) -> Vec<Family> {
        match self {
            Self::Everything | Self::Scenarios => Family::ALL.to_vec(),
            Self::Sample(family) => vec![family],
        }
    }

    /// Returns the part that an argument selects.
    #[must_use]
    pub fn of(argument: Option<&str>) -> Option<Self> {
        let samples = Family::ALL.map(Self::Sample);
        [Self::Everything, Self::Scenarios].into_iter().chain(samples).find(|part| part.argument() == argument)
    }
}

/// Loads the most demanding filters, then runs every scenario by every attach method that opens,
/// with and without tail loss probes, over the families of `part`, then the live tests if `part`
/// contains them. Writes a line for each to `lines`. The reasons of failures go to standard error.
///
/// # Errors
/// Returns an error if a check of the kernel fails, or if the lab cannot be set up.
pub fn run(lines: &mut impl Write, part: Part) -> Result<()> {
    let kernel = release()?;
    let lacks = KernelSupport::probe();
    let differs = check::running_kernel().context("cannot check the kernel's types")?.findings;
    say(lines, &findings_line(&differs.iter().map(ToString::to_string).collect::<Vec<_>>()))?;
    let families = part.families();
    say(lines, &format!("families names={}", families.iter().copied().map(family_name).collect::<Vec<_>>().join(",")))?;
    let mut count = 0;
    demanding_filters_load(part)?;
    eprintln!("{}", owners::are_known()?);
    for Source { name: source, mut stream, builder } in sources()? {
        let failures = failures_word(attachment(&stream).observes_failures());
        let companion = attachment(&stream).companion.map_or_else(|| "-".to_owned(), |companion| companion.to_string());
        say(lines, &format!("source source={source} companion={companion} failures={failures}"))?;
        let mut kinds = Kinds { source: source.clone(), observed: true, ..Kinds::default() };
        for (family, probes) in families.iter().flat_map(|&family| Probes::ALL.map(|probes| (family, probes))) {
            let mut trials = portion(&mut stream, family, probes, &lacks)?;
            for _ in 1..STREAMS {
                // A kprobe is skipped, and not counted, while another BPF program runs on its CPU.
                // Then failures are unobservable for this stream, and fewer kinds are proven.
                if stream.stats().tracepoint_only.unwrap_or(0) == 0 {
                    break;
                }
                let stats = stream.stats();
                eprintln!(
                    "repeated with a new stream, because an exit was not observed: {source}, {family:?}, {probes:?}: \
                     {stats}"
                );
                stream = builder().locate_nomem().open().context(source.clone())?;
                trials = portion(&mut stream, family, probes, &lacks)?;
            }
            kinds.observed &= stream.stats().failures != Failures::Unobservable;
            let mut trials = trials.into_iter();
            for outcome in with(probes) {
                let (result, again) = match lacks.missing_for(outcome) {
                    Some(why) => (CellResult::Impossible(why.to_owned()), false),
                    None => {
                        let (trial, again) = trials.next().ok_or_else(|| Error::new("a trial is missing"))?;
                        count_kinds(&mut kinds, &trial);
                        (result_of(&trial), again)
                    }
                };
                let (source, outcome) = (source.clone(), Trial::name(outcome, probes));
                let cell = Cell {
                    kernel: kernel.clone(),
                    source,
                    outcome,
                    family: family_name(family).to_owned(),
                    result,
                    again,
                };
                say(lines, &cell.to_string())?;
                count += 1;
            }
        }
        if let failures @ Failures::Observed(0) = stream.stats().failures {
            return Err(Error::new(format!("{source} counts {failures} failures")));
        }
        say(lines, &kinds.to_string())?;
    }
    let tests = if part == Part::Everything { live_tests::run(&lacks, "")? } else { Vec::new() };
    tests.iter().try_for_each(|test| say(lines, &test.to_string()))?;
    say(lines, &format!("done cells={count} tests={}", tests.len()))
}

/// Runs only the live tests whose names have this prefix, and writes a line for each to `lines`.
///
/// # Errors
/// Returns an error if the guest has no list of live tests.
pub fn run_tests(prefix: &str, lines: &mut impl Write) -> Result<()> {
    live_tests::run(&KernelSupport::probe(), prefix)?.iter().try_for_each(|test| say(lines, &test.to_string()))
}

/// Returns the release of the running kernel.
///
/// # Errors
/// Returns an error if /proc is not mounted.
pub fn release() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    Ok(release.trim().to_owned())
}

/// An attach method, and a stream that was opened with it.
struct Source {
    name: String,
    stream: Stream,
    builder: Box<dyn Fn() -> StreamBuilder>,
}

/// Opens and names a stream for each attach method that the kernel supports. `tp_enum` is opened
/// with its best companion for the errno, as `tp_enum_kretprobe` with a kretprobe, and as
/// `tp_enum_alone` without a companion. The reason why a method is not available goes to standard
/// error.
fn sources() -> Result<Vec<Source>> {
    let mut all = Vec::new();
    for source in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        open(&mut all, &source.to_string(), move || Stream::builder().attach_method(source))?;
    }
    if all.iter().any(|source| {
        let attachment = attachment(&source.stream);
        attachment.method == AttachMethod::TpEnum && attachment.companion.is_some()
    }) {
        let enumerated = || Stream::builder().attach_method(AttachMethod::TpEnum);
        open(&mut all, "tp_enum_kretprobe", move || with_companion(enumerated(), AttachMethod::Kretprobe))?;
        open(&mut all, "tp_enum_alone", move || enumerated().without_companion())?;
    }
    Ok(all)
}

fn open(all: &mut Vec<Source>, name: &str, builder: impl Fn() -> StreamBuilder + 'static) -> Result<()> {
    match builder().locate_nomem().open() {
        Ok(stream) => all.push(Source { name: name.to_owned(), stream, builder: Box::new(builder) }),
        Err(error) if error.kind() == ErrorKind::MethodUnavailable => eprintln!("{name}: {error}"),
        Err(error) => return Err(error).context(name.to_owned()),
    }
    Ok(())
}

/// Checks that all demanding filters load. Verifiers differ: one may accept a program at once that
/// is too complex for another.
fn demanding_filters_load(part: Part) -> Result<()> {
    let mut all: Vec<_> = sources()?.iter().map(|source| attachment(&source.stream).method).collect();
    all.dedup();
    for source in all {
        let is_slow = source == AttachMethod::Kretprobe && matches!(part, Part::Sample(_));
        for text in filters::demanding().into_iter().take(if is_slow { 1 } else { usize::MAX }) {
            let began = Instant::now();
            let stream = Stream::builder()
                .attach_method(source)
                .locate_nomem()
                .filter(filter(&text)?)
                .rate_limit(RateLimit { per_second: 10, burst: 10 })
                .open();
            stream.with_context(|| format!("{source} with {text}"))?;
            eprintln!("{source} in {} ms: {text:.60}…", began.elapsed().as_millis());
        }
    }
    Ok(())
}

fn say(lines: &mut impl Write, line: &str) -> Result<()> {
    writeln!(lines, "{line}").and_then(|()| lines.flush()).context("cannot write a line")
}

/// The number of runs if the first ones are disturbed (see [`ScenarioRun::was_disturbed`]) and do
/// not verify.
const RUNS: u32 = 3;

/// The number of streams for the same scenarios if the exits of attempts are not observed. On a
/// busy host an emulated kernel interrupted the programs of three streams one after the other.
const STREAMS: u32 = 5;

/// Returns the outcomes that are run with this setting.
fn with(probes: Probes) -> impl Iterator<Item = Outcome> {
    Outcome::ALL.into_iter().filter(move |outcome| outcome.settings().contains(&probes))
}

/// Runs each possible scenario over this family with this setting, and returns whether the run is a
/// repetition.
fn portion(
    stream: &mut Stream,
    family: Family,
    probes: Probes,
    lacks: &KernelSupport,
) -> Result<Vec<(ScenarioRun, bool)>> {
    let possible = with(probes).filter(|outcome| lacks.missing_for(*outcome).is_none());
    let wanted: Vec<_> = possible.map(|outcome| Trial { outcome, family, probes }).collect();
    let mut trace = TraceInstance::new()?;
    let mut trials = ScenarioRun::run_all(stream, &mut trace, &wanted, |_| {})?;
    for _ in 1..RUNS {
        if !trials.iter().any(|trial| trial.was_disturbed() && trial.verify().is_err()) {
            break;
        }
        eprintln!("repeated, because it was disturbed: {family:?}, probes {probes:?}");
        trials = ScenarioRun::run_all(stream, &mut trace, &wanted, |_| {})?;
    }
    let mut is_repeated = vec![false; trials.len()];
    // An emulated kernel may be late by more than a timeout. Only the trials that failed are
    // repeated, because a second boot would repeat everything.
    for _ in 1..RUNS {
        let failed: Vec<_> = trials.iter().enumerate().filter(|(_, trial)| trial.verify().is_err()).collect();
        if failed.is_empty() {
            break;
        }
        let failed: Vec<_> = failed.into_iter().map(|(index, _)| index).collect();
        let again: Vec<_> = failed.iter().filter_map(|index| wanted.get(*index).copied()).collect();
        for index in &failed {
            if let Some(Err(error)) = trials.get(*index).map(ScenarioRun::verify) {
                eprintln!("repeated alone, because it failed: {error}");
            }
        }
        let repeated = ScenarioRun::run_all(stream, &mut trace, &again, |_| {})?;
        for (index, trial) in failed.into_iter().zip(repeated) {
            trials[index] = trial;
            is_repeated[index] = true;
        }
    }
    Ok(trials.into_iter().zip(is_repeated).collect())
}

/// Adds the attempts of a scenario, if they are as expected.
fn count_kinds(kinds: &mut Kinds, trial: &ScenarioRun) {
    if let (Ok(()), Ok(compared)) = (trial.verify(), trial.compared_stacks()) {
        kinds.attempts += trial.events.len();
        kinds.unknown += trial.unknown_kinds();
        kinds.compared += compared;
    }
}

fn result_of(trial: &ScenarioRun) -> CellResult {
    let events = trial.events.len();
    let telling = trial.outcome.expected(trial.outcome.defining_attempt(trial.probes), trial.probes);
    match trial.verify() {
        Ok(()) if !trial.failures.stream_shows(&telling) => CellResult::Unobservable(events),
        Ok(()) => CellResult::Matches(events),
        Err(error) => {
            eprintln!("{error}");
            eprintln!("the kernel's text:");
            trial.traced.iter().for_each(|event| eprintln!("{}\n  {}", event.line, event.callers.join(" <- ")));
            CellResult::Differs(events)
        }
    }
}
