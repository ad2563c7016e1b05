// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds out which scenarios the running kernel supports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;

use crate::kernel_enum::{CANCELED, KernelEnum};
use crate::netns_cookie::netns_cookie;
use crate::scenario::{Discard, Hold, Refusal, WindowFault, tbf};
use crate::seg6::Seg6;
use crate::tun::tun_is_there;
use crate::wait::{PATIENCE, wait_for};
use crate::{Context, Counters, Dropper, Error, Family, Netns, Outcome, Packets, Pair, Result, Scenario, injection};

/// The features that the running kernel lacks, each found out by trying. The description of a
/// missing feature is the one in the results table.
#[derive(Debug)]
pub struct KernelSupport {
    link: Option<&'static str>,
    /// nftables, or the replacements for it.
    rules: Option<&'static str>,
    egress: Option<&'static str>,
    nftables: Option<&'static str>,
    tbf: Option<&'static str>,
    injection: Option<&'static str>,
    enumerator: Option<&'static str>,
    loops: Option<&'static str>,
    segment_routes: Option<&'static str>,
    netns_cookies: Option<&'static str>,
    /// Found out on first use, because it needs more than a second.
    resumption: OnceLock<Option<&'static str>>,
    backlog_check: OnceLock<Option<&'static str>>,
    syn_by_icmp: OnceLock<Option<&'static str>>,
}

impl KernelSupport {
    /// Tries all features. If one is missing, the reason goes to standard error.
    pub fn probe() -> Self {
        // A policy rule cannot express the condition `after`, so this tries the BPF programs.
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
            syn_by_icmp: OnceLock::new(),
        }
    }

    /// Returns the missing feature if the kernel lacks the BPF helper `bpf_loop`.
    pub fn missing_bpf_loop(&self) -> Option<&'static str> {
        self.loops
    }

    /// Returns the missing feature if the kernel lacks IPv6 segment routing.
    pub fn missing_segment_routes(&self) -> Option<&'static str> {
        self.segment_routes
    }

    /// Returns the missing feature if the kernel lacks the socket option SO_NETNS_COOKIE.
    pub fn missing_netns_cookies(&self) -> Option<&'static str> {
        self.netns_cookies
    }

    /// Returns what the kernel lacks for this dropper, found out by setting it up, or `None` if it
    /// can run.
    pub fn missing_for_dropper(&self, dropper: Dropper) -> Option<&'static str> {
        let what = match dropper {
            Dropper::NftOutput | Dropper::NftReject | Dropper::NftPostrouting => return self.nftables,
            Dropper::NftEgress => return self.nftables.or(self.egress),
            Dropper::Tbf => return self.tbf,
            Dropper::CgroupBpf | Dropper::CgroupBpfCongested => "no cgroup program with a namespace",
            Dropper::TcBpf => "no BPF classifier",
            Dropper::Bfifo => "no qdiscs",
            Dropper::Fq => "no qdisc fq",
            Dropper::Neighbour => "no neighbours",
        };
        let tried = || dropper.prepare(&Pair::new()?, Family::V4)?.finish();
        self.link.or_else(|| lacking(what, tried()))
    }

    /// Returns what the kernel lacks for this outcome, or `None` if it can run.
    pub fn missing_for(&self, outcome: Outcome) -> Option<&'static str> {
        let own = match outcome {
            Outcome::Backlog => self.tbf.or_else(|| *self.backlog_check.get_or_init(backlog_check)),
            Outcome::Resume => *self.resumption.get_or_init(resumption),
            Outcome::ZeroWindowThenDrain | Outcome::ResumeStillQueued | Outcome::ResumeByPacing => {
                self.tbf.or_else(|| *self.resumption.get_or_init(resumption))
            }
            Outcome::MtuInSynSent => *self.syn_by_icmp.get_or_init(syn_by_icmp),
            Outcome::InHostQueue(Hold::Qdisc) => self.tbf,
            // Without TUN, hiding the neighbour replaces the qdisc.
            Outcome::DuplicateAckInLoss => self.tbf.filter(|_| tun_is_there()),
            Outcome::XmitDrop(Discard::Egress) => self.rules.or(self.egress),
            // The BPF replacement of nftables does not run for SYN-ACKs.
            Outcome::Denied(Refusal::Reject) | Outcome::RerouteFail | Outcome::SynackDenied => self.nftables,
            Outcome::Fast
            | Outcome::RcvZeroWindow(WindowFault::Mangled)
            | Outcome::Denied(_)
            | Outcome::FastopenAfterSynTimeout => self.rules,
            Outcome::Canceled => self.enumerator.or(self.injection),
            outcome if outcome.is_injected() => self.injection,
            // Losses, for which policy rules suffice, and outcomes of the user-space peer.
            _ => None,
        };
        self.link.or(own)
    }
}

/// Tests whether the kernel resumes a retransmission when the queue that held the first copy drains
/// (since f4dae54e486d, v5.13). The kernel's counters decide, after the first timeout and before a
/// second one.
fn resumption() -> Option<&'static str> {
    by_counters("no resumption", Outcome::Resume, |rose| rose.retrans_segs > 0, |rose| rose.timeouts == 1)
}

/// Tests whether the kernel defers an attempt because of the socket's backlog in this host. It does
/// so before it checks for the segment's own copy. It counts only attempts that the latter check
/// ends.
fn backlog_check() -> Option<&'static str> {
    // A timeout is counted before its attempt. So after the second timeout, the first attempt is
    // over.
    let over = |rose: Counters| rose.timeouts > 1;
    by_counters("no backlog check", Outcome::Backlog, over, |rose| rose.spurious_rtx_host_queues == 0)
}

/// Tests whether the kernel retransmits a SYN with data if it is too large for the path. On Linux
/// 5.10, only the timer retransmits it.
fn syn_by_icmp() -> Option<&'static str> {
    let what = "no SYN retransmission by ICMP";
    by_counters(what, Outcome::MtuInSynSent, |rose| rose.syn_retrans > 0, |rose| rose.timeouts == 0)
}

fn own_netns_cookie() -> Result<()> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot create a socket")?;
    netns_cookie(&socket).map(drop)
}

/// Returns whether the running kernel has a function of this name, such as a BPF helper.
///
/// # Errors
/// Returns an error if its symbols cannot be read.
pub fn has_symbol(name: &str) -> Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read the kernel's symbols")?;
    let is_it = |line: &str| line.split(' ').nth(2).and_then(|rest| rest.split('\t').next()) == Some(name);
    Ok(symbols.lines().any(is_it))
}

/// Provokes the outcome until `over` returns true, and decides by the counters whether the kernel
/// has the feature.
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
        let rose = wait_for("the counters that show a kernel feature", PATIENCE, rose)?;
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
