// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory of a kernel file system that is always removed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::{Context, Result};

/// Removes the directory named by its argument once its standard input is closed. This process
/// closes it, or the kernel does when this process ends. The directory is busy while any process,
/// such as a file indexer, has one of its files open.
const CLEANER: &str = r#"
read -r _
tries=0
until rmdir "$1" 2>/dev/null || [ ! -d "$1" ] || [ $tries -ge 100 ]; do
    tries=$((tries + 1))
    sleep 0.05
done
"#;

/// A directory with a meaning to the kernel, such as a trace instance or a cgroup. It is removed on
/// drop, and also when this process is killed.
#[derive(Debug)]
pub(crate) struct CleanupDir {
    path: PathBuf,
    /// A helper process, because the kernel does not remove the directory when its creator ends.
    cleaner: Child,
}

impl CleanupDir {
    /// Creates the directory.
    ///
    /// # Errors
    /// Returns an error if it cannot be created, or if there is no `sh`.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        Self::create_with_suffix(parent, OsStr::new(""))
    }

    /// Creates a directory whose name has this suffix.
    ///
    /// # Errors
    /// Returns the errors of [`create`](Self::create).
    pub(crate) fn create_with_suffix(parent: &Path, suffix: &OsStr) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // The parent directory is shared: a process of another PID namespace may have the same PID.
        let now = clock_gettime(ClockId::Boottime);
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut name = OsString::from(format!("retrans-{process}-{next}-{}{:09}", now.tv_sec, now.tv_nsec));
        name.push(suffix);
        // The cleaner starts first, so that the directory always has one.
        let cleaner = Command::new("sh")
            .args(["-c", CLEANER, "cleaner"])
            .arg(&name)
            .current_dir(parent)
            // Ctrl-C signals the process group of the test, and the cleaner must outlive it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run `sh` in {parent:?}"))?;
        let mut dir = Self { path: parent.join(name), cleaner };
        if let Err(error) = fs::create_dir(&dir.path) {
            // This process did not create an existing directory, so it must not remove it.
            let _ = dir.cleaner.kill();
            return Err(error).with_context(|| format!("cannot create {:?}", dir.path));
        }
        Ok(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for CleanupDir {
    fn drop(&mut self) {
        drop(self.cleaner.stdin.take());
        let _ = self.cleaner.wait();
    }
}
