// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path of a socket's cgroup, from the id in its events. The whole process moves between
//! cgroups, so this is the only test of the file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use retrans_lab::cgroup::Cgroup;
use retrans_lab::observe::{filter, until};
use retrans_lab::wait::PATIENCE;
use retrans_lab::{Context, Family, Outcome, Pair, Result, Scenario, privilege};
use retrans_sdk::Stream;
use retrans_sdk::event::{CgroupPaths, PercentEncoded};
use retrans_sdk::format::Line;
use retrans_sdk::reason_table::KeyVal;

const ENDING: &[u8] = b" a=b%c,\"d\\\xff\xc3\xa9";

/// The path of a cgroup with the oddest name that the kernel accepts, and of one that was removed.
#[test]
#[ignore = "live: needs root, run by make test"]
fn an_event_has_the_path_of_its_sockets_cgroup() -> Result<()> {
    privilege::check()?;
    let pair = Pair::new()?;
    let mut paths = CgroupPaths::new().context("no paths")?;
    let cgroup = Cgroup::with_suffix(OsStr::from_bytes(ENDING))?;
    let (mut scenario, own) = cgroup.run(|| -> Result<_> {
        let own = fs::read("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
        Ok((Scenario::prepare(&pair, Family::V4, Outcome::Rto)?, own))
    })??;
    let own = own.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")).expect("of cgroup2");
    assert!(own.ends_with(ENDING));

    let everything = filter(&format!("netns={}", pair.client().inode()))?;
    let mut stream = Stream::builder().filter(everything).open().context("cannot open a stream")?;
    scenario.start()?;
    let event = until(&mut stream, PATIENCE, |events| !events.is_empty())?[0];
    scenario.finish()?;

    assert_eq!(event.cgroup, Some(cgroup.id()));
    let path = paths.path(cgroup.id()).expect("the cgroup exists").to_owned();
    assert_eq!(path.as_os_str().as_bytes(), own);
    let line = format!("{event} {}", KeyVal { key: "cgroup_path", value: PercentEncoded(path.as_os_str().as_bytes()) });
    assert!(line.ends_with("%20a%3Db%25c%2C%22d\\%FF%C3%A9"), "{line}");
    let parsed: Line = line.parse().with_context(|| format!("not a line: {line}"))?;
    assert_eq!((parsed.event, parsed.to_string()), (event, line));

    let id = cgroup.id();
    drop(cgroup);
    assert_eq!(paths.path(id), Some(&*path), "a path that was read stays known");
    assert_eq!(CgroupPaths::new().context("no paths")?.path(id), None, "the path was not read before");
    Ok(())
}
