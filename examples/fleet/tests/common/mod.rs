// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agents in network namespaces, and the faults of these hosts.
// Each test program uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{BulkTraffic, Context, Error, Family, Fault, Netns, Packets, Pair, Result};

/// The port of each agent, in its own namespace.
pub const PORT: u16 = 9749;
/// Segments of 76 bytes, of which one attempt covers many.
pub const SMALL: u16 = 88;

/// An agent in a namespace. It is ended with this value.
pub struct Agent {
    pub ns: Netns,
    pub child: Child,
}

impl Agent {
    /// Starts an agent in a namespace, and waits until it is attached.
    pub fn start(ns: &Netns) -> Result<Self> {
        Self::start_with(ns, &[])
    }

    /// Starts an agent with more arguments.
    pub fn start_with(ns: &Netns, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retrans-agent"));
        command.args(["--prometheus", &format!("127.0.0.1:{PORT}"), &format!("netns={}", ns.inode())]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = ns.run(|| command.spawn()).context("cannot start the agent")?;
        let agent = Self { ns: ns.clone(), child };
        wait_for("the agent", PATIENCE, || Ok(agent.scrape().ok().map(drop)))?;
        Ok(agent)
    }

    pub fn connect(&self) -> io::Result<TcpStream> {
        connect(&self.ns)
    }

    /// Returns the exposition as Prometheus receives it.
    pub fn scrape(&self) -> Result<String> {
        let mut stream = self.connect().context("cannot connect to the agent")?;
        let request = "GET /metrics HTTP/1.1\r\nHost: agent\r\nAccept: application/openmetrics-text\r\n\r\n";
        stream.write_all(request.as_bytes()).context("cannot send a request")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("cannot receive the metrics")?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if !head.starts_with("HTTP/1.1 200 ") || !body.ends_with("# EOF\n") {
            return Err(Error::new(format!("not a complete exposition: {answer}")));
        }
        Ok(body.to_owned())
    }

    /// Returns a field of the process's status in KiB, such as `VmHWM`.
    pub fn memory(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("the agent ended")?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value
            .and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok())
            .ok_or_else(|| Error::new("no such field"))
    }

    /// Returns the time that the process and its threads have used a CPU, in ticks of 10 ms.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("the agent ended")?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = [11, 12].into_iter().filter_map(|field| fields.get(field)?.parse::<u32>().ok()).sum::<u32>();
        Ok(Duration::from_millis(10) * ticks)
    }

    /// Ends the agent as systemd does, and returns its output.
    pub fn stop(mut self) -> Result<String> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("cannot run kill")?;
        let mut printed = String::new();
        let mut stderr = self.child.stderr.take().ok_or_else(|| Error::new("it is piped"))?;
        stderr.read_to_string(&mut printed).context("cannot read what it printed")?;
        let status = self.child.wait().context("cannot wait for the agent")?;
        if !status.success() {
            return Err(Error::new(format!("{status}: {printed}")));
        }
        Ok(printed)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After `stop` both calls fail, which is harmless.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn connect(ns: &Netns) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let stream = ns.run(|| TcpStream::connect(address))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Returns the sum of the series of a metric whose labels contain all of these texts.
pub fn sum(text: &str, metric: &str, labels: &[&str]) -> u64 {
    let series = text.lines().filter_map(|line| line.strip_prefix(metric));
    let series = series.filter(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)));
    series.map(|rest| rest.rsplit_once('}').map_or(rest, |(_, value)| value).trim().parse::<u64>().unwrap_or(0)).sum()
}

/// The same without the exemplars, which follow ` # `.
pub fn exact(text: &str) -> String {
    text.lines().map(|line| line.split(" # ").next().unwrap_or(line).to_owned() + "\n").collect()
}

/// The faults of a host: segments in excess of these shares, in per mille, are refused or dropped
/// on the host itself. All of its data is lost in the network for a while.
#[derive(Clone, Copy)]
pub struct Faults {
    pub refused: u32,
    pub dropped: u32,
}

/// Three hosts with different faults.
pub const HOSTS: [Faults; 3] =
    [Faults { refused: 0, dropped: 0 }, Faults { refused: 60, dropped: 0 }, Faults { refused: 30, dropped: 60 }];

/// Loses the outstanding data of several connections at once.
pub fn provoke(pair: &Pair, faults: Faults) -> Result<()> {
    lose(pair, faults, BulkTraffic::open(pair, Family::V4, 4, SMALL)?)
}

pub fn lose(pair: &Pair, faults: Faults, traffic: BulkTraffic) -> Result<()> {
    let large = |packets: Packets| packets.at_least(100);
    traffic.run(|| {
        thread::sleep(Duration::from_millis(100));
        let lost = large(Packets::input()).drop_in(pair.server())?;
        let mut own = Vec::new();
        if faults.refused > 0 {
            own.push(large(Packets::output()).per_mille(faults.refused).drop_in(pair.client())?);
        }
        if faults.dropped > 0 {
            own.push(large(Packets::egress()).per_mille(faults.dropped).drop_in(pair.client())?);
        }
        lost.lift()?;
        thread::sleep(Duration::from_millis(250));
        own.into_iter().try_for_each(Fault::lift)?;
        Ok(true)
    })
}

/// Scrapes until two scrapes are equal, so that no attempt is in progress and no event waits.
pub fn settled(agent: &Agent) -> Result<String> {
    let counters = |text: &str| {
        // The scrape itself sends segments.
        let of_attempts = |line: &&str| line.starts_with("retrans_") && !line.starts_with("retrans_netns_");
        exact(text).lines().filter(of_attempts).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut before = agent.scrape()?;
    wait_for("a moment without attempts", PATIENCE, || {
        thread::sleep(Duration::from_millis(200));
        let now = agent.scrape()?;
        let same = counters(&now) == counters(&before) && sum(&exact(&now), "retrans_waiting_events", &[]) == 0;
        let result = same.then(|| now.clone());
        before = now;
        Ok(result)
    })
}
