// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three network namespaces as hosts, each with an agent: the sums over the hosts equal the sums of
//! the kernel's own counters, and a real Prometheus scrapes the agents.
#![cfg(feature = "prometheus")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{BulkTraffic, Context, Counters, Error, Family, Netns, Packets, Pair, Result, privilege};
use retrans_sdk::offline::Recording;

use crate::common::{Agent, Faults, HOSTS, SMALL, connect, exact, lose, provoke, settled, sum};

#[test]
#[ignore = "live: needs root, run by make fleet-test"]
fn sums_over_hosts_equal_the_counters_of_the_kernel() -> Result<()> {
    privilege::check()?;
    let pairs = HOSTS.iter().map(|_| Pair::new()).collect::<Result<Vec<_>>>()?;
    let agents = pairs.iter().map(|pair| Agent::start(pair.client())).collect::<Result<Vec<_>>>()?;
    let before = pairs.iter().map(|pair| Counters::read(pair.client())).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let hosts: Vec<_> =
            pairs.iter().zip(HOSTS).map(|(pair, faults)| scope.spawn(move || provoke(pair, faults))).collect();
        hosts.into_iter().try_for_each(|host| host.join().map_err(|_| Error::new("a host panicked"))?)
    })?;
    let (mut fleet, mut kernel) = (0, 0);
    let mut failed = BTreeMap::new();
    for (index, ((pair, agent), before)) in pairs.iter().zip(&agents).zip(before).enumerate() {
        let raw = settled(agent)?;
        let text = exact(&raw);
        let counted = Counters::read(pair.client())? - before;
        let of_class = |class: &str| sum(&text, "retrans_segments_total", &[&format!("class=\"{class}\"")]);
        // The results whose attempts reach the transmit step, where the kernel counts segments.
        let segments = of_class("ok") + of_class("drop");
        println!("host {index}: {segments} segments, {} by the kernel", counted.retrans_segs);
        assert!(segments > 0, "{text}");
        assert_eq!(segments, counted.retrans_segs, "{text}");
        assert_eq!(of_class("drop"), counted.retrans_fail, "{text}");
        fleet += segments;
        kernel += counted.retrans_segs;
        failed.insert(index, of_class("drop"));

        // The parts of every sum.
        let attempts = sum(&text, "retrans_attempts_total", &[]);
        assert_eq!(sum(&text, "retrans_workload_attempts_total", &[]), attempts, "{text}");
        let filtered = sum(&text, "retrans_dispositions_total", &["\"filtered\""]);
        assert_eq!(sum(&text, "retrans_dispositions_total", &[]), attempts + filtered, "{text}");
        assert_eq!(sum(&text, "retrans_netns_segments_retransmitted_total", &[]), counted.retrans_segs, "{text}");
        assert!(sum(&text, "retrans_netns_segments_out_total", &[]) > 0, "{text}");
        for line in text.lines().filter(|line| line.starts_with("retrans_reconcile_difference")) {
            assert!(line.ends_with(" 0"), "{line}");
        }
        // The newest failure of the host is an exemplar.
        let exemplar = " # {cookie=\"";
        let remote = format!("daddr=\"{}\"", pair.server_addr(Family::V4));
        assert_eq!(raw.lines().any(|line| line.contains(exemplar) && line.contains(&remote)), of_class("drop") > 0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(!line.contains("addr") && !line.contains("port=") && !line.contains("cookie"), "{line}");
        }
        documented(&text);
    }
    assert_eq!(fleet, kernel);
    assert!(failed[&0] == 0 && failed[&1] > 0 && failed[&2] > 0, "{failed:?}");
    for agent in agents {
        let printed = agent.stop()?;
        assert!(printed.contains("\nstats seen="), "{printed}");
    }
    Ok(())
}

/// The test is the service manager.
#[test]
#[ignore = "live: needs root, run by make fleet-test"]
fn systemd_is_notified() -> Result<()> {
    privilege::check()?;
    let directory = tempfile::tempdir().context("no directory")?;
    // The agent drops its user.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).context("cannot change a mode")?;
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).context("cannot bind")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).context("cannot change a mode")?;
    manager.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
    let receive = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).context("the agent sent nothing")?;
        Ok::<_, Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let start = |limit: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retrans-agent"));
        command.args(["--prometheus", "127.0.0.1:0"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", limit);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().context("cannot start the agent")
    };
    let pair = Pair::new()?;
    let agent = Agent { ns: pair.client().clone(), child: pair.client().run(|| start("5000000"))? };
    assert_eq!(receive()?, "READY=1\n");
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(receive()?, "WATCHDOG=1\n");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).context("the agent ended")?;
    assert!(status.contains("\nCapEff:\t0000000000000000\n") && status.contains("\nUid:\t65534\t"), "{status}");
    agent.stop()?;
    wait_for("the end of the service", PATIENCE, || Ok((receive()? == "STOPPING=1\n").then_some(())))?;

    // A limit that the agent cannot keep.
    let output = start("1000000")?.wait_with_output().context("cannot wait for the agent")?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("WatchdogSec= is 1s: set it to 2s or more"), "{text}");
    Ok(())
}

/// Compares the exported metrics with the table of docs/fleet.md.
fn documented(text: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fleet.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `retrans_"));
    let rows: BTreeSet<_> = rows.filter_map(|row| Some(format!("retrans_{}", row.split_once('`')?.0))).collect();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split_once(' '));
    let exported: BTreeSet<_> = families
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let undocumented: Vec<_> = exported.difference(&rows).collect();
    assert!(undocumented.is_empty(), "not in docs/fleet.md: {undocumented:?}");
    // Not every kernel counts skipped programs.
    let absent: Vec<_> = rows.difference(&exported).filter(|name| *name != "retrans_missed_total").collect();
    assert!(absent.is_empty(), "not exported: {absent:?}");
}

/// Prints the costs of the agent while connections lose a segment in ten, with a scrape a second:
/// the share of a CPU, the memory, and the time of a scrape. The limits are those of a slow machine
/// that others use as well. The time in the kernel's programs is not the agent's.
#[test]
#[ignore = "live: needs root, run by make fleet-test"]
fn costs_are_measured() -> Result<()> {
    privilege::check()?;
    costs_with(&[])?.stop()?;
    Ok(())
}

/// The same while every event is stored, and the size of the files.
#[cfg(feature = "parquet")]
#[test]
#[ignore = "live: needs root, run by make fleet-test"]
fn costs_of_storing_are_measured() -> Result<()> {
    privilege::check()?;
    let temporary = tempfile::tempdir().context("no directory")?;
    // The agent drops its user.
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).context("cannot change a mode")?;
    let directory = temporary.path().join("store");
    let printed = costs_with(&["--parquet", &directory.to_string_lossy()])?.stop()?;
    let written = printed.lines().find_map(|line| line.strip_prefix("store written=")?.split(' ').next()?.parse().ok());
    let written: u64 = written.ok_or_else(|| Error::new(format!("no number of events in {printed}")))?;
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries(directory.join("events")).flat_map(entries).flat_map(entries);
    let size: u64 = files.filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum();
    println!("{written} events stored, {:.1} bytes each", size as f64 / written as f64);
    assert!(written > 1000 && size / written < 100, "{written} {size}");
    Ok(())
}

/// Returns the agent that was measured.
fn costs_with(arguments: &[&str]) -> Result<Agent> {
    let pair = Pair::new()?;
    let agent = Agent::start_with(pair.client(), arguments)?;
    let counted = |agent: &Agent| Ok::<_, Error>(sum(&exact(&agent.scrape()?), "retrans_attempts_total", &[]));
    let mut rate = 0.0;
    let mut share = 0.0;
    BulkTraffic::open(&pair, Family::V4, 8, 1448)?.run(|| {
        let fault = Packets::input().at_least(100).per_mille(100).drop_in(pair.server())?;
        thread::sleep(Duration::from_secs(1));
        let (began, cpu, attempts) = (Instant::now(), agent.cpu_time()?, counted(&agent)?);
        for _ in 0..5 {
            thread::sleep(Duration::from_secs(1));
            agent.scrape()?;
        }
        let elapsed = began.elapsed().as_secs_f64();
        share = (agent.cpu_time()? - cpu).as_secs_f64() / elapsed;
        rate = (counted(&agent)? - attempts) as f64 / elapsed;
        fault.lift()?;
        Ok(true)
    })?;
    settled(&agent)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        agent.scrape()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let (median, largest) = (times[100], times[199]);
    let size = agent.scrape()?.len();
    let (highest, resident, anonymous) = (agent.memory("VmHWM")?, agent.memory("VmRSS")?, agent.memory("RssAnon")?);
    println!("{rate:.0} attempts/s: {:.2}% of a CPU", share * 100.0);
    println!("a scrape of {size} bytes: median {median:?}, maximum {largest:?}");
    println!("resident {resident} KiB, of which anonymous {anonymous} KiB; VmHWM {highest} KiB");
    assert!(rate > 100.0 && share < 0.2, "{rate} {share}");
    assert!(median < Duration::from_millis(50) && resident < 64 << 10, "{median:?} {resident} KiB");
    Ok(agent)
}

/// A cgroup that is named as Docker names that of a container. This process is in it until
/// [`leave`](Self::leave).
struct Container {
    path: PathBuf,
    /// The cgroup that this process was in.
    before: PathBuf,
}

impl Container {
    fn enter(id: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts").context("no mounts")?;
        let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|mount| mount[2] == "cgroup2");
        let mount = mount.ok_or_else(|| Error::new("the unified cgroup hierarchy is not mounted"))?;
        let root = PathBuf::from(mount[1]);
        let own = fs::read_to_string("/proc/self/cgroup").context("no cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let container = Self { path: root.join(format!("docker-{id}.scope")), before: root.join(own) };
        fs::create_dir(&container.path).context("cannot create a cgroup")?;
        container.move_to(&container.path)?;
        Ok(container)
    }

    fn move_to(&self, cgroup: &Path) -> Result<()> {
        fs::write(cgroup.join("cgroup.procs"), "0").context("cannot move to a cgroup")
    }

    /// Leaves and removes the cgroup. The sockets that were created in it remain.
    fn leave(&self) -> Result<()> {
        self.move_to(&self.before)?;
        fs::remove_dir(&self.path).context("cannot remove the cgroup")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // After `leave` the second call fails, which is harmless.
        let _ = self.move_to(&self.before);
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
#[ignore = "live: needs root, run by make fleet-test"]
fn a_removed_container_keeps_its_series() -> Result<()> {
    privilege::check()?;
    let pair = Pair::new()?;
    let agent = Agent::start(pair.client())?;
    let id = "3f".repeat(32);
    let container = Container::enter(&id)?;
    let traffic = BulkTraffic::open(&pair, Family::V4, 4, SMALL)?;
    // The agent scans for new cgroups each second.
    thread::sleep(Duration::from_millis(2500));
    container.leave()?;
    lose(&pair, Faults { refused: 60, dropped: 0 }, traffic)?;
    let text = exact(&settled(&agent)?);
    let attempts = sum(&text, "retrans_attempts_total", &[]);
    let of_container = sum(&text, "retrans_workload_attempts_total", &[&format!("container=\"{}\"", &id[..12])]);
    assert!(attempts > 0 && of_container == attempts, "{text}");
    Ok(())
}

/// Makes the agents reachable from this namespace, each at a port of its own.
fn forward(ns: &Netns) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let address = listener.local_addr().context("no address")?;
    let ns = ns.clone();
    thread::spawn(move || {
        for incoming in listener.incoming() {
            // If the agent was stopped, the client sees a closed connection.
            let (Ok(client), Ok(agent)) = (incoming, connect(&ns)) else { continue };
            let (Ok(mut from_client), Ok(mut to_agent)) = (client.try_clone(), agent.try_clone()) else { continue };
            thread::spawn(move || io::copy(&mut from_client, &mut to_agent));
            let (mut from_agent, mut to_client) = (agent, client);
            thread::spawn(move || {
                let _ = io::copy(&mut from_agent, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    Ok(address)
}

/// A Prometheus that scrapes the hosts every second.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(targets: &[SocketAddr]) -> Result<Self> {
        let directory = tempfile::tempdir().context("no directory")?;
        let targets: String = targets.iter().map(|target| format!("\"{target}\",")).collect();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n- \
             job_name: retrans\n  static_configs: [{{targets: [{targets}]}}]\n",
            rules.display()
        );
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config).context("cannot write the configuration")?;
        // A free port, which another program could use before Prometheus does. Then this fails.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("no port")?;
        let child = Command::new(std::env::var_os("PROMETHEUS").unwrap_or_else(|| "prometheus".into()))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--enable-feature=exemplar-storage", "--log.level=warn"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start prometheus: run `make fleet-test`, which installs it")?;
        let prometheus = Self { child, address, _directory: directory };
        wait_for("Prometheus", PATIENCE, || Ok(prometheus.get("/-/ready").ok().map(drop)))?;
        Ok(prometheus)
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).context("cannot connect to Prometheus")?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").context("cannot send a request")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("no answer")?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => Err(Error::new(format!("{path}: {answer}"))),
        }
    }

    fn json(&self, path: &str) -> Result<serde_json::Value> {
        serde_json::from_str(&self.get(path)?).context("not JSON")
    }

    /// Returns the value of an expression with one result; `None` without a result.
    fn value(&self, expression: &str) -> Result<Option<f64>> {
        let answer = self.json(&format!("/api/v1/query?query={}", encoded(expression)))?;
        let value = answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
        Ok(value.and_then(|value| value.parse().ok()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an expression as a part of a URL.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Serves the counters of a recording of kernel text whose tracepoint fires for successes only, as
/// before Linux 6.17.
fn blind_host() -> Result<SocketAddr> {
    let text = "<idle>-0 [000] ..s2. 12.000000: tcp_retransmit_skb: family=AF_INET sport=1 dport=2 saddr=10.0.0.1 \
        daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 daddrv6=::ffff:10.0.0.2 state=TCP_ESTABLISHED\n";
    let mut stream = Recording::from_reader(text.as_bytes()).start().context("cannot replay")?;
    if stream.iter().filter(std::result::Result::is_ok).count() != 1 {
        return Err(Error::new("the recording contains one attempt"));
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(stream.stats_reader()));
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let address = listener.local_addr().context("no address")?;
    retrans_fleet::http::serve(listener, registry).context("cannot serve")?;
    Ok(address)
}

#[test]
#[ignore = "live: needs root and Prometheus, run by make fleet-test"]
fn prometheus_scrapes_the_hosts() -> Result<()> {
    privilege::check()?;
    let pairs = HOSTS.iter().map(|_| Pair::new()).collect::<Result<Vec<_>>>()?;
    let mut agents = pairs.iter().map(|pair| Agent::start(pair.client())).collect::<Result<Vec<_>>>()?;
    let mut targets = pairs.iter().map(|pair| forward(pair.client())).collect::<Result<Vec<_>>>()?;
    let blind = blind_host()?;
    targets.push(blind);
    let prometheus = Prometheus::start(&targets)?;
    let up = || Ok((prometheus.value("sum(up)")? == Some(4.0)).then_some(()));
    wait_for("four hosts", PATIENCE, up)?;
    for (pair, faults) in pairs.iter().zip(HOSTS) {
        provoke(pair, faults)?;
    }
    let mut kernel = 0;
    for (pair, agent) in pairs.iter().zip(&agents) {
        settled(agent)?;
        kernel += Counters::read(pair.client())?.retrans_segs;
    }
    let all = format!("retrans_segments_total{{instance!=\"{blind}\",class=~\"ok|drop\"}}");
    let segments = &format!("sum({all})");
    wait_for("the sum of all hosts", PATIENCE, || {
        let value = prometheus.value(segments)?;
        Ok((value == Some(kernel as f64)).then_some(()))
    })?;
    println!("Prometheus: {segments} = {kernel}, as the kernel counted");

    // A host that does not observe failures has no failing series, and a host that does has them
    // from the start.
    let of_blind = |metric: &str| prometheus.value(&format!("count({metric}{{instance=\"{blind}\"}})"));
    assert_eq!(of_blind("retrans_attempts_total")?, Some(1.0));
    assert_eq!(of_blind("retrans_failures_total")?, None);
    let observable = prometheus.value("sum(retrans_failures_observable)")?;
    assert!(observable > Some(3.0), "{observable:?}");
    assert_eq!(prometheus.value("count(retrans_failures_total)")?, observable);
    let contradiction = "retrans_failures_total and on (instance, kind) (retrans_failures_observable == 0)";
    assert_eq!(prometheus.value(contradiction)?, None);

    // A bad series leads to a connection.
    let expression = encoded(r#"retrans_workload_attempts_total{class="drop"}"#);
    let answer = prometheus.json(&format!("/api/v1/query_exemplars?query={expression}&start=0&end=4102444800"))?;
    let labels = &answer["data"][0]["exemplars"][0]["labels"];
    let remotes: Vec<_> = pairs.iter().map(|pair| pair.server_addr(Family::V4).to_string()).collect();
    let daddr = labels["daddr"].as_str().unwrap_or_default().to_owned();
    assert!(remotes.contains(&daddr) && labels["cookie"].is_string() && labels["dport"].is_string(), "{answer}");

    // An alert of the rules fires for the two hosts that drop their own segments, and only there. A
    // series begins with its first attempts, which are no increase, so they are repeated.
    let firing = "count(ALERTS{alertname=\"RetransDroppedOnHost\",alertstate=\"firing\"})";
    wait_for("two alerts", 2 * PATIENCE, || {
        provoke(&pairs[1], HOSTS[1])?;
        provoke(&pairs[2], HOSTS[2])?;
        Ok(prometheus.value(firing)?.filter(|count| *count >= 2.0))
    })?;
    assert_eq!(prometheus.value(firing)?, Some(2.0));

    // A restart resets the counters of a host, and the attempts since then are counted.
    let last = agents.pop().ok_or_else(|| Error::new("three agents"))?;
    last.stop()?;
    let before = Counters::read(pairs[2].client())?;
    agents.push(Agent::start(pairs[2].client())?);
    // Prometheus sees the counters of the new agent before they exceed those of the old one.
    let of_host = |expression: &str| expression.replace('@', &format!("instance=\"{}\"", targets[2]));
    let seen = of_host("sum(retrans_dispositions_total{@})");
    wait_for("the scrape after the restart", PATIENCE, || Ok((prometheus.value(&seen)? == Some(0.0)).then_some(())))?;
    provoke(&pairs[2], HOSTS[2])?;
    settled(&agents[2])?;
    let since = (Counters::read(pairs[2].client())? - before).retrans_segs as f64;
    let segments = of_host(r#"sum(retrans_segments_total{@,class=~"ok|drop"})"#);
    wait_for("the attempts since the restart", PATIENCE, || {
        Ok((prometheus.value(&segments)? == Some(since)).then_some(()))
    })?;
    let resets = of_host("resets(retrans_dispositions_total{@,disposition=\"limited\"}[10m])");
    assert_eq!(prometheus.value(&resets)?, Some(1.0));
    Ok(())
}
