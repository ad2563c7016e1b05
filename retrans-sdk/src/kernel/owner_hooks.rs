// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel hooks that resolve socket owners.

use std::fmt;

use crate::kernel::support::Support;
use crate::text::reason_table::KeyVal;

/// The kernel hooks with which a stream resolves socket owners
/// ([`StreamBuilder::resolve_owners`](crate::StreamBuilder::resolve_owners)).
///
/// Sockets that the first two hooks have not seen are resolved by a scan, when an event requires
/// it. Prints `owners=connect,accept,scan` with the available hooks, or `owners=-`.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
///
/// let stream = Stream::builder().resolve_owners().open()?;
/// if let Some(hooks) = stream.live().and_then(|live| live.owner_hooks()) {
///     println!("{hooks}");
///     if !hooks.scan.is_available() {
///         println!("sockets older than the stream have no owner");
///     }
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerHooks {
    /// Records the processes that connect: the `inet_sock_set_state` tracepoint.
    pub connect: Support,
    /// Records the processes that accept: fexit on `inet_csk_accept()`.
    pub accept: Support,
    /// Scans the file descriptors of all processes in the PID namespace: a `task_file` iterator.
    pub scan: Support,
}

/// Prints `owners=connect,accept,scan` with the available hooks, or `owners=-`.
impl fmt::Display for OwnerHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect, accept, scan } = self;
        let had: Vec<_> = [("connect", connect), ("accept", accept), ("scan", scan)]
            .into_iter()
            .filter_map(|(name, hook)| hook.is_available().then_some(name))
            .collect();
        let value = if had.is_empty() { "-".to_owned() } else { had.join(",") };
        KeyVal { key: "owners", value }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_listed() {
        let no = || Support::Unavailable { reason: "not here".to_owned() };
        let mut hooks = OwnerHooks { connect: Support::Available, accept: no(), scan: Support::Available };
        assert_eq!(hooks.to_string(), "owners=connect,scan");
        (hooks.connect, hooks.scan) = (no(), no());
        assert_eq!(hooks.to_string(), "owners=-");
    }
}
