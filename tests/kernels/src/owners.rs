// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that the kernel of a guest identifies the process that owns a socket, by each of the
//! hooks.

use retrans_sdk::attach::Support;
use retrans_sdk::event::OwnerSource;
use retrans_sdk::stream::Live;
use retrans_sdk::{Event, Stream};

use retrans_lab::observe::{concerns, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Context, Error, Family, Outcome, Pair, Result, Scenario};

/// Connects, accepts, and holds a socket that is older than the stream. Returns the hooks that
/// identified this process.
///
/// # Errors
/// Returns an error if a hook is not available on a kernel from 5.12, if another process is
/// identified, or if no process is identified.
pub fn are_known() -> Result<String> {
    let pair = Pair::new()?;
    let mut older = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let mut stream = Stream::builder().resolve_owners().open().context("cannot open a stream with owners")?;
    let hooks =
        stream.live().and_then(Live::owner_hooks).ok_or_else(|| Error::new("the stream has no owner hooks"))?.clone();
    let why = |hook: &Support| match hook {
        Support::Unavailable { reason } => Some(reason.clone()),
        _ => None,
    };
    let whys: Vec<_> = [&hooks.connect, &hooks.accept, &hooks.scan].into_iter().filter_map(why).collect();
    let none = whys.len() == 3 && whys.iter().all(|why| why.contains("before Linux 5.12"));
    if !whys.is_empty() && !none {
        return Err(Error::new(format!("{hooks}: {}", whys.join("; "))));
    }
    older.start()?;
    let mut all = vec![(older, OwnerSource::Holder)];
    for (outcome, source) in [(Outcome::Syn, OwnerSource::Connect), (Outcome::SynackFastopen, OwnerSource::Accept)] {
        all.push((Scenario::run(&Pair::new()?, Family::V4, outcome)?, source));
    }
    for (scenario, source) in all {
        let subject = scenario.subject();
        let is_of = |event: &Event| concerns(&subject, event);
        let events = until(&mut stream, PATIENCE, |events| events.iter().any(is_of))?;
        scenario.finish()?;
        let expected = (!none).then(|| (source, std::process::id()));
        if let Some(event) = events.iter().find(|event| is_of(event) && event.owner.zip(event.pid) != expected) {
            return Err(Error::new(format!("expected the owner {expected:?}: {event}")));
        }
    }
    Ok(hooks.to_string())
}
