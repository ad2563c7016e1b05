// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events handed on to what an application logs with.

use crate::event::Event;
use crate::event::result::RetransResult;

/// The target of what is emitted here.
pub const TARGET: &str = "retrans";

/// Emits an event as one of `tracing`'s, with the target [`TARGET`]: at the level INFO if the attempt succeeded, else WARN. The message is the event's line; the
/// fields are the eleven keys that every line has, and of the others `class`, `cookie`, `netns`, `cgroup`, `uid`, `owner`, `pid` and `comm`, those without a value
/// left out. Ports and numbers are integers, the rest text.
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

/// Writes an event's line to the application's logger, with the target [`TARGET`]: at the level Info if the attempt succeeded, else Warn.
#[cfg(feature = "log")]
pub fn log(event: &Event) {
    let level = if event.result == RetransResult::Success { log::Level::Info } else { log::Level::Warn };
    log::log!(target: TARGET, level, "{event}");
}
