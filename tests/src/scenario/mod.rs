// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every way to make the kernel retransmit, or fail to.

use std::fmt;
use std::net::SocketAddr;

use socket2::Socket;

use crate::{Conn, Endpoint, Error, Family, Fault, Pair, Result, TraceEvent, Tracepoint};

mod handshake;
mod local;
mod wire;

/// What a scenario provokes.
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
    /// The same with TCP Fast Open: it is the half-open connection that retransmits.
    SynackFastopen,
    /// The timer expires while the segment has not left this host yet.
    InHostQueue,
    /// The route went away while data was unacknowledged.
    RouteFail(RouteFault),
    /// A firewall on the sender refuses the retransmission.
    Denied,
    /// A full queue on the sender drops the retransmission.
    XmitDrop,
}

/// The ways a route can fail. The tracepoint reports -EHOSTUNREACH for all; the socket's soft error differs.
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
}

impl RouteFault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prohibit, Self::Unreachable, Self::Blackhole, Self::Rule];

    /// What ends up in the socket's `sk_err_soft`.
    pub fn soft_error(self) -> i32 {
        match self {
            Self::Prohibit => 13,
            Self::Unreachable => 113,
            Self::Blackhole => 22,
            Self::Rule => 101,
        }
    }
}

/// What the kernel is expected to report, once at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// At this tracepoint.
    pub tracepoint: Tracepoint,
    /// The socket's state. The SYN-ACK tracepoint has none.
    pub state: Option<&'static str>,
    /// The result, on a kernel that has one. The SYN-ACK tracepoint, which sees successes only, has none.
    pub err: Option<i32>,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Rto,
        Self::Tlp,
        Self::Fast,
        Self::Syn,
        Self::Synack,
        Self::SynackFastopen,
        Self::InHostQueue,
        Self::RouteFail(RouteFault::Prohibit),
        Self::RouteFail(RouteFault::Unreachable),
        Self::RouteFail(RouteFault::Blackhole),
        Self::RouteFail(RouteFault::Rule),
        Self::Denied,
        Self::XmitDrop,
    ];

    /// What the kernel is expected to report. But for [`Tlp`](Self::Tlp), whose probe is followed by other
    /// successes, every event of the socket is of this sort until the scenario ends.
    pub fn expected(self) -> Expected {
        let data = |err| Expected {
            tracepoint: Tracepoint::RetransmitSkb,
            state: Some(if self == Self::Syn { "TCP_SYN_SENT" } else { "TCP_ESTABLISHED" }),
            err: Some(err),
        };
        match self {
            Self::Rto | Self::Tlp | Self::Fast | Self::Syn => data(0),
            Self::Synack | Self::SynackFastopen => {
                Expected { tracepoint: Tracepoint::RetransmitSynack, state: None, err: None }
            }
            Self::InHostQueue => data(-16),
            Self::RouteFail(_) => data(-113),
            Self::Denied => data(-1),
            Self::XmitDrop => data(1),
        }
    }
}

/// A name without spaces, such as `rto` or `route_fail_prohibit`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rto => "rto",
            Self::Tlp => "tlp",
            Self::Fast => "fast",
            Self::Syn => "syn",
            Self::Synack => "synack",
            Self::SynackFastopen => "synack_fastopen",
            Self::InHostQueue => "in_host_queue",
            Self::RouteFail(RouteFault::Prohibit) => "route_fail_prohibit",
            Self::RouteFail(RouteFault::Unreachable) => "route_fail_unreachable",
            Self::RouteFail(RouteFault::Blackhole) => "route_fail_blackhole",
            Self::RouteFail(RouteFault::Rule) => "route_fail_rule",
            Self::Denied => "denied",
            Self::XmitDrop => "xmit_drop",
        })
    }
}

/// The socket that retransmits. IPv4-mapped addresses are given as the IPv4 addresses they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// SO_COOKIE. `None` for a Fast Open connection that was not started: there is no socket yet. Of a SYN-ACK
    /// it is the listener's, since the connection has no socket of its own.
    pub cookie: Option<u64>,
    /// Its own address and port.
    pub local: SocketAddr,
    /// Its peer's.
    pub remote: SocketAddr,
    /// The inode number of its network namespace.
    pub netns: u32,
}

/// One outcome being provoked, with the sockets and faults it takes.
///
/// [`prepare`](Scenario::prepare) sets everything up, so that the socket is known before anything happens to it;
/// [`start`](Scenario::start) sets it off, without starting a process, so the outcome does not depend on how fast one
/// starts. The scenario holds until [`finish`](Scenario::finish), or until it goes out of scope: then the sockets are
/// reset first and the faults lifted after, and nothing more is retransmitted.
///
/// Several scenarios may share a pair at a time, except those that change what all of its connections see:
/// [`Outcome::Tlp`], [`Outcome::Fast`], [`Outcome::SynackFastopen`], [`Outcome::InHostQueue`], [`Outcome::XmitDrop`].
/// Those want a pair of their own.
#[derive(Debug)]
pub struct Scenario {
    outcome: Outcome,
    family: Family,
    subject: Subject,
    sockets: Sockets,
    /// In the order in which they were brought about.
    faults: Vec<Fault>,
    start: Option<Start>,
}

/// Sets a prepared scenario off.
type Start = fn(&mut Scenario) -> Result<()>;

#[derive(Debug)]
enum Sockets {
    Connection {
        conn: Conn,
        /// The SO_MARK that makes the prepared fault apply to the client.
        mark: u32,
    },
    Handshake {
        listener: Socket,
        client: Option<Socket>,
        /// Where the client connects to; mapped, if it is to be.
        target: SocketAddr,
        child: Option<Socket>,
    },
    Closed,
}

impl Scenario {
    /// Sets `outcome` up on this pair. Nothing is retransmitted yet.
    ///
    /// # Errors
    /// When a socket or a fault cannot be made.
    pub fn prepare(pair: &Pair, family: Family, outcome: Outcome) -> Result<Self> {
        match outcome {
            Outcome::Rto | Outcome::Tlp => wire::loss(pair, family, outcome),
            Outcome::Fast => wire::one_loss(pair, family),
            Outcome::Syn => handshake::syn(pair, family),
            Outcome::Synack | Outcome::SynackFastopen => handshake::synack(pair, family, outcome),
            Outcome::InHostQueue => local::in_host_queue(pair, family),
            Outcome::RouteFail(fault) => local::route_fail(pair, family, fault),
            Outcome::Denied => local::denied(pair, family),
            Outcome::XmitDrop => local::xmit_drop(pair, family),
        }
    }

    /// Sets it off. It then goes on by itself.
    ///
    /// # Errors
    /// When a socket call fails, or it was started before.
    pub fn start(&mut self) -> Result<()> {
        let start = self.start.take().ok_or_else(|| Error::new("the scenario was started before"))?;
        start(self)
    }

    /// [`prepare`](Self::prepare) and [`start`](Self::start) in one.
    ///
    /// # Errors
    /// As they do.
    pub fn run(pair: &Pair, family: Family, outcome: Outcome) -> Result<Self> {
        let mut scenario = Self::prepare(pair, family, outcome)?;
        scenario.start()?;
        Ok(scenario)
    }

    /// What it provokes.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// With which addresses.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The socket that retransmits.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// What the kernel is expected to report about it.
    pub fn expected(&self) -> Expected {
        self.outcome.expected()
    }

    /// The connection, if there is one: the handshake scenarios have none.
    pub fn conn(&self) -> Option<&Conn> {
        match &self.sockets {
            Sockets::Connection { conn, .. } => Some(conn),
            _ => None,
        }
    }

    /// Whether the event is about the subject, whatever it says.
    pub fn concerns(&self, event: &TraceEvent) -> bool {
        event.local() == self.subject.local && event.remote() == self.subject.remote
    }

    /// Whether the event is about the subject and just what is expected.
    ///
    /// A kernel whose events have no result reports successes only, so there a failure is never matched. The names that
    /// the proposed kernels print for results are not looked at.
    pub fn matches(&self, event: &TraceEvent) -> bool {
        let Expected { tracepoint, state, err } = self.expected();
        let named = event.result.is_some();
        self.concerns(event)
            && event.tracepoint == tracepoint
            && state.is_none_or(|state| event.state.as_deref() == Some(state))
            && (named || event.err.unwrap_or(0) == err.unwrap_or(0))
    }

    /// Resets the sockets and lifts the faults.
    ///
    /// # Errors
    /// When a fault cannot be lifted; the others are, all the same.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // While the faults still hold: lifted first, they would let one more attempt through, with another result.
        self.sockets = Sockets::Closed;
        let mut result = Ok(());
        while let Some(fault) = self.faults.pop() {
            result = result.and(fault.lift());
        }
        result
    }

    fn of_connection(pair: &Pair, family: Family, outcome: Outcome, conn: Conn, mark: u32, start: Start) -> Self {
        let Endpoint { cookie, local, remote } = conn.client_end();
        let subject = Subject { cookie: Some(cookie), local, remote, netns: pair.client().inode() };
        let sockets = Sockets::Connection { conn, mark };
        Self { outcome, family, subject, sockets, faults: Vec::new(), start: Some(start) }
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
