// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving up privileges that only opening a stream requires.

use std::fs;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Error, ErrorKind};

/// Gives up the user and all capabilities of this process, for good: supplementary groups, group, user and
/// capabilities, in the one order that the kernel accepts, with `no_new_privs` set before. An open stream, its
/// counters and its reconciler go on.
///
/// `uid` and `gid` (65534 is nobody on most systems) are taken only if the process is root; any other user stays
/// the same. Requires no capability beyond what is given up. Call it after [`open`](crate::StreamBuilder::open) and before
/// starting threads, since the kernel keeps user and capabilities for each thread.
///
/// ```no_run
/// use retrans_sdk::Stream;
/// use retrans_sdk::attach::drop_privileges;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut stream = Stream::builder().filter("result!=success".parse()?).open()?;
/// drop_privileges(65534, 65534)?;
/// for event in stream.iter() {
///     println!("{}", event?);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ErrorKind::System`] if the process has other threads (nothing is given up then), if the kernel refuses a
/// step, or if capabilities are left after all steps.
pub fn drop_privileges(uid: u32, gid: u32) -> Result<(), Error> {
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count);
    let threads = threads
        .map_err(|error| Error::new(ErrorKind::System, "cannot count the threads of this process").caused_by(error))?;
    if threads > 1 {
        let message = format!(
            "cannot drop privileges: this process has {threads} threads, and each would keep its own; call \
             drop_privileges before starting threads"
        );
        return Err(Error::new(ErrorKind::System, message));
    }
    let refused = |what: &'static str| move |errno| Error::system(what, errno);
    set_no_new_privs(true).map_err(refused("cannot set no_new_privs"))?;
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_groups(&[]).map_err(refused("cannot drop the supplementary groups"))?;
        set_thread_res_gid(gid, gid, gid).map_err(refused("cannot change the group"))?;
        set_thread_res_uid(uid, uid, uid).map_err(refused("cannot change the user"))?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(refused("cannot drop the capabilities"))?;
    let left = capabilities(None).map_err(refused("cannot read the capabilities"))?;
    if !(left.effective | left.permitted | left.inheritable).is_empty() {
        return Err(Error::new(ErrorKind::System, "cannot drop the capabilities: some are still held"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_up_while_there_are_other_threads() {
        // The test harness runs this in a thread of its own.
        let before = capabilities(None).expect("capabilities");
        let error = drop_privileges(65534, 65534).expect_err("threads");
        assert!(error.to_string().contains("threads"), "{error}");
        assert_eq!(capabilities(None).expect("capabilities"), before);
    }
}
