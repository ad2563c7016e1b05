// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of a stream that exists only for the running kernel.

use std::fmt;

use crate::event::drop_reason::DropReason;
use crate::event::result::RetransResult;
use crate::kernel::Source;
use crate::kernel::attach_method::AttachMethod;
use crate::kernel::attachment::Attachment;
use crate::kernel::owner_hooks::OwnerHooks;
use crate::kernel::socket_set::SocketSet;
use crate::kernel::verdict_hooks::VerdictHooks;
use crate::stats::reconcile::Reconciler;

/// The part of a stream that exists only for the running kernel: its attachment, its set of own
/// sockets, its owner hooks and its reconciler.
///
/// [`Stream::live`](crate::Stream::live) returns it.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
///
/// let stream = Stream::open()?;
/// if let Some(live) = stream.live() {
///     println!("{}", live.attachment()); // source=… companion=…
///     for unobservable in live.attachment().unobservable() {
///         println!("this stream cannot observe: {unobservable}");
///     }
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
pub struct Live {
    pub(crate) source: Source,
    attachment: Attachment,
    reconciler: Option<Reconciler>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("attachment", &self.attachment).finish_non_exhaustive()
    }
}

impl Live {
    pub(crate) fn new(source: Source, attachment: Attachment, reconciler: Option<Reconciler>) -> Self {
        Self { source, attachment, reconciler }
    }

    /// Returns how the stream is attached to the kernel, what it can observe, and which better
    /// attach methods were not available.
    #[must_use]
    pub const fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Returns the attach method in use: [`Attachment::method`].
    #[must_use]
    pub const fn attach_method(&self) -> AttachMethod {
        self.attachment.method
    }

    /// Returns the kernel's name of an unlisted result, which prints as `k17`.
    ///
    /// The name is known only with [`AttachMethod::TpEnum`], because only then the tracepoint
    /// reports the result as an enum.
    #[must_use]
    pub fn kernel_name(&self, result: RetransResult) -> Option<&str> {
        self.source.programs.kernel_name(result)
    }

    /// Returns the kernel's name of an unlisted reason of a drop, which prints as `k129`: one that
    /// is younger than the table, or of a subsystem.
    #[must_use]
    pub fn kernel_drop_reason(&self, reason: DropReason) -> Option<&str> {
        self.source.programs.kernel_drop_reason(reason)
    }

    /// Returns the set of sockets that `cookie=mine` refers to
    /// ([`Filter::own_sockets`](crate::Filter::own_sockets)); `None` unless the filter contains
    /// that term.
    #[must_use]
    pub const fn own_sockets(&self) -> Option<&SocketSet> {
        self.source.programs.own_sockets.as_ref()
    }

    /// Returns the kernel hooks from which the BPF programs learn socket owners; `None` unless
    /// owners were [requested](crate::StreamBuilder::resolve_owners).
    #[must_use]
    pub fn owner_hooks(&self) -> Option<&OwnerHooks> {
        self.source.programs.owner_hooks()
    }

    /// Returns the kernel hooks that report verdicts; `None` unless verdicts were
    /// [requested](crate::StreamBuilder::on_verdict).
    #[must_use]
    pub const fn verdict_hooks(&self) -> Option<&VerdictHooks> {
        self.source.programs.verdict_hooks()
    }

    /// Returns a handle that compares the attempts of a network namespace with the namespace's own
    /// counters; `None` unless [requested](crate::StreamBuilder::reconcile).
    #[must_use]
    pub fn reconciler(&self) -> Option<Reconciler> {
        self.reconciler.clone()
    }
}
