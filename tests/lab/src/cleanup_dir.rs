// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory of the kernel's that is removed in any case.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::{Context, Result};

/// Removes the directory named by its argument from where it stands, once its standard input is closed: by us, or by the
/// kernel however we end. It is busy for as long as anyone, a file indexer say, has a file of it open.
const CLEANER: &str = r#"
read -r _
tries=0
until rmdir "$1" 2>/dev/null || [ ! -d "$1" ] || [ $tries -ge 100 ]; do
    tries=$((tries + 1))
    sleep 0.05
done
"#;

/// A directory that means something to the kernel, such as a trace instance or a cgroup. It is removed on drop, and also when
/// this process is killed.
#[derive(Debug)]
pub(crate) struct CleanupDir {
    path: PathBuf,
    /// A process of its own, for the kernel does not remove it with whoever made it.
    cleaner: Child,
}

impl CleanupDir {
    /// Makes it.
    ///
    /// # Errors
    /// When it cannot be made, or there is no `sh`.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        Self::create_with_suffix(parent, OsStr::new(""))
    }

    /// Makes one whose name has this suffix.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub(crate) fn create_with_suffix(parent: &Path, suffix: &OsStr) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // They are everybody's: a process of another PID namespace may have our number.
        let now = clock_gettime(ClockId::Boottime);
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut name = OsString::from(format!("retrans-{process}-{next}-{}{:09}", now.tv_sec, now.tv_nsec));
        name.push(suffix);
        // First the cleaner, so that there is no moment in which the directory has none.
        let cleaner = Command::new("sh")
            .args(["-c", CLEANER, "cleaner"])
            .arg(&name)
            .current_dir(parent)
            // Ctrl-C is for the group of whoever runs the lab: the cleaner has to outlive that.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run `sh` in {parent:?}"))?;
        let mut dir = Self { path: parent.join(name), cleaner };
        if let Err(error) = fs::create_dir(&dir.path) {
            // If there is one, it is not ours to be removed.
            let _ = dir.cleaner.kill();
            return Err(error).with_context(|| format!("cannot make {:?}", dir.path));
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
