// SPDX-License-Identifier: MIT OR Apache-2.0
//! Outcomes that a kernel cannot bring about.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;

use crate::kernel_enum::{CANCELED, KernelEnum};
use crate::netns_cookie::netns_cookie;
use crate::scenario::{Discard, Hold, Refusal, WindowFault, tbf};
use crate::seg6::Seg6;
use crate::tun::tun_is_there;
use crate::wait::{PATIENCE, wait_for};
use crate::{Context, Counters, Error, Family, Netns, Outcome, Packets, Pair, Result, Scenario, injection};

/// What this kernel cannot do, in the words of a cell; each found out by trying.
#[derive(Debug)]
pub struct KernelSupport {
    link: Option<&'static str>,
    /// Neither nftables nor what serves in its place.
    rules: Option<&'static str>,
    egress: Option<&'static str>,
    nftables: Option<&'static str>,
    tbf: Option<&'static str>,
    injection: Option<&'static str>,
    enumerator: Option<&'static str>,
    loops: Option<&'static str>,
    segment_routes: Option<&'static str>,
    netns_cookies: Option<&'static str>,
    /// Takes a second and more to find out.
    resumption: OnceLock<Option<&'static str>>,
    backlog_check: OnceLock<Option<&'static str>>,
}

impl KernelSupport {
    /// Tries it all. Why something is lacking is said on standard error.
    pub fn probe() -> Self {
        // With a condition that no rule of a policy can have.
        let met = |packets: Packets| packets.after(1).drop_in(Pair::new()?.client())?.lift();
        Self {
            link: lacking("no link", Pair::new().map(drop)),
            rules: lacking("no nftables", met(Packets::input()).and_then(|()| met(Packets::output()))),
            egress: lacking("no egress hook", met(Packets::egress())),
            nftables: lacking("no nftables", Netns::new().and_then(|ns| ns.command("nft", &["list tables"]).map(drop))),
            tbf: lacking("no tbf", Netns::new().and_then(|ns| tbf(&ns))),
            injection: lacking("no fault injection", injection::attach()),
            enumerator: (!KernelEnum::of_running_kernel().has(CANCELED)).then_some("no such enumerator"),
            segment_routes: lacking("no seg6", Pair::new().and_then(|pair| Seg6::unreachable(&pair).map(drop))),
            netns_cookies: lacking("no SO_NETNS_COOKIE", own_netns_cookie()),
            loops: lacking(
                "no bpf_loop",
                has_symbol("bpf_loop").and_then(|is| if is { Ok(()) } else { Err(Error::new("no such symbol")) }),
            ),
            resumption: OnceLock::new(),
            backlog_check: OnceLock::new(),
        }
    }

    /// Whether it is the helper by which a BPF program loops over as much as it likes.
    pub fn missing_bpf_loop(&self) -> Option<&'static str> {
        self.loops
    }

    /// Whether it is routes by IPv6 segments.
    pub fn missing_segment_routes(&self) -> Option<&'static str> {
        self.segment_routes
    }

    /// Whether it is that a socket tells the cookie of its namespace.
    pub fn missing_netns_cookies(&self) -> Option<&'static str> {
        self.netns_cookies
    }

    /// What is lacking of what this outcome takes.
    pub fn missing_for(&self, outcome: Outcome) -> Option<&'static str> {
        let own = match outcome {
            Outcome::Backlog => self.tbf.or_else(|| *self.backlog_check.get_or_init(backlog_check)),
            Outcome::Resume => *self.resumption.get_or_init(resumption),
            Outcome::InHostQueue(Hold::Qdisc) => self.tbf,
            // Without TUN a neighbour is hidden instead.
            Outcome::DuplicateAckInLoss => self.tbf.filter(|_| tun_is_there()),
            Outcome::XmitDrop(Discard::Egress) => self.rules.or(self.egress),
            Outcome::Denied(Refusal::Reject) => self.nftables,
            Outcome::Fast | Outcome::RcvZeroWindow(WindowFault::Mangled) | Outcome::Denied(_) => self.rules,
            Outcome::Canceled => self.enumerator.or(self.injection),
            outcome if outcome.is_injected() => self.injection,
            // Losses, for which policy rules will do, and what a peer of ours does.
            _ => None,
        };
        self.link.or(own)
    }
}

/// Whether a queue that drains has the kernel go on with what it held (since f4dae54e486d, v5.13), by its own counters: after
/// the first timeout, and before a second.
fn resumption() -> Option<&'static str> {
    by_counters("no resumption", Outcome::Resume, |rose| rose.retrans_segs > 0, |rose| rose.timeouts == 1)
}

/// Whether an attempt is put off for what waits in this host, before it is looked whether its own copy does, which is counted.
fn backlog_check() -> Option<&'static str> {
    // A timeout is counted before its attempt is made: with the second, the first has been.
    let over = |rose: Counters| rose.timeouts > 1;
    by_counters("no backlog check", Outcome::Backlog, over, |rose| rose.spurious_rtx_host_queues == 0)
}

fn own_netns_cookie() -> Result<()> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no socket")?;
    netns_cookie(&socket).map(drop)
}

/// Whether the running kernel has this function, such as a helper for BPF programs.
///
/// # Errors
/// When its symbols cannot be read.
pub fn has_symbol(name: &str) -> Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read the kernel's symbols")?;
    let is_it = |line: &str| line.split(' ').nth(2).and_then(|rest| rest.split('\t').next()) == Some(name);
    Ok(symbols.lines().any(is_it))
}

/// Brings the outcome about until it is `over`, and has the counters tell whether it is what it should be.
fn by_counters(
    what: &'static str,
    outcome: Outcome,
    over: impl Fn(Counters) -> bool,
    is_it: impl Fn(Counters) -> bool,
) -> Option<&'static str> {
    let tried = || -> Result<bool> {
        let pair = Pair::new()?;
        let before = Counters::read(pair.client())?;
        let scenario = Scenario::run(&pair, Family::V4, outcome)?;
        let rose = || Ok(Some(Counters::read(pair.client())? - before).filter(|rose| over(*rose)));
        let rose = wait_for("what a kernel is told by", PATIENCE, rose)?;
        scenario.finish()?;
        Ok(is_it(rose))
    };
    match tried() {
        Ok(true) => None,
        Ok(false) => Some(what),
        Err(error) => lacking(what, Err(error)),
    }
}

fn lacking(what: &'static str, tried: Result<()>) -> Option<&'static str> {
    let error = tried.err()?;
    eprintln!("{what}: {error}");
    Some(what)
}
