// SPDX-License-Identifier: MIT OR Apache-2.0
//! The outcomes that scenarios provoke, and what the kernel reports of each.

use std::fmt;

use retrans_sdk::attach::{AttachMethod, Attachment};
use retrans_sdk::event::TcpState;
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{RetransKind, RetransResult};

use crate::Tracepoint;
use crate::kernel_enum::{CANCELED, KernelEnum};

/// A result that a scenario provokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Data lost on the wire, retransmitted by the timer, again and again.
    Rto,
    /// Data lost on the wire, retransmitted first by a tail loss probe, then by the timer.
    Tlp,
    /// One segment lost among many, retransmitted once as soon as later ones are acknowledged.
    Fast,
    /// A SYN lost on the wire, retransmitted after a second.
    Syn,
    /// A SYN-ACK lost on the wire, retransmitted by the listener after a second.
    Synack,
    /// A SYN-ACK of TCP Fast Open, retransmitted by the half-open connection.
    SynackFastopen,
    /// The peer acknowledges a part of a segment, and the timer expires for the rest.
    PartialAck,
    /// The peer closes its window while data is outstanding, and the timer expires for the first
    /// segment.
    ZeroWindow,
    /// A router reports that the packets are too large, and they are retransmitted at once in
    /// smaller pieces.
    MtuCut,
    /// The segment has not left this host when it is to be retransmitted.
    InHostQueue(Hold),
    /// The route was lost while data was unacknowledged.
    RouteFail(RouteFault),
    /// The peer closed its window, and the segment to retransmit is not the first one.
    RcvZeroWindow(WindowFault),
    /// The segment must be split before it is retransmitted, and too much is queued already.
    FragNomem,
    /// A firewall on the sender rejects the retransmission.
    Denied(Refusal),
    /// The sender drops the retransmission below IP.
    XmitDrop(Discard),
    /// The data outstanding at the timeout is retransmitted as the peer acknowledges.
    SlowStart,
    /// The first copy was in this host when the timer expired, and left it later.
    Resume,
    /// The first copy is in this host when the timer expires, and then a duplicate acknowledgement
    /// arrives.
    DuplicateAckInLoss,
    /// A router reports that the packets are too large, after the timer has expired.
    MtuCutInLoss,
    /// The peer closes its window, the process closes its socket, and the timer expires.
    OrphanZeroWindow,
    /// Too much of the socket's data is queued in this host: the attempt is deferred, on kernels
    /// that check this (before Linux 5.13).
    Backlog,
    /// There is no memory to trim the acknowledged part of a segment. This outcome and the
    /// following ones require [`injection`](crate::injection).
    TrimHeadNomem,
    /// There is no memory to unclone the segment's header, of which another socket has a copy.
    UncloneNomem,
    /// There is no memory to copy a segment whose headroom is too large.
    PskbCopyNobufs,
    /// The segment ends before the acknowledged sequence number: the kernel warns about it.
    EndSeqError,
    /// The attempt is canceled for a reason that no table contains.
    Canceled,
}

/// The place that holds a segment in this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// A very slow qdisc.
    Qdisc,
    /// A neighbour whose link-layer address is never announced.
    Neighbour,
}

/// The way in which a route fails. The tracepoint reports -EHOSTUNREACH for all; the socket's soft
/// error differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteFault {
    /// A prohibit route: EACCES.
    Prohibit,
    /// An unreachable route: EHOSTUNREACH.
    Unreachable,
    /// A blackhole route: EINVAL.
    Blackhole,
    /// An unreachable policy rule, with the soft error of a missing route: ENETUNREACH.
    Rule,
    /// The route was deleted: ENETUNREACH.
    RouteDeleted,
    /// The socket's own address was deleted, and with it the route: ENETUNREACH.
    AddressDeleted,
}

/// The cause of a closed window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowFault {
    /// The peer itself.
    Peer,
    /// A rule on the sender that rewrites the peer's window.
    Mangled,
}

/// The way in which a firewall rejects a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Silently.
    Drop,
    /// With an ICMP error to the sender's own socket.
    Reject,
}

/// The part of the kernel that drops a segment below IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discard {
    /// A full qdisc.
    Qdisc,
    /// A rule at the egress of the device.
    Egress,
}

/// The expected report of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The result as the SDK names it when it observes everything.
    pub result: RetransResult,
    /// The kind.
    pub kind: RetransKind,
    /// The errno as the kernel returns it. For a SYN-ACK only successes are reported.
    pub err: i32,
    /// The state of the socket, or of the request.
    pub state: TcpState,
    /// The socket's soft error. A SYN-ACK does not have one.
    pub sk_err_soft: Option<i32>,
}

impl Expected {
    /// Returns the report of a stream with this attachment on the running kernel.
    #[must_use]
    pub fn seen_from(self, attachment: &Attachment) -> Self {
        let result = if attachment.method == AttachMethod::TpEnum {
            match (KernelEnum::of_running_kernel().expected_result(self.result), attachment.companion) {
                // The errno is more precise where the enum has no name, or one for several results.
                (RetransResult::ErrDefault | RetransResult::Nomem, Some(_)) => self.by_errno(attachment),
                (said, _) => said,
            }
        } else {
            self.by_errno(attachment)
        };
        // The failed attempt before this one proves it.
        let kind = match self.kind {
            RetransKind::Resume if !attachment.observes_failures() => RetransKind::Unknown,
            kind => kind,
        };
        Self { result, kind, ..self }
    }

    /// Returns the result that the errno and the socket prove.
    fn by_errno(self, attachment: &Attachment) -> RetransResult {
        match self.result {
            RetransResult::FragNomem | RetransResult::UncloneNomem if !attachment.locates_nomem => RetransResult::Nomem,
            RetransResult::PskbCopyNobufs => RetransResult::Nobufs,
            known if known.entry().is_some() => known,
            _ => RetransResult::ErrDefault,
        }
    }

    /// Returns the tracepoint that reports it.
    pub fn tracepoint(&self) -> Tracepoint {
        match self.kind {
            RetransKind::Synack => Tracepoint::RetransmitSynack,
            _ => Tracepoint::RetransmitSkb,
        }
    }
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 35] = [
        Self::Rto,
        Self::Tlp,
        Self::Fast,
        Self::Syn,
        Self::Synack,
        Self::SynackFastopen,
        Self::PartialAck,
        Self::ZeroWindow,
        Self::MtuCut,
        Self::InHostQueue(Hold::Qdisc),
        Self::InHostQueue(Hold::Neighbour),
        Self::RouteFail(RouteFault::Prohibit),
        Self::RouteFail(RouteFault::Unreachable),
        Self::RouteFail(RouteFault::Blackhole),
        Self::RouteFail(RouteFault::Rule),
        Self::RouteFail(RouteFault::RouteDeleted),
        Self::RouteFail(RouteFault::AddressDeleted),
        Self::RcvZeroWindow(WindowFault::Peer),
        Self::RcvZeroWindow(WindowFault::Mangled),
        Self::FragNomem,
        Self::Denied(Refusal::Drop),
        Self::Denied(Refusal::Reject),
        Self::XmitDrop(Discard::Qdisc),
        Self::XmitDrop(Discard::Egress),
        Self::SlowStart,
        Self::Resume,
        Self::DuplicateAckInLoss,
        Self::MtuCutInLoss,
        Self::OrphanZeroWindow,
        Self::Backlog,
        Self::TrimHeadNomem,
        Self::UncloneNomem,
        Self::PskbCopyNobufs,
        Self::EndSeqError,
        Self::Canceled,
    ];

    /// Returns whether every kernel with the modules can provoke it. Injected outcomes and outcomes
    /// of old kernels are excluded.
    pub fn is_common(self) -> bool {
        !self.is_injected() && self != Self::Backlog
    }

    /// Returns whether only a fault inside the kernel provokes it: [`injection`](crate::injection).
    pub fn is_injected(self) -> bool {
        matches!(
            self,
            Self::TrimHeadNomem | Self::UncloneNomem | Self::PskbCopyNobufs | Self::EndSeqError | Self::Canceled
        )
    }

    /// Returns whether it affects all connections of a pair.
    pub fn needs_own_pair(self) -> bool {
        matches!(
            self,
            Self::Tlp
                | Self::Fast
                | Self::SynackFastopen
                | Self::InHostQueue(_)
                | Self::RouteFail(_)
                | Self::RcvZeroWindow(_)
                | Self::XmitDrop(Discard::Qdisc)
                | Self::Resume
                | Self::DuplicateAckInLoss
                | Self::Backlog
        )
    }

    /// Returns the index of the attempt that shows the outcome, from 0.
    pub fn defining_attempt(self) -> usize {
        match self {
            Self::FragNomem | Self::SlowStart | Self::Resume | Self::DuplicateAckInLoss | Self::MtuCutInLoss => 1,
            Self::UncloneNomem => 2,
            _ => 0,
        }
    }

    /// Returns the minimum number of attempts in the first seconds. If the next attempt follows
    /// soon, the number includes one more than shows the outcome, to verify that one too.
    pub fn attempts(self) -> usize {
        match self {
            Self::Fast | Self::Syn | Self::Synack | Self::SynackFastopen => 1,
            // A busy kernel may destroy a socket that no process holds.
            Self::OrphanZeroWindow => 1,
            Self::SlowStart | Self::UncloneNomem => 3,
            _ => 2,
        }
    }

    /// Returns the expected report of the socket's attempt with this index, from 0, while the
    /// scenario lasts.
    pub fn expected(self, index: usize) -> Expected {
        let success = Expected {
            result: RetransResult::Success,
            kind: RetransKind::Rto,
            err: 0,
            state: TcpState::Established,
            sk_err_soft: Some(0),
        };
        let failure = |result, err| Expected { result, err, ..success };
        match self {
            Self::Rto | Self::PartialAck => success,
            // There is one probe; the timer follows.
            Self::Tlp if index == 0 => Expected { kind: RetransKind::Tlp, ..success },
            Self::Tlp => success,
            Self::Fast => Expected { kind: RetransKind::Fast, ..success },
            Self::Syn => Expected { kind: RetransKind::Syn, state: TcpState::SynSent, ..success },
            Self::Synack => {
                Expected { kind: RetransKind::Synack, state: TcpState::NewSynRecv, sk_err_soft: None, ..success }
            }
            Self::SynackFastopen => {
                Expected { kind: RetransKind::Synack, state: TcpState::SynRecv, sk_err_soft: None, ..success }
            }
            Self::ZeroWindow => Expected { kind: RetransKind::ZeroWindowProbe, ..success },
            Self::MtuCut => Expected { kind: RetransKind::Mtu, ..success },
            Self::SlowStart if index > 0 => Expected { kind: RetransKind::SlowStart, ..success },
            Self::MtuCutInLoss if index == 1 => Expected { kind: RetransKind::Mtu, ..success },
            Self::MtuCutInLoss if index > 1 => Expected { kind: RetransKind::SlowStart, ..success },
            Self::SlowStart | Self::MtuCutInLoss => success,
            Self::Resume if index == 0 => failure(RetransResult::InHostQueue, -16),
            Self::Resume if index == 1 => Expected { kind: RetransKind::Resume, ..success },
            Self::Resume => success,
            Self::DuplicateAckInLoss if index == 1 => {
                Expected { kind: RetransKind::SlowStart, ..failure(RetransResult::InHostQueue, -16) }
            }
            Self::DuplicateAckInLoss => failure(RetransResult::InHostQueue, -16),
            Self::OrphanZeroWindow => Expected { state: TcpState::FinWait1, ..success },
            Self::InHostQueue(_) => failure(RetransResult::InHostQueue, -16),
            Self::RouteFail(fault) => {
                Expected { sk_err_soft: Some(fault.soft_error()), ..failure(RetransResult::RouteFail, -113) }
            }
            // The probe is for the last segment. Then the timer retransmits the first, whatever the
            // window.
            Self::RcvZeroWindow(_) if index == 0 => {
                Expected { kind: RetransKind::Tlp, ..failure(RetransResult::RcvZeroWindow, -11) }
            }
            Self::RcvZeroWindow(_) => Expected { kind: RetransKind::ZeroWindowProbe, ..success },
            // The first buffer is small enough to be sent unsplit.
            Self::FragNomem if index == 0 => Expected { kind: RetransKind::Fast, ..success },
            Self::FragNomem => Expected { kind: RetransKind::Fast, ..failure(RetransResult::FragNomem, -12) },
            // The ICMP error of the first rejection arrives after it: ECONNREFUSED, for "port
            // unreachable".
            Self::Denied(Refusal::Reject) if index > 0 => {
                Expected { sk_err_soft: Some(111), ..failure(RetransResult::Denied, -1) }
            }
            Self::Denied(_) => failure(RetransResult::Denied, -1),
            Self::XmitDrop(_) => failure(RetransResult::XmitDrop, 1),
            Self::Backlog => failure(RetransResult::ErrDefault, -11),
            Self::TrimHeadNomem => failure(RetransResult::TrimHeadNomem, -12),
            // These attempts are the same as in `mtu_cut`, which comes first.
            Self::UncloneNomem if index < 2 => Self::MtuCut.expected(index),
            Self::UncloneNomem => failure(RetransResult::UncloneNomem, -12),
            Self::PskbCopyNobufs => failure(RetransResult::PskbCopyNobufs, -105),
            Self::EndSeqError => failure(RetransResult::EndSeqError, -22),
            Self::Canceled => {
                let unknown = KernelEnum::of_running_kernel().unlisted(CANCELED);
                failure(unknown.unwrap_or(RetransResult::ErrDefault), -125)
            }
        }
    }
}

impl RouteFault {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Prohibit, Self::Unreachable, Self::Blackhole, Self::Rule, Self::RouteDeleted, Self::AddressDeleted];

    /// Returns the socket's `sk_err_soft`.
    pub fn soft_error(self) -> i32 {
        match self {
            Self::Prohibit => 13,
            Self::Unreachable => 113,
            Self::Blackhole => 22,
            Self::Rule | Self::RouteDeleted | Self::AddressDeleted => 101,
        }
    }
}

/// Prints a name without spaces, such as `rto` or `route_fail_prohibit`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rto => "rto",
            Self::Tlp => "tlp",
            Self::Fast => "fast",
            Self::Syn => "syn",
            Self::Synack => "synack",
            Self::SynackFastopen => "synack_fastopen",
            Self::PartialAck => "partial_ack",
            Self::ZeroWindow => "zero_window",
            Self::MtuCut => "mtu_cut",
            Self::InHostQueue(Hold::Qdisc) => "in_host_queue_qdisc",
            Self::InHostQueue(Hold::Neighbour) => "in_host_queue_neighbour",
            Self::RouteFail(RouteFault::Prohibit) => "route_fail_prohibit",
            Self::RouteFail(RouteFault::Unreachable) => "route_fail_unreachable",
            Self::RouteFail(RouteFault::Blackhole) => "route_fail_blackhole",
            Self::RouteFail(RouteFault::Rule) => "route_fail_rule",
            Self::RouteFail(RouteFault::RouteDeleted) => "route_fail_route_deleted",
            Self::RouteFail(RouteFault::AddressDeleted) => "route_fail_address_deleted",
            Self::RcvZeroWindow(WindowFault::Peer) => "rcv_zero_window_peer",
            Self::RcvZeroWindow(WindowFault::Mangled) => "rcv_zero_window_mangled",
            Self::FragNomem => "frag_nomem",
            Self::Denied(Refusal::Drop) => "denied_drop",
            Self::Denied(Refusal::Reject) => "denied_reject",
            Self::XmitDrop(Discard::Qdisc) => "xmit_drop_qdisc",
            Self::XmitDrop(Discard::Egress) => "xmit_drop_egress",
            Self::SlowStart => "slow_start",
            Self::Resume => "resume",
            Self::DuplicateAckInLoss => "duplicate_ack_in_loss",
            Self::MtuCutInLoss => "mtu_cut_in_loss",
            Self::OrphanZeroWindow => "orphan_zero_window",
            Self::Backlog => "backlog",
            Self::TrimHeadNomem => "trim_head_nomem",
            Self::UncloneNomem => "unclone_nomem",
            Self::PskbCopyNobufs => "pskb_copy_nobufs",
            Self::EndSeqError => "end_seq_error",
            Self::Canceled => "canceled",
        })
    }
}
