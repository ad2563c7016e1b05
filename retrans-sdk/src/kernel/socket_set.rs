// SPDX-License-Identifier: MIT OR Apache-2.0
//! The set of sockets that a filter refers to as `mine`: their cookies in a BPF map.

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

/// The application's own sockets: the sockets that `cookie=mine` matches in the filter of a stream
/// ([`Filter::own_sockets`](crate::Filter::own_sockets)).
///
/// When the stream is opened, the set contains the TCP sockets of which the process has a file
/// descriptor. The application adds sockets that it creates later, before it connects them, so no
/// attempt is missed. Clones refer to the same set, and can be used from any thread.
///
/// The set identifies sockets by cookie, which is unique until the host reboots. A closed socket
/// need not be removed, and may still retransmit. A SYN-ACK has the cookie of the future accepted
/// socket, which is not known yet: match the port of the listener instead, `… --or kind=synack
/// sport=443`. The TCP subflows of an MPTCP socket belong to the kernel and are not in the set.
///
/// # Examples
///
/// ```no_run
/// use std::net::TcpStream;
///
/// use retrans_sdk::{Filter, Stream};
///
/// let mut stream = Stream::builder().filter(Filter::own_sockets()).open()?;
/// // A socket that is added before it connects also includes its handshake.
/// let socket = TcpStream::connect("192.0.2.1:443")?;
/// if let Some(set) = stream.live().and_then(|live| live.own_sockets()) {
///     set.add(&socket)?;
/// }
/// for event in stream.iter() {
///     println!("{}", event?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SocketSet(Arc<MapHandle>);

impl SocketSet {
    /// The maximum number of sockets in the set.
    pub const CAPACITY: u32 = 16_384;

    pub(super) fn new(map: MapHandle) -> Self {
        Self(Arc::new(map))
    }

    /// Adds a socket, which may already be in the set, and returns its cookie.
    ///
    /// Before Linux 5.19 this requires CAP_BPF, which the process may have given up since it opened
    /// the stream.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::System`] if it is not a socket, or the set contains
    ///   [`CAPACITY`](Self::CAPACITY) sockets
    /// - [`ErrorKind::MissingCapability`] if CAP_BPF is required and missing
    pub fn add(&self, socket: impl AsFd) -> Result<u64, Error> {
        let cookie = sockopt::socket_cookie(socket).map_err(|errno| Error::system("cannot read SO_COOKIE", errno))?;
        let added = self.0.update(&cookie.to_ne_bytes(), &[1], MapFlags::ANY);
        added.map_err(|error| cannot("add a socket to the set", error))?;
        Ok(cookie)
    }

    /// Removes a socket by its cookie, and returns whether it was in the set.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::MissingCapability`] if CAP_BPF is required and missing, as for
    /// [`add`](Self::add).
    pub fn remove(&self, cookie: u64) -> Result<bool, Error> {
        match self.0.delete(&cookie.to_ne_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == libbpf_rs::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(cannot("remove a socket from the set", error)),
        }
    }

    /// Adds the TCP sockets of which this process has a file descriptor.
    pub(super) fn add_all(&self) -> Result<(), Error> {
        let list_error = |error: std::io::Error| {
            Error::new(ErrorKind::System, "cannot list the sockets of this process").caused_by(error)
        };
        let this = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|errno| list_error(errno.into()))?;
        for entry in fs::read_dir("/proc/self/fd").map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            // Another thread may close it meanwhile.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let number = entry.file_name().to_str().and_then(|number| number.parse().ok());
            let (true, Some(number)) = (target.as_os_str().as_encoded_bytes().starts_with(b"socket:"), number) else {
                continue;
            };
            match pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) {
                Ok(socket) if is_tcp(&socket) => self.add(&socket).map(drop)?,
                Ok(_) | Err(Errno::BADF) => {}
                Err(errno) => return Err(list_error(errno.into())),
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
