// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios: every way to make the kernel retransmit, or fail to retransmit.

use std::fmt;
use std::net::{SocketAddr, TcpStream};

use socket2::{SockRef, Socket};

use crate::injection::Injected;
use crate::tcp::{endpoint, reset};
use crate::tun::Peer;
use crate::{Conn, Endpoint, Error, Family, Fault, Pair, Result, TraceEvent};

mod droppers;
mod fastopen;
mod field;
mod handshake;
mod injected;
mod kinds;
mod local;
mod outcome;
mod peer;
mod wire;

pub(crate) use local::tbf;
pub(crate) use wire::{FAST_BYTES, without_gso};

pub use droppers::Dropper;
pub use outcome::{Discard, Expected, Hold, Outcome, Refusal, RouteFault, WindowFault};

/// The socket that retransmits. IPv4-mapped addresses are represented as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// SO_COOKIE. It is `None` for a Fast Open connection before the start, which has no socket
    /// yet. For a SYN-ACK it is the listener's cookie, because the connection does not have its own
    /// socket.
    pub cookie: Option<u64>,
    /// Its local address and port.
    pub local: SocketAddr,
    /// Its remote address and port.
    pub remote: SocketAddr,
    /// The inode number of its network namespace.
    pub netns: u32,
}

/// A scenario in progress: an outcome with its sockets and faults.
///
/// [`prepare`](Scenario::prepare) sets everything up, so that the socket is known before anything
/// happens to it. [`start`](Scenario::start) triggers the outcome. It starts no process, so the
/// outcome does not depend on how long that would last. The scenario is in effect until
/// [`finish`](Scenario::finish) or drop. The sockets are reset first and the faults lifted after,
/// so that nothing more is retransmitted.
///
/// Several scenarios may share a pair concurrently, except those that affect all of its
/// connections: see [`Outcome::needs_own_pair`].
#[derive(Debug)]
pub struct Scenario {
    outcome: Outcome,
    subject: Subject,
    sockets: Sockets,
    /// In the order in which they were installed.
    faults: Vec<Fault>,
    start: Option<Start>,
}

type Step = dyn FnOnce(&mut Scenario) -> Result<()> + Send;

/// The step that triggers a prepared scenario.
struct Start(Box<Step>);

impl Start {
    fn new(start: impl FnOnce(&mut Scenario) -> Result<()> + Send + 'static) -> Self {
        Self(Box::new(start))
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}

#[derive(Debug)]
enum Sockets {
    Connection(Conn),
    Handshake {
        listener: Socket,
        client: Option<Socket>,
        /// The address that the client connects to, mapped if the family is.
        target: SocketAddr,
        child: Option<Socket>,
    },
    Tun {
        /// `None` after it was closed.
        client: Option<TcpStream>,
        peer: Peer,
    },
    Closed,
}

impl Scenario {
    /// Sets up `outcome` on this pair. Nothing is retransmitted yet.
    ///
    /// # Errors
    /// Returns an error if a socket or a fault cannot be created.
    pub fn prepare(pair: &Pair, family: Family, outcome: Outcome) -> Result<Self> {
        match outcome {
            Outcome::Rto | Outcome::Tlp => wire::loss(pair, family, outcome),
            Outcome::Fast => wire::one_loss(pair, family),
            Outcome::Syn => handshake::syn(pair, family),
            Outcome::Synack | Outcome::SynackFastopen | Outcome::SynackDenied => {
                handshake::synack(pair, family, outcome)
            }
            Outcome::PartialAck => peer::partial_ack(pair, family),
            Outcome::ZeroWindow => peer::zero_window(pair, family),
            Outcome::MtuCut => peer::mtu_cut(pair, family),
            Outcome::InHostQueue(hold) => local::in_host_queue(pair, family, hold),
            Outcome::RouteFail(fault) => local::route_fail(pair, family, fault),
            Outcome::RcvZeroWindow(WindowFault::Peer) => peer::rcv_zero_window(pair, family),
            Outcome::RcvZeroWindow(WindowFault::Mangled) => wire::mangled_window(pair, family),
            Outcome::FragNomem => peer::frag_nomem(pair, family),
            Outcome::Denied(refusal) => local::denied(pair, family, refusal),
            Outcome::XmitDrop(discard) => local::xmit_drop(pair, family, discard),
            Outcome::SlowStart => kinds::slow_start(pair, family),
            Outcome::Resume => kinds::resume(pair, family),
            Outcome::DuplicateAckInLoss => kinds::duplicate_ack_in_loss(pair, family),
            Outcome::MtuCutInLoss => kinds::mtu_cut_in_loss(pair, family),
            Outcome::OrphanZeroWindow => kinds::orphan_zero_window(pair, family),
            Outcome::Backlog => local::backlog(pair, family),
            Outcome::MtuCutDefault => field::mtu_cut(pair, family),
            Outcome::SlowStartAfterCut => field::slow_start_after_cut(pair, family),
            Outcome::SlowStartFromCwr => field::slow_start_from_cwr(pair, family),
            Outcome::Fastopen => fastopen::fastopen(pair, family),
            Outcome::FastopenAfterSynTimeout => fastopen::after_syn_timeout(pair, family),
            Outcome::ZeroWindowThenDrain => field::zero_window_then_drain(pair, family),
            Outcome::ResumeStillQueued => field::resume_still_queued(pair, family),
            Outcome::RtoByIcmp => field::rto_by_icmp(pair, family),
            Outcome::SynByIcmp => field::syn_by_icmp(pair, family),
            Outcome::MtuProbeFailed => field::mtu_probe_failed(pair, family),
            Outcome::MtuInSynSent => fastopen::mtu_in_syn_sent(pair, family),
            Outcome::SlowStartOfMtuCut => field::slow_start_of_mtu_cut(pair, family),
            Outcome::ResumeByPacing => field::resume_by_pacing(pair, family),
            Outcome::RerouteFail => field::reroute_fail(pair, family),
            Outcome::TrimHeadNomem => injected::trim_head_nomem(pair, family),
            Outcome::UncloneNomem => injected::unclone_nomem(pair, family),
            Outcome::PskbCopyNobufs => injected::on_timeout(pair, family, outcome, Injected::NoCopy),
            Outcome::EndSeqError => injected::on_timeout(pair, family, outcome, Injected::EndSeq),
            Outcome::Canceled => injected::on_timeout(pair, family, outcome, Injected::Cancel),
        }
    }

    /// Triggers the outcome. The scenario then continues without further calls.
    ///
    /// # Errors
    /// Returns an error if a socket call fails, or the scenario was started before.
    pub fn start(&mut self) -> Result<()> {
        let start = self.start.take().ok_or_else(|| Error::new("the scenario was started before"))?;
        start.0(self)
    }

    /// [Prepares](Self::prepare) and [starts](Self::start) a scenario.
    ///
    /// # Errors
    /// Returns the errors of both.
    pub fn run(pair: &Pair, family: Family, outcome: Outcome) -> Result<Self> {
        let mut scenario = Self::prepare(pair, family, outcome)?;
        scenario.start()?;
        Ok(scenario)
    }

    /// Returns the outcome that it provokes.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the socket that retransmits.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Returns the connection. Handshake scenarios do not have one.
    pub fn conn(&self) -> Option<&Conn> {
        match &self.sockets {
            Sockets::Connection(conn) => Some(conn),
            _ => None,
        }
    }

    /// Returns whether the event concerns the subject.
    pub fn concerns(&self, event: &TraceEvent) -> bool {
        event.local() == self.subject.local && event.remote() == self.subject.remote
    }

    /// Resets the sockets and lifts the faults.
    ///
    /// # Errors
    /// Returns an error if a fault cannot be lifted, after lifting the others.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // The sockets are reset while the faults are in effect. Faults lifted first would let one
        // more attempt through, with another result.
        match &self.sockets {
            // A connection resets itself on drop.
            Sockets::Connection(_) | Sockets::Closed => {}
            Sockets::Handshake { listener, client, child, .. } => {
                [Some(listener), client.as_ref(), child.as_ref()].into_iter().flatten().for_each(reset);
            }
            Sockets::Tun { client: Some(client), .. } => reset(client),
            // Only the peer can end it.
            Sockets::Tun { client: None, peer } => {
                let _ = peer.abort();
            }
        }
        self.sockets = Sockets::Closed;
        let mut result = Ok(());
        while let Some(fault) = self.faults.pop() {
            result = result.and(fault.lift());
        }
        result
    }

    fn of_connection(pair: &Pair, outcome: Outcome, conn: Conn, start: Start) -> Self {
        let Endpoint { cookie, local, remote } = conn.client_end();
        let subject = Subject { cookie: Some(cookie), local, remote, netns: pair.client().inode() };
        let sockets = Sockets::Connection(conn);
        Self { outcome, subject, sockets, faults: Vec::new(), start: Some(start) }
    }

    fn of_peer(pair: &Pair, outcome: Outcome, client: TcpStream, peer: Peer, start: Start) -> Result<Self> {
        let Endpoint { cookie, local, remote } = endpoint(&SockRef::from(&client))?;
        let subject = Subject { cookie: Some(cookie), local, remote, netns: pair.client().inode() };
        let sockets = Sockets::Tun { client: Some(client), peer };
        Ok(Self { outcome, subject, sockets, faults: Vec::new(), start: Some(start) })
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
