// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cookie of a socket's network namespace.

use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::GetSockOpt as _;
use nix::sys::socket::sockopt::GetStruct;

use crate::{Context, Result};

/// The getsockopt() option. It is independent of how the BPF programs read the cookie.
#[derive(Clone, Copy)]
struct NetnsCookie;

/// From asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;
nix::getsockopt_impl!(NetnsCookie, libc::SOL_SOCKET, SO_NETNS_COOKIE, u64, GetStruct<u64>);

/// Returns the cookie of the network namespace that a socket is in. Requires Linux 5.14.
///
/// # Errors
/// Returns an error if the kernel does not have the option.
pub fn netns_cookie(socket: &impl AsFd) -> Result<u64> {
    NetnsCookie.get(socket).context("cannot read SO_NETNS_COOKIE")
}
