// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the system calls of a script.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open, sendfile};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_congestion};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType,
    accept_with, bind, connect, connect_unspec, ipproto, listen, recvmsg, sendmsg, sendmsg_addr, shutdown, socket_with,
};
use rustix::pipe::{SpliceFlags, pipe, splice};

use crate::call::{Fd, Op};

/// The open descriptors of a script, by their numbers in it.
pub(crate) type Files = BTreeMap<Fd, Arc<OwnedFd>>;

/// The longest time for which a call on a socket blocks, even if the kernel departs from the
/// script.
const LIMIT: Duration = Duration::from_secs(5);

/// `SOCK_TYPE_MASK`: the bits of a socket's type that are not flags.
const KIND_MASK: u32 = 0xf;

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) result: io::Result<i64>,
    /// The descriptors that the call opened.
    pub(crate) opened: Vec<OwnedFd>,
}

/// The properties of the sockets that a script creates.
#[derive(Clone)]
pub(crate) struct Sockets {
    /// The address that `bind` or `connect` uses. It decides the family.
    pub(crate) address: SocketAddr,
    pub(crate) congestion_control: String,
}

/// Makes a call in the namespace of this thread.
pub(crate) fn execute(op: &Op, files: &Files, sockets: &Sockets) -> Done {
    let mut opened = Vec::new();
    let result = call(op, files, sockets, &mut opened);
    Done { result, opened }
}

fn call(op: &Op, files: &Files, sockets: &Sockets, opened: &mut Vec<OwnedFd>) -> io::Result<i64> {
    let address = sockets.address;
    let file = |fd: &Fd| files.get(fd).map(|file| file.as_fd()).ok_or(io::Error::from(Errno::BADF));
    match op {
        Op::Socket { kind } => {
            let domain = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::from_bits_retain(*kind as u32 & !KIND_MASK) | SocketFlags::CLOEXEC;
            let kind = SocketType::from_raw(*kind as u32 & KIND_MASK);
            let made = socket_with(domain, kind, flags, Some(ipproto::TCP))?;
            // Accepted sockets inherit all three. The namespace's default cannot be set instead,
            // because Linux restricts it to the host's allowed ones (8d432592f30f).
            set_tcp_congestion(&made, &sockets.congestion_control)?;
            for which in [Timeout::Recv, Timeout::Send] {
                set_socket_timeout(&made, which, Some(LIMIT))?;
            }
            opened.push(made);
            Ok(0)
        }
        Op::Bind { fd } => Ok(bind(file(fd)?, &address).map(|()| 0)?),
        Op::Listen { fd, backlog } => Ok(listen(file(fd)?, *backlog).map(|()| 0)?),
        Op::Accept { fd } => {
            opened.push(accept_with(file(fd)?, SocketFlags::CLOEXEC)?);
            Ok(0)
        }
        Op::Connect { fd } => Ok(connect(file(fd)?, &address).map(|()| 0)?),
        Op::Disconnect { fd } => Ok(connect_unspec(file(fd)?).map(|()| 0)?),
        Op::Send { fd, lens: None, flags, .. } => send_null(file(fd)?, *flags),
        Op::Send { fd, lens: Some(lens), flags, connects } => {
            let buffers: Vec<_> = lens.iter().map(|len| vec![b'x'; *len]).collect();
            let iov: Vec<_> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
            let mut control = SendAncillaryBuffer::default();
            let flags = SendFlags::from_bits_retain(*flags as u32);
            let sent = if *connects {
                sendmsg_addr(file(fd)?, &address, &iov, &mut control, flags)
            } else {
                sendmsg(file(fd)?, &iov, &mut control, flags)
            };
            Ok(sent? as i64)
        }
        Op::Receive { fd, len: None, flags } => receive_null(file(fd)?, *flags),
        Op::Receive { fd, len: Some(len), flags } => {
            let mut buffer = vec![0; *len];
            let mut space = [MaybeUninit::uninit(); 1024];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::from_bits_retain(*flags as u32);
            Ok(recvmsg(file(fd)?, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)?.bytes as i64)
        }
        Op::SetOption { fd, level, name, value } => set_option(file(fd)?, *level, *name, value),
        Op::GetOption { fd, level, name } => get_option(file(fd)?, *level, *name),
        Op::GetFlags { fd } => Ok(fcntl_getfl(file(fd)?)?.bits().into()),
        Op::SetFlags { fd, flags } => Ok(fcntl_setfl(file(fd)?, OFlags::from_bits_retain(*flags as u32)).map(|()| 0)?),
        Op::Ioctl { fd, request } => query(file(fd)?, *request),
        Op::Shutdown { fd, how } => {
            let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both].get(*how as usize).copied();
            Ok(shutdown(file(fd)?, how.ok_or(Errno::INVAL)?).map(|()| 0)?)
        }
        // The thread of the call has the last reference, so this also waits for SO_LINGER.
        Op::Close { fd } => file(fd).map(|_| 0),
        Op::Poll { fd, events, limit } => {
            let mut all = [PollFd::from_borrowed_fd(file(fd)?, PollFlags::from_bits_retain(*events as u16))];
            Ok(poll(&mut all, Some(&timespec((*limit).min(LIMIT))))? as i64)
        }
        Op::EpollCreate => {
            opened.push(epoll::create(epoll::CreateFlags::CLOEXEC)?);
            Ok(0)
        }
        Op::EpollControl { epoll, action, fd, events } => {
            let (epoll, file) = (file(epoll)?, file(fd)?);
            let (events, data) = (epoll::EventFlags::from_bits_retain(*events as u32), epoll::EventData::new_u64(0));
            match *action {
                libc::EPOLL_CTL_ADD => epoll::add(epoll, file, data, events)?,
                libc::EPOLL_CTL_MOD => epoll::modify(epoll, file, data, events)?,
                _ => epoll::delete(epoll, file)?,
            }
            Ok(0)
        }
        Op::EpollWait { epoll, limit } => {
            let mut events = [MaybeUninit::uninit(); 8];
            let (ready, _) = epoll::wait(file(epoll)?, &mut events, Some(&timespec((*limit).min(LIMIT))))?;
            Ok(ready.len() as i64)
        }
        Op::Pipe { .. } => {
            let (read, write) = pipe()?;
            opened.extend([read, write]);
            Ok(0)
        }
        Op::Open { path } => {
            opened.push(open(
                OsStr::from_bytes(path),
                OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )?);
            Ok(0)
        }
        Op::Sendfile { to, from, len } => Ok(sendfile(file(to)?, file(from)?, None, *len)? as i64),
        Op::Splice { from, to, len } => {
            Ok(splice(file(from)?, None, file(to)?, None, *len, SpliceFlags::NONBLOCK)? as i64)
        }
    }
}

fn timespec(limit: Duration) -> Timespec {
    Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() }
}

fn result(value: isize) -> io::Result<i64> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value as i64) }
}

#[allow(unsafe_code)]
fn set_option(file: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<i64> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `value`, which outlives the call.
    result(unsafe { libc::setsockopt(file.as_raw_fd(), level, name, value.as_ptr().cast(), len) } as isize)
}

#[allow(unsafe_code)]
fn get_option(file: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i64> {
    let mut value = [0_u8; 512];
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `value`, and the new length to `len`.
    result(unsafe { libc::getsockopt(file.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &mut len) } as isize)
}

/// Makes a request that returns an integer: `TIOCINQ` or `TIOCOUTQ`.
#[allow(unsafe_code)]
fn query(file: BorrowedFd<'_>, request: i32) -> io::Result<i64> {
    if ![libc::TIOCINQ as i32, libc::TIOCOUTQ as i32].contains(&request) {
        return Err(Errno::NOTTY.into());
    }
    let mut value: libc::c_int = 0;
    // SAFETY: both requests write one int.
    result(unsafe { libc::ioctl(file.as_raw_fd(), request as libc::Ioctl, &mut value) } as isize)
}

/// Sends a byte at address 0, which is not mapped.
#[allow(unsafe_code)]
fn send_null(file: BorrowedFd<'_>, flags: i32) -> io::Result<i64> {
    // SAFETY: the kernel only reads the buffer, and checks that it can.
    result(unsafe { libc::send(file.as_raw_fd(), std::ptr::null(), 1, flags) })
}

/// Receives a byte to address 0, which is not mapped.
#[allow(unsafe_code)]
fn receive_null(file: BorrowedFd<'_>, flags: i32) -> io::Result<i64> {
    // SAFETY: the kernel does not write to an address that is not mapped.
    result(unsafe { libc::recv(file.as_raw_fd(), std::ptr::null_mut(), 1, flags) })
}
