// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done, and how it is said.

use retrans_tests::{Discard, Family, Hold, Outcome, Refusal, RouteFault, WindowFault};

pub(crate) struct Act {
    pub(crate) outcome: Outcome,
    pub(crate) family: Family,
    pub(crate) said: &'static str,
}

impl Act {
    /// How the recording calls it: the key of its lines, beside those of the event.
    pub(crate) const KEY: &str = "act";

    pub(crate) fn name(&self) -> String {
        self.outcome.to_string()
    }

    /// Whether it takes a kernel that was built for it. Elsewhere there is nothing to be said of it.
    pub(crate) fn is_of_the_lab_kernel(&self) -> bool {
        self.outcome.is_injected()
    }

    /// Whether the attempt that shows it succeeds, and so is seen from every source.
    pub(crate) fn is_success(&self) -> bool {
        self.outcome.expected(self.outcome.telling()).err == 0
    }
}

const fn act(outcome: Outcome, family: Family, said: &'static str) -> Act {
    Act { outcome, family, said }
}

use Family::{Mapped, V4, V6};

pub(crate) static ACTS: [Act; 33] = [
    act(Outcome::Rto, V4, "a segment is lost, and the timeout expires"),
    act(Outcome::Tlp, V6, "the last segment is lost, and a probe asks"),
    act(Outcome::Fast, Mapped, "one segment of many is lost"),
    act(Outcome::Syn, V4, "a SYN is lost"),
    act(Outcome::Synack, V6, "a SYN-ACK is lost"),
    act(Outcome::SynackFastopen, Mapped, "a SYN-ACK of TCP Fast Open is lost"),
    act(Outcome::PartialAck, V4, "half of a segment is acknowledged"),
    act(Outcome::ZeroWindow, V6, "the window closes, and nothing arrives"),
    act(Outcome::MtuCut, Mapped, "a router says: too large"),
    act(Outcome::InHostQueue(Hold::Qdisc), V4, "the first copy waits in a slow qdisc"),
    act(Outcome::InHostQueue(Hold::Neighbour), V6, "the first copy waits for a neighbour's address"),
    act(Outcome::RouteFail(RouteFault::Prohibit), Mapped, "a route prohibits it"),
    act(Outcome::RouteFail(RouteFault::Unreachable), V4, "a route says: unreachable"),
    act(Outcome::RouteFail(RouteFault::Blackhole), V6, "a route is a blackhole"),
    act(Outcome::RouteFail(RouteFault::Rule), Mapped, "a policy rule says: unreachable"),
    act(Outcome::RouteFail(RouteFault::RouteDeleted), V4, "the route is deleted"),
    act(Outcome::RouteFail(RouteFault::AddressDeleted), V6, "the local address is deleted"),
    act(Outcome::RcvZeroWindow(WindowFault::Peer), Mapped, "the receiver closes its window"),
    act(Outcome::RcvZeroWindow(WindowFault::Mangled), V4, "a rule rewrites the window to zero"),
    act(Outcome::FragNomem, V6, "it must be split, and too much is queued"),
    act(Outcome::Denied(Refusal::Drop), Mapped, "an OUTPUT rule drops it"),
    act(Outcome::Denied(Refusal::Reject), V4, "an OUTPUT rule rejects it"),
    act(Outcome::XmitDrop(Discard::Qdisc), V6, "the qdisc is full"),
    act(Outcome::XmitDrop(Discard::Egress), Mapped, "a rule at the device's egress drops it"),
    act(Outcome::SlowStart, V4, "the peer acknowledges after a timeout"),
    act(Outcome::Resume, V6, "the queue that held it drains"),
    act(Outcome::DuplicateAckInLoss, Mapped, "it is held, and a duplicate ACK comes"),
    act(Outcome::MtuCutInLoss, V4, "too large, and a timeout was before"),
    act(Outcome::OrphanZeroWindow, V6, "window and socket are both closed"),
    act(Outcome::TrimHeadNomem, V4, "no memory to trim what was acknowledged"),
    act(Outcome::UncloneNomem, V6, "no memory for data that somebody shares"),
    act(Outcome::PskbCopyNobufs, Mapped, "no memory to copy it"),
    act(Outcome::EndSeqError, V4, "it was acknowledged already"),
];
