// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that needs its privileges at the start only.

use std::io;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// Becomes nobody, if it is root, and gives up all capabilities, and the ways to have more. A stream that is open goes on.
///
/// To be called before there are other threads: what the kernel calls a process's is each thread's own.
///
/// # Errors
///
/// If the kernel refuses.
pub fn give_up() -> io::Result<()> {
    set_no_new_privs(true)?;
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}
