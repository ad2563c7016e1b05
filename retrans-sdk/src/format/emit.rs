// SPDX-License-Identifier: MIT OR Apache-2.0
//! Emits events through `tracing` and `log`.

use crate::event::Event;
use crate::event::result::RetransResult;

/// The target of the emitted events and records.
pub const TARGET: &str = "retrans";

/// Emits an event through `tracing`, with the target [`TARGET`]: at level INFO if the attempt
/// succeeded, else at WARN. Requires the feature `tracing`.
///
/// The message is the key=value line. The fields are the eleven keys of every line, and `class`,
/// `cookie`, `netns`, `cgroup`, `uid`, `owner`, `pid` and `comm` if present. Ports and numbers are
/// integers. All other fields are text.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
/// use retrans_sdk::format::emit;
///
/// for event in Stream::open()?.iter() {
///     emit::tracing(&event?);
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[cfg(feature = "tracing")]
pub fn tracing(event: &Event) {
    use tracing::Level;

    macro_rules! emit {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                ts = %event.ts,
                result = %event.result,
                err = event.err,
                kind = %event.kind,
                family = %event.family(),
                saddr = %event.saddr,
                sport = event.sport,
                daddr = %event.daddr,
                dport = event.dport,
                state = %event.state,
                segs = event.segs,
                class = %event.class(),
                cookie = event.cookie,
                netns = event.netns,
                cgroup = event.cgroup,
                uid = event.uid,
                owner = event.owner.map(tracing::field::display),
                pid = event.pid,
                comm = event.comm.map(tracing::field::display),
                "{event}"
            )
        };
    }
    if event.result == RetransResult::Success {
        emit!(Level::INFO);
    } else {
        emit!(Level::WARN);
    }
}

/// Logs the key=value line of an event, with the target [`TARGET`]: at level Info if the attempt
/// succeeded, else at Warn. Requires the feature `log`.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
/// use retrans_sdk::format::emit;
///
/// for event in Stream::open()?.iter() {
///     emit::log(&event?);
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[cfg(feature = "log")]
pub fn log(event: &Event) {
    let level = if event.result == RetransResult::Success { log::Level::Info } else { log::Level::Warn };
    log::log!(target: TARGET, level, "{event}");
}
