// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts attempts without events.

use std::fmt;

use crate::error::Error;
use crate::kernel::Attached;
use crate::kernel::attachment::Attachment;
use crate::kernel::socket_set::SocketSet;
use crate::stats::Stats;
use crate::stats::netns::Netns;
use crate::stats::reader::StatsReader;
use crate::stats::reconcile::Reconciler;

/// Counts attempts without reporting events. There is no ring buffer, so only the counters can be
/// read.
///
/// [`StreamBuilder::open_counters`](crate::StreamBuilder::open_counters) opens it. Dropping it
/// detaches the programs. Reading requires no capability.
///
/// In its [`Stats`], `seen` counts every attempt, and `filtered` the attempts that the filter
/// excludes. `counts` contains all attempts by result and kind, and `passed` those that pass the
/// filter. The counters of records and events (`limited`, `lost`, `submitted`, `rejected`,
/// `dropped` and `delivered`) are 0.
///
/// # Examples
///
/// ```no_run
/// use std::thread::sleep;
/// use std::time::Duration;
///
/// use retrans_sdk::Stream;
///
/// let counters = Stream::builder().open_counters()?;
/// for _ in 0..6 {
///     sleep(Duration::from_secs(10));
///     let stats = counters.stats();
///     println!("{} attempts, failures: {}", stats.seen, stats.failures);
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
pub struct Counters {
    programs: Attached,
    attachment: Attachment,
    reconciler: Option<Reconciler>,
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("method", &self.attachment.method).finish_non_exhaustive()
    }
}

impl Counters {
    pub(crate) fn new(programs: Attached, attachment: Attachment, netns: Option<Netns>) -> Result<Self, Error> {
        let reconciler = netns.map(|netns| Reconciler::new(programs.stats.clone(), netns)).transpose()?;
        Ok(Self { programs, attachment, reconciler })
    }

    /// Returns how the counters are attached to the kernel, and what they can observe.
    #[must_use]
    pub const fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Returns the current counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.programs.stats.read()
    }

    /// Returns a reader of the counters for other threads; see
    /// [`Stream::stats_reader`](crate::Stream::stats_reader).
    #[must_use]
    pub fn stats_reader(&self) -> StatsReader {
        self.programs.stats.clone()
    }

    /// Returns the set of sockets that `cookie=mine` refers to; `None` unless the filter contains
    /// that term.
    #[must_use]
    pub const fn own_sockets(&self) -> Option<&SocketSet> {
        self.programs.own_sockets.as_ref()
    }

    /// Returns a handle that compares the attempts of a network namespace with the namespace's own
    /// counters; `None` unless [requested](crate::StreamBuilder::reconcile).
    #[must_use]
    pub fn reconciler(&self) -> Option<Reconciler> {
        self.reconciler.clone()
    }
}
