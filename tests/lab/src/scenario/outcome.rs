// SPDX-License-Identifier: MIT OR Apache-2.0
//! The outcomes that scenarios provoke, and what the kernel reports of each.

use std::fmt;

use retrans_sdk::attach::{AttachMethod, Attachment};
use retrans_sdk::event::{CaState, TcpState};
use retrans_sdk::reason_table::ReasonTable;
use retrans_sdk::{Event, RetransKind, RetransResult};

use crate::kernel_enum::{CANCELED, KernelEnum};
use crate::{Family, Probes, Tracepoint, Trigger};

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
    /// A firewall on the listener's host drops the retransmission of a SYN-ACK.
    SynackDenied,
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
    /// A router reports that the packets are too large while a tail loss probe is scheduled. This
    /// outcome and those up to `RerouteFail` need Linux's own settings, and set them.
    MtuCutDefault,
    /// The data outstanding at a timeout is retransmitted as the peer acknowledges. Long before, a
    /// router had reported that the packets are too large.
    SlowStartAfterCut,
    /// The same after a timeout in state CWR, with the data outstanding that was sent before it.
    SlowStartFromCwr,
    /// The SYN-ACK does not acknowledge the data in the SYN, which is sent again.
    Fastopen,
    /// The same after the first SYN was lost.
    FastopenAfterSynTimeout,
    /// The peer closes its window while a copy of the first segment is in this host, and the copy
    /// leaves after the timer has expired.
    ZeroWindowThenDrain,
    /// Another segment leaves this host while the retransmitted copy of the first one is still in
    /// it.
    ResumeStillQueued,
    /// A router reports that the destination is unreachable, which ends the backoff of the timer.
    RtoByIcmp,
    /// The same for a SYN.
    SynByIcmp,
    /// A probe for a larger MTU was lost, and its data is retransmitted in smaller segments.
    MtuProbeFailed,
    /// A router reports that a SYN with data is too large.
    MtuInSynSent,
    /// A router reports that the packets are too large, and they exceed the congestion window. The
    /// rest is retransmitted as the peer acknowledges.
    SlowStartOfMtuCut,
    /// The pacing timer expires while a copy of the first segment is in this host.
    ResumeByPacing,
    /// A firewall changes the mark of the retransmission, for which there is no route.
    RerouteFail,
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
    /// The errno as the kernel returns it.
    pub err: i32,
    /// The state of the socket, or of the request.
    pub state: TcpState,
    /// The socket's soft error. A SYN-ACK does not have one.
    pub sk_err_soft: Option<i32>,
}

impl Expected {
    /// Returns the report of the attempt over this family. A SYN-ACK over IPv4 fails with -1 also
    /// without a route or memory, so -1 proves nothing.
    #[must_use]
    pub fn over(self, family: Family) -> Self {
        if self.kind == RetransKind::Synack && self.err == -1 && family.is_ipv4_on_the_wire() {
            return Self { result: RetransResult::ErrDefault, ..self };
        }
        self
    }

    /// Returns the report of a stream with this attachment on the running kernel.
    #[must_use]
    pub fn seen_from(self, attachment: &Attachment) -> Self {
        // The tracepoint of SYN-ACKs reports no enum.
        let result = if attachment.method == AttachMethod::TpEnum && self.kind != RetransKind::Synack {
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

    /// Returns the report of an attempt with this `icsk_pending`. If the timer's function runs for
    /// an ICMP error (RFC 6069), only the attempts before prove it, and they may have failed.
    #[must_use]
    pub fn with_pending(self, pending: Option<u8>, attachment: &Attachment) -> Self {
        let is_timeout = matches!(self.kind, RetransKind::Rto | RetransKind::Syn);
        let kind = match pending {
            Some(1..) if is_timeout && !attachment.observes_failures() => RetransKind::Unknown,
            _ => self.kind,
        };
        Self { kind, ..self }
    }

    /// Returns the report of an event with this cause. Since Linux 6.19, the limit of small queues
    /// (TSQ) interrupts the attempts because of the path MTU. A queue that drains resumes them, and
    /// an acknowledgement may come in between and begin a recovery.
    #[must_use]
    pub(crate) fn with_cause(self, cause: Option<Trigger>, event: &Event) -> Self {
        let kind = match (self.kind, cause) {
            (RetransKind::Mtu, Some(Trigger::HostQueue)) => RetransKind::Resume,
            (RetransKind::Mtu, Some(Trigger::Ack | Trigger::AckOrMtuProbe))
                if event.ca_state == Some(CaState::Recovery) =>
            {
                RetransKind::Fast
            }
            (kind, _) => kind,
        };
        Self { kind, ..self }
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
    pub const ALL: [Self; 50] = [
        Self::Rto,
        Self::Tlp,
        Self::Fast,
        Self::Syn,
        Self::Synack,
        Self::SynackFastopen,
        Self::SynackDenied,
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
        Self::MtuCutDefault,
        Self::SlowStartAfterCut,
        Self::SlowStartFromCwr,
        Self::Fastopen,
        Self::FastopenAfterSynTimeout,
        Self::ZeroWindowThenDrain,
        Self::ResumeStillQueued,
        Self::RtoByIcmp,
        Self::SynByIcmp,
        Self::MtuProbeFailed,
        Self::MtuInSynSent,
        Self::SlowStartOfMtuCut,
        Self::ResumeByPacing,
        Self::RerouteFail,
        Self::TrimHeadNomem,
        Self::UncloneNomem,
        Self::PskbCopyNobufs,
        Self::EndSeqError,
        Self::Canceled,
    ];

    /// Returns whether every kernel with the modules can provoke and report it. Injected outcomes,
    /// outcomes of old kernels, those that only function exits report, and those that [need Linux's
    /// settings](Self::needs_defaults) are excluded.
    pub fn is_common(self) -> bool {
        !self.is_injected() && !self.needs_defaults() && !matches!(self, Self::Backlog | Self::SynackDenied)
    }

    /// Returns whether it sets Linux's own settings, such as tail loss probes, whatever the pair's
    /// are.
    pub fn needs_defaults(self) -> bool {
        matches!(
            self,
            Self::MtuCutDefault
                | Self::SlowStartAfterCut
                | Self::SlowStartFromCwr
                | Self::Fastopen
                | Self::FastopenAfterSynTimeout
                | Self::ZeroWindowThenDrain
                | Self::ResumeStillQueued
                | Self::RtoByIcmp
                | Self::SynByIcmp
                | Self::MtuProbeFailed
                | Self::MtuInSynSent
                | Self::SlowStartOfMtuCut
                | Self::ResumeByPacing
                | Self::RerouteFail
        )
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
        // They change settings, and some of them routes.
        self.needs_defaults()
            || matches!(
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

    /// Returns the settings of tail loss probes that it is run with.
    pub fn settings(self) -> &'static [Probes] {
        // The others set Linux's settings themselves.
        if self.needs_defaults() { &[Probes::Off] } else { &Probes::ALL }
    }

    /// Returns whether it requires tail loss probes, which a pair may have switched off.
    pub fn needs_probes(self) -> bool {
        matches!(self, Self::Tlp | Self::RcvZeroWindow(_))
    }

    /// Returns whether a tail loss probe comes first if the pair has them: a probe that is an
    /// attempt of its own, before those without probes. An outcome in a queue of this host has
    /// none, because the kernel postpones the probe while the segment is in such a queue.
    pub fn begins_with_probe(self, probes: Probes) -> bool {
        let may_begin = matches!(
            self,
            Self::Rto
                | Self::PartialAck
                | Self::ZeroWindow
                | Self::RouteFail(_)
                | Self::Denied(_)
                | Self::XmitDrop(_)
                | Self::SlowStart
                | Self::MtuCutInLoss
                | Self::OrphanZeroWindow
                | Self::TrimHeadNomem
                | Self::PskbCopyNobufs
                | Self::EndSeqError
                | Self::Canceled
        );
        may_begin && probes == Probes::Default
    }

    /// Returns the index of the attempt that shows the outcome, from 0.
    pub fn defining_attempt(self, probes: Probes) -> usize {
        let is_after_probe = match self {
            // The probe itself shows it.
            Self::RouteFail(_) | Self::Denied(_) | Self::XmitDrop(Discard::Egress) => false,
            _ => self.begins_with_probe(probes),
        };
        let index = match self {
            Self::SlowStartAfterCut => 4,
            Self::SlowStartOfMtuCut => 5,
            Self::RtoByIcmp | Self::ResumeStillQueued | Self::ResumeByPacing => 2,
            Self::SlowStartFromCwr | Self::FastopenAfterSynTimeout | Self::ZeroWindowThenDrain | Self::SynByIcmp => 1,
            Self::FragNomem | Self::SlowStart | Self::Resume | Self::DuplicateAckInLoss | Self::MtuCutInLoss => 1,
            Self::UncloneNomem => 2,
            _ => 0,
        };
        index + usize::from(is_after_probe)
    }

    /// Returns the minimum number of attempts in the first seconds. If the next attempt follows
    /// soon, the number includes one more than shows the outcome, to verify that one too.
    pub fn attempts(self, probes: Probes) -> usize {
        let attempts = match self {
            Self::Fast | Self::Syn | Self::Synack | Self::SynackFastopen => 1,
            // The kernel drops the request after the failure.
            Self::SynackDenied => 1,
            // A busy kernel may destroy a socket that no process holds.
            Self::OrphanZeroWindow => 1,
            Self::Fastopen | Self::MtuProbeFailed => 1,
            Self::SlowStartAfterCut => 6,
            Self::SlowStartOfMtuCut => 10,
            Self::RtoByIcmp | Self::ResumeStillQueued | Self::ResumeByPacing => 4,
            Self::SlowStartFromCwr | Self::ZeroWindowThenDrain | Self::MtuInSynSent => 3,
            Self::SlowStart | Self::UncloneNomem => 3,
            _ => 2,
        };
        attempts + usize::from(self.begins_with_probe(probes))
    }

    /// Returns the expected report of the socket's attempt with this index, from 0, while the
    /// scenario lasts.
    pub fn expected(self, index: usize, probes: Probes) -> Expected {
        if self.begins_with_probe(probes) {
            let without = |index| self.expected(index, Probes::Off);
            return match (self, index) {
                // The probe finds the queue empty. The timer's attempt combines both segments.
                (Self::XmitDrop(Discard::Qdisc), 0) => Self::Tlp.expected(0, probes),
                // A probe is proven by the end of the data, which this fault moves.
                (Self::EndSeqError, 0) => Expected { kind: RetransKind::Unknown, ..without(0) },
                (_, 0) => Expected { kind: RetransKind::Tlp, ..without(0) },
                // The probe was rejected.
                (Self::Denied(Refusal::Reject), _) => without(index),
                _ => without(index - 1),
            };
        }
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
            Self::SynackDenied => Expected {
                kind: RetransKind::Synack,
                state: TcpState::NewSynRecv,
                sk_err_soft: None,
                ..failure(RetransResult::Denied, -1)
            },
            Self::ZeroWindow => Expected { kind: RetransKind::ZeroWindowProbe, ..success },
            Self::MtuCut => Expected { kind: RetransKind::Mtu, ..success },
            Self::SlowStart if index > 0 => Expected { kind: RetransKind::SlowStart, ..success },
            // The error of the router, and then acknowledgements.
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
            Self::MtuCutDefault | Self::MtuProbeFailed => Expected { kind: RetransKind::Mtu, ..success },
            // The router's error comes first, then the probe for the last segment. Then the timer
            // expires twice.
            Self::SlowStartAfterCut => match index {
                0 => Expected { kind: RetransKind::Mtu, ..success },
                1 => Expected { kind: RetransKind::Tlp, ..success },
                2 | 3 => success,
                _ => Expected { kind: RetransKind::SlowStart, ..success },
            },
            // Ten retransmitted segments fill the window, two for each packet that was too large.
            Self::SlowStartOfMtuCut if index < 5 => Self::MtuCut.expected(index, probes),
            Self::SlowStartOfMtuCut => Expected { kind: RetransKind::SlowStart, ..success },
            Self::SlowStartFromCwr => Self::SlowStart.expected(index, probes),
            Self::Fastopen => Expected { kind: RetransKind::Fastopen, ..success },
            Self::FastopenAfterSynTimeout if index == 0 => Self::Syn.expected(index, probes),
            Self::FastopenAfterSynTimeout => Self::Fastopen.expected(index, probes),
            Self::ZeroWindowThenDrain if index == 0 => {
                Expected { kind: RetransKind::ZeroWindowProbe, ..failure(RetransResult::InHostQueue, -16) }
            }
            Self::ZeroWindowThenDrain if index == 1 => Expected { kind: RetransKind::Resume, ..success },
            Self::ZeroWindowThenDrain => Self::ZeroWindow.expected(index, probes),
            Self::ResumeStillQueued if index == 0 => success,
            Self::ResumeStillQueued | Self::ResumeByPacing if index == 2 => {
                Expected { kind: RetransKind::Resume, ..failure(RetransResult::InHostQueue, -16) }
            }
            Self::ResumeStillQueued | Self::ResumeByPacing => failure(RetransResult::InHostQueue, -16),
            // The probe is for the same segment.
            Self::RerouteFail if index == 0 => {
                Expected { kind: RetransKind::Tlp, ..failure(RetransResult::ErrDefault, -101) }
            }
            Self::RerouteFail => failure(RetransResult::ErrDefault, -101),
            Self::RtoByIcmp => match index {
                0 => Expected { kind: RetransKind::Tlp, ..success },
                // The error is stored after the attempt that it causes: ENETUNREACH.
                1 | 2 => success,
                _ => Expected { sk_err_soft: Some(101), ..success },
            },
            Self::SynByIcmp => Self::Syn.expected(index, probes),
            Self::MtuInSynSent => match index {
                0 => Expected { kind: RetransKind::Mtu, state: TcpState::SynSent, ..success },
                1 => Expected {
                    kind: RetransKind::Mtu,
                    state: TcpState::SynSent,
                    ..failure(RetransResult::RcvZeroWindow, -11)
                },
                _ => Self::Fastopen.expected(index, probes),
            },
            Self::Backlog => failure(RetransResult::ErrDefault, -11),
            Self::TrimHeadNomem => failure(RetransResult::TrimHeadNomem, -12),
            // These attempts are the same as in `mtu_cut`, which comes first.
            Self::UncloneNomem if index < 2 => Self::MtuCut.expected(index, probes),
            Self::UncloneNomem if index == 2 && probes == Probes::Default => {
                Expected { kind: RetransKind::Tlp, ..failure(RetransResult::UncloneNomem, -12) }
            }
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
            Self::SynackDenied => "synack_denied",
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
            Self::MtuCutDefault => "mtu_cut_default",
            Self::SlowStartAfterCut => "slow_start_after_cut",
            Self::SlowStartFromCwr => "slow_start_from_cwr",
            Self::Fastopen => "fastopen",
            Self::FastopenAfterSynTimeout => "fastopen_after_syn_timeout",
            Self::ZeroWindowThenDrain => "zero_window_then_drain",
            Self::ResumeStillQueued => "resume_still_queued",
            Self::RtoByIcmp => "rto_by_icmp",
            Self::SynByIcmp => "syn_by_icmp",
            Self::MtuProbeFailed => "mtu_probe_failed",
            Self::MtuInSynSent => "mtu_in_syn_sent",
            Self::SlowStartOfMtuCut => "slow_start_of_mtu_cut",
            Self::ResumeByPacing => "resume_by_pacing",
            Self::RerouteFail => "reroute_fail",
            Self::TrimHeadNomem => "trim_head_nomem",
            Self::UncloneNomem => "unclone_nomem",
            Self::PskbCopyNobufs => "pskb_copy_nobufs",
            Self::EndSeqError => "end_seq_error",
            Self::Canceled => "canceled",
        })
    }
}
