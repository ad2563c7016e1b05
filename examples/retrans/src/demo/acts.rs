// SPDX-License-Identifier: MIT OR Apache-2.0
//! The acts of the demo. An act is a scenario of the lab over one address family, with its name in
//! the table.

use retrans_lab::{Discard, Family, Hold, Outcome, Probes, Refusal, RouteFault, WindowFault};

pub(crate) struct Act {
    pub(crate) outcome: Outcome,
    pub(crate) family: Family,
    pub(crate) words: &'static str,
}

impl Act {
    /// The key of the act's name in a recorded line, in addition to the keys of the event.
    pub(crate) const KEY: &str = "act";

    pub(crate) fn name(&self) -> String {
        self.outcome.to_string()
    }

    /// Returns whether the act requires a kernel with the lab's patches. On other kernels it has no
    /// row.
    pub(crate) fn is_of_the_lab_kernel(&self) -> bool {
        self.outcome.is_injected()
    }

    /// Returns whether the attempt that shows the outcome succeeds, so that every attach method
    /// observes it.
    pub(crate) fn is_success(&self) -> bool {
        self.outcome.expected(self.outcome.defining_attempt(Probes::Off), Probes::Off).err == 0
    }
}

const fn act(outcome: Outcome, family: Family, words: &'static str) -> Act {
    Act { outcome, family, words }
}

use Family::{Mapped, V4, V6};

pub(crate) static ACTS: [Act; 37] = [
    act(Outcome::Rto, V4, "RTO: segment lost"),
    act(Outcome::Tlp, V6, "tail loss probe: last segment lost"),
    act(Outcome::Fast, Mapped, "fast retransmit: one segment of many lost"),
    act(Outcome::Syn, V4, "SYN lost"),
    act(Outcome::Synack, V6, "SYN-ACK lost"),
    act(Outcome::SynackFastopen, Mapped, "SYN-ACK lost (TCP Fast Open)"),
    act(Outcome::PartialAck, V4, "partial ACK: half of a segment acknowledged"),
    act(Outcome::ZeroWindow, V6, "zero window probe: window closed"),
    act(Outcome::MtuCut, Mapped, "path MTU reduced: ICMP packet too big"),
    act(Outcome::InHostQueue(Hold::Qdisc), V4, "first copy still queued in the qdisc"),
    act(Outcome::InHostQueue(Hold::Neighbour), V6, "first copy waits for neighbour resolution"),
    act(Outcome::RouteFail(RouteFault::Prohibit), Mapped, "prohibit route"),
    act(Outcome::RouteFail(RouteFault::Unreachable), V4, "unreachable route"),
    act(Outcome::RouteFail(RouteFault::Blackhole), V6, "blackhole route"),
    act(Outcome::RouteFail(RouteFault::Rule), Mapped, "unreachable policy rule"),
    act(Outcome::RouteFail(RouteFault::RouteDeleted), V4, "route deleted"),
    act(Outcome::RouteFail(RouteFault::AddressDeleted), V6, "local address deleted"),
    act(Outcome::RcvZeroWindow(WindowFault::Peer), Mapped, "receive window closed by the peer"),
    act(Outcome::RcvZeroWindow(WindowFault::Mangled), V4, "receive window rewritten to zero by a rule"),
    act(Outcome::FragNomem, V6, "split refused: too much is queued"),
    act(Outcome::Denied(Refusal::Drop), Mapped, "OUTPUT rule: drop"),
    act(Outcome::Denied(Refusal::Reject), V4, "OUTPUT rule: reject"),
    act(Outcome::XmitDrop(Discard::Qdisc), V6, "qdisc full"),
    act(Outcome::XmitDrop(Discard::Egress), Mapped, "device egress rule: drop"),
    act(Outcome::SlowStart, V4, "slow start: ACK after an RTO"),
    act(Outcome::Resume, V6, "resume: the qdisc that held the copy drains"),
    act(Outcome::DuplicateAckInLoss, Mapped, "duplicate ACK in loss state, first copy queued"),
    act(Outcome::MtuCutInLoss, V4, "path MTU reduced in loss state"),
    act(Outcome::OrphanZeroWindow, V6, "zero window of a closed socket"),
    act(Outcome::MtuCutDefault, V4, "path MTU reduced, a loss probe is pending"),
    act(Outcome::SlowStartAfterCut, V6, "slow start, long after the path MTU was reduced"),
    act(Outcome::Fastopen, Mapped, "Fast Open data not acknowledged by the SYN-ACK"),
    act(Outcome::RtoByIcmp, V4, "RTO: a router cannot reach the host"),
    act(Outcome::TrimHeadNomem, V4, "no memory: trim the acknowledged part"),
    act(Outcome::UncloneNomem, V6, "no memory: unclone shared data"),
    act(Outcome::PskbCopyNobufs, Mapped, "no memory: copy the segment"),
    act(Outcome::EndSeqError, V4, "segment acknowledged already"),
];
