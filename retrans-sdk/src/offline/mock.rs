// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream of synthetic events, for tests.

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

/// Pushes synthetic events to a stream, so that an application can test its handling of any result.
///
/// [`StreamBuilder::mock`](crate::StreamBuilder::mock) returns it. It requires neither root nor a
/// kernel that produces the result, such as `rcv_zero_window`.
///
/// Pushed events can be read immediately. Events can be pushed before the stream is read, or by
/// another thread. A rate limit uses the `ts` of the events, not the clock. The stream ends when
/// all clones of the source are dropped, or after [`finish`](Self::finish).
///
/// # Examples
///
/// ```
/// use retrans_sdk::{RetransResult, Stream};
///
/// /// The function under test: detects a peer that keeps its window closed.
/// fn is_stalled(stream: &mut Stream) -> Result<bool, retrans_sdk::Error> {
///     let closed = stream.iter().take(3).filter(|event| {
///         event.as_ref().is_ok_and(|event| event.result == RetransResult::RcvZeroWindow)
///     });
///     Ok(closed.count() == 3)
/// }
///
/// let (source, mut stream) = Stream::builder().mock()?;
/// for _ in 0..3 {
///     source.push_result(RetransResult::RcvZeroWindow);
/// }
/// assert!(is_stalled(&mut stream)?);
/// source.push_result(RetransResult::Success);
/// source.finish();
/// assert!(!is_stalled(&mut stream)?);
/// # Ok::<(), retrans_sdk::Error>(())
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

    /// Pushes the [sample event](Event::sample) with this result.
    pub fn push_result(&self, result: RetransResult) {
        self.push(Event::sample(result));
    }

    /// Pushes an event. It is counted in the same way as an attempt of a live stream: as filtered,
    /// limited, lost or submitted.
    ///
    /// The event is lost if the stream already holds as many events as the ring buffer has room
    /// for.
    pub fn push(&self, event: Event) {
        self.sender().send(event);
    }

    /// Pushes an event as if the ring buffer were full. An event that passes the filter and the
    /// rate limit is counted as lost.
    pub fn push_lost(&self, event: Event) {
        self.sender().send_lost(event);
    }

    /// Ends the stream with an error of this kind and text, after the events that were pushed
    /// before.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::{ErrorKind, Stream};
    ///
    /// let (source, mut stream) = Stream::builder().mock()?;
    /// source.fail(ErrorKind::System, "cannot read the ring buffer");
    /// let error = stream.iter().next().expect("an item").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::System);
    /// # Ok::<(), retrans_sdk::Error>(())
    /// ```
    pub fn fail(&self, kind: ErrorKind, why: &str) {
        self.sender().end(Err(Error::new(kind, why)));
    }

    /// Ends the stream after the events that were pushed before.
    ///
    /// Events that are pushed after the end, or after the stream was dropped, are neither delivered
    /// nor counted.
    pub fn finish(&self) {
        self.sender().end(Ok(()));
    }
}

impl Event {
    /// Returns a sample event with this result, and with the matching `err` and `transmit`.
    ///
    /// The event has `kind=rto` and the timestamp 0, and belongs to an established IPv4 connection.
    /// `transmit` is its only optional field. All fields are public and can be assigned.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::{Event, RetransResult};
    ///
    /// let mut event = Event::sample(RetransResult::Denied);
    /// event.dport = 5432;
    /// assert_eq!(event.err, Some(-1));
    /// assert!(event.to_string().contains("result=denied err=-1 kind=rto family=inet"));
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

/// Returns the `err` and the `transmit` of an attempt with this result.
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
