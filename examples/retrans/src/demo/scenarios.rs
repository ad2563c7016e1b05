// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenarios of the demo. Each is an outcome of the lab over one address family, with its name
//! in the table.

use retrans_lab::{Discard, Family, Hold, Outcome, Probes, Refusal, RouteFault, WindowFault};

pub(crate) struct DemoScenario {
    pub(crate) outcome: Outcome,
    pub(crate) family: Family,
    pub(crate) words: &'static str,
}

impl DemoScenario {
    /// The key of the scenario's name in a recorded line, in addition to the keys of the event.
    pub(crate) const KEY: &str = "scenario";

    pub(crate) fn name(&self) -> String {
        self.outcome.to_string()
    }

    /// Returns whether the scenario requires a kernel with the lab's patches. On other kernels it
    /// has no row.
    pub(crate) fn is_of_the_lab_kernel(&self) -> bool {
        self.outcome.is_injected()
    }

    /// Returns whether the attempt that shows the outcome succeeds, so that every attach method
    /// observes it.
    pub(crate) fn is_success(&self) -> bool {
        self.outcome.expected(self.outcome.defining_attempt(Probes::Off), Probes::Off).err == 0
    }
}

const fn scenario(outcome: Outcome, family: Family, words: &'static str) -> DemoScenario {
    DemoScenario { outcome, family, words }
}

use Family::{Mapped, V4, V6};

pub(crate) static SCENARIOS: [DemoScenario; 37] = [
    scenario(Outcome::Rto, V4, "RTO: segment lost"),
    scenario(Outcome::Tlp, V6, "tail loss probe: last segment lost"),
    scenario(Outcome::Fast, Mapped, "fast retransmit: one segment of many lost"),
    scenario(Outcome::Syn, V4, "SYN lost"),
    scenario(Outcome::Synack, V6, "SYN-ACK lost"),
    scenario(Outcome::SynackFastopen, Mapped, "SYN-ACK lost (TCP Fast Open)"),
    scenario(Outcome::PartialAck, V4, "partial ACK: half of a segment acknowledged"),
    scenario(Outcome::ZeroWindow, V6, "zero window probe: window closed"),
    scenario(Outcome::MtuCut, Mapped, "path MTU reduced: ICMP packet too big"),
    scenario(Outcome::InHostQueue(Hold::Qdisc), V4, "first copy still queued in the qdisc"),
    scenario(Outcome::InHostQueue(Hold::Neighbour), V6, "first copy waits for neighbour resolution"),
    scenario(Outcome::RouteFail(RouteFault::Prohibit), Mapped, "prohibit route"),
    scenario(Outcome::RouteFail(RouteFault::Unreachable), V4, "unreachable route"),
    scenario(Outcome::RouteFail(RouteFault::Blackhole), V6, "blackhole route"),
    scenario(Outcome::RouteFail(RouteFault::Rule), Mapped, "unreachable policy rule"),
    scenario(Outcome::RouteFail(RouteFault::RouteDeleted), V4, "route deleted"),
    scenario(Outcome::RouteFail(RouteFault::AddressDeleted), V6, "local address deleted"),
    scenario(Outcome::RcvZeroWindow(WindowFault::Peer), Mapped, "receive window closed by the peer"),
    scenario(Outcome::RcvZeroWindow(WindowFault::Mangled), V4, "receive window rewritten to zero by a rule"),
    scenario(Outcome::FragNomem, V6, "split refused: too much is queued"),
    scenario(Outcome::Denied(Refusal::Drop), Mapped, "OUTPUT rule: drop"),
    scenario(Outcome::Denied(Refusal::Reject), V4, "OUTPUT rule: reject"),
    scenario(Outcome::XmitDrop(Discard::Qdisc), V6, "qdisc full"),
    scenario(Outcome::XmitDrop(Discard::Egress), Mapped, "device egress rule: drop"),
    scenario(Outcome::SlowStart, V4, "slow start: ACK after an RTO"),
    scenario(Outcome::Resume, V6, "resume: the qdisc that held the copy drains"),
    scenario(Outcome::DuplicateAckInLoss, Mapped, "duplicate ACK in loss state, first copy queued"),
    scenario(Outcome::MtuCutInLoss, V4, "path MTU reduced in loss state"),
    scenario(Outcome::OrphanZeroWindow, V6, "zero window of a closed socket"),
    scenario(Outcome::MtuCutDefault, V4, "path MTU reduced, a loss probe is pending"),
    scenario(Outcome::SlowStartAfterCut, V6, "slow start, long after the path MTU was reduced"),
    scenario(Outcome::Fastopen, Mapped, "Fast Open data not acknowledged by the SYN-ACK"),
    scenario(Outcome::RtoByIcmp, V4, "RTO: a router cannot reach the host"),
    scenario(Outcome::TrimHeadNomem, V4, "no memory: trim the acknowledged part"),
    scenario(Outcome::UncloneNomem, V6, "no memory: unclone shared data"),
    scenario(Outcome::PskbCopyNobufs, Mapped, "no memory: copy the segment"),
    scenario(Outcome::EndSeqError, V4, "segment acknowledged already"),
];
