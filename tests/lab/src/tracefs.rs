// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds tracefs, mounted or not.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, fsconfig_create, fsmount, fsopen,
    mount, mount_change,
};

use crate::{Context, Result};

const USUAL_PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

#[derive(Debug)]
enum Tracefs {
    Mounted(&'static str),
    /// A mount that is not attached to a directory. It is accessed through its descriptor and
    /// released with it, so a killed process leaves nothing to unmount.
    Detached(OwnedFd),
}

/// Returns a directory with tracefs in it. It is valid while this process runs.
pub(crate) fn root() -> Result<PathBuf> {
    static FOUND: Mutex<Option<Tracefs>> = Mutex::new(None);
    // A failure is not cached: privileges may be granted later. A panic of another thread does not
    // affect the value.
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

/// The directory exists and is empty if tracefs is not mounted.
fn mounted() -> Option<&'static str> {
    USUAL_PLACES.into_iter().find(|p| fs::exists(Path::new(p).join("instances")).unwrap_or(false))
}

/// Makes tracefs available in a usual place to this thread and the programs that it starts. If it
/// must be mounted, only they see the mount.
///
/// # Errors
/// Returns an error without CAP_SYS_ADMIN, or without tracefs.
pub fn mount_for_this_thread() -> Result<()> {
    if mounted().is_some() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("cannot create a mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)
        .and_then(|()| mount("tracefs", USUAL_PLACES[0], "tracefs", MountFlags::empty(), None))
        .context("tracefs is not mounted and cannot be mounted")
}

fn find() -> Result<Tracefs> {
    if let Some(path) = mounted() {
        return Ok(Tracefs::Mounted(path));
    }
    let mount = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    Ok(Tracefs::Detached(mount().context("tracefs is not mounted and cannot be mounted")?))
}
