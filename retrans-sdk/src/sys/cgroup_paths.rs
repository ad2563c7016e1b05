// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resolves the ids of cgroups to paths.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::statfs;

use crate::error::{Error, ErrorKind};
use crate::sys::mountinfo::{Mount, cgroup2_mounts};
use crate::sys::throttle::Throttle;

/// Resolves the ids of cgroups in the unified hierarchy ([`Event::cgroup`](crate::Event::cgroup))
/// to their paths.
///
/// An id is the inode number of the cgroup's directory. An unknown id causes a scan of the mounted
/// hierarchy, with one stat for each cgroup. Paths are cached, so the path of a cgroup that is
/// removed later stays known. The kernel does not reuse ids. Scans use at most 2% of the calling
/// thread's time. An id that is requested between two scans is unknown until the next scan.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::reason_table::KeyVal;
/// use retrans_sdk::Stream;
/// use retrans_sdk::event::{CgroupPaths, PercentEncoded};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut paths = CgroupPaths::new()?;
/// for event in Stream::builder().open()?.iter() {
///     let event = event?;
///     print!("{event}");
///     if let Some(path) = event.cgroup.and_then(|id| paths.path(id)) {
///         print!(" {}", KeyVal { key: "cgroup_path", value: PercentEncoded(path.as_os_str().as_encoded_bytes()) });
///     }
///     println!();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CgroupPaths {
    mounts: Vec<Mount>,
    known: HashMap<u64, PathBuf>,
    /// The ids that a scan did not find.
    absent: HashSet<u64>,
    throttle: Throttle,
}

impl CgroupPaths {
    /// The maximum number of cached paths.
    pub const CAPACITY: usize = 16_384;

    /// Finds the mounts of the unified hierarchy.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if the unified hierarchy is not mounted, or /proc cannot be read.
    pub fn new() -> Result<Self, Error> {
        let path = "/proc/self/mountinfo";
        let mountinfo = fs::read(path)
            .map_err(|error| Error::new(ErrorKind::System, format!("cannot read {path}")).caused_by(error))?;
        let mut mounts: Vec<Mount> =
            cgroup2_mounts(&mountinfo).into_iter().filter(|mount| is_cgroup2(&mount.place)).collect();
        keep_widest(&mut mounts);
        if mounts.is_empty() {
            return Err(Error::new(ErrorKind::System, "the unified cgroup hierarchy (cgroup2) is not mounted"));
        }
        Ok(Self { mounts, known: HashMap::new(), absent: HashSet::new(), throttle: Throttle::default() })
    }

    /// Scans for new cgroups, unless the last scan was too recent, so that the path of a cgroup is
    /// known even if it is removed before its first event.
    pub fn refresh(&mut self) {
        let Self { mounts, throttle, .. } = self;
        if let Some((scanned, _)) = throttle.run(|| scan_mounts(mounts, Self::CAPACITY)) {
            self.remember(scanned);
        }
    }

    /// Returns the paths below a directory, in place of cgroups.
    #[cfg(test)]
    pub(crate) fn of_directory(place: PathBuf) -> Self {
        let mounts = vec![Mount { root: "/".into(), place }];
        Self { mounts, known: HashMap::new(), absent: HashSet::new(), throttle: Throttle::default() }
    }

    /// Returns the path of the cgroup with this id, from the root of the hierarchy as in
    /// /proc/PID/cgroup: `/` for the root.
    ///
    /// Returns `None` if the cgroup was removed before the first scan, or is not visible in this
    /// process's cgroup namespace. The path may contain any bytes except NUL and newline.
    /// [`PercentEncoded`](crate::event::PercentEncoded) prints them as a value of a key=value line.
    pub fn path(&mut self, id: u64) -> Option<&Path> {
        if !self.known.contains_key(&id) && !self.absent.contains(&id) {
            let Self { mounts, throttle, .. } = self;
            if let Some((scanned, complete)) = throttle.run(|| scan_mounts(mounts, Self::CAPACITY)) {
                self.remember(scanned);
                if complete && !self.known.contains_key(&id) {
                    if self.absent.len() == Self::CAPACITY {
                        self.absent.clear();
                    }
                    self.absent.insert(id);
                }
            }
        }
        self.known.get(&id).map(PathBuf::as_path)
    }

    /// Replaces the cache by the scanned paths, and keeps older paths up to the capacity.
    fn remember(&mut self, scanned: HashMap<u64, PathBuf>) {
        let before = std::mem::replace(&mut self.known, scanned);
        for (id, path) in before {
            if self.known.len() == Self::CAPACITY {
                break;
            }
            self.known.entry(id).or_insert(path);
        }
    }
}

/// Removes the mounts that another mount contains, and puts the widest first.
pub(crate) fn keep_widest(mounts: &mut Vec<Mount>) {
    // The kernel describes a root outside of this cgroup namespace by `/..` for each level above
    // the root of the namespace.
    let split = |root: &Path| {
        let above = root.components().filter(|part| *part == Component::ParentDir).count();
        (above, root.components().count() - above)
    };
    let contains = |wider: &Mount, mount: &Mount| {
        let ((above, below), (other, _)) = (split(&wider.root), split(&mount.root));
        // `/../a` does not contain the root of the namespace; the kernel would not mention `a`.
        if above == other { mount.root.starts_with(&wider.root) } else { above > other && below == 1 }
    };
    mounts.sort_by_key(|mount| {
        let (above, below) = split(&mount.root);
        (std::cmp::Reverse(above), below)
    });
    for mount in std::mem::take(mounts) {
        if !mounts.iter().any(|wider| contains(wider, &mount)) {
            mounts.push(mount);
        }
    }
}

/// Returns true if cgroup2 is visible at a path. Another mount may cover it.
pub(crate) fn is_cgroup2(place: &Path) -> bool {
    // CGROUP2_SUPER_MAGIC, from linux/magic.h.
    const MAGIC: u64 = 0x6367_7270;
    statfs(place).is_ok_and(|stat| stat.f_type as u64 == MAGIC)
}

/// Returns the directories below the mounts, up to `limit`, and true if these are all.
fn scan_mounts(mounts: &[Mount], limit: usize) -> (HashMap<u64, PathBuf>, bool) {
    let (mut found, mut complete) = (HashMap::new(), true);
    for Mount { root, place } in mounts {
        let Some(metadata) = ignore_absent(fs::metadata(place), &mut complete) else { continue };
        let device = metadata.dev();
        found.entry(metadata.ino()).or_insert_with(|| root.clone());
        let mut left = vec![(place.clone(), root.clone())];
        while let Some((directory, cgroup)) = left.pop() {
            for entry in ignore_absent(fs::read_dir(directory), &mut complete).into_iter().flatten() {
                let Some(entry) = ignore_absent(entry, &mut complete) else { continue };
                let Some(metadata) = ignore_absent(fs::symlink_metadata(entry.path()), &mut complete) else { continue };
                if !metadata.is_dir() || metadata.dev() != device {
                    continue;
                }
                if found.len() >= limit {
                    return (found, false);
                }
                let path = cgroup.join(entry.file_name());
                left.push((entry.path(), path.clone()));
                found.entry(metadata.ino()).or_insert(path);
            }
        }
    }
    (found, complete)
}

/// Ignores entries that were removed during the scan or that this process may not access. After any
/// other error the scan is incomplete.
fn ignore_absent<T>(what: io::Result<T>, complete: &mut bool) -> Option<T> {
    let passing =
        |error: &io::Error| !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    *complete &= !what.as_ref().is_err_and(passing);
    what.ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    /// A tree of directories, in place of cgroups.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let tree = Self(std::env::temp_dir().join(format!("retrans-{name}-{}", std::process::id())));
            fs::create_dir(&tree.0).expect("a directory");
            tree
        }

        fn make(&self, path: &[u8]) -> u64 {
            let path = self.0.join(OsStr::from_bytes(path));
            fs::create_dir_all(&path).expect("a directory");
            fs::metadata(path).expect("it is there").ino()
        }

        fn paths(&self) -> CgroupPaths {
            let mounts = vec![Mount { root: "/part".into(), place: self.0.clone() }];
            CgroupPaths { mounts, known: HashMap::new(), absent: HashSet::new(), throttle: Throttle::default() }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it can be removed");
        }
    }

    #[test]
    fn a_path_is_found_by_its_id_and_stays_cached() {
        let tree = Tree::new("paths");
        let (odd, deep) = (tree.make(b"a b=\xff"), tree.make(b"c/d/e"));
        fs::write(tree.0.join("c/file"), "").expect("a file");
        std::os::unix::fs::symlink(&tree.0, tree.0.join("c/loop")).expect("a link");
        let mut paths = tree.paths();
        assert_eq!(paths.path(odd), Some(Path::new(OsStr::from_bytes(b"/part/a b=\xff"))));
        assert_eq!(paths.path(fs::metadata(&tree.0).expect("it is there").ino()), Some(Path::new("/part")));
        // Moved, so that its inode number is not reused: a file system may reuse numbers, cgroups
        // do not.
        let away = Tree::new("away");
        fs::rename(tree.0.join("c/d/e"), away.0.join("e")).expect("it can be moved");
        assert_eq!(paths.path(deep), Some(Path::new("/part/c/d/e")));
        assert_eq!(paths.known.len(), 5);

        // Another scan does not forget it, and an absent id is not scanned for again.
        paths.throttle = Throttle::default();
        assert_eq!(paths.path(u64::MAX), None);
        paths.throttle = Throttle::default();
        let later = tree.make(b"later");
        assert_eq!(paths.path(u64::MAX), None);
        assert!(!paths.known.contains_key(&later));
        assert_eq!(paths.path(later), Some(Path::new("/part/later")));
        assert_eq!(paths.path(deep), Some(Path::new("/part/c/d/e")));
        // Too soon for another scan, so the id is unknown but not marked as absent.
        let last = tree.make(b"last");
        assert_eq!(paths.path(last), None);
        paths.throttle = Throttle::default();
        assert_eq!(paths.path(last), Some(Path::new("/part/last")));
    }

    #[test]
    fn the_widest_mounts_are_scanned() {
        let kept = |roots: &[&str]| {
            let of = |(index, root): (usize, &&str)| Mount { root: root.into(), place: format!("/{index}").into() };
            let mut mounts: Vec<_> = roots.iter().enumerate().map(of).collect();
            keep_widest(&mut mounts);
            mounts.into_iter().map(|mount| mount.place.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(kept(&["/a/b", "/", "/a"]), ["/1"]);
        assert_eq!(kept(&["/a/b", "/a", "/ab"]), ["/1", "/2"]);
        // A container's own mount, and the host's hierarchy at another place.
        assert_eq!(kept(&["/", "/../../.."]), ["/1"]);
        assert_eq!(kept(&["/", "/../../..", "/.."]), ["/1"]);
        // A cgroup next to that of the namespace.
        assert_eq!(kept(&["/", "/../other", "/../other/one"]), ["/1", "/0"]);
        assert_eq!(kept(&["/", "/"]), ["/0"]);
    }

    #[test]
    fn a_scan_ends_at_the_limit() {
        let tree = Tree::new("fit");
        for number in 0..9 {
            tree.make(number.to_string().as_bytes());
        }
        let mounts = tree.paths().mounts;
        assert_eq!(scan_mounts(&mounts, 9).0.len(), 9);
        assert!(!scan_mounts(&mounts, 9).1 && scan_mounts(&mounts, 10).1);
    }
}
