// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays a script in its own namespace, and cross-checks what a stream reports of it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use retrans_lab::cross_check::{Failures, kinds_match, text_matches};
use retrans_lab::observe::{ends, filter, settle};
use retrans_lab::{Context, Counters, Error, Family, Netns, Result, TraceEvent, TraceInstance};
use retrans_sdk::{Event, RetransKind, Stream, stats};
use rustix::process::{Pid, Signal, kill_process};

use crate::net::{Link, addresses};
use crate::player::{Played, Player, prepare_thread};
use crate::script::Script;

/// The maximum time until stream, trace and counters match. While an attempt is in progress, only
/// one of them may report it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The number of times that a script is played if the kernel skips BPF programs.
const RUNS: u32 = 5;

/// The kernel's trace, which all scripts share.
pub struct Traces(Mutex<(TraceInstance, Vec<TraceEvent>)>);

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

impl Traces {
    /// Starts a trace with call stacks.
    ///
    /// # Errors
    /// Returns an error if tracefs is not available.
    pub fn new() -> Result<Self> {
        Ok(Self(Mutex::new((TraceInstance::new()?, Vec::new()))))
    }

    /// Returns the number of attempts that the trace has lost.
    ///
    /// # Errors
    /// Returns an error if the statistics cannot be read.
    pub fn lost(&self) -> Result<u64> {
        self.lock().0.lost()
    }

    fn lock(&self) -> MutexGuard<'_, (TraceInstance, Vec<TraceEvent>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the attempts for this peer and these ports of it since the last call.
    fn take(&self, peer: IpAddr, ports: &[u16]) -> Result<Vec<TraceEvent>> {
        let mut all = self.lock();
        let (trace, events) = &mut *all;
        events.append(&mut trace.read()?);
        let is_its = |event: &TraceEvent| event.remote().ip() == peer && ports.contains(&event.remote().port());
        let (its, mut others): (Vec<_>, Vec<_>) = std::mem::take(events).into_iter().partition(is_its);
        // The other plays take theirs. Attempts of the rest of the host are not kept.
        let peers = Family::ALL.map(|family| addresses(family).1);
        others.retain(|event| peers.contains(&event.remote().ip()));
        *events = others;
        Ok(its)
    }
}

/// A script with the variant in which it is played.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'a> {
    /// The script.
    pub script: &'a Script,
    /// The directory of its commands.
    pub directory: &'a Path,
    /// The address family.
    pub family: Family,
    /// The congestion control of each socket, in place of the namespace's.
    pub congestion_control: &'a str,
}

impl fmt::Display for Variant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {:?} with {}", self.script.name, self.family, self.congestion_control)
    }
}

/// The result of a play.
#[derive(Debug)]
pub struct Report {
    /// The differences between the kernel and the script.
    pub played: Played,
    /// The reported attempts.
    pub events: Vec<Event>,
    /// The first difference from the kernel's trace: the order, addresses, state or errno of an
    /// attempt.
    pub trace: Option<String>,
    /// The differences from the namespace's counters.
    pub counters: Option<String>,
    /// The kinds that contradict the call stack.
    pub contradictions: Vec<String>,
    /// The number of kinds that were compared with a call stack.
    pub compared: usize,
    /// True if the kernel did not run the BPF programs for an attempt, so that the comparison
    /// proves nothing.
    pub was_disturbed: bool,
}

impl Report {
    /// Returns the attempts of this kind.
    pub fn of_kind(&self, kind: RetransKind) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }

    /// Returns the number of attempts of an unknown kind.
    pub(crate) fn unknown(&self) -> usize {
        self.of_kind(RetransKind::Unknown).count()
    }

    /// Returns whether the kernel did what the script expects, to its end.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.played.is_complete && self.played.differences.is_empty()
    }

    /// Returns what is wrong with the reported attempts.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.contradictions.iter().chain(&self.trace).chain(&self.counters)
    }
}

impl Variant<'_> {
    /// Plays the script, and again if the comparison was disturbed and differs.
    ///
    /// # Errors
    /// Returns an error if the namespace cannot be set up, if the script cannot be played in this
    /// variant, or if a source cannot be read.
    pub fn run(&self, traces: &Traces) -> Result<Report> {
        let mut report = self.once(traces)?;
        for _ in 1..RUNS {
            if !report.was_disturbed || report.faults().next().is_none() {
                break;
            }
            report = self.once(traces)?;
        }
        Ok(report)
    }

    fn once(&self, traces: &Traces) -> Result<Report> {
        let ns = Netns::new()?;
        let link = Link::new(&ns, self.family)?;
        let report = ns.run(|| self.in_namespace(&ns, &link, traces));
        end_processes(&ns);
        report
    }

    fn in_namespace(&self, ns: &Netns, link: &Link, traces: &Traces) -> Result<Report> {
        prepare_thread(self.directory)?;
        let mut player = Player::new(self.script, self.family, self.congestion_control, link);
        player.init()?;
        let netns = stats::Netns::current().context("cannot read the namespace's counters")?;
        let its = filter(&format!("netns={}", ns.inode()))?;
        let mut stream = Stream::builder().filter(its).reconcile(netns).open().context("cannot open a stream")?;
        let before = Counters::read(ns)?;
        let played = player.play()?;
        self.compare(played, ns, before, &mut stream, traces)
    }

    fn compare(
        &self,
        played: Played,
        ns: &Netns,
        before: Counters,
        stream: &mut Stream,
        traces: &Traces,
    ) -> Result<Report> {
        let (_, peer) = addresses(self.family);
        let failures = Failures::reported_by(stream, &traces.lock().0)?;
        let reconciler = stream.live().and_then(|live| live.reconciler());
        let reconciler = reconciler.ok_or_else(|| Error::new("the stream is not reconciled"))?;
        let (mut events, mut traced) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = settle(stream, &mut events)?;
            traced.append(&mut traces.take(peer, &played.ports)?);
            let counted = Counters::read(ns)? - before;
            let reconciled = reconciler.reconcile(Duration::from_millis(50)).context("cannot read the counters")?;
            let trace = text_matches(&events, &traced, failures).err().map(|error| error.to_string());
            // Attempts of an unknown kind may be in any counter.
            let is_known = reconciled.unknown.attempts == 0 && reconciled.unknown_kind.attempts == 0;
            let can_be_exact = is_known && reconciled.observes_failures;
            let is_equal = if can_be_exact { reconciled.is_exact() } else { reconciled.is_consistent() };
            let counters = (!is_equal).then(|| format!("the counters differ:\n{reconciled}"));
            let differs = trace.is_some() || counters.is_some();
            if differs && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            let missed = stats.missed.unwrap_or(0) + stats.lost;
            let was_disturbed = missed > 0 || traced.iter().any(|event| event.of_process_1);
            // If the attempts differ, no kind belongs to a call stack.
            let (contradictions, compared) =
                if trace.is_none() { kinds(&events, &traced, &counted, failures) } else { Default::default() };
            return Ok(Report { played, events, trace, counters, contradictions, compared, was_disturbed });
        }
    }
}

/// Ends the processes that a command of the script has left in the namespace, which would otherwise
/// keep it.
fn end_processes(ns: &Netns) {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        let link = fs::metadata(format!("/proc/{pid}/ns/net"));
        let is_inside = link.is_ok_and(|link| link.ino() == u64::from(ns.inode()));
        if let Some(pid) = Pid::from_raw(pid).filter(|_| is_inside) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Compares the kinds with the call stacks, connection by connection. Returns the first
/// contradiction of each, and the number of compared kinds.
fn kinds(events: &[Event], traced: &[TraceEvent], counted: &Counters, failures: Failures) -> (Vec<String>, usize) {
    let connections: BTreeSet<(SocketAddr, SocketAddr)> = events.iter().map(ends).collect();
    let (mut contradictions, mut compared) = (Vec::new(), 0);
    for connection in connections {
        let events: Vec<_> = events.iter().filter(|event| ends(event) == connection).copied().collect();
        let its = |event: &&TraceEvent| (event.local(), event.remote()) == connection;
        let traced: Vec<_> = traced.iter().filter(its).cloned().collect();
        match kinds_match(&events, &traced, counted, failures) {
            Ok(count) => compared += count,
            Err(error) => contradictions.push(error.to_string()),
        }
    }
    (contradictions, compared)
}
