// SPDX-License-Identifier: MIT OR Apache-2.0
//! The output `--parquet`.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use retrans_examples::say;
use retrans_fleet::store::{CountsRecorder, Origin, Rotation, Store, StoreError};
use retrans_sdk::host::{HostId, Workload, Workloads};
use retrans_sdk::stats::Netns;
use retrans_sdk::stream::Live;
use retrans_sdk::{Event, Stream};
use rustix::fs::{Mode, OFlags};

use crate::Output;

/// Creates the directory if it is missing. If this process is root, which it will not stay, the
/// unprivileged user becomes the owner of the new directory.
pub(crate) fn prepare(directory: &Path, user: u32) -> Result<(), Box<dyn Error>> {
    let failed = |error: io::Error| format!("cannot create {}: {error}", directory.display());
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match fs::create_dir(directory) {
        Ok(()) if rustix::process::geteuid().is_root() => Ok(give(directory, user).map_err(failed)?),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error).into()),
        _ => Ok(()),
    }
}

/// Makes the user the owner of a directory. Fails if the path is a symbolic link or a file, because
/// a user who can write the parent could have replaced the directory.
fn give(directory: &Path, user: u32) -> io::Result<()> {
    // With a slash at the end of the path, the kernel would follow a link.
    let directory: PathBuf = directory.components().collect();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&directory, flags, Mode::empty())?;
    fchown(opened, Some(user), Some(user))
}

/// Stores the events and the counters of a stream.
pub(crate) struct Files {
    /// `None` after the end.
    store: Option<Store>,
    counts: CountsRecorder,
    workloads: Workloads,
    /// The workload that the last event of a cgroup had.
    shared: HashMap<u64, Arc<Workload>>,
}

impl Files {
    pub(crate) fn open(directory: &Path, age: Duration, stream: &Stream) -> Result<Self, Box<dyn Error>> {
        let rotation = Rotation { age, ..Rotation::default() };
        let host = HostId::read();
        let attachment = stream.live().map(Live::attachment);
        let origin = Origin {
            source: stream.live().map(|live| live.attach_method().to_string()).unwrap_or_default(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            observes_failures: attachment.is_some_and(|attachment| attachment.observes_failures()),
        };
        // Before the directory is searched, because its first interval begins here.
        let counts = CountsRecorder::new(
            directory,
            (host.clone(), origin.clone(), rotation),
            stream.stats_reader(),
            Netns::current()?,
            stream.live().and_then(Live::reconciler),
        );
        let store = Store::open(directory, host, origin, rotation)?;
        if store.torn() > 0 {
            say(format_args!("store removed torn={}: the files that an agent did not complete", store.torn()));
        }
        Ok(Self { store: Some(store), counts, workloads: Workloads::new(), shared: HashMap::new() })
    }

    /// Returns the workload of a cgroup. The events of a cgroup share it.
    fn workload(&mut self, cgroup: u64) -> Option<Arc<Workload>> {
        let workload = self.workloads.workload(cgroup);
        if workload.is_unknown() {
            return None;
        }
        if let Some(shared) = self.shared.get(&cgroup).filter(|shared| ***shared == *workload) {
            return Some(Arc::clone(shared));
        }
        let workload = Arc::new(workload.clone());
        if self.shared.len() >= Workloads::CAPACITY {
            self.shared.clear();
        }
        self.shared.insert(cgroup, Arc::clone(&workload));
        Some(workload)
    }
}

/// Reports an error. The agent continues, because the file system may have room again later.
fn report(result: Result<(), StoreError>) {
    if let Err(error) = result {
        say(format_args!("retrans-agent: {error}"));
    }
}

impl Output for Files {
    fn event(&mut self, event: &Event) {
        let workload = event.cgroup.and_then(|cgroup| self.workload(cgroup));
        if let Some(store) = &mut self.store {
            report(store.push(event, workload));
        }
    }

    fn tick(&mut self) -> Result<(), Box<dyn Error>> {
        self.workloads.refresh();
        if let Some(store) = &mut self.store {
            report(store.tick());
        }
        report(self.counts.tick());
        Ok(())
    }

    fn finish(&mut self) {
        report(self.counts.record());
        if let Some(mut store) = self.store.take() {
            report(store.finish());
            say(format_args!("store written={} lost={} torn={}", store.written(), store.lost(), store.torn()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    const USER: u32 = 65_534;

    #[test]
    fn only_a_new_directory_changes_its_owner() {
        let temporary = tempfile::tempdir().expect("a directory");
        let owner = |path: &Path| fs::metadata(path).expect("it exists").uid();
        let this = owner(temporary.path());
        let new = temporary.path().join("parent/new/");
        prepare(&new, USER).expect("created");
        let expected = if rustix::process::geteuid().is_root() { USER } else { this };
        assert_eq!((owner(&new), owner(&temporary.path().join("parent"))), (expected, this));

        let (target, link) = (temporary.path().join("target"), temporary.path().join("link"));
        fs::create_dir(&target).expect("created");
        symlink(&target, &link).expect("created");
        for path in [&target, &link] {
            prepare(path, USER).expect("it exists");
            assert_eq!(owner(&target), this, "{}", path.display());
        }
        // As if the new directory had been replaced.
        for path in [link.clone(), link.join("")] {
            assert!(give(&path, USER).is_err(), "{} is followed", path.display());
        }
        assert_eq!(owner(&target), this);
        let (missing, dangling) = (temporary.path().join("missing"), temporary.path().join("dangling"));
        symlink(&missing, &dangling).expect("created");
        prepare(&dangling, USER).expect("the store reports it");
        assert!(!missing.exists());
    }
}
