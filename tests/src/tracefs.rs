// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where tracefs is, mounted or not.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::{Context, Result};

const USUAL_PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

#[derive(Debug)]
enum Tracefs {
    Mounted(&'static str),
    /// A mount that was never attached to a directory. It is reached through its descriptor and goes with it, so
    /// there is nothing to unmount and nothing that a killed process could leave behind.
    Detached(OwnedFd),
}

/// A directory with tracefs in it, good for the life of this process.
pub(crate) fn root() -> Result<PathBuf> {
    static FOUND: Mutex<Option<Tracefs>> = Mutex::new(None);
    // A failure is not remembered: privileges may come later. A panic elsewhere has nothing to do with this.
    let mut found = FOUND.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if found.is_none() {
        *found = Some(find()?);
    }
    Ok(match found.as_ref() {
        Some(Tracefs::Mounted(path)) => PathBuf::from(path),
        Some(Tracefs::Detached(fd)) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
        None => unreachable!("it was found above"),
    })
}

fn find() -> Result<Tracefs> {
    // Not merely the directory: it exists, empty, where tracefs is not mounted.
    if let Some(path) = USUAL_PLACES.into_iter().find(|p| fs::exists(Path::new(p).join("instances")).unwrap_or(false)) {
        return Ok(Tracefs::Mounted(path));
    }
    let mount = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    Ok(Tracefs::Detached(mount().context("tracefs is not mounted, and cannot be")?))
}
