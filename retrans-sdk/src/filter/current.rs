// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters for what is the application's own, and filters put together.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Filter, FilterError};
use crate::error::{Error, ErrorKind};
use crate::sys::mountinfo::{Mount, cgroup2_mounts};

impl Filter {
    /// Sockets of the network namespace that the calling thread is in: `netns=NUMBER`, which stands for that namespace also
    /// if the thread moves to another.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if /proc does not tell.
    pub fn current_netns() -> Result<Self, Error> {
        let path = "/proc/thread-self/ns/net";
        let namespace = fs::metadata(path).map_err(|error| cannot_read(path.as_ref(), error))?;
        Ok(of_one_term(&format!("netns={}", namespace.ino())))
    }

    /// Sockets of the cgroup in the unified hierarchy that this process is in, and of all below it: `cgroup=NUMBER/`. A
    /// socket stays in the cgroup in which it was made, or in which the listener was that accepted it, wherever
    /// its process goes later. Before Linux 5.15 no socket's cgroup is known, and nothing passes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the process's cgroup is not to be seen: without a mount of the unified hierarchy that has it.
    pub fn current_cgroup() -> Result<Self, Error> {
        let read = |path: &str| fs::read(path).map_err(|error| cannot_read(path.as_ref(), error));
        let (own, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
        let directory = own_cgroup(&own).and_then(|own| seen_at(&own, &mounts)).ok_or_else(|| {
            Error::new(ErrorKind::System, "no mount of the unified hierarchy (cgroup2) has this process's cgroup")
        })?;
        // A cgroup's id is the number of its directory.
        let id = fs::metadata(&directory).map_err(|error| cannot_read(&directory, error))?.ino();
        Ok(of_one_term(&format!("cgroup={id}/")))
    }

    /// Sockets of this process: `cookie=mine`. The kernel does not tell whose a socket is, so the stream has a set of them:
    /// the TCP sockets that the process has a descriptor of when the stream is opened, and those that it adds to the
    /// [`SocketSet`](crate::attach::SocketSet) of the stream.
    #[must_use]
    pub fn own_sockets() -> Self {
        of_one_term("cookie=mine")
    }

    /// What passes both: every clause of the one with every clause of the other.
    ///
    /// ```
    /// use retrans_sdk::Filter;
    ///
    /// let failed: Filter = "result!=success --or kind=syn".parse()?;
    /// let mine = failed.and(&Filter::own_sockets())?;
    /// assert_eq!(mine.to_string(), "result!=success cookie=mine --or kind=syn cookie=mine");
    /// # Ok::<(), retrans_sdk::filter::FilterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a key then stands twice in a clause, or there is no room for that many clauses or values; the column is that of
    /// the filter that it would be.
    pub fn and(&self, other: &Self) -> Result<Self, FilterError> {
        let texts = |filter: &Self| {
            let text = |clause: &Vec<super::Term>| clause.iter().map(|term| &*term.text).collect::<Vec<_>>().join(" ");
            filter.clauses.iter().map(text).collect::<Vec<_>>()
        };
        let (ours, theirs) = (texts(self), texts(other));
        if ours.is_empty() || theirs.is_empty() {
            return Ok(if ours.is_empty() { other.clone() } else { self.clone() });
        }
        let both = |ours: &String| theirs.iter().map(|theirs| format!("{ours} {theirs}")).collect::<Vec<_>>();
        ours.iter().flat_map(both).collect::<Vec<_>>().join(" --or ").parse()
    }
}

#[allow(clippy::expect_used, reason = "a number is all that is put in")]
fn of_one_term(text: &str) -> Filter {
    text.parse().expect("a term")
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::System, format!("cannot read {}", path.display())).caused_by(error)
}

/// The path of the process's cgroup in the unified hierarchy, from /proc/self/cgroup.
fn own_cgroup(cgroups: &[u8]) -> Option<PathBuf> {
    let own = cgroups.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    Some(PathBuf::from(OsString::from_vec(own.to_vec())))
}

/// Where a cgroup is to be seen, from /proc/self/mountinfo.
fn seen_at(cgroup: &Path, mounts: &[u8]) -> Option<PathBuf> {
    cgroup2_mounts(mounts)
        .into_iter()
        .find_map(|Mount { root, place }| Some(place.join(cgroup.strip_prefix(root).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_under_its_mount() {
        let own = b"12:cpu:/a\n1:name=systemd:/b\n0::/system.slice/one two.service\n";
        let own = own_cgroup(own).expect("there is one");
        assert_eq!(own, Path::new("/system.slice/one two.service"));
        assert_eq!(own_cgroup(b"12:cpu:/a\n"), None);

        let mounts = b"30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
            31 24 0:27 /user.slice /other rw - cgroup2 cgroup2 rw\n\
            32 24 0:27 / /sys/fs/c\\040group rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(seen_at(&own, mounts).expect("the last"), Path::new("/sys/fs/c group/system.slice/one two.service"));
        let part = seen_at(Path::new("/user.slice/a"), mounts);
        assert_eq!(part.expect("the one of a part"), Path::new("/other/a"));
        assert_eq!(seen_at(&own, b"30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
        // That of a process above the root of this one's cgroup namespace.
        assert_eq!(seen_at(&own, b"31 24 0:27 /../.. /x rw - cgroup2 cgroup2 rw\n"), None);
    }

    #[test]
    fn both_is_each_with_each() {
        let filter = |text: &str| text.parse::<Filter>().expect(text);
        let and = |one: &str, other: &str| filter(one).and(&filter(other)).map(|both| both.to_string());
        assert_eq!(and("", "sport=1"), Ok("sport=1".to_owned()));
        assert_eq!(and("sport=1", ""), Ok("sport=1".to_owned()));
        assert_eq!(and("", ""), Ok(String::new()));
        assert_eq!(
            and("sport=1 --or dport=1", "kind=rto --or kind=tlp").expect("four"),
            "sport=1 kind=rto --or sport=1 kind=tlp --or dport=1 kind=rto --or dport=1 kind=tlp"
        );
        let error = and("sport=1", "sport=2").expect_err("twice");
        assert_eq!(error.column(), 9);
        let five = ["sport=1"; 5].join(" --or ");
        assert!(and(&five, &five.replace("sport", "dport")).is_err(), "25 clauses");
    }

    #[test]
    fn they_are_terms_of_the_grammar() {
        let inode = fs::metadata("/proc/self/ns/net").expect("it is there").ino();
        assert_eq!(Filter::current_netns().expect("a namespace").to_string(), format!("netns={inode}"));
        assert_eq!(Filter::own_sockets().to_string(), "cookie=mine");
        assert_eq!(Filter::own_sockets().live_only().collect::<Vec<_>>(), ["cookie=mine"]);
    }
}
