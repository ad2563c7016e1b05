// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drops the privileges that only opening a stream requires.

use std::fs;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Error, ErrorKind};

/// Drops the root user and all capabilities of this process permanently. An open stream, its
/// counters and its reconciler continue to work.
///
/// The function sets `no_new_privs`. It then drops supplementary groups, group, user and
/// capabilities, in the one order that the kernel accepts.
///
/// If the real, effective or saved user is root, the process changes to `uid` and `gid`, which
/// requires CAP_SETUID and CAP_SETGID. On most systems 65534 is the unprivileged user and group.
/// Any other user stays the same. Call the function after [`open`](crate::StreamBuilder::open) and
/// before starting threads, since the kernel keeps user and capabilities for each thread.
///
/// # Examples
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
/// Returns [`ErrorKind::System`]
///
/// - if the process has other threads
/// - if `uid` is root, or an id is `u32::MAX`, which means "unchanged" to the kernel
/// - if root lacks the two capabilities
/// - if the kernel refuses a step, or if root or capabilities are left after the last step
///
/// In the first three cases no privileges are dropped.
pub fn drop_privileges(uid: u32, gid: u32) -> Result<(), Error> {
    let refused = |what: &'static str| move |errno| Error::system(what, errno);
    let failed = |why: String| Err(Error::new(ErrorKind::System, format!("cannot drop privileges: {why}")));
    if uid == 0 || uid == u32::MAX || gid == u32::MAX {
        return failed(format!("uid {uid} and gid {gid} are not an unprivileged user and a group"));
    }
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count);
    let threads = threads
        .map_err(|error| Error::new(ErrorKind::System, "cannot count the threads of this process").caused_by(error))?;
    if threads > 1 {
        return failed(format!(
            "this process has {threads} threads, and each would keep its privileges; call drop_privileges before \
             starting threads"
        ));
    }
    let is_root = has_root_user()?;
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    let held = capabilities(None).map_err(refused("cannot read the capabilities"))?.effective;
    if is_root && !held.contains(needed) {
        return failed("root requires CAP_SETUID and CAP_SETGID to become another user; start as that user".to_owned());
    }
    set_no_new_privs(true).map_err(refused("cannot set no_new_privs"))?;
    if is_root {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_groups(&[]).map_err(refused("cannot drop the supplementary groups"))?;
        set_thread_res_gid(gid, gid, gid).map_err(refused("cannot change the group"))?;
        set_thread_res_uid(uid, uid, uid).map_err(refused("cannot change the user"))?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(refused("cannot drop the capabilities"))?;
    let left = capabilities(None).map_err(refused("cannot read the capabilities"))?;
    if has_root_user()? || !(left.effective | left.permitted | left.inheritable).is_empty() {
        return failed("root or some capabilities are still held".to_owned());
    }
    Ok(())
}

/// Returns true if the real, effective, saved or file system user of this thread is root.
fn has_root_user() -> Result<bool, Error> {
    let path = "/proc/thread-self/status";
    let status = fs::read_to_string(path)
        .map_err(|error| Error::new(ErrorKind::System, format!("cannot read {path}")).caused_by(error))?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let ids = ids.ok_or_else(|| Error::new(ErrorKind::System, format!("no Uid in {path}")))?;
    Ok(ids.split_whitespace().any(|id| id == "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_kept_while_there_are_other_threads() {
        // The test harness runs each test in its own thread.
        let before = capabilities(None).expect("capabilities");
        let error = drop_privileges(65534, 65534).expect_err("threads");
        assert!(error.to_string().contains("threads"), "{error}");
        for (uid, gid) in [(0, 0), (u32::MAX, 65534), (65534, u32::MAX)] {
            let error = drop_privileges(uid, gid).expect_err("not a user");
            assert!(error.to_string().contains("not an unprivileged user"), "{error}");
        }
        assert_eq!(capabilities(None).expect("capabilities"), before);
    }
}
