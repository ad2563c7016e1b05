// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters for the application's own sockets, and combinations of filters.
//!
//! # Design
//!
//! An event does not contain the parents of its cgroup, and it does not show that its socket is in
//! the application's set. Such a term (`Filter::live_only`) therefore behaves on an event alone as
//! on an absent value: neither the term nor its negation matches.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::{Filter, FilterError};
use crate::error::{Error, ErrorKind};
use crate::sys::cgroup_paths::is_cgroup2;
use crate::sys::cgroups::Cgroups;
use crate::sys::mountinfo::{Mount, cgroup2_mounts};
use crate::text::escape::Escaped;

impl Filter {
    /// Matches sockets of the calling thread's network namespace: `netns=NUMBER`. The filter does
    /// not change if the thread moves to another namespace.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::System`] if /proc cannot be read.
    pub fn current_netns() -> Result<Self, Error> {
        let path = "/proc/thread-self/ns/net";
        let namespace = fs::metadata(path).map_err(|error| cannot_read(path.as_ref(), error))?;
        Ok(of_one_term(&format!("netns={}", namespace.ino())))
    }

    /// Matches sockets of this process's cgroup in the unified hierarchy (cgroup v2) and of all
    /// cgroups below it: `cgroup=NUMBER/`. Requires Linux 5.15. Before that no socket's cgroup is
    /// known, and nothing matches.
    ///
    /// A socket stays in the cgroup in which it was created, or in the cgroup of the listener that
    /// accepted it, even if its process moves later. On a host with cgroup v2 only, the filter of a
    /// process in the root cgroup matches every socket.
    ///
    /// On a host that uses cgroup v1, containers may share one cgroup of v2. The filter would match
    /// the sockets of other containers, so this function returns an error unless v1 shows that the
    /// cgroup is the process's own. In the service that starts containers, such as containerd, the
    /// filter also matches containers that share its cgroup. [`Filter::current_netns`] is the
    /// alternative for a container with its own network namespace.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Cgroup`] if the cgroup in v2 does not identify the sockets of this process
    /// - [`ErrorKind::System`] if /proc cannot be read, or no mount of the unified hierarchy
    ///   contains the process's cgroup
    pub fn current_cgroup() -> Result<Self, Error> {
        let cgroups = Cgroups::read().map_err(|error| cannot_read("/proc/self/cgroup".as_ref(), error))?;
        let own = cgroups.own().map_err(|why| {
            let message = format!("the cgroup of this process does not identify its sockets: {why}; {ALTERNATIVE}");
            Error::new(ErrorKind::Cgroup, message)
        })?;
        let mounts = "/proc/self/mountinfo";
        let mounts = fs::read(mounts).map_err(|error| cannot_read(mounts.as_ref(), error))?;
        let directory = seen_at(own, &mounts).find(|directory| is_cgroup2(directory)).ok_or_else(|| {
            let message = format!(
                "no mount of the unified hierarchy (cgroup2) in this mount namespace has this process's cgroup `{}` at or \
                 below its root; {ALTERNATIVE}",
                Escaped::path(own)
            );
            Error::new(ErrorKind::System, message)
        })?;
        // A cgroup's id is the inode number of its directory.
        let id = fs::metadata(&directory).map_err(|error| cannot_read(&directory, error))?.ino();
        Ok(of_one_term(&format!("cgroup={id}/")))
    }

    /// Matches sockets of this process: `cookie=mine`.
    ///
    /// The kernel does not report which process a socket belongs to, so the stream keeps a set. The
    /// set contains the TCP sockets of which the process has a descriptor when the stream is
    /// opened, and the sockets that the process adds to the stream's
    /// [`SocketSet`](crate::attach::SocketSet).
    #[must_use]
    pub fn own_sockets() -> Self {
        of_one_term("cookie=mine")
    }

    /// Returns the intersection of two filters: every clause of this one with every clause of the
    /// other.
    ///
    /// # Examples
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
    /// Returns [`FilterError`] if a clause of the result contains a key twice, or if the result has
    /// too many clauses or values. The column refers to the combined filter.
    pub fn and(&self, other: &Self) -> Result<Self, FilterError> {
        let (ours, theirs) = (self.clause_texts(), other.clause_texts());
        if ours.is_empty() || theirs.is_empty() {
            return Ok(if ours.is_empty() { other.clone() } else { self.clone() });
        }
        let both = |ours: &String| theirs.iter().map(|theirs| format!("{ours} {theirs}")).collect::<Vec<_>>();
        ours.iter().flat_map(both).collect::<Vec<_>>().join(" --or ").parse()
    }

    /// Returns the union of two filters: the clauses of both. An empty filter passes every attempt,
    /// and so does its union with any other.
    ///
    /// # Examples
    ///
    /// ```
    /// use retrans_sdk::Filter;
    ///
    /// let failed: Filter = "result!=success".parse()?;
    /// let either = failed.or(&"kind=syn dport=443".parse()?)?;
    /// assert_eq!(either.to_string(), "result!=success --or kind=syn dport=443");
    /// # Ok::<(), retrans_sdk::filter::FilterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`FilterError`] if the result has too many clauses or values. The column refers to
    /// the combined filter.
    pub fn or(&self, other: &Self) -> Result<Self, FilterError> {
        let (mut clauses, mut theirs) = (self.clause_texts(), other.clause_texts());
        if clauses.is_empty() || theirs.is_empty() {
            return Ok(Self::default());
        }
        clauses.append(&mut theirs);
        clauses.join(" --or ").parse()
    }

    fn clause_texts(&self) -> Vec<String> {
        let text = |clause: &Vec<super::Term>| clause.iter().map(|term| &*term.text).collect::<Vec<_>>().join(" ");
        self.clauses.iter().map(text).collect()
    }
}

/// The alternative if the cgroup of this process does not serve as a filter.
const ALTERNATIVE: &str = "use Filter::current_netns() in a container with its own network namespace";

#[allow(clippy::expect_used, reason = "a number is all that varies")]
fn of_one_term(text: &str) -> Filter {
    text.parse().expect("a term")
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::System, format!("cannot read {}", Escaped::path(path))).caused_by(error)
}

/// Returns the directories of a cgroup by /proc/self/mountinfo. Another file system may cover them.
fn seen_at(cgroup: &Path, mounts: &[u8]) -> impl Iterator<Item = PathBuf> {
    let below = |Mount { root, place }: Mount| Some(place.join(cgroup.strip_prefix(root).ok()?));
    let is_outside = cgroup.components().any(|part| part == Component::ParentDir);
    let found: Vec<_> = cgroup2_mounts(mounts).into_iter().filter_map(below).filter(|_| !is_outside).collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_under_its_mount() {
        let own = Path::new("/system.slice/one two.service");
        let mounts = b"30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
            31 24 0:27 /user.slice /other rw - cgroup2 cgroup2 rw\n\
            32 24 0:27 / /sys/fs/c\\040group rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        let first = |own: &Path, mounts: &[u8]| seen_at(own, mounts).next();
        assert_eq!(first(own, mounts).expect("the last"), Path::new("/sys/fs/c group/system.slice/one two.service"));
        let part = seen_at(Path::new("/user.slice/a"), mounts).next();
        assert_eq!(part.expect("the one of a part"), Path::new("/other/a"));
        assert_eq!(first(own, b"30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
        // The cgroup of a process outside this cgroup namespace.
        assert_eq!(first(own, b"31 24 0:27 /../.. /x rw - cgroup2 cgroup2 rw\n"), None);
    }

    #[test]
    fn an_intersection_combines_every_pair_of_clauses() {
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
    fn a_union_contains_the_clauses_of_both() {
        let filter = |text: &str| text.parse::<Filter>().expect(text);
        let or = |one: &str, other: &str| filter(one).or(&filter(other)).map(|either| either.to_string());
        assert_eq!(or("sport=1", "sport=2"), Ok("sport=1 --or sport=2".to_owned()));
        assert_eq!(
            or("sport=1 --or dport=1", "kind=rto dport=2").expect("three"),
            "sport=1 --or dport=1 --or kind=rto dport=2"
        );
        // The union with an empty filter passes everything.
        for (one, other) in [("", "sport=1"), ("sport=1", ""), ("", "")] {
            assert_eq!(or(one, other), Ok(String::new()), "{one} {other}");
        }
        let eight = ["sport=1"; 8].join(" --or ");
        assert!(or(&eight, &eight).is_ok());
        let error = or(&eight, &format!("{eight} --or sport=1")).expect_err("17 clauses");
        assert_eq!(error.column(), eight.len() * 2 + " --or ".len() * 2 - "--or ".len() + 1, "{error}");
        let list = |key: &str| format!("{key}={}", ["1"; 300].join(","));
        assert!(
            or(&list("sport"), &list("dport")).expect_err("600 values").to_string().contains("more than 512 values")
        );
    }

    #[test]
    fn filters_for_own_sockets_print_as_terms() {
        let inode = fs::metadata("/proc/self/ns/net").expect("it is there").ino();
        assert_eq!(Filter::current_netns().expect("a namespace").to_string(), format!("netns={inode}"));
        assert_eq!(Filter::own_sockets().to_string(), "cookie=mine");
        assert_eq!(Filter::own_sockets().live_only().collect::<Vec<_>>(), ["cookie=mine"]);
    }
}
