// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cgroups of the unified hierarchy, for sockets to be made in.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cleanup_dir::CleanupDir;
use crate::{Context, Error, Result};

/// A cgroup below that of this process. It is removed on drop, and also when this process is killed: sockets that were made in
/// it do not keep it.
#[derive(Debug)]
pub struct Cgroup {
    dir: CleanupDir,
    id: u64,
}

impl Cgroup {
    /// Makes one below the cgroup that this process is in.
    ///
    /// # Errors
    /// For want of privileges, and where the unified hierarchy is not mounted.
    pub fn new() -> Result<Self> {
        Self::with_suffix(OsStr::new(""))
    }

    /// Makes one whose name has this ending, of any bytes but `/`, newline and NUL.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_suffix(suffix: &OsStr) -> Result<Self> {
        let dir = CleanupDir::create_with_suffix(&own()?, suffix)?;
        let id = fs::metadata(dir.path()).context("cannot look at a cgroup")?.ino();
        Ok(Self { dir, id })
    }

    /// Its number, as the kernel and the filter have it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `work` with the whole process in this cgroup.
    ///
    /// # Errors
    /// When the process cannot be moved, or not back.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        struct Back(PathBuf);
        impl Drop for Back {
            fn drop(&mut self) {
                // Where this fails the cgroup cannot be removed either, which shows.
                let _ = enter(&self.0);
            }
        }
        let before = own()?;
        let back = Back(before.clone());
        enter(self.dir.path())?;
        let result = work();
        drop(back);
        if own()? != before {
            return Err(Error::new(format!("cannot go back to {before:?}")));
        }
        Ok(result)
    }
}

fn enter(cgroup: &Path) -> Result<()> {
    let path = cgroup.join("cgroup.procs");
    fs::write(&path, "0").with_context(|| format!("cannot write to {path:?}"))
}

/// The directory of this process's cgroup, by the mount of the whole hierarchy.
pub(crate) fn own() -> Result<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mount = mounts.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        (line.contains(" - cgroup2 ") && words.get(3) == Some(&"/")).then(|| words[4])
    });
    match (path, mount) {
        (Some(path), Some(mount)) => Ok(Path::new(mount).join(path)),
        _ => Err(Error::new("the unified hierarchy of cgroups is not mounted")),
    }
}
