// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters for the current process: its network namespace, its cgroup with all descendants, its
//! sockets.
//!
//! The whole process moves between cgroups, so the tests run one at a time.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use retrans_lab::cgroup::Cgroup;
use retrans_lab::observe::{concerns, drain, filter, settle, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Context, Family, Outcome, Pair, Result, Scenario, Subject, privilege};
use retrans_sdk::attach::SocketSet;
use retrans_sdk::stream::Live;
use retrans_sdk::{ErrorKind, Event, Filter, Stream};

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

    // Not in the root, which is not known on a host with cgroup v1.
    let other = Cgroup::new()?;
    let outside = other.run(|| Scenario::prepare(&pair, Family::V4, Outcome::Rto))??;
    let upper = Cgroup::new()?;
    // This cgroup is the root on some hosts.
    let above = Filter::current_cgroup();
    let (mine, inside, lower, below, listening) = upper.run(|| -> Result<_> {
        let inside = Scenario::prepare(&pair, Family::V6, Outcome::Rto)?;
        let lower = Cgroup::new()?;
        let below = lower.run(|| Scenario::prepare(&pair, Family::Mapped, Outcome::Rto))??;
        let listening = lower.run(|| Scenario::prepare(&pair, Family::V4, Outcome::Synack))??;
        Ok((Filter::current_cgroup(), inside, lower, below, listening))
    })??;
    let id = upper.id();
    let mine = match mine {
        // The host has placed this process in a cgroup of v1 with controllers.
        Err(error) if uses_v1()? && error.kind() == ErrorKind::Cgroup => filter(&format!("cgroup={id}/"))?,
        mine => mine.context("no cgroup")?,
    };
    assert_eq!(mine.to_string(), format!("cgroup={id}/"));
    let mut streams = [
        mine.and(&netns).context("no filter").and_then(open)?,
        only(&format!("cgroup={id}"))?,
        only(&format!("cgroup!={id}/"))?,
        only(&format!("cgroup={}/", lower.id()))?,
        match above {
            Err(error) => {
                assert!(uses_v1()? && error.kind() == ErrorKind::Cgroup, "{error}");
                assert!(error.to_string().contains("Filter::current_netns()"), "{error}");
                open(netns.clone())?
            }
            Ok(above) => above.and(&netns).context("no filter").and_then(open)?,
        },
        // The id of a removed cgroup is accepted like any other.
        only("cgroup=18446744073709551615/")?,
    ];
    // Its sockets still belong to it.
    drop((lower, upper, other));
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

/// Returns whether the host has a hierarchy of cgroup v1 with a controller that places containers.
fn uses_v1() -> Result<bool> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let controllers = cgroups.lines().filter_map(|line| line.split(':').nth(1)).flat_map(|names| names.split(','));
    let others = ["", "net_cls", "net_prio"];
    Ok(controllers.filter(|name| !name.starts_with("name=")).any(|name| !others.contains(&name)))
}

/// The root's id identifies a socket only on a host without cgroup v1. Otherwise the event has no
/// cgroup, and the filter agrees.
#[test]
#[ignore = "live: needs root, run by make test"]
fn the_root_cgroup_is_absent_on_a_host_with_v1() -> Result<()> {
    const ROOT: u64 = 1;
    let _turn = turn();
    privilege::check()?;
    let pair = Pair::new()?;
    let netns = filter(&format!("netns={}", pair.client().inode()))?;
    let only = |text: &str| filter(text)?.and(&netns).context("no filter").and_then(open);
    let in_root = Cgroup::run_in_root(|| Scenario::prepare(&pair, Family::V4, Outcome::Rto))??;
    let cgroup = Cgroup::new()?;
    let inside = cgroup.run(|| Scenario::prepare(&pair, Family::V6, Outcome::Rto))??;
    let subjects = [in_root.subject(), inside.subject()];
    let mut all = open(netns.clone())?;
    let mut streams = ["cgroup=-", "cgroup=1", "cgroup=1/", "cgroup!=1", "cgroup!=1/"]
        .map(only)
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let streams: [&mut Stream; 5] = streams.iter_mut().collect::<Vec<_>>().try_into().expect("five");
    let seen = seen_by(streams, vec![in_root, inside])?;

    let events = drain(&mut all)?;
    let cgroups = subjects.map(|subject| {
        let event = events.iter().find(|event| concerns(&subject, event)).expect("an event");
        event.cgroup
    });
    if cgroups[1].is_none() {
        // Before Linux 5.15 no cgroup is known.
        assert_eq!((cgroups, &seen[0][..]), ([None, None], &[true, true][..]));
        assert!(seen[1..].iter().flatten().all(|seen| !seen), "{seen:?}");
        return Ok(());
    }
    let uses_v1 = uses_v1()?;
    assert_eq!(cgroups, [(!uses_v1).then_some(ROOT), Some(cgroup.id())]);
    let expected = [[uses_v1, false], [!uses_v1, false], [!uses_v1, true], [false, true], [false, false]];
    assert_eq!(seen, expected.map(Vec::from));
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
