// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rate limit applies to each result separately. Attempts in excess of it are counted, and not
//! reported.

use std::io::Write;
use std::thread;

use retrans_lab::observe::{attempts, drain, filter, settle, undisturbed, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Conn, Context, Family, Outcome, Packets, Pair, Refusal, Result, Scenario};
use retrans_sdk::stream::RateLimit;
use retrans_sdk::{Event, RetransResult, Stream};

const CONNECTIONS: usize = 32;
const PER_SECOND: u32 = 4;
const BURST: u32 = 8;

#[test]
#[ignore = "live: needs root, run by make test"]
fn attempts_above_the_limit_are_limited_by_result() -> Result<()> {
    let ((all, limited, stats), _) = undisturbed(|_| run())?;

    // Nothing else interfered, and every attempt is either limited or not.
    assert_eq!((stats.lost, stats.rejected, stats.dropped, stats.missed.unwrap_or(0)), (0, 0, 0, 0), "{stats}");
    assert_eq!(stats.limited + stats.submitted, all.len() as u64, "{stats}");
    // Counted before the limit.
    assert_eq!(attempts(&stats.passed), all.len() as u64, "{stats}");
    assert_eq!(stats.delivered, limited.len() as u64, "{stats}");

    let of = |events: &[Event], result| -> Vec<Event> {
        events.iter().filter(|event| event.result == result).copied().collect()
    };
    let (made, passed) = (of(&all, RetransResult::Success), of(&limited, RetransResult::Success));
    assert!(made.len() >= 3 * CONNECTIONS, "{}", made.len());
    // A full bucket passes at once, and then the refill.
    let seconds = |events: &[Event]| (events[events.len() - 1].ts.as_nanos() - events[0].ts.as_nanos()) as f64 / 1e9;
    let most = |time: f64| f64::from(BURST) + f64::from(PER_SECOND) * time;
    // Two CPUs may use the same token at the same moment.
    let sharing = thread::available_parallelism().map_or(1, usize::from) - 1;
    for first in 0..passed.len() {
        for last in first..passed.len() {
            let passed = &passed[first..=last];
            assert!((passed.len() - sharing) as f64 <= most(seconds(passed)), "{} {passed:?}", passed.len());
        }
    }
    assert!(passed.len() >= BURST as usize, "{passed:?}");
    // More than the first burst: the bucket is refilled, and attempts used the tokens.
    assert!(passed.len() as f64 >= most(seconds(&made)) / 2.0, "{} in {} s", passed.len(), seconds(&made));

    // Another result has a bucket of its own, and this one is not empty.
    let denied = of(&all, RetransResult::Denied).len();
    assert!((2..=BURST as usize).contains(&denied), "{denied}");
    assert_eq!(of(&limited, RetransResult::Denied).len(), denied);
    Ok(())
}

/// Returns the pair's events in a stream without a limit and in one with a limit, and the latter's
/// counters.
fn run() -> Result<(Vec<Event>, Vec<Event>, retrans_sdk::Stats)> {
    let pair = Pair::new()?;
    let ours = || filter(&format!("netns={}", pair.client().inode()));
    let mut denied = Scenario::prepare(&pair, Family::V6, Outcome::Denied(Refusal::Drop))?;
    let connections: Vec<_> = (0..CONNECTIONS).map(|_| Conn::open(&pair, Family::V4)).collect::<Result<_>>()?;
    let blackhole = Packets::input().drop_in(pair.server())?;
    let mut reference = Stream::builder().filter(ours()?).open().context("cannot open a stream")?;
    let limit = Stream::builder().rate_limit(RateLimit { per_second: PER_SECOND, burst: BURST });
    let mut stream = limit.filter(ours()?).open().context("cannot open a stream with a limit")?;

    for connection in &connections {
        connection.client().write_all(&[b'x'; 100]).context("cannot send")?;
    }
    denied.start()?;
    let is_denied = |event: &&Event| event.result == RetransResult::Denied;
    let mut all = until(&mut reference, PATIENCE, |seen| {
        let denied = seen.iter().filter(is_denied).count();
        denied >= 2 && seen.len() - denied >= 3 * CONNECTIONS
    })?;
    denied.finish()?;
    drop(connections);
    blackhole.lift()?;

    all.append(&mut drain(&mut reference)?);
    let unlimited = settle(&mut reference, &mut all)?;
    assert_eq!(unlimited.limited, 0, "{unlimited}");
    let mut limited = Vec::new();
    let stats = settle(&mut stream, &mut limited)?;
    Ok((all, limited, stats))
}
