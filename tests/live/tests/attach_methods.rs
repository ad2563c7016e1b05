// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every attach method that can be forced here reports the same events, and every other method
//! reports the reason that it is not supported.

use std::fs;
use std::time::SystemTime;

use libbpf_rs::ProgramType;
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};
use retrans_lab::observe::{attachment, concerns, drain, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{
    Context, Discard, Family, Hold, KernelSupport, Outcome, Pair, Refusal, Result, RouteFault, Scenario, ScenarioRun,
    TraceInstance, WindowFault, privilege,
};
use retrans_sdk::attach::{AttachMethod, Attachment, Unobservable};
use retrans_sdk::event::Timestamp;
use retrans_sdk::harness::without_entries;
use retrans_sdk::stats::Failures;
use retrans_sdk::stream::Live;
use retrans_sdk::{Error, ErrorKind, Event, ResultClass, RetransKind, RetransResult, Stream};

/// Each result, each kind, and each path on which an attempt begins and ends.
const OUTCOMES: [Outcome; 12] = [
    Outcome::Rto,
    Outcome::Tlp,
    Outcome::Fast,
    Outcome::Syn,
    Outcome::Synack,
    Outcome::MtuCut,
    Outcome::InHostQueue(Hold::Qdisc),
    Outcome::RouteFail(RouteFault::Prohibit),
    Outcome::RcvZeroWindow(WindowFault::Peer),
    Outcome::FragNomem,
    Outcome::Denied(Refusal::Drop),
    Outcome::XmitDrop(Discard::Qdisc),
];

#[test]
#[ignore = "live: needs root, run by make test"]
fn each_method_reports_the_same_or_why_it_is_unsupported() -> Result<()> {
    privilege::check()?;
    let mut opened = 0;
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        match Stream::builder().attach_method(method).locate_nomem().open() {
            Ok(mut stream) => {
                opened += 1;
                assert_eq!(stream.live().map(Live::attach_method), Some(method));
                run_all(&mut stream)?;
                let observed = method.observes_failures();
                assert_eq!(matches!(stream.stats().failures, Failures::Observed(1..)), observed, "{method}");
                assert_eq!(stream.stats().failures == Failures::Unobservable, !observed, "{method}");
            }
            Err(error) => {
                assert!(is_refused(&error), "{method}: {error}");
                let begin = format!("attach method `{method}` is not available on this kernel: {method}");
                assert!(error.to_string().starts_with(&begin), "{error}");
            }
        }
    }
    assert!(opened > 0, "no attach method is available");
    Ok(())
}

/// Returns whether the kernel does not have the method or refuses it. If the verifier rejects a
/// program, that is a defect of the program.
fn is_refused(error: &Error) -> bool {
    error.kind() == ErrorKind::MethodUnavailable && !error.to_string().contains("BEGIN PROG LOAD LOG")
}

fn run_all(stream: &mut Stream) -> Result<()> {
    let all: Vec<_> = OUTCOMES.iter().enumerate().map(|(at, outcome)| (*outcome, Family::ALL[at % 3])).collect();
    for run in ScenarioRun::run_all(stream, &mut TraceInstance::new()?, &all, |_| {})? {
        // The kernel may have skipped the programs.
        run.verify_undisturbed().with_context(|| format!("from {}", attachment(stream)))?;
    }
    Ok(())
}

/// Every available method reports one attempt equally in every field except the timestamp. With a
/// single method nothing is compared; the guests of the kernel matrix have two or more.
#[test]
#[ignore = "live: needs root, run by make test"]
fn concurrent_methods_report_the_same_in_every_field() -> Result<()> {
    privilege::check()?;
    let support = KernelSupport::probe();
    let possible = OUTCOMES.iter().enumerate().filter(|(_, outcome)| support.missing_for(**outcome).is_none());
    let all: Vec<_> = possible.map(|(at, outcome)| (*outcome, Family::ALL[at % 3])).collect();
    let mut streams = Vec::new();
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        match Stream::builder().attach_method(method).locate_nomem().open() {
            Err(error) if is_refused(&error) => {}
            opened => streams.push(opened.with_context(|| method.to_string())?),
        }
    }
    // A method that sees no failures would wait forever for an outcome that only fails.
    streams.sort_by_key(|stream| !attachment(stream).observes_failures());
    let mut best = streams.remove(0);
    let mut runs = Vec::new();
    // Three at a time: with more, emulation would disturb some.
    for some in all.chunks(3) {
        runs.extend(ScenarioRun::run_all(&mut best, &mut TraceInstance::new()?, some, |_| {})?);
    }
    runs.retain(|run| !run.was_disturbed());
    if attachment(&best).observes_failures() {
        runs.iter().try_for_each(ScenarioRun::verify)?;
    }
    let mut compared = 0;
    for other in &mut streams {
        let (mut events, from) = (drain(other)?, attachment(other).clone());
        if other.stats().missed.is_some_and(|missed| missed > 0) {
            eprintln!("{from} missed attempts: not compared");
            continue;
        }
        for run in &runs {
            // The run's own stream discarded the events of its preparation.
            let since = run.began.duration_since(SystemTime::UNIX_EPOCH).context("a time before the epoch")?;
            events
                .retain(|event| !concerns(&run.subject, event) || u128::from(event.ts.as_nanos()) >= since.as_nanos());
            let both = [&run.events, &events].map(|events| of_run(run, events, &[&run.attachment, &from]));
            let [one, two] = &both;
            let lines = |events: &[Event]| events.iter().map(|event| format!("{event}\n")).collect::<String>();
            // The other stream stopped later.
            let same = two.len() >= one.len() && one[..] == two[..one.len()];
            assert!(same, "{} has\n{}and {from}\n{}", run.attachment, lines(one), lines(two));
            compared += one.len();
        }
    }
    println!("{} compared with {}: {compared} events", attachment(&best), streams.len());
    // Only disturbances may prevent the comparison, and they are rare.
    assert!(streams.is_empty() || compared >= all.len(), "{compared} events compared");
    Ok(())
}

/// Returns the events of the run's socket, without those that one of the two methods cannot see.
fn of_run(run: &ScenarioRun, events: &[Event], by: &[&Attachment]) -> Vec<Event> {
    let mut own: Vec<_> = events.iter().filter(|event| concerns(&run.subject, event)).copied().collect();
    if by.iter().any(|by| !by.observes_failures()) {
        own.retain(|event| event.class() == ResultClass::Ok);
    }
    for event in &mut own {
        event.ts = Timestamp::from_nanos(0);
        if by.iter().any(|by| !by.locates_nomem) && event.class() == ResultClass::Nomem {
            event.result = RetransResult::Nomem;
        }
    }
    own
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_best_method_is_used_and_the_others_are_listed() -> Result<()> {
    privilege::check()?;
    let stream = Stream::builder().open().context("cannot open a stream")?;
    let attachment = attachment(&stream);
    assert_eq!(Some(attachment.method), stream.live().map(Live::attach_method));
    // A method that was not used fails when it is forced, unless it is the same one without a
    // companion.
    for candidate in attachment.unavailable() {
        assert!(candidate.reason().is_some_and(|reason| !reason.is_empty() && !reason.contains('\n')), "{candidate}");
        let refuses = || Stream::builder().attach_method(candidate.method).open().is_err();
        assert!(candidate.companion.is_some() || candidate.sites || refuses(), "{candidate}");
    }
    // Not requested, so only a kernel's own enum may do it.
    assert!(!attachment.locates_nomem || attachment.method == AttachMethod::TpEnum, "{attachment}");
    let fexit = Stream::builder().attach_method(AttachMethod::Fexit);
    if let Ok(stream) = fexit.locate_nomem().open() {
        assert!(self::attachment(&stream).locates_nomem, "fexit is available");
    }
    let unobservable: Vec<_> = attachment.unobservable().collect();
    assert_eq!(unobservable.contains(&Unobservable::SynackFailures), !attachment.observes_synack_failures());
    assert_eq!(unobservable.contains(&Unobservable::Failures), !attachment.observes_failures());
    assert_eq!(unobservable.contains(&Unobservable::Err), !attachment.observes_err());
    Ok(())
}

/// `lockdown=confidentiality` forbids the helper `bpf_probe_read_kernel`. The kernel removes unused
/// code when it loads a program, so this reads the loaded instructions.
#[test]
#[ignore = "live: needs root, run by make test"]
fn tracing_programs_do_not_use_the_helper_that_lockdown_forbids() -> Result<()> {
    privilege::check()?;
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read the kernel's symbols")?;
    let address = |name: &str| {
        let line = symbols.lines().find(|line| line.split_ascii_whitespace().nth(2) == Some(name));
        let address = line.and_then(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok());
        address.filter(|address| *address != 0).unwrap_or_else(|| panic!("no address of {name}"))
    };
    // A call of a helper contains the distance from this function.
    let base = address("__bpf_call_base");
    let distance = |name: &str| address(name).wrapping_sub(base) as i32;
    let (forbidden, used) = (distance("bpf_probe_read_kernel"), distance("bpf_skc_to_tcp_request_sock"));
    let mut checked = 0;
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        let stream = match Stream::builder().attach_method(method).locate_nomem().open() {
            Err(error) if is_refused(&error) => continue,
            opened => opened.with_context(|| method.to_string())?,
        };
        let own = own_programs()?;
        let programs: Vec<_> =
            ProgInfoIter::with_query_opts(ProgInfoQueryOptions::default().include_xlated_prog_insns(true))
                .filter(|program| own.contains(&program.id))
                .collect();
        let tracing = |program: &&ProgramInfo| program.ty == ProgramType::Tracing;
        for program in programs.iter().filter(tracing) {
            // Eight bytes: the code, the registers, an offset, and the number of a call.
            let calls: Vec<_> = program
                .xlated_prog_insns
                .chunks_exact(8)
                .filter(|insn| insn[0] == 0x85 && insn[1] >> 4 == 0)
                .map(|insn| i32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]))
                .collect();
            assert!(!calls.contains(&forbidden), "{method}: {:?} calls the helper", program.name);
            // The distances are not hidden from this process, and are those of helpers.
            if program.name == "rt_tp_synack" {
                assert!(calls.contains(&used), "{method}: {calls:?}");
                checked += 1;
            }
        }
        drop(stream);
    }
    assert!(checked > 0, "no attach method is available");
    Ok(())
}

/// Returns the ids of the BPF programs that this process has open.
fn own_programs() -> Result<Vec<u32>> {
    let open = fs::read_dir("/proc/self/fdinfo").context("cannot read /proc/self/fdinfo")?;
    let id = |info: &str| info.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    // A descriptor of another test may be closed meanwhile.
    Ok(open.flatten().filter_map(|entry| id(&fs::read_to_string(entry.path()).ok()?)).collect())
}

/// A SYN-ACK that fails is an event and counted, or it is stated that such failures are
/// unobservable.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_failed_synack_is_reported_or_stated_to_be_unobservable() -> Result<()> {
    privilege::check()?;
    let missing = KernelSupport::probe().missing_for(Outcome::SynackDenied);
    assert_eq!(missing, None, "the scenario cannot run");
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant) {
        let mut stream = match Stream::builder().attach_method(method).open() {
            Err(error) if is_refused(&error) => continue,
            opened => opened.with_context(|| method.to_string())?,
        };
        let all = Family::ALL.map(|family| (Outcome::SynackDenied, family));
        let runs = ScenarioRun::run_all(&mut stream, &mut TraceInstance::new()?, &all, |_| {})?;
        runs.iter().try_for_each(ScenarioRun::verify_undisturbed)?;
        let (observed, stats) = (attachment(&stream).observes_synack_failures(), stream.stats());
        for run in runs.iter().filter(|run| !run.was_disturbed()) {
            assert_eq!(run.events.len(), usize::from(observed), "{method}");
        }
        match stats.failures_of(RetransKind::Synack) {
            Failures::Observed(count) => assert!(observed && count > 0, "{method}: {stats}"),
            _ => assert!(!observed, "{method}: {stats}"),
        }
        let unobservable = attachment(&stream).unobservable().any(|what| what == Unobservable::SynackFailures);
        assert_eq!(unobservable, !observed, "{method}");
        // Wherever programs are attached to function exits, SYN-ACKs are among them.
        let has_exits =
            matches!(method, AttachMethod::Fexit | AttachMethod::Kretprobe) || attachment(&stream).companion.is_some();
        assert_eq!(observed, has_exits, "{method}");
    }
    Ok(())
}

/// As if the compiler had inlined the functions, whose exits then report nothing: the tracepoint
/// alone reports the attempts, and the claim that failures are observed is withdrawn. Nothing is
/// compared on a kernel that refuses fexit and kretprobes; the guests of the kernel matrix have
/// both.
#[test]
#[ignore = "live: needs root, run by make test"]
fn an_attempt_without_its_exit_withdraws_the_claim_of_failures() -> Result<()> {
    privilege::check()?;
    for method in [AttachMethod::Fexit, AttachMethod::Kretprobe] {
        let mut stream = match without_entries(Stream::builder().attach_method(method)).open() {
            Err(error) if is_refused(&error) => {
                println!("{error}");
                continue;
            }
            opened => opened.with_context(|| method.to_string())?,
        };
        let pair = Pair::new()?;
        let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
        let its = |event: &Event| concerns(&scenario.subject(), event);
        until(&mut stream, PATIENCE, |events| events.iter().any(its))?;
        scenario.finish()?;
        let stats = stream.stats();
        match stats.tracepoint_only {
            Some(count) => assert!(count > 0 && stats.failures == Failures::Unobservable, "{method}: {stats}"),
            // The tracepoint reports failures, so nothing is lost.
            None => assert!(matches!(stats.failures, Failures::Observed(_)), "{method}: {stats}"),
        }

        // The same attempts with their exits.
        let mut stream = Stream::builder().attach_method(method).open().with_context(|| method.to_string())?;
        let scenario = Scenario::run(&pair, Family::V4, Outcome::Rto)?;
        let its = |event: &Event| concerns(&scenario.subject(), event);
        until(&mut stream, PATIENCE, |events| events.iter().any(its))?;
        scenario.finish()?;
        let stats = stream.stats();
        // The kernel does not count the kprobes that it skips, as it does on an emulated CPU.
        if stats.missed == Some(0) {
            assert_eq!(stats.tracepoint_only.unwrap_or_default(), 0, "{method}: {stats}");
            assert!(matches!(stats.failures, Failures::Observed(_)), "{method}: {stats}");
        }
    }
    Ok(())
}
