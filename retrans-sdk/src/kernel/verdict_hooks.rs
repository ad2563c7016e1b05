// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel hooks that report verdicts.

use std::fmt;

use crate::kernel::support::Support;
use crate::text::reason_table::KeyVal;

/// The kernel hooks with which a stream reports verdicts
/// ([`StreamBuilder::on_verdict`](crate::StreamBuilder::on_verdict)).
///
/// What an unavailable hook reports cannot be observed: its absence does not mean that no attempt
/// was unneeded, or that no connection ended. Prints `verdicts=ended,undo` with the available
/// hooks, or `verdicts=-`.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
///
/// let stream = Stream::builder().on_verdict(|verdict| println!("{verdict}")).open()?;
/// if let Some(hooks) = stream.live().and_then(|live| live.verdict_hooks()) {
///     println!("{hooks}");
///     if !hooks.undo.is_available() {
///         println!("unneeded attempts are reported by DSACK only, at the end of their connection");
///     }
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerdictHooks {
    /// Reports the ends of connections, and DSACKs at that time: the `inet_sock_set_state`
    /// tracepoint. Without it there are no verdicts. Requires Linux 5.12 with its own BTF.
    pub ended: Support,
    /// Reports undone recoveries, and DSACKs whenever the congestion avoidance state changes: the
    /// `tcp_cong_state_set` tracepoint of Linux 5.19.
    pub undo: Support,
}

/// Prints `verdicts=ended,undo` with the available hooks, or `verdicts=-`.
impl fmt::Display for VerdictHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ended, undo } = self;
        let available: Vec<_> = [("ended", ended), ("undo", undo)]
            .into_iter()
            .filter_map(|(name, hook)| hook.is_available().then_some(name))
            .collect();
        let value = if available.is_empty() { "-".to_owned() } else { available.join(",") };
        KeyVal { key: "verdicts", value }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_listed() {
        let unavailable = || Support::Unavailable { reason: "not here".to_owned() };
        let mut hooks = VerdictHooks { ended: Support::Available, undo: Support::Available };
        assert_eq!(hooks.to_string(), "verdicts=ended,undo");
        hooks.undo = unavailable();
        assert_eq!(hooks.to_string(), "verdicts=ended");
        hooks.ended = unavailable();
        assert_eq!(hooks.to_string(), "verdicts=-");
    }
}
