// SPDX-License-Identifier: MIT OR Apache-2.0
//! The output `--parquet`.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use retrans_examples::say;
use retrans_fleet::store::{CountsRecorder, Origin, Rotation, Store, StoreError};
use retrans_sdk::host::{HostId, Workload, Workloads};
use retrans_sdk::stats::Netns;
use retrans_sdk::stream::Live;
use retrans_sdk::{Event, Stream};

use crate::Output;

/// Creates the directory if it is missing. If this process is root, which it will not stay, the
/// unprivileged user becomes the owner of the new directory.
pub(crate) fn prepare(directory: &Path, user: u32) -> Result<(), Box<dyn Error>> {
    let failed = |error| format!("cannot create {}: {error}", directory.display());
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(failed)?;
        if rustix::process::geteuid().is_root() {
            chown(directory, Some(user), Some(user)).map_err(failed)?;
        }
    }
    Ok(())
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
        let store = Store::open(directory, host.clone(), origin.clone(), rotation)?;
        if store.torn() > 0 {
            say(format_args!("store removed torn={}: the files that an agent did not complete", store.torn()));
        }
        let reconciler = stream.live().and_then(Live::reconciler);
        let counts = CountsRecorder::new(
            directory,
            (host, origin, rotation),
            stream.stats_reader(),
            Netns::current()?,
            reconciler,
        );
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
