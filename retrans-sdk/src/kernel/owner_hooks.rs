// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernel hooks a stream learns socket owners from.

use std::fmt;

use crate::kernel::support::Support;
use crate::text::reason_table::KeyVal;

/// By what a stream with [`StreamBuilder::resolve_owners`](crate::StreamBuilder::resolve_owners) knows which process a socket belongs to. Without the first two, by
/// the third, as soon as an event asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnerHooks {
    /// It sees who connects: the `inet_sock_set_state` tracepoint.
    pub connect: Support,
    /// It sees who accepts: fexit on `inet_csk_accept()`.
    pub accept: Support,
    /// It can look through the descriptors of all processes of its PID namespace: a `task_file` iterator.
    pub walk: Support,
}

/// As `owners=connect,accept,walk`, those that are to be had; `owners=-` if none is.
impl fmt::Display for OwnerHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect, accept, walk } = self;
        let had: Vec<_> = [("connect", connect), ("accept", accept), ("walk", walk)]
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
        let mut hooks = OwnerHooks { connect: Support::Available, accept: no(), walk: Support::Available };
        assert_eq!(hooks.to_string(), "owners=connect,walk");
        (hooks.connect, hooks.walk) = (no(), no());
        assert_eq!(hooks.to_string(), "owners=-");
    }
}
