// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets that vanish, or arrive other than they were sent.

use crate::{Error, Fault, Netns, Result};

mod bpf;
mod nft;
mod policy_route;

/// A description of TCP packets of a namespace, IPv4 and IPv6 alike. Every condition added narrows it; what is to
/// be done to them comes last, and holds until the fault is lifted.
///
/// It is done by nftables. In a kernel without, what arrives for a port is routed nowhere where that will do, and all
/// else is done by BPF programs.
#[derive(Clone, Debug)]
#[must_use = "a description alone does nothing to the packets"]
pub struct Packets {
    place: Place,
    sport: Option<u16>,
    dport: Option<u16>,
    first: Option<First>,
    at_least: Option<u32>,
    which: Option<Which>,
}

/// Where they are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Input,
    Output,
    Egress,
}

/// The first packet of a direction.
#[derive(Clone, Copy, Debug)]
enum First {
    Syn,
    Synack,
}

/// Which of the packets that meet all other conditions.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// This one, from 0.
    Nth(u32),
    /// All but the first of so many.
    After(u32),
    /// So many in a thousand, at random.
    PerMille(u32),
}

/// What is done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Drop,
    Reject,
    CloseWindow,
}

impl Packets {
    /// Every TCP packet that arrives. Dropped there, it is lost on the wire as far as the sender can tell.
    pub fn input() -> Self {
        Self::at(Place::Input)
    }

    /// Every TCP packet that is sent. Dropped there, it is refused to the sender with -EPERM.
    pub fn output() -> Self {
        Self::at(Place::Output)
    }

    /// Every TCP packet that leaves by the link of a pair, below IP and before a qdisc is chosen. Dropped there, the
    /// sender is told NET_XMIT_DROP. Takes Linux 5.16. In a kernel without nftables a program of the cgroup says so, still
    /// within IP, of whichever link.
    pub fn egress() -> Self {
        Self::at(Place::Egress)
    }

    fn at(place: Place) -> Self {
        Self { place, sport: None, dport: None, first: None, at_least: None, which: None }
    }

    /// Only to this port.
    pub fn dport(self, port: u16) -> Self {
        Self { dport: Some(port), ..self }
    }

    /// Only from this port.
    pub fn sport(self, port: u16) -> Self {
        Self { sport: Some(port), ..self }
    }

    /// Only SYNs, not SYN-ACKs.
    pub fn syn(self) -> Self {
        Self { first: Some(First::Syn), ..self }
    }

    /// Only SYN-ACKs.
    pub fn synack(self) -> Self {
        Self { first: Some(First::Synack), ..self }
    }

    /// Only packets of at least so many bytes, IP header included.
    pub fn at_least(self, bytes: u32) -> Self {
        Self { at_least: Some(bytes), ..self }
    }

    /// Of the packets that meet the other conditions only the `index`-th, from 0, and never another.
    pub fn nth(self, index: u32) -> Self {
        Self { which: Some(Which::Nth(index)), ..self }
    }

    /// Of the packets that meet the other conditions all but the first `count`.
    pub fn after(self, count: u32) -> Self {
        Self { which: Some(Which::After(count)), ..self }
    }

    /// Of the packets that meet the other conditions so many in a thousand, at random.
    pub fn per_mille(self, share: u32) -> Self {
        Self { which: Some(Which::PerMille(share)), ..self }
    }

    /// Drops them in `ns`.
    ///
    /// # Errors
    /// When `nft` refuses the rule, or is not there; and in a kernel without nftables where nothing else will do.
    pub fn drop_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, Verdict::Drop)
    }

    /// Refuses them in `ns`, with an ICMP error to whoever sent them.
    ///
    /// # Errors
    /// As [`drop_in`](Self::drop_in).
    pub fn reject_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, Verdict::Reject)
    }

    /// Sets the window that they announce in `ns` to zero.
    ///
    /// # Errors
    /// As [`drop_in`](Self::drop_in).
    pub fn close_window_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, Verdict::CloseWindow)
    }

    fn install(&self, ns: &Netns, verdict: Verdict) -> Result<Fault> {
        let error = match nft::install(self, ns, verdict) {
            Err(error) if !nft::is_there(ns) => error,
            done => return done,
        };
        match policy_route::ports(self, verdict) {
            Some(ports) => policy_route::install(ns, &ports),
            None => {
                bpf::install(self, ns, verdict).map_err(|second| Error::new(format!("{error}; nor by BPF: {second}")))
            }
        }
    }
}
