// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel says of a socket's network namespace.

use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::GetSockOpt as _;
use nix::sys::socket::sockopt::GetStruct;

use crate::{Context, Result};

/// What a getsockopt() gives, beside the kernel side's own reading.
#[derive(Clone, Copy)]
struct NetnsCookie;

/// From asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;
nix::getsockopt_impl!(NetnsCookie, libc::SOL_SOCKET, SO_NETNS_COOKIE, u64, GetStruct<u64>);

/// The cookie of the namespace that a socket is in. Since Linux 5.14.
///
/// # Errors
/// When the kernel has no such option.
pub fn netns_cookie(socket: &impl AsFd) -> Result<u64> {
    NetnsCookie.get(socket).context("cannot read SO_NETNS_COOKIE")
}
