// SPDX-License-Identifier: MIT OR Apache-2.0
//! The metrics of the agent, in addition to those of `StatsReader`.
//!
//! # Design
//!
//! No label contains an address, a port, a process id or a cookie. The number of workloads is
//! capped: the attempts of further workloads are in one series with `overflow="true"`. If the cap
//! is reached, a workload without an attempt for an hour makes room, so that a host whose pods come
//! and go does not end with all of them in the overflow. Its series end, as those of a removed pod
//! do.
//!
//! The BPF programs count by cgroup, so the attempts of a workload are complete although most of
//! their events are limited. A scrape adds what they counted since the last one to the series that
//! the workload has by then. Thus no series decreases if the kubelet names a pod late.
//!
//! The BPF programs never free the count of a cgroup. When the attempts since the start came from
//! as many cgroups as they can count, each new cgroup is counted in the overflow until the agent is
//! restarted. A workload that makes room for another one does not change that.
//!
//! Events are only needed for exemplars: the connection of the newest failure is in the exemplar of
//! its series, so a bad series leads to a connection, whose events the key=value line contains.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use retrans_sdk::host::{HostId, Workload, Workloads};
use retrans_sdk::stats::{GroupKey, Netns, Reconciler, Reconciliation, StatsReader, Sum};
use retrans_sdk::{Event, ResultClass, RetransResult};

/// The idle time after which a workload may make room for another one.
const IDLE: Duration = Duration::from_secs(3600);
/// The label of a workload that is not known. It is not the name of a unit, which has a suffix.
const UNKNOWN: &str = "unknown";
/// The number of digits of a container's id that replace an unknown name, as in `docker ps`.
const SHORT_ID: usize = 12;

/// The labels of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Labels {
    namespace: Option<String>,
    pod: Option<String>,
    container: Option<String>,
    unit: Option<String>,
}

impl Labels {
    fn of(workload: Option<&Workload>) -> Self {
        let Some(workload) = workload.filter(|workload| !workload.is_unknown()) else {
            return Self { unit: Some(UNKNOWN.to_owned()), ..Self::default() };
        };
        let short = |id: &String| id.chars().take(SHORT_ID).collect();
        Self {
            namespace: workload.namespace.clone(),
            pod: workload.pod.clone().or_else(|| workload.pod_uid.clone()),
            container: workload.container.clone().or_else(|| workload.container_id.as_ref().map(short)),
            unit: workload.unit.clone(),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let labels =
            [("namespace", &self.namespace), ("pod", &self.pod), ("container", &self.container), ("unit", &self.unit)];
        labels.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)))
    }
}

/// The labels of an exemplar.
type Connection = Vec<(&'static str, String)>;

/// Returns the connection of an event as the labels of an exemplar, which have at most 128
/// characters in OpenMetrics. These have at most 81.
fn connection(event: &Event) -> Connection {
    let cookie = event.cookie.map(|cookie| ("cookie", cookie.to_string()));
    cookie.into_iter().chain([("daddr", event.daddr.to_string()), ("dport", event.dport.to_string())]).collect()
}

fn time_of(event: &Event) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(event.ts.as_nanos())
}

/// The attempts of one workload and result, with the event of the newest failure.
#[derive(Debug, Default)]
struct Series {
    attempts: u64,
    failure: Option<(Connection, SystemTime)>,
}

impl Series {
    fn counter(&self) -> CounterWithExemplar<Connection> {
        let counter = CounterWithExemplar::default();
        match &self.failure {
            // The value of an exemplar is that of the last increase. An increase without an
            // exemplar would remove it.
            Some((connection, time)) => {
                counter.inc_by(self.attempts.saturating_sub(1), None, None);
                counter.inc_by(1, Some(connection.clone()), Some(*time));
            }
            None => {
                counter.inc_by(self.attempts, None, None);
            }
        }
        counter
    }
}

/// The series of one workload by result. `None` is the common count of unlisted results.
#[derive(Debug)]
struct Attempts {
    by_result: HashMap<Option<RetransResult>, Series>,
    newest: Instant,
}

impl Attempts {
    fn new(now: Instant) -> Self {
        Self { by_result: HashMap::new(), newest: now }
    }
}

/// Counts the attempts of each workload by result: `retrans_workload_attempts_total`.
///
/// A clone is another handle to the same counts.
#[derive(Debug, Clone)]
pub struct WorkloadAttempts(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    workloads: Workloads,
    /// The counts of the BPF programs at the last scrape.
    counted: HashMap<(GroupKey, Option<RetransResult>), u64>,
    series: HashMap<Labels, Attempts>,
    overflow: Option<Attempts>,
    capacity: usize,
}

impl WorkloadAttempts {
    /// Creates counts of at most `capacity` workloads, in addition to the overflow.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            workloads: Workloads::new(),
            counted: HashMap::new(),
            series: HashMap::new(),
            overflow: None,
            capacity,
        })))
    }

    /// Scans for new cgroups. Call it regularly, such as every second, so that the workload of a
    /// short-lived cgroup is known.
    pub fn refresh(&self) {
        self.lock().workloads.refresh();
    }

    /// Makes a failed attempt the exemplar of its series. Does not count it, because the BPF
    /// programs did.
    pub fn observe(&self, event: &Event) {
        if event.result == RetransResult::Success {
            return;
        }
        let mut inner = self.lock();
        let labels = inner.labels_of(event.cgroup);
        inner.observe(&labels, event, Instant::now());
    }

    /// Adds what the BPF programs have counted since the last call.
    fn count(&self, groups: impl IntoIterator<Item = (GroupKey, Option<RetransResult>, u64)>, now: Instant) {
        let mut inner = self.lock();
        for (key, result, total) in groups {
            let before = inner.counted.insert((key, result), total).unwrap_or(0);
            let new = total.saturating_sub(before);
            if new > 0 {
                let labels = match key {
                    GroupKey::Cgroup(cgroup) => Some(inner.labels_of(cgroup)),
                    _ => None,
                };
                inner.add(labels.as_ref(), result, new, now);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn labels_of(&mut self, cgroup: Option<u64>) -> Labels {
        Labels::of(cgroup.map(|id| self.workloads.workload(id)))
    }

    fn overflow(&mut self, now: Instant) -> &mut Attempts {
        self.overflow.get_or_insert_with(|| Attempts::new(now))
    }

    /// Adds attempts of a workload. `None` is the overflow.
    fn add(&mut self, labels: Option<&Labels>, result: Option<RetransResult>, new: u64, now: Instant) {
        let attempts = match labels {
            Some(labels) => self.attempts_of(labels, now),
            None => self.overflow(now),
        };
        attempts.newest = now;
        attempts.by_result.entry(result).or_default().attempts += new;
    }

    fn observe(&mut self, labels: &Labels, event: &Event, now: Instant) {
        let by_result = &mut self.attempts_of(labels, now).by_result;
        by_result.entry(Some(event.result)).or_default().failure = Some((connection(event), time_of(event)));
    }

    /// Returns the series of a workload: its own, or the overflow if there is no room.
    fn attempts_of(&mut self, labels: &Labels, now: Instant) -> &mut Attempts {
        if !self.series.contains_key(labels) && self.series.len() >= self.capacity {
            let oldest = self.series.iter().min_by_key(|(_, attempts)| attempts.newest);
            let idle = oldest.filter(|(_, attempts)| now.saturating_duration_since(attempts.newest) >= IDLE);
            let Some(idle) = idle.map(|(labels, _)| labels.clone()) else { return self.overflow(now) };
            self.series.remove(&idle);
        }
        self.series.entry(labels.clone()).or_insert_with(|| Attempts::new(now))
    }
}

/// Exports the attempts by workload.
#[derive(Debug)]
pub struct WorkloadMetrics {
    reader: StatsReader,
    attempts: WorkloadAttempts,
}

impl WorkloadMetrics {
    /// Exports what `reader` counts by cgroup ([`GroupBy::Cgroup`](retrans_sdk::stats::GroupBy)).
    #[must_use]
    pub const fn new(reader: StatsReader, attempts: WorkloadAttempts) -> Self {
        Self { reader, attempts }
    }
}

impl Collector for WorkloadMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let groups = self.reader.groups().unwrap_or_default();
        self.attempts.count(groups.into_iter().map(|count| (count.key, count.result, count.attempts)), Instant::now());
        self.attempts.encode(encoder)
    }
}

impl WorkloadAttempts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let inner = self.lock();
        let overflow = inner.overflow.iter().map(|attempts| (vec![("overflow", "true".to_owned())], attempts));
        let workloads = inner.series.iter().map(|(labels, attempts)| (labels.pairs().collect(), attempts));
        let all = workloads.chain(overflow).flat_map(|(labels, attempts): (Vec<_>, _)| {
            attempts.by_result.iter().map(move |(result, series)| (labels.clone(), result, series))
        });
        // A failure of a workload that was found between two scrapes is not counted yet.
        let mut all = all.filter(|(_, _, series)| series.attempts > 0).peekable();
        if all.peek().is_none() {
            return Ok(());
        }
        let help = "Retransmission attempts by workload and result.";
        let mut family = encoder.encode_descriptor("retrans_workload_attempts", help, None, MetricType::Counter)?;
        for (mut labels, result, series) in all {
            let class = result.map_or(ResultClass::Other, RetransResult::class);
            labels.push((RetransResult::KEY, result.map_or_else(|| "-".to_owned(), |result| result.to_string())));
            labels.push((ResultClass::KEY, class.to_string()));
            series.counter().encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Exports the counters of a network namespace to which retransmissions are related, and the
/// differences between the observed attempts and the namespace's own counters.
///
/// If they cannot be read, their series are absent.
#[derive(Debug)]
pub struct NetnsMetrics {
    netns: Netns,
    reconciler: Option<Reconciler>,
}

impl NetnsMetrics {
    /// Exports the counters of `netns`, and the differences that `reconciler` finds.
    #[must_use]
    pub fn new(netns: Netns, reconciler: Option<Reconciler>) -> Self {
        Self { netns, reconciler }
    }
}

impl Collector for NetnsMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Ok(counters) = self.netns.counters() {
            for (name, help, value) in [
                ("segments_out", "Segments sent, without retransmissions (OutSegs).", counters.out_segs),
                ("segments_retransmitted", "Segments retransmitted (RetransSegs).", counters.retrans_segs),
                ("timeouts", "Expired retransmission timers (TCPTimeouts).", counters.timeouts),
                ("loss_probes", "Tail loss probes (TCPLossProbes).", counters.loss_probes),
            ] {
                let name = format!("retrans_netns_{name}");
                let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
                ConstCounter::new(value).encode(metric)?;
            }
            let help = "Connections opened, by the host (active) or by the peer (passive).";
            let mut opens = encoder.encode_descriptor("retrans_netns_opens", help, None, MetricType::Counter)?;
            for (role, value) in [("active", counters.active_opens), ("passive", counters.passive_opens)] {
                ConstCounter::new(value).encode(opens.encode_family(&[("role", role)])?)?;
            }
        }
        // The kernel counts an attempt some microseconds before or after the programs do. A scrape
        // does not wait for that, so a difference is one only if it lasts.
        let reconciled = self.reconciler.as_ref().and_then(|reconciler| reconciler.reconcile(Duration::ZERO).ok());
        if let Some(reconciled) = reconciled {
            let help = "Increase of a kernel counter minus the observed attempts; temporary while attempts are made.";
            let mut family =
                encoder.encode_descriptor("retrans_reconcile_difference", help, None, MetricType::Gauge)?;
            for (counter, sum) in sums(&reconciled) {
                ConstGauge::new(sum.difference()).encode(family.encode_family(&[("counter", counter)])?)?;
            }
        }
        Ok(())
    }
}

/// Returns the counters of which each increase is an observed attempt. The kernel also increases
/// the others for other reasons.
fn sums(reconciled: &Reconciliation) -> [(&'static str, Sum); 5] {
    [
        ("RetransSegs", reconciled.retrans_segs),
        ("TCPRetransFail", reconciled.retrans_fail),
        ("TCPSynRetrans", reconciled.syn_retrans),
        ("TCPFastRetrans", reconciled.fast_retrans),
        ("TCPSlowStartRetrans", reconciled.slow_start_retrans),
    ]
}

/// Exports constant information: the attach method and the kernel, the version of the agent, and
/// the identity of the host.
#[derive(Debug)]
pub struct Information {
    source: String,
    kernel: String,
    host: HostId,
}

impl Information {
    /// Exports the attach method, this kernel and this host.
    #[must_use]
    pub fn new(source: impl fmt::Display) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { source: source.to_string(), kernel, host: HostId::read() }
    }
}

impl Collector for Information {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { source, kernel, host } = self;
        let or_empty = |id: &Option<String>| id.clone().unwrap_or_default();
        for (name, help, labels) in [
            (
                "retrans_source",
                "The attach method and the kernel.",
                vec![("source", source.clone()), ("kernel", kernel.clone())],
            ),
            ("retrans_build", "The version of the agent.", vec![("version", env!("CARGO_PKG_VERSION").to_owned())]),
            (
                "retrans_host",
                "The identity of the host since its last boot.",
                vec![
                    ("host", host.name.clone()),
                    ("machine_id", or_empty(&host.machine_id)),
                    ("boot_id", or_empty(&host.boot_id)),
                ],
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Info)?;
            Info::new(labels).encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn event(result: &str, cookie: u64, daddr: &str) -> Event {
        let family = if daddr.contains(':') { "inet6" } else { "inet" };
        let saddr = if daddr.contains(':') { "fd00::1" } else { "10.0.0.1" };
        let err = if result == "success" { 0 } else { -1 };
        format!(
            "ts=1.500000000 result={result} err={err} kind=rto family={family} saddr={saddr} sport=4000 daddr={daddr} \
             dport=65535 state=established segs=1 cookie={cookie}"
        )
        .parse()
        .expect("a line")
    }

    fn text(collector: impl Collector) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collector));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string accepts everything");
        text
    }

    /// The attempts of workloads, without a stream.
    #[derive(Debug)]
    struct Alone(WorkloadAttempts);

    impl Collector for Alone {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.encode(encoder)
        }
    }

    fn labels(name: &str) -> Labels {
        Labels::of(Some(&Workload::from_cgroup_path(Path::new(&format!("/system.slice/{name}.service")))))
    }

    #[test]
    fn a_failing_series_leads_to_the_newest_connection() {
        let attempts = WorkloadAttempts::new(9);
        let now = Instant::now();
        assert_eq!(text(Alone(attempts.clone())), "# EOF\n", "no family without a series");
        for cookie in [7, 8] {
            attempts.lock().observe(&labels("ssh"), &event("denied", cookie, "192.0.2.1"), now);
        }
        assert_eq!(text(Alone(attempts.clone())), "# EOF\n", "nothing is counted yet");
        attempts.lock().add(Some(&labels("ssh")), Some(RetransResult::Denied), 3, now);
        attempts.lock().add(Some(&labels("ssh")), Some(RetransResult::Success), 5, now);
        attempts.observe(&event("success", 9, "192.0.2.1"));
        let text = text(Alone(attempts));
        let failed = "retrans_workload_attempts_total{unit=\"ssh.service\",result=\"denied\",class=\"drop\"} 3 \
            # {cookie=\"8\",daddr=\"192.0.2.1\",dport=\"65535\"} 1.0 1.5\n";
        assert!(text.contains(failed), "{text}");
        let success = "{unit=\"ssh.service\",result=\"success\",class=\"ok\"} 5\n";
        assert!(text.contains(success), "a success has no exemplar: {text}");
        assert!(!text.contains("unknown"), "a success creates no series: {text}");
    }

    #[test]
    fn increases_since_the_last_scrape_are_added() {
        let attempts = WorkloadAttempts::new(9);
        let denied = Some(RetransResult::Denied);
        let (unknown, other) = (GroupKey::Cgroup(None), GroupKey::Other);
        let missing = GroupKey::Cgroup(Some(u64::MAX));
        let now = Instant::now();
        attempts.observe(&event("denied", 1, "192.0.2.1"));
        attempts.count([(unknown, denied, 2), (missing, denied, 1), (other, None, 4)], now);
        attempts.count([(unknown, denied, 5), (missing, denied, 1), (other, None, 4)], now);
        let text = text(Alone(attempts));
        let failed = "{unit=\"unknown\",result=\"denied\",class=\"drop\"} 6 # {cookie=\"1\"";
        assert!(text.contains(failed), "two cgroups, one workload: {text}");
        assert!(text.contains("{overflow=\"true\",result=\"-\",class=\"other\"} 4\n"), "{text}");
    }

    #[test]
    fn the_longest_exemplar_is_valid() {
        let longest = event("denied", u64::MAX, "2001:db8:1111:2222:3333:4444:5555:6666");
        let characters: usize = connection(&longest).iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(characters <= 128, "{characters}");
    }

    #[test]
    fn a_workload_has_the_labels_that_are_known() {
        let id = "0123456789abcdef".repeat(4);
        let of =
            |path: &str| Labels::of(Some(&Workload::from_cgroup_path(Path::new(path)))).pairs().collect::<Vec<_>>();
        let label = |name, value: &str| (name, value.to_owned());
        assert_eq!(of("/"), [label("unit", "unknown")]);
        assert_eq!(Labels::of(None).pairs().collect::<Vec<_>>(), [label("unit", "unknown")]);
        assert_eq!(of(&format!("/system.slice/docker-{id}.scope")), [label("container", "0123456789ab")]);
        let uid = "00112233445566778899aabbccddeeff";
        let pod = of(&format!("/kubepods/pod{uid}/{id}"));
        assert_eq!(pod, [label("pod", uid), label("container", "0123456789ab")]);
    }

    #[test]
    fn the_number_of_workloads_is_capped() {
        let attempts = WorkloadAttempts::new(3);
        let start = Instant::now();
        let add = |number: u32, now: Instant| {
            attempts.lock().add(Some(&labels(&number.to_string())), Some(RetransResult::Denied), 1, now);
        };
        (0..50).for_each(|number| add(number, start));
        let capped = text(Alone(attempts.clone()));
        assert_eq!(capped.lines().filter(|line| line.contains("unit=")).count(), 3, "{capped}");
        let overflow = "{overflow=\"true\",result=\"denied\",class=\"drop\"} 47\n";
        assert!(capped.contains(overflow), "nothing is lost: {capped}");
        // A workload that has been idle makes room, but an active one does not.
        let later = start + IDLE;
        [0, 1].into_iter().for_each(|number| add(number, later));
        [60, 61].into_iter().for_each(|number| add(number, later));
        let inner = attempts.lock();
        let has = |name: &str| inner.series.contains_key(&labels(name));
        assert!(has("0") && has("1") && has("60") && !has("61") && inner.series.len() == 3, "{inner:?}");
    }

    #[test]
    fn a_namespace_has_denominators() {
        let text = text(NetnsMetrics::new(Netns::current().expect("/proc"), None));
        for name in ["segments_out_total ", "segments_retransmitted_total ", "opens_total{role=\"active\"} "] {
            assert!(text.contains(&format!("\nretrans_netns_{name}")), "{name}: {text}");
        }
        assert!(!text.contains("retrans_reconcile_difference"), "it was not requested: {text}");
    }

    #[test]
    fn the_versions_are_exported() {
        let text = text(Information::new("tp_err"));
        assert!(text.contains("retrans_source_info{source=\"tp_err\",kernel=\""), "{text}");
        assert!(text.contains("retrans_build_info{version=\"0."), "{text}");
        assert!(text.contains("retrans_host_info{host=\""), "{text}");
    }
}
