// SPDX-License-Identifier: MIT OR Apache-2.0
//! The set of sockets that a filter calls `mine`: their cookies, in a map that the programs look into.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use rustix::io::Errno;
use rustix::net::{ipproto, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::libbpf_error::LibbpfError;
use crate::error::{Error, ErrorKind};

/// The sockets that an application calls its own: what `cookie=mine` means in the filter of a stream
/// ([`Filter::own_sockets`](crate::Filter::own_sockets)).
///
/// At the opening of the stream it has the TCP sockets of which the process has a descriptor then; what it makes later, it adds:
/// before it connects, so that no attempt is missed. Clones are of the same set, for any thread.
///
/// A socket goes by its cookie, which is unique until the host reboots, so the set need not be told of one that is closed: it
/// may yet retransmit. A SYN-ACK has the cookie that the accepted socket will have, which nobody knows then: take the
/// listener's by its port, `… --or kind=synack sport=443`. The TCP sockets beneath one of MPTCP are the kernel's, and not among them.
#[derive(Clone)]
pub struct SocketSet(Arc<MapHandle>);

impl SocketSet {
    /// How many there may be.
    pub const CAPACITY: u32 = 16_384;

    pub(super) fn new(map: MapHandle) -> Self {
        Self(Arc::new(map))
    }

    /// Adds a socket, and gives its cookie. It may be in already.
    ///
    /// Takes CAP_BPF before Linux 5.19, which a process may have given up since it opened the stream.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] if it is no socket, or there are [`CAPACITY`](Self::CAPACITY) already;
    /// [`ErrorKind::MissingCapability`] for want of CAP_BPF.
    pub fn add(&self, socket: impl AsFd) -> Result<u64, Error> {
        let cookie = sockopt::socket_cookie(socket).map_err(|errno| Error::system("cannot read SO_COOKIE", errno))?;
        let added = self.0.update(&cookie.to_ne_bytes(), &[1], MapFlags::ANY);
        added.map_err(|error| cannot("add a socket to the set", error))?;
        Ok(cookie)
    }

    /// Takes a socket out, by its cookie, and tells whether it was in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::MissingCapability`] for want of CAP_BPF, as [`add`](Self::add).
    pub fn remove(&self, cookie: u64) -> Result<bool, Error> {
        match self.0.delete(&cookie.to_ne_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(cannot("take a socket out of the set", error)),
        }
    }

    /// Adds the TCP sockets of which this process has a descriptor.
    pub(super) fn add_all(&self) -> Result<(), Error> {
        let cannot_look = |error: std::io::Error| {
            Error::new(ErrorKind::System, "cannot look for this process's sockets").caused_by(error)
        };
        let this = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|errno| cannot_look(errno.into()))?;
        for entry in fs::read_dir("/proc/self/fd").map_err(cannot_look)? {
            let entry = entry.map_err(cannot_look)?;
            // Another thread may close it meanwhile.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let number = entry.file_name().to_str().and_then(|number| number.parse().ok());
            let (true, Some(number)) = (target.as_os_str().as_encoded_bytes().starts_with(b"socket:"), number) else {
                continue;
            };
            match pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) {
                Ok(socket) if is_tcp(&socket) => self.add(&socket).map(drop)?,
                Ok(_) | Err(Errno::BADF) => {}
                Err(errno) => return Err(cannot_look(errno.into())),
            }
        }
        Ok(())
    }
}

fn is_tcp(socket: &OwnedFd) -> bool {
    sockopt::socket_protocol(socket).is_ok_and(|protocol| protocol == Some(ipproto::TCP))
}

fn cannot(what: &str, error: libbpf_rs::Error) -> Error {
    let error = LibbpfError::new(error);
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => ErrorKind::MissingCapability,
        _ => ErrorKind::System,
    };
    error.cause(Error::new(kind, format!("cannot {what}")))
}

impl fmt::Debug for SocketSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketSet").finish_non_exhaustive()
    }
}
