// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream whose events a test writes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::event::kind::RetransKind;
use crate::event::result::RetransResult;
use crate::event::tcp_enums::TcpState;
use crate::event::timestamp::Timestamp;
use crate::event::transmit::Transmit;
use crate::offline::channel::Teller;

/// Tells a stream its events ([`Builder::scripted`](crate::Builder::scripted)): an application's own tests see to it that `rcv_zero_window` is
/// handled, without root and without a kernel that brings it about.
///
/// A limit goes by the events' own `ts`, not by the clock. What is told can be read at once, and waited for as with a live stream; so it can be told before it is read, or by another thread. The stream
/// ends when all clones of this are dropped, or [told to](Self::end).
///
/// ```
/// use retrans_sdk::{RetransResult, Script, Stream};
///
/// /// What is to be tested: it gives up on a peer that keeps its window closed.
/// fn is_stalled(stream: &mut Stream) -> Result<bool, retrans_sdk::Error> {
///     let closed = stream.iter().take(3).filter(|event| {
///         event.as_ref().is_ok_and(|event| event.result == RetransResult::RcvZeroWindow)
///     });
///     Ok(closed.count() == 3)
/// }
///
/// # fn main() -> Result<(), retrans_sdk::Error> {
/// let (script, mut stream) = Stream::builder().scripted()?;
/// for _ in 0..3 {
///     script.result(RetransResult::RcvZeroWindow);
/// }
/// assert!(is_stalled(&mut stream)?);
/// script.result(RetransResult::Success);
/// script.end();
/// assert!(!is_stalled(&mut stream)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Script(Arc<Mutex<Teller>>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Script {
    pub(crate) fn new(teller: Teller) -> Self {
        Self(Arc::new(Mutex::new(teller)))
    }

    fn teller(&self) -> MutexGuard<'_, Teller> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt with this result; the rest as in [`Event::of_result`].
    pub fn result(&self, result: RetransResult) {
        self.event(Event::of_result(result));
    }

    /// This attempt. It is counted as a live one would be: excluded by the filter or the limit, lost where as many wait as the ring has room for, or
    /// submitted.
    pub fn event(&self, event: Event) {
        self.teller().tell(event);
    }

    /// This attempt, as if there were no room in the ring: if it passes filter and limit it is lost.
    pub fn lose(&self, event: Event) {
        self.teller().lose(event);
    }

    /// The stream fails: reading it gives an error of this kind, with this text, behind what was told before. It is the end.
    pub fn fail(&self, kind: ErrorKind, why: &str) {
        self.teller().end(Err(Error::new(kind, why)));
    }

    /// The stream ends behind what was told before. What is told behind the end, or when the stream was dropped, is neither seen nor counted.
    pub fn end(&self) {
        self.teller().end(Ok(()));
    }
}

impl Event {
    /// An event with this result, and with an `err` and a `transmit` that go with it: of a timeout of an IPv4 connection, at the epoch, without any other
    /// of the optional fields. What is to be otherwise is assigned: all fields are public.
    ///
    /// ```
    /// use retrans_sdk::{Event, RetransResult};
    ///
    /// let mut event = Event::of_result(RetransResult::Denied);
    /// event.dport = 5432;
    /// assert_eq!(event.err, Some(-1));
    /// assert!(event.to_string().contains("result=denied err=-1 kind=rto family=inet saddr=192.0.2.1 sport=40000"));
    /// ```
    #[must_use]
    pub fn of_result(result: RetransResult) -> Self {
        let (err, transmit) = goes_with(result);
        Self {
            ts: Timestamp::from_nanos(0),
            result,
            err,
            kind: RetransKind::Rto,
            // TEST-NET-1 (RFC 5737).
            saddr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            sport: 40000,
            daddr: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            dport: 443,
            state: TcpState::Established,
            segs: 1,
            transmit: Some(transmit),
            ..Self::blank()
        }
    }
}

/// What the kernel returns with a result, and whether it came to the transmit step.
fn goes_with(result: RetransResult) -> (Option<i32>, Transmit) {
    use RetransResult::*;
    match result {
        Success => (Some(0), Transmit::Yes),
        InHostQueue => (Some(-16), Transmit::No),
        EndSeqError => (Some(-22), Transmit::No),
        TrimHeadNomem | UncloneNomem | FragNomem | Nomem => (Some(-12), Transmit::No),
        RouteFail => (Some(-113), Transmit::No),
        RcvZeroWindow => (Some(-11), Transmit::No),
        PskbCopyNobufs | Nobufs => (Some(-105), Transmit::Yes),
        Denied => (Some(-1), Transmit::Yes),
        XmitDrop => (Some(1), Transmit::Yes),
        _ => (None, Transmit::Unproven),
    }
}
