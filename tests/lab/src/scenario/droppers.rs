// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parts of this host that drop a retransmitted segment before the attempt ends.
//!
//! They are not [outcomes](Outcome): several of them have the same result. Each rule matches only
//! the retransmission, as in `local.rs`.

use std::fmt;

use retrans_sdk::RetransResult;

use super::local::{DATA, TIGHT, queue, restored, sent_again, slow_queue};
use super::wire::{connected, lose_everything, sends};
use super::{Discard, Outcome, Refusal, Scenario};
use crate::pair::LINK;
use crate::{Family, Packets, Pair, Result};

/// A part of the kernel that drops a sent packet, or a rule of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropper {
    /// A rule of nftables at the hook output drops it.
    NftOutput,
    /// A rule of nftables at the hook output rejects it.
    NftReject,
    /// A rule of nftables at the hook postrouting drops it.
    NftPostrouting,
    /// A rule of nftables at the egress of the device drops it.
    NftEgress,
    /// A BPF program of the cgroup rejects it.
    CgroupBpf,
    /// A BPF program of the cgroup drops it as congested.
    CgroupBpfCongested,
    /// A BPF program at the egress of the device (clsact) drops it.
    TcBpf,
    /// The qdisc bfifo is full.
    Bfifo,
    /// The qdisc tbf is full.
    Tbf,
    /// The qdisc fq has as many packets of the flow as it may have.
    Fq,
    /// The neighbour is unknown, and the kernel may not ask for it.
    Neighbour,
}

impl Dropper {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NftOutput,
        Self::NftReject,
        Self::NftPostrouting,
        Self::NftEgress,
        Self::CgroupBpf,
        Self::CgroupBpfCongested,
        Self::TcBpf,
        Self::Bfifo,
        Self::Tbf,
        Self::Fq,
        Self::Neighbour,
    ];

    /// Returns the result of the attempt. The kernel does not report to TCP that a packet has no
    /// neighbour.
    #[must_use]
    pub const fn result(self) -> RetransResult {
        match self {
            Self::NftOutput | Self::NftReject | Self::NftPostrouting | Self::CgroupBpf => RetransResult::Denied,
            Self::NftEgress | Self::CgroupBpfCongested | Self::TcBpf | Self::Bfifo | Self::Tbf | Self::Fq => {
                RetransResult::XmitDrop
            }
            Self::Neighbour => RetransResult::Success,
        }
    }

    /// Returns whether the packet has the device of the route when it is dropped.
    #[must_use]
    pub const fn has_device(self) -> bool {
        matches!(
            self,
            Self::NftPostrouting
                | Self::NftEgress
                | Self::CgroupBpf
                | Self::CgroupBpfCongested
                | Self::TcBpf
                | Self::Bfifo
                | Self::Tbf
                | Self::Fq
                | Self::Neighbour
        )
    }

    /// Sets up a connection whose retransmitted segment this host drops. Nothing is retransmitted
    /// yet.
    ///
    /// # Errors
    /// Returns an error if a socket or a rule cannot be created.
    pub fn prepare(self, pair: &Pair, family: Family) -> Result<Scenario> {
        let outcome = match self.result() {
            RetransResult::Denied => Outcome::Denied(Refusal::Drop),
            RetransResult::XmitDrop => Outcome::XmitDrop(Discard::Egress),
            _ => Outcome::Rto,
        };
        let start = match self {
            Self::Bfifo => sends(&[DATA; 2]),
            Self::Tbf | Self::Fq => sends(&[super::local::SEGMENT; 2]),
            _ => sends(&[DATA]),
        };
        let mut scenario = connected(pair, family, outcome, start)?;
        lose_everything(&mut scenario, pair)?;
        let client = pair.client();
        let again = |place| sent_again(&scenario, place);
        let fault = match self {
            Self::NftOutput => again(Packets::output()).drop_in(client)?,
            Self::NftReject => again(Packets::output()).reject_in(client)?,
            Self::NftPostrouting => again(Packets::postrouting()).drop_in(client)?,
            Self::NftEgress => again(Packets::egress()).drop_in(client)?,
            Self::CgroupBpf => again(Packets::output()).drop_by_cgroup_in(client)?,
            Self::CgroupBpfCongested => again(Packets::egress()).drop_by_cgroup_in(client)?,
            Self::TcBpf => again(Packets::egress()).drop_by_tc_in(client)?,
            // As in `local::xmit_drop`: the retransmission combines both segments.
            Self::Bfifo => queue(client, TIGHT)?,
            // The second segment fills the queue.
            Self::Tbf => slow_queue(client, 2000)?,
            // The second segment waits for more than a second, and no other may wait with it.
            Self::Fq => queue(client, "fq flow_limit 1 maxrate 8kbit")?,
            Self::Neighbour => {
                for version in ["ipv4", "ipv6"] {
                    let questions = format!("net/{version}/neigh/{LINK}/mcast_solicit");
                    scenario.faults.push(client.sysctl_scoped(&questions, "0")?);
                }
                let peer = pair.server_addr(family).to_canonical();
                client.command("ip", &["neigh", "del", &peer.to_string(), "dev", LINK])?;
                restored(pair, "a missing neighbour")
            }
        };
        scenario.faults.push(fault);
        Ok(scenario)
    }
}

/// Prints its name in the results.
impl fmt::Display for Dropper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NftOutput => "nft_output",
            Self::NftReject => "nft_reject",
            Self::NftPostrouting => "nft_postrouting",
            Self::NftEgress => "nft_egress",
            Self::CgroupBpf => "cgroup_bpf",
            Self::CgroupBpfCongested => "cgroup_bpf_congested",
            Self::TcBpf => "tc_bpf",
            Self::Bfifo => "bfifo",
            Self::Tbf => "tbf",
            Self::Fq => "fq",
            Self::Neighbour => "neighbour",
        })
    }
}
