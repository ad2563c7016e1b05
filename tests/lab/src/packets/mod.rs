// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules that drop, reject or modify packets.

use crate::{Error, Fault, Netns, Result};

mod bpf;
mod nft;
mod policy_route;

/// A selection of TCP packets of a namespace, IPv4 and IPv6. Every condition narrows it. The action
/// comes last, and is in effect until the fault is lifted.
///
/// nftables implements the rules. On a kernel without nftables, policy routing discards packets
/// that arrive for a port, if that suffices, and BPF programs do the rest.
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

/// The hook at which the packets are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Input,
    Output,
    Postrouting,
    Egress,
}

/// The first packet of a direction.
#[derive(Clone, Copy, Debug)]
enum First {
    Syn,
    Synack,
}

/// A selection from the packets that meet all other conditions.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// The packet with this number, from 0.
    Nth(u32),
    /// All packets after the first N.
    After(u32),
    /// N per mille, at random.
    PerMille(u32),
}

/// The action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Drop,
    Reject,
    CloseWindow,
    /// Sets the packet's mark, by which a sent packet is routed again.
    Mark(u32),
}

impl Packets {
    /// Selects every TCP packet that arrives. For the sender, a packet dropped here is lost on the
    /// wire.
    pub fn input() -> Self {
        Self::at(Place::Input)
    }

    /// Selects every TCP packet that is sent. If it is dropped here, the sender gets -EPERM.
    pub fn output() -> Self {
        Self::at(Place::Output)
    }

    /// Selects every TCP packet that is sent, after its route is final. If it is dropped here, the
    /// sender gets -EPERM. Requires nftables.
    pub fn postrouting() -> Self {
        Self::at(Place::Postrouting)
    }

    /// Selects every TCP packet that leaves by the link of a pair, below IP and before a qdisc is
    /// chosen. If it is dropped here, the sender gets NET_XMIT_DROP. Requires Linux 5.16. On a
    /// kernel without nftables a cgroup program returns this error instead, still in IP, for any
    /// link.
    pub fn egress() -> Self {
        Self::at(Place::Egress)
    }

    fn at(place: Place) -> Self {
        Self { place, sport: None, dport: None, first: None, at_least: None, which: None }
    }

    /// Restricts the selection to this destination port.
    pub fn dport(self, port: u16) -> Self {
        Self { dport: Some(port), ..self }
    }

    /// Restricts the selection to this source port.
    pub fn sport(self, port: u16) -> Self {
        Self { sport: Some(port), ..self }
    }

    /// Restricts the selection to SYNs without ACK.
    pub fn syn(self) -> Self {
        Self { first: Some(First::Syn), ..self }
    }

    /// Restricts the selection to SYN-ACKs.
    pub fn synack(self) -> Self {
        Self { first: Some(First::Synack), ..self }
    }

    /// Restricts the selection to packets of at least this size, including the IP header.
    pub fn at_least(self, bytes: u32) -> Self {
        Self { at_least: Some(bytes), ..self }
    }

    /// Selects, of the packets that meet the other conditions, only the `index`-th, from 0.
    pub fn nth(self, index: u32) -> Self {
        Self { which: Some(Which::Nth(index)), ..self }
    }

    /// Selects, of the packets that meet the other conditions, all but the first `count`.
    pub fn after(self, count: u32) -> Self {
        Self { which: Some(Which::After(count)), ..self }
    }

    /// Selects, of the packets that meet the other conditions, this share at random.
    pub fn per_mille(self, share: u32) -> Self {
        Self { which: Some(Which::PerMille(share)), ..self }
    }

    /// Drops the packets in `ns`.
    ///
    /// # Errors
    /// Returns an error if `nft` is missing or rejects the rule, and on a kernel without nftables
    /// if neither replacement suffices.
    pub fn drop_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, Verdict::Drop)
    }

    /// Drops the [output](Self::output) packets in `ns` by a BPF program of this process's cgroup:
    /// the sender gets -EPERM, or NET_XMIT_DROP for [egress](Self::egress) packets. Requires Linux
    /// 6.15.
    ///
    /// # Errors
    /// Returns an error if the program cannot be attached.
    pub fn drop_by_cgroup_in(&self, ns: &Netns) -> Result<Fault> {
        bpf::install(self, ns, Verdict::Drop)
    }

    /// Drops the packets at the egress of the link of a pair by a BPF program of the traffic
    /// control (clsact): the sender gets NET_XMIT_DROP.
    ///
    /// # Errors
    /// Returns an error if the kernel lacks clsact or its BPF classifier.
    pub fn drop_by_tc_in(&self, ns: &Netns) -> Result<Fault> {
        bpf::install_at_egress(self, ns)
    }

    /// Rejects the packets in `ns`, with an ICMP error to the sender.
    ///
    /// # Errors
    /// Returns the errors of [`drop_in`](Self::drop_in).
    pub fn reject_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, Verdict::Reject)
    }

    /// Sets the window that the packets advertise in `ns` to zero.
    ///
    /// # Errors
    /// Returns the errors of [`drop_in`](Self::drop_in).
    pub fn close_window_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, Verdict::CloseWindow)
    }

    /// Sets the mark of sent packets in `ns`, which are then routed again by policy rules.
    ///
    /// # Errors
    /// Returns an error if `nft` is missing or rejects the rule, or if the packets are not
    /// [output](Self::output).
    pub fn mark_in(&self, ns: &Netns, mark: u32) -> Result<Fault> {
        self.install(ns, Verdict::Mark(mark))
    }

    fn install(&self, ns: &Netns, verdict: Verdict) -> Result<Fault> {
        let error = match nft::install(self, ns, verdict) {
            Err(error) if !nft::is_there(ns) => error,
            done => return done,
        };
        match policy_route::ports(self, verdict) {
            Some(ports) => policy_route::install(ns, &ports),
            None => bpf::install(self, ns, verdict).map_err(|second| Error::new(format!("{error}; BPF: {second}"))),
        }
    }
}
