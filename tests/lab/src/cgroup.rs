// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cgroups of the unified hierarchy, in which sockets are created.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cleanup_dir::CleanupDir;
use crate::{Context, Error, Result};

/// A child cgroup of this process's cgroup. It is removed on drop, and also when this process is
/// killed. Sockets that were created in it do not keep it.
#[derive(Debug)]
pub struct Cgroup {
    dir: CleanupDir,
    id: u64,
}

impl Cgroup {
    /// Creates a child of the cgroup that this process is in.
    ///
    /// # Errors
    /// Returns an error without the required privileges, or if the unified hierarchy is not
    /// mounted.
    pub fn new() -> Result<Self> {
        Self::with_suffix(OsStr::new(""))
    }

    /// Creates a child whose name has this suffix. The suffix may contain any bytes except `/`,
    /// newline and NUL.
    ///
    /// # Errors
    /// Returns the errors of [`new`](Self::new).
    pub fn with_suffix(suffix: &OsStr) -> Result<Self> {
        let dir = CleanupDir::create_with_suffix(&own()?, suffix)?;
        let id = fs::metadata(dir.path()).context("cannot stat a cgroup")?.ino();
        Ok(Self { dir, id })
    }

    /// Returns its id, which events contain and filters accept.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `work` with the whole process in this cgroup.
    ///
    /// # Errors
    /// Returns an error if the process cannot be moved into the cgroup, or back.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        run_in(self.dir.path(), work)
    }

    /// Runs `work` with the whole process in the root of the hierarchy.
    ///
    /// # Errors
    /// Returns the errors of [`run`](Self::run).
    pub fn run_in_root<T>(work: impl FnOnce() -> T) -> Result<T> {
        run_in(&own_and_root()?.1, work)
    }
}

fn run_in<T>(cgroup: &Path, work: impl FnOnce() -> T) -> Result<T> {
    struct Back(PathBuf);
    impl Drop for Back {
        fn drop(&mut self) {
            // If this fails, the cgroup cannot be removed either, and that failure is noticed.
            let _ = enter(&self.0);
        }
    }
    let before = own()?;
    let back = Back(before.clone());
    enter(cgroup)?;
    let result = work();
    drop(back);
    if own()? != before {
        return Err(Error::new(format!("cannot move back to cgroup {before:?}")));
    }
    Ok(result)
}

fn enter(cgroup: &Path) -> Result<()> {
    let path = cgroup.join("cgroup.procs");
    fs::write(&path, "0").with_context(|| format!("cannot write to {path:?}"))
}

/// Returns the directory of this process's cgroup, in the mount of the whole hierarchy.
pub(crate) fn own() -> Result<PathBuf> {
    own_and_root().map(|(own, _)| own)
}

fn own_and_root() -> Result<(PathBuf, PathBuf)> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mount = mounts.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        (line.contains(" - cgroup2 ") && words.get(3) == Some(&"/")).then(|| words[4])
    });
    match (path, mount) {
        (Some(path), Some(mount)) => Ok((Path::new(mount).join(path), PathBuf::from(mount))),
        _ => Err(Error::new("cgroup2 is not mounted")),
    }
}
