// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every outcome at once, held against two witnesses: the kernel's own text of the same tracepoints, and the counters of
//! the namespaces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use retrans_sdk::table::ReasonTable;
use retrans_sdk::{Event, RetransKind};
use retrans_tests::observe::{concerns, ends, open, reaches_transmit, settle, undisturbed, until};
use retrans_tests::wait::PATIENCE;
use retrans_tests::{
    Counters, Family, Netns, Outcome, Pair, Result, Scenario, Subject, TraceEvent, TraceInstance, Tracepoint,
};

/// What both tell of one attempt, beside whose it is.
type Told = (Tracepoint, Option<String>, Option<String>, Option<i32>);

/// By connection, in order.
type Account = BTreeMap<(SocketAddr, SocketAddr), Vec<Told>>;

#[test]
#[ignore = "live: needs root, run by make test"]
fn the_kernel_tells_the_same() -> Result<()> {
    let (Seen { lab, subjects, events, counted }, mut traced) = undisturbed(run)?;
    traced.retain(|event| lab.has(event));

    let (streamed, witnessed) = (account(events.iter().map(of_event)), account(traced.iter().map(of_trace)));
    for subject in &subjects {
        assert!(streamed.contains_key(&(subject.local, subject.remote)), "{subject:?}");
    }
    for connection in streamed.keys().chain(witnessed.keys()) {
        let (ours, theirs) = (streamed.get(connection), witnessed.get(connection));
        assert_eq!(ours, theirs, "{connection:?}: stream, then kernel; all of them:\n{}", lines(&events, &traced));
    }
    check_clock(&events, &traced);
    for (ns, counted) in lab.namespaces().zip(counted) {
        check_counters(ns, &events, counted);
    }
    Ok(())
}

struct Seen {
    lab: Lab,
    subjects: Vec<Subject>,
    /// Those of the lab.
    events: Vec<Event>,
    /// In each namespace.
    counted: Vec<Counters>,
}

fn run(trace: &mut TraceInstance) -> Result<Seen> {
    let mut lab = Lab::new()?;
    // The namespaces' numbers, and so addresses, may have been others' before.
    trace.read()?;
    let mut stream = open()?;
    let before = lab.counters()?;
    lab.start()?;

    let subjects: Vec<_> = lab.scenarios.iter().map(Scenario::subject).collect();
    let mut events = until(&mut stream, PATIENCE, |seen| {
        subjects.iter().all(|subject| seen.iter().any(|event| concerns(subject, event)))
    })?;
    // Longer, so that sockets have several attempts each.
    std::thread::sleep(Duration::from_secs(1));
    lab.finish()?;
    let stats = settle(&mut stream, &mut events)?;
    assert_eq!((stats.lost, stats.missed), (0, Some(0)), "the stream missed some: {stats}");
    events.retain(|event| lab.namespaces().any(|ns| event.netns == Some(ns.inode())));
    let counted = lab.counters()?.into_iter().zip(before).map(|(after, before)| after - before).collect();
    Ok(Seen { lab, subjects, events, counted })
}

/// Every outcome, in namespaces that nobody else uses.
struct Lab {
    pairs: Vec<Pair>,
    scenarios: Vec<Scenario>,
}

impl Lab {
    fn new() -> Result<Self> {
        let shared = Pair::new()?;
        let mut lab = Self { pairs: vec![shared.clone()], scenarios: Vec::new() };
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            if wants_its_own(outcome) {
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
        // What was laid last is lifted first.
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

    /// Whether the attempt was made in one of the namespaces.
    fn has(&self, event: &TraceEvent) -> bool {
        let ours = |pair: &Pair| {
            let addresses = Family::ALL.map(|family| [pair.client_addr(family), pair.server_addr(family)]);
            addresses.as_flattened().contains(&event.local().ip())
        };
        self.pairs.iter().any(ours)
    }
}

/// Those change what all connections of a pair see.
fn wants_its_own(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Tlp | Outcome::Fast | Outcome::SynackFastopen | Outcome::InHostQueue | Outcome::XmitDrop)
}

fn account(told: impl Iterator<Item = ((SocketAddr, SocketAddr), Told)>) -> Account {
    let mut account = Account::new();
    for (connection, told) in told {
        account.entry(connection).or_default().push(told);
    }
    account
}

/// Both sides in full.
fn lines(events: &[Event], traced: &[TraceEvent]) -> String {
    let ours = events.iter().map(|event| format!("{event}\n"));
    ours.chain(traced.iter().map(|event| format!("{}\n", event.line))).collect()
}

fn of_trace(event: &TraceEvent) -> ((SocketAddr, SocketAddr), Told) {
    ((event.local(), event.remote()), (event.tracepoint, event.family.clone(), event.state.clone(), event.err))
}

/// As the kernel would have printed it.
fn of_event(event: &Event) -> ((SocketAddr, SocketAddr), Told) {
    let family = if event.mapped { Some("AF_INET6") } else { event.family().entry().and_then(|entry| entry.c_name) };
    let family = family.map(str::to_owned);
    let told = if event.kind == RetransKind::Synack {
        (Tracepoint::RetransmitSynack, family, None, None)
    } else {
        let state = event.state.entry().and_then(|entry| entry.c_name).map(str::to_owned);
        (Tracepoint::RetransmitSkb, family, state, event.err)
    };
    (ends(event), told)
}

/// The stream's time is the kernel's boot time, moved by one and the same offset.
fn check_clock(events: &[Event], traced: &[TraceEvent]) {
    let mut times: Vec<_> = events.iter().map(|event| (ends(event), event.ts.as_nanos())).collect();
    let mut witnessed: Vec<_> =
        traced.iter().map(|event| ((event.local(), event.remote()), event.timestamp.as_nanos() as u64)).collect();
    // Stable: by connection, and of each in the order in which they came.
    times.sort_by_key(|(connection, _)| *connection);
    witnessed.sort_by_key(|(connection, _)| *connection);
    let offsets: Vec<_> = times.iter().zip(&witnessed).map(|((_, ours), (_, theirs))| ours - theirs).collect();
    let (least, most) = (offsets.iter().min().expect("events"), offsets.iter().max().expect("events"));
    // Both are taken in the same softirq, microseconds apart unless the machine itself was held up in between.
    assert!(Duration::from_nanos(most - least) < Duration::from_millis(100), "{offsets:?}");
}

fn check_counters(ns: &Netns, events: &[Event], counted: Counters) {
    let here: Vec<_> = events.iter().filter(|event| event.netns == Some(ns.inode())).collect();
    let segs = |which: &dyn Fn(&Event) -> bool| -> u64 {
        here.iter().filter(|event| which(event)).map(|event| u64::from(event.segs)).sum()
    };
    let told = Counters {
        retrans_segs: segs(&|event| reaches_transmit(event.result)),
        retrans_fail: segs(&|event| reaches_transmit(event.result) && event.err != Some(0)),
        syn_retrans: segs(&|event| matches!(event.kind, RetransKind::Syn | RetransKind::Synack)),
        // Not about attempts alone, or not about each of them.
        ..counted
    };
    assert_eq!(told, counted, "the stream, then the kernel, of the namespace {} with {here:#?}", ns.inode());
}
