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
use crate::offline::channel::EventSender;

/// Tells a stream its events ([`StreamBuilder::mock`](crate::StreamBuilder::mock)): an application's own tests see to it that `rcv_zero_window` is
/// handled, without root and without a kernel that brings it about.
///
/// A limit goes by the events' own `ts`, not by the clock. What is told can be read at once, and waited for as with a live stream; so it can be told before it is read, or by another thread. The stream
/// ends when all clones of this are dropped, or [told to](Self::finish).
///
/// ```
/// use retrans_sdk::{RetransResult, Stream};
/// use retrans_sdk::offline::MockSource;
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
/// let (source, mut stream) = Stream::builder().mock()?;
/// for _ in 0..3 {
///     source.push_result(RetransResult::RcvZeroWindow);
/// }
/// assert!(is_stalled(&mut stream)?);
/// source.push_result(RetransResult::Success);
/// source.finish();
/// assert!(!is_stalled(&mut stream)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MockSource(Arc<Mutex<EventSender>>);

impl fmt::Debug for MockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockSource").finish_non_exhaustive()
    }
}

impl MockSource {
    pub(crate) fn new(sender: EventSender) -> Self {
        Self(Arc::new(Mutex::new(sender)))
    }

    fn sender(&self) -> MutexGuard<'_, EventSender> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt with this result; the rest as in [`Event::sample`].
    pub fn push_result(&self, result: RetransResult) {
        self.push(Event::sample(result));
    }

    /// This attempt. It is counted as a live one would be: excluded by the filter or the limit, lost where as many wait as the ring has room for, or
    /// submitted.
    pub fn push(&self, event: Event) {
        self.sender().send(event);
    }

    /// This attempt, as if there were no room in the ring: if it passes filter and limit it is lost.
    pub fn push_lost(&self, event: Event) {
        self.sender().send_lost(event);
    }

    /// The stream fails: reading it gives an error of this kind, with this text, behind what was told before. It is the end.
    pub fn fail(&self, kind: ErrorKind, why: &str) {
        self.sender().end(Err(Error::new(kind, why)));
    }

    /// The stream ends behind what was told before. What is told behind the end, or when the stream was dropped, is neither seen nor counted.
    pub fn finish(&self) {
        self.sender().end(Ok(()));
    }
}

impl Event {
    /// An event with this result, and with an `err` and a `transmit` that go with it: of a timeout of an IPv4 connection, at the epoch, without any other
    /// of the optional fields. What is to be otherwise is assigned: all fields are public.
    ///
    /// ```
    /// use retrans_sdk::{Event, RetransResult};
    ///
    /// let mut event = Event::sample(RetransResult::Denied);
    /// event.dport = 5432;
    /// assert_eq!(event.err, Some(-1));
    /// assert!(event.to_string().contains("result=denied err=-1 kind=rto family=inet saddr=192.0.2.1 sport=40000"));
    /// ```
    #[must_use]
    pub fn sample(result: RetransResult) -> Self {
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
        _ => (None, Transmit::Unknown),
    }
}
