// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest runs: the scenarios by each attach method, then the live tests; and the lines that it writes.

use std::fs;
use std::io::Write;
use std::time::Instant;

use retrans_sdk::attach::AttachMethod;
use retrans_sdk::harness::with_companion;
use retrans_sdk::stats::Failures;
use retrans_sdk::stream::RateLimit;
use retrans_sdk::{ErrorKind, Stream, StreamBuilder, check};
use retrans_tests::observe::{attachment, filter};
use retrans_tests::{Context, Error, Family, Lacks, Outcome, Result, TraceInstance, Trial, filters};

use crate::live_tests;
use crate::log::{Came, Cell, family_name, findings_line};
use crate::owners;

/// The argument of the guest that leaves out the live tests.
pub const SCENARIOS: &str = "--scenarios";

/// Loads the hardest filters and runs every outcome over every family, from every source that opens, then the live tests
/// unless `tests` is false, and writes a line for each to `lines`. Why a trial differs or a test failed is said on standard error.
///
/// # Errors
/// When there is no source, or the lab cannot be built.
pub fn run(lines: &mut impl Write, tests: bool) -> Result<()> {
    let kernel = release()?;
    let lacks = Lacks::find();
    let differs = check::running_kernel().context("cannot check the kernel's types")?.findings;
    say(lines, &findings_line(&differs.iter().map(ToString::to_string).collect::<Vec<_>>()))?;
    let mut count = 0;
    demanding_filters_load()?;
    eprintln!("{}", owners::are_known()?);
    for (source, mut stream) in sources()? {
        let observes = attachment(&stream).observes_failures();
        let failures = if observes { "observed" } else { "unobservable" };
        let companion = attachment(&stream).companion.map_or_else(|| "-".to_owned(), |companion| companion.to_string());
        say(lines, &format!("source source={source} companion={companion} failures={failures}"))?;
        for family in Family::ALL {
            let came = portion(&mut stream, family, &lacks)?;
            for (outcome, came) in Outcome::ALL.into_iter().zip(came) {
                let (source, outcome) = (source.clone(), outcome.to_string());
                let cell =
                    Cell { kernel: kernel.clone(), source, outcome, family: family_name(family).to_owned(), came };
                say(lines, &cell.to_string())?;
                count += 1;
            }
        }
        let (told, failures) = (observes, stream.stats().failures);
        if matches!(failures, Failures::Observed(1..)) != told || (failures == Failures::Unobservable) == told {
            return Err(Error::new(format!("{source} counts {failures} failures")));
        }
    }
    let tests = if tests { live_tests::run(&lacks, "")? } else { Vec::new() };
    tests.iter().try_for_each(|test| say(lines, &test.to_string()))?;
    say(lines, &format!("done cells={count} tests={}", tests.len()))
}

/// Runs nothing but the live tests whose names begin so, and writes a line for each to `lines`.
///
/// # Errors
/// When there is no list of them.
pub fn run_tests(prefix: &str, lines: &mut impl Write) -> Result<()> {
    live_tests::run(&Lacks::find(), prefix)?.iter().try_for_each(|test| say(lines, &test.to_string()))
}

/// The release of the running kernel.
///
/// # Errors
/// When /proc is not there.
pub fn release() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    Ok(release.trim().to_owned())
}

/// A stream from each source that the kernel allows, by a name for it; the proposal's enum with the errno beside it from whatever gives it
/// best, as `tp_enum_kretprobe` from a kretprobe, and as `tp_enum_alone` without. Why not from another is said on standard error.
fn sources() -> Result<Vec<(String, Stream)>> {
    let mut all = Vec::new();
    for source in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        open(&mut all, source.to_string(), Stream::builder().attach_method(source))?;
    }
    if all
        .iter()
        .any(|(_, stream)| attachment(stream).method == AttachMethod::TpEnum && attachment(stream).companion.is_some())
    {
        let worse = with_companion(Stream::builder().attach_method(AttachMethod::TpEnum), AttachMethod::Kretprobe);
        open(&mut all, "tp_enum_kretprobe".to_owned(), worse)?;
        let alone = Stream::builder().attach_method(AttachMethod::TpEnum).without_companion();
        open(&mut all, "tp_enum_alone".to_owned(), alone)?;
    }
    Ok(all)
}

fn open(all: &mut Vec<(String, Stream)>, name: String, builder: StreamBuilder) -> Result<()> {
    match builder.open() {
        Ok(stream) => all.push((name, stream)),
        Err(error) if error.kind() == ErrorKind::MethodUnavailable => eprintln!("{name}: {error}"),
        Err(error) => return Err(error).context(name),
    }
    Ok(())
}

/// Verifiers differ, and what one walks in a moment is too much for another.
fn demanding_filters_load() -> Result<()> {
    let mut all: Vec<_> = sources()?.iter().map(|(_, stream)| attachment(stream).method).collect();
    all.dedup();
    for source in all {
        for text in filters::demanding() {
            let began = Instant::now();
            let stream = Stream::builder()
                .attach_method(source)
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

/// A disturbed run proves nothing (see [`Trial::was_disturbed`]), unless all went well nevertheless.
const RUNS: u32 = 3;

/// What came of each outcome over this family.
fn portion(stream: &mut Stream, family: Family, lacks: &Lacks) -> Result<Vec<Came>> {
    let possible: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| lacks.needed_by(*outcome).is_none()).collect();
    let wanted: Vec<_> = possible.iter().map(|outcome| (*outcome, family)).collect();
    let mut trace = TraceInstance::new()?;
    let mut trials = Trial::run(stream, &mut trace, &wanted, |_| {})?;
    for _ in 1..RUNS {
        if !trials.iter().any(|trial| trial.was_disturbed() && trial.verify().is_err()) {
            break;
        }
        eprintln!("once more, for it was disturbed: {family:?}");
        trials = Trial::run(stream, &mut trace, &wanted, |_| {})?;
    }
    let mut trials = trials.into_iter();
    let mut all = Vec::new();
    for outcome in Outcome::ALL {
        all.push(match lacks.needed_by(outcome) {
            Some(why) => Came::Impossible(why.to_owned()),
            None => came(&trials.next().ok_or_else(|| Error::new("a trial is missing"))?),
        });
    }
    Ok(all)
}

fn came(trial: &Trial) -> Came {
    let events = trial.events.len();
    let telling = trial.outcome.expected(trial.outcome.telling());
    match trial.verify() {
        Ok(()) if telling.err != 0 && !trial.failures.streamed => Came::Unobservable(events),
        Ok(()) => Came::Agreed(events),
        Err(error) => {
            eprintln!("{error}");
            eprintln!("the kernel's text:");
            trial.traced.iter().for_each(|event| eprintln!("{}", event.line));
            Came::Differs(events)
        }
    }
}
