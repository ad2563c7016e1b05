// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resolves socket owners: the BPF programs that record them (`bpf/owners.bpf.c`), each of which
//! may be unavailable, and the scan of file descriptors for sockets that the programs have not
//! seen.
//!
//! # Design
//!
//! The scan is a `task_file` BPF iterator. It has the socket and the task at once, in all network
//! namespaces. Socket dumps (`iter/tcp`, netlink) show one namespace, and their inode numbers,
//! which are reused, would have to be joined with the links in /proc/PID/fd.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind as IoErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libbpf_rs::{Iter, Link, MapCore as _, MapFlags, MapHandle, ObjectBuilder};

use super::libbpf_error::LibbpfError;
use super::libbpf_log::capture_log;
use super::plan::Plan;
use crate::error::{Error, ErrorKind};
use crate::event::owner::{Owner, OwnerSource};
use crate::event::tcp_enums::TcpState;
use crate::event::{Event, record};
use crate::kernel::owner_hooks::OwnerHooks;
use crate::kernel::support::Support;
use crate::sys::throttle::Throttle;

#[cfg(not(retrans_docs_only))]
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/owners.bpf.o"));
#[cfg(retrans_docs_only)]
const OBJECT: &[u8] = &[];

/// The maximum number of sockets with a known owner; the least recently used ones are evicted.
pub(super) const CAPACITY: u32 = 16_384;

/// A socket whose owner was not found is not looked up again for this time.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// The maximum number of such sockets that are remembered.
const MAX_ABSENT: usize = 4096;

/// The attached programs, and the map that they fill.
pub(super) struct SocketOwners {
    owners: MapHandle,
    links: Vec<Link>,
    scan: Option<Link>,
    pub(super) hooks: OwnerHooks,
    lookup: Mutex<Lookup>,
}

#[derive(Default)]
struct Lookup {
    throttle: Throttle,
    /// The sockets without a single owner, by cookie, and when to look them up again.
    absent: HashMap<u64, Instant>,
}

impl SocketOwners {
    /// Attaches the programs that the kernel allows, and then scans, so that no later owner is
    /// missed.
    pub(super) fn open(owners: MapHandle, plan: &Plan) -> Result<Self, Error> {
        let namespace = "/proc/self/ns/pid";
        let namespace = fs::metadata(namespace)
            .map_err(|error| Error::new(ErrorKind::System, format!("cannot read {namespace}")).caused_by(error))?;
        // Namespace inode numbers have 32 bits.
        let attach = |program: &str| attach(program, &owners, namespace.ino() as u32, plan);
        let (connect, connect_link) = as_support(attach("rt_connect"))?;
        let (accept, accept_link) = as_support(match plan.accept_parameters {
            Some(4) => attach("rt_accept_args4"),
            Some(2) => attach("rt_accept_args2"),
            _ => Err(Error::new(ErrorKind::Load, "BTF has no inet_csk_accept of two or four parameters")),
        })?;
        let (scan, scan_link) = as_support(attach("rt_scan_fds"))?;
        let hooks = OwnerHooks { connect, accept, scan };
        let links = connect_link.into_iter().chain(accept_link).collect();
        let opened = Self { owners, links, scan: scan_link, hooks, lookup: Mutex::default() };
        opened.scan_fds();
        Ok(opened)
    }

    /// Detaches the programs at connect and accept. Owners that are known, and scans, remain.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }

    /// Adds the owner to an event if the programs did not know it at the time of the attempt.
    pub(super) fn complete(&self, event: &mut Event) {
        // A request socket has no owner yet.
        let (None, Some(cookie)) = (event.pid, event.cookie.filter(|_| event.state != TcpState::NewSynRecv)) else {
            return;
        };
        let mut lookup = self.lookup.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if lookup.absent.get(&cookie).is_some_and(|until| now < *until) {
            return;
        }
        // Another event may have requested it.
        let mut found = self.owner_of(cookie);
        if found.is_none() && lookup.throttle.run(|| self.request_scan(cookie)).is_some() {
            found = self.owner_of(cookie);
            if found.is_none() {
                if lookup.absent.len() >= MAX_ABSENT {
                    lookup.absent.clear();
                }
                lookup.absent.insert(cookie, now + RETRY_AFTER);
            }
        }
        if let Some(owner) = found {
            owner.assign_to(event);
        }
    }

    fn owner_of(&self, cookie: u64) -> Option<Owner> {
        let value = self.owners.lookup(&cookie.to_ne_bytes(), MapFlags::ANY).ok()??;
        record::owner(value.first_chunk()?)
    }

    /// Requests an unknown socket and scans.
    fn request_scan(&self, cookie: u64) {
        // `struct retrans_owner`, of a holder that is not known yet.
        let mut entry = [0; 40];
        entry[4] = OwnerSource::Holder.raw() as u8;
        entry[32..].copy_from_slice(&cookie.to_ne_bytes());
        // Fails if the entry exists, or after privileges were given up; then no owner is found.
        let _ = self.owners.update(&cookie.to_ne_bytes(), &entry, MapFlags::NO_EXIST);
        self.scan_fds();
    }

    /// Scans all file descriptors in the kernel. If the kernel refuses, as after privileges were
    /// given up, no owner is found.
    fn scan_fds(&self) {
        let Some(Ok(mut scan)) = self.scan.as_ref().map(Iter::new) else { return };
        // The iterator prints nothing, and may pause.
        while matches!(scan.read(&mut [0; 64]), Err(error) if error.kind() == IoErrorKind::WouldBlock) {}
    }
}

/// Converts an error to a missing feature, except if memory or descriptors are exhausted.
fn as_support(attached: Result<Link, Error>) -> Result<(Support, Option<Link>), Error> {
    match attached {
        Ok(link) => Ok((Support::Available, Some(link))),
        Err(error) if error.is_exhaustion() => Err(error),
        Err(error) => Ok((Support::Unavailable { reason: error.in_short() }, None)),
    }
}

/// Loads one program of the object with the shared map, and attaches it.
fn attach(program: &str, owners: &MapHandle, pid_namespace: u32, plan: &Plan) -> Result<Link, Error> {
    // The other helper of the scan, bpf_sock_from_file(), is one version older.
    if !plan.has_cookie_helper {
        return Err(Error::new(
            ErrorKind::Load,
            "the helper bpf_get_socket_cookie() is not available to tracing programs (before Linux 5.12)",
        ));
    }
    if plan.raw_tracepoints {
        return Err(Error::new(ErrorKind::Load, format!("{program} requires the kernel's own BTF")));
    }
    // Each error is converted where it occurs: closing an opened object overwrites errno.
    let not_found = || LibbpfError::new(libbpf_rs::Error::from(std::io::Error::from(IoErrorKind::NotFound)));
    let load = || -> Result<Link, LibbpfError> {
        let mut builder = ObjectBuilder::default();
        if let Some(types) = plan.types() {
            builder.btf_custom_path(types).map_err(LibbpfError::new)?;
        }
        let mut open = builder.open_memory(OBJECT).map_err(LibbpfError::new)?;
        for mut map in open.maps_mut() {
            if map.name() == OsStr::new("rt_owners") {
                map.reuse_fd(owners.as_fd()).map_err(LibbpfError::new)?;
            } else if map.name().as_encoded_bytes().ends_with(b".rodata") {
                // Its only constant.
                let data = map.initial_value_mut().and_then(|data| data.first_chunk_mut());
                *data.ok_or_else(not_found)? = pid_namespace.to_ne_bytes();
            }
        }
        for mut other in open.progs_mut() {
            let entry = other.name() == OsStr::new(program);
            other.set_autoload(entry);
        }
        let object = open.load().map_err(LibbpfError::new)?;
        // The link keeps the program alive, and the program keeps the map.
        let found = object.progs_mut().find(|found| found.name() == OsStr::new(program));
        let attached = found.ok_or_else(not_found)?.attach();
        attached.map_err(LibbpfError::new)
    };
    let (link, log) = capture_log(load);
    link.map_err(|error| {
        let log = super::btf::indent(&log);
        error.cause(Error::new(ErrorKind::Load, format!("cannot attach {program}"))).with_detail(log)
    })
}
