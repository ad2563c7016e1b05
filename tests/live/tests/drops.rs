// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packet that the host dropped inside an attempt: reason, place and device, compared with the
//! kernel's own text, and the device of the route.

use std::time::{Duration, Instant};

use retrans_lab::observe::{concerns, drain};
use retrans_lab::pair::LINK;
use retrans_lab::wait::PATIENCE;
use retrans_lab::{
    Context, DropTrace, Dropper, Error, Family, KernelSupport, Outcome, Pair, Result, Scenario, privilege,
};
use retrans_sdk::attach::AttachMethod;
use retrans_sdk::event::KernelStr;
use retrans_sdk::{ErrorKind, Event, FieldSet, Stream};
use rustix::time::ClockId;

/// The number of attempts that each scenario provokes.
const ATTEMPTS: usize = 2;

fn open() -> Result<Stream> {
    let fields = FieldSet::default() | FieldSet::drops();
    Stream::builder().fields(fields).open().context("cannot open a stream")
}

/// Returns the name that the kernel prints for the reason of an event.
fn printed_reason(stream: &Stream, event: &Event) -> Option<String> {
    let reason = event.drop_reason?;
    let name = stream.live().and_then(|live| live.kernel_drop_reason(reason)).map(str::to_owned);
    Some(name.unwrap_or_else(|| reason.to_string()))
}

fn index_of_link(pair: &Pair) -> Result<u32> {
    pair.client().run(|| nix::net::if_::if_nametoindex(LINK)).context("no link")
}

/// Returns the difference between the wall clock and CLOCK_BOOTTIME, from the read that was
/// interrupted least.
fn booted() -> Duration {
    let now = |id| Duration::try_from(rustix::time::clock_gettime(id)).expect("a time since the boot or the epoch");
    let read = |_| {
        let (before, wall, after) = (now(ClockId::Boottime), now(ClockId::Realtime), now(ClockId::Boottime));
        (after - before, wall - before)
    };
    (0..20).map(read).min().expect("twenty reads").1
}

/// Returns the drop that the trace contains for an event, by its time. Prefers the same drop,
/// because other packets may be dropped at the same time.
fn drop_of(stream: &Stream, trace: &DropTrace, event: &Event) -> Option<retrans_lab::TracedDrop> {
    /// Emulated guests are slow.
    const WITHIN: Duration = Duration::from_millis(20);
    let near = trace.drops_before(Duration::from_nanos(event.ts.as_nanos()) - booted(), WITHIN);
    let place = event.drop_at.map(|symbol| symbol.to_string());
    let is_same = |drop: &&retrans_lab::TracedDrop| {
        drop.reason == printed_reason(stream, event) && (drop.location.is_none() || drop.location == place)
    };
    near.iter().find(is_same).or(near.first()).cloned()
}

/// Runs scenarios at the same time, and returns the events of each with the line of the trace that
/// belongs to it.
type Observed = Vec<(Event, Option<retrans_lab::TracedDrop>)>;

fn observe(stream: &mut Stream, trace: &mut DropTrace, scenarios: &mut [Scenario]) -> Result<Vec<Observed>> {
    let (mut events, mut traced) = (Vec::new(), Vec::new());
    for scenario in scenarios.iter_mut() {
        scenario.start()?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        events.append(&mut drain(stream)?);
        traced.append(&mut trace.read()?);
        let count = |scenario: &Scenario| {
            let seen = events.iter().filter(|event| concerns(&scenario.subject(), event)).count();
            let of_trace = traced.iter().filter(|(event, _)| scenario.concerns(event)).count();
            if trace.reports_failures() { seen.min(of_trace) } else { seen }
        };
        if scenarios.iter().all(|scenario| count(scenario) >= ATTEMPTS) {
            break;
        }
        if Instant::now() > deadline {
            let missing: Vec<_> = scenarios.iter().filter(|scenario| count(scenario) < ATTEMPTS).collect();
            return Err(Error::new(format!("not within {PATIENCE:?}: {missing:?}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    traced.append(&mut trace.read()?);
    let pairs = scenarios.iter().map(|scenario| {
        let of_stream = events.iter().filter(|event| concerns(&scenario.subject(), event)).copied();
        if !trace.reports_failures() {
            return of_stream.map(|event| (event, drop_of(stream, trace, &event))).collect();
        }
        let of_trace = traced.iter().filter(|(event, _)| scenario.concerns(event)).map(|(_, drop)| drop.clone());
        of_stream.zip(of_trace).collect()
    });
    Ok(pairs.collect())
}

/// Every dropper that the kernel has, over every family, is reported as the kernel prints it.
#[test]
#[ignore = "live: needs root, run by make test"]
fn every_dropper_is_reported_as_the_kernel_prints_it() -> Result<()> {
    privilege::check()?;
    let support = KernelSupport::probe();
    let mut reported = 0;
    for dropper in Dropper::ALL {
        if let Some(missing) = support.missing_for_dropper(dropper) {
            println!("{dropper}: not run, {missing}");
            continue;
        }
        let (mut stream, mut trace) = (open()?, DropTrace::new()?);
        let mut pairs = Vec::new();
        let mut scenarios = Vec::new();
        for family in Family::ALL {
            let pair = Pair::new()?;
            scenarios.push(dropper.prepare(&pair, family)?);
            pairs.push(pair);
        }
        let observed = observe(&mut stream, &mut trace, &mut scenarios)?;
        for ((family, pair), attempts) in Family::ALL.into_iter().zip(&pairs).zip(observed) {
            for (index, (event, traced)) in attempts.iter().enumerate() {
                let at = format!("{dropper} over {family:?}, attempt {index}: {event}\n{traced:?}");
                // A qdisc has room for a probe or a later attempt, which then is a success. Another
                // packet may be dropped at that time.
                let Some(traced) = traced.as_ref().filter(|_| event.result == dropper.result()) else {
                    assert_eq!((event.drop_reason, event.drop_at), (None, None), "{at}");
                    continue;
                };
                reported += 1;
                assert_eq!(printed_reason(&stream, event), traced.reason, "{at}");
                if let Some(location) = &traced.location {
                    assert_eq!(event.drop_at.map(|symbol| symbol.to_string()).as_ref(), Some(location), "{at}");
                }
                let link = KernelStr::new(LINK.as_bytes());
                if dropper.has_device() {
                    assert_eq!(event.drop_dev, link, "{at}");
                }
                assert_eq!((event.oif, event.dev), (Some(index_of_link(pair)?), link), "{at}");
                assert_eq!(event.to_string().parse::<Event>().expect("a line"), *event, "{at}");
            }
            let is_dropped =
                |(event, traced): &(Event, Option<_>)| event.result == dropper.result() && traced.is_some();
            assert!(attempts.iter().any(is_dropped), "{dropper} over {family:?}: {attempts:?}");
        }
        scenarios.into_iter().try_for_each(Scenario::finish)?;
    }
    assert!(reported > 0, "no dropper is available");
    Ok(())
}

/// The drop does not depend on the attach method, and neither on owners, which are stored after the
/// other fields.
#[test]
#[ignore = "live: needs root, run by make test"]
fn every_attach_method_reports_the_drop() -> Result<()> {
    privilege::check()?;
    let mut opened = 0;
    for method in AttachMethod::ALL.iter().map(|entry| entry.variant).filter(|method| method.observes_failures()) {
        for owners in [false, true] {
            let builder = Stream::builder().fields(FieldSet::all()).attach_method(method);
            let builder = if owners { builder.resolve_owners() } else { builder };
            let mut stream = match builder.open() {
                // Not supported here, as `attach_methods` tests.
                Err(error) if error.kind() == ErrorKind::MethodUnavailable => continue,
                opened => opened.with_context(|| format!("{method}"))?,
            };
            opened += 1;
            let (pair, mut trace) = (Pair::new()?, DropTrace::new()?);
            let mut scenarios = [Dropper::NftPostrouting.prepare(&pair, Family::V6)?];
            for (event, traced) in observe(&mut stream, &mut trace, &mut scenarios)?.remove(0) {
                let at = format!("{method}, owners {owners}: {event}\n{traced:?}");
                let traced = traced.expect(&at);
                assert_eq!(printed_reason(&stream, &event), traced.reason, "{at}");
                assert_eq!(
                    (event.drop_dev, event.oif),
                    (KernelStr::new(LINK.as_bytes()), Some(index_of_link(&pair)?)),
                    "{at}"
                );
                // This process connected the socket. Before Linux 5.12 the owner is absent.
                assert!(event.pid.is_none_or(|pid| owners && pid == std::process::id()), "{at}");
            }
        }
    }
    assert!(opened > 0, "no attach method reports failures");
    Ok(())
}

/// An attempt that leaves this host has no drop, although the peer drops its packet.
#[test]
#[ignore = "live: needs root, run by make test"]
fn a_packet_that_leaves_has_no_drop() -> Result<()> {
    privilege::check()?;
    let (mut stream, mut trace) = (open()?, DropTrace::new()?);
    let mut pairs = Vec::new();
    let mut scenarios = Vec::new();
    for family in Family::ALL {
        let pair = Pair::new()?;
        scenarios.push(Scenario::prepare(&pair, family, Outcome::Rto)?);
        pairs.push(pair);
    }
    for (attempts, pair) in observe(&mut stream, &mut trace, &mut scenarios)?.iter().zip(&pairs) {
        for (event, _) in attempts {
            assert_eq!((event.drop_reason, event.drop_at, event.drop_dev), (None, None, None), "{event}");
            assert_eq!(event.oif, Some(index_of_link(pair)?), "{event}");
        }
    }
    scenarios.into_iter().try_for_each(Scenario::finish)
}

/// Without a request neither the program nor the fields exist.
#[test]
#[ignore = "live: needs root, run by make test"]
fn drops_are_recorded_only_on_request() -> Result<()> {
    privilege::check()?;
    let pair = Pair::new()?;
    let mut stream = Stream::open().context("cannot open a stream")?;
    let mut trace = DropTrace::new()?;
    let mut scenarios = [Scenario::prepare(&pair, Family::V4, Outcome::Rto)?];
    for (event, _) in observe(&mut stream, &mut trace, &mut scenarios)?.remove(0) {
        let keys = event.to_string();
        for key in FieldSet::drops().keys() {
            assert!(!keys.contains(&format!(" {key}=")), "{event}");
        }
    }
    Ok(())
}
