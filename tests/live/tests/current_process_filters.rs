// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters for the current process: its network namespace, its cgroup with all descendants, its
//! sockets.
//!
//! The whole process moves between cgroups, so the tests run one at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use retrans_lab::cgroup::Cgroup;
use retrans_lab::observe::{concerns, drain, filter, settle, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Context, Family, Outcome, Pair, Result, Scenario, Subject, privilege};
use retrans_sdk::attach::SocketSet;
use retrans_sdk::stream::Live;
use retrans_sdk::{Event, Filter, Stream};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(filter: Filter) -> Result<Stream> {
    Stream::builder().filter(filter).open().context("cannot open a stream")
}

/// Makes each socket retransmit, and returns which of them each stream saw.
fn seen_by<const N: usize>(streams: [&mut Stream; N], mut scenarios: Vec<Scenario>) -> Result<[Vec<bool>; N]> {
    let subjects: Vec<_> = scenarios.iter().map(Scenario::subject).collect();
    let mut reference = open(Filter::default())?;
    scenarios.iter_mut().try_for_each(Scenario::start)?;
    let saw = |events: &[Event], subject: &Subject| events.iter().any(|event| concerns(subject, event));
    until(&mut reference, PATIENCE, |events| subjects.iter().all(|subject| saw(events, subject)))?;
    scenarios.into_iter().try_for_each(Scenario::finish)?;
    drain(&mut reference)?;
    let mut all = Vec::new();
    for stream in streams {
        let mut events = Vec::new();
        let stats = settle(stream, &mut events)?;
        assert_eq!((stats.lost, stats.rejected, stats.dropped), (0, 0, 0), "{stats}");
        // No events of other sockets.
        assert!(events.iter().all(|event| subjects.iter().any(|subject| concerns(subject, event))), "{events:?}");
        all.push(subjects.iter().map(|subject| saw(&events, subject)).collect());
    }
    Ok(all.try_into().expect("one for each"))
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn filters_by_the_current_netns() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let (pair, other) = (Pair::new()?, Pair::new()?);
    let mine = pair.client().run(Filter::current_netns).context("no namespace")?;
    assert_eq!(mine.to_string(), format!("netns={}", pair.client().inode()));
    let scenarios = vec![
        Scenario::prepare(&pair, Family::V4, Outcome::Rto)?,
        Scenario::prepare(&other, Family::V4, Outcome::Rto)?,
        // This socket is the server's.
        Scenario::prepare(&pair, Family::V6, Outcome::Synack)?,
    ];
    let mut stream = open(mine)?;
    assert_eq!(seen_by([&mut stream], scenarios)?, [[true, false, false]]);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn filters_by_the_current_cgroup_and_its_descendants() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let pair = Pair::new()?;
    let netns = filter(&format!("netns={},{}", pair.client().inode(), pair.server().inode()))?;
    let only = |text: &str| filter(text)?.and(&netns).context("no filter").and_then(open);

    let outside = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let upper = Cgroup::new()?;
    let (mine, inside, lower, below, listening) = upper.run(|| -> Result<_> {
        let inside = Scenario::prepare(&pair, Family::V6, Outcome::Rto)?;
        let lower = Cgroup::new()?;
        let below = lower.run(|| Scenario::prepare(&pair, Family::Mapped, Outcome::Rto))??;
        let listening = lower.run(|| Scenario::prepare(&pair, Family::V4, Outcome::Synack))??;
        Ok((Filter::current_cgroup().context("no cgroup")?, inside, lower, below, listening))
    })??;
    let (above, id) = (Filter::current_cgroup().context("no cgroup")?, upper.id());
    assert_eq!(mine.to_string(), format!("cgroup={id}/"));
    let mut streams = [
        mine.and(&netns).context("no filter").and_then(open)?,
        only(&format!("cgroup={id}"))?,
        only(&format!("cgroup!={id}/"))?,
        only(&format!("cgroup={}/", lower.id()))?,
        above.and(&netns).context("no filter").and_then(open)?,
        // The id of a removed cgroup is accepted like any other.
        only("cgroup=18446744073709551615/")?,
    ];
    // Its sockets still belong to it.
    drop((lower, upper));
    let seen = seen_by(streams.each_mut(), vec![outside, inside, below, listening])?;
    assert_eq!(
        seen,
        [
            [false, true, true, true],
            [false, true, false, false],
            [true, false, false, false],
            [false, false, true, true],
            [true, true, true, true],
            [false; 4],
        ]
    );
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn filters_by_own_sockets() -> Result<()> {
    let _turn = turn();
    privilege::check()?;
    let pair = Pair::new()?;
    let netns = filter(&format!("netns={}", pair.client().inode()))?;
    // This socket is older than the stream.
    let early = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let both = Filter::own_sockets().and(&netns).context("no filter")?;
    let mut mine = open(both)?;
    let mut others = open(filter("cookie!=mine")?.and(&netns).context("no filter")?)?;
    assert!(open(netns)?.live().and_then(Live::own_sockets).is_none(), "not requested");

    let [added, removed, left] =
        [Family::V4, Family::V6, Family::Mapped].map(|family| Scenario::prepare(&pair, family, Outcome::Rto));
    let scenarios = vec![early, added?, removed?, left?];
    let sets = [&mine, &others]
        .map(|stream| stream.live().and_then(Live::own_sockets).expect("the filter asks for them").clone());
    for set in &sets {
        for scenario in &scenarios[1..3] {
            let socket = scenario.conn().expect("a connection").client();
            assert_eq!(Some(set.add(socket).context("cannot add")?), scenario.subject().cookie);
            // Adding a socket again has no effect.
            set.add(socket).context("cannot add")?;
        }
        let cookie = scenarios[2].subject().cookie.expect("it has one");
        assert!(set.remove(cookie).context("cannot remove")?);
        assert!(!set.remove(cookie).context("cannot remove")?);
        assert!(set.add(std::io::stderr()).is_err(), "stderr is not a socket");
    }
    let seen = seen_by([&mut mine, &mut others], scenarios)?;
    assert_eq!(seen, [[true, true, false, false], [false, false, true, true]]);

    // From any thread, and also after the stream is closed.
    const fn is_shared<T: Send + Sync + Clone + 'static>() {}
    const { is_shared::<SocketSet>() };
    drop((mine, others));
    let [set, _] = sets;
    std::thread::spawn(move || set.remove(1)).join().expect("no panic").context("cannot remove")?;
    Ok(())
}
