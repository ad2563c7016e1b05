// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network namespaces that do not outlive the process.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use crate::{Context, Fault, Result, command};

/// A network namespace that only a file descriptor keeps alive.
///
/// It has no name under /run/netns. The kernel removes it, with its links, rules and qdiscs, when
/// the last clone of this handle is dropped and the last socket in it is closed. This also holds if
/// the process was killed.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    inode: u32,
}

impl Netns {
    /// Creates a namespace that contains only a loopback device, which is down.
    ///
    /// # Errors
    /// Returns an error without CAP_SYS_ADMIN.
    pub fn new() -> Result<Self> {
        // The namespace is a property of a thread: a new thread does not change the caller's.
        let file = on_new_thread(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("cannot open /proc/thread-self/ns/net")
        })??;
        // The kernel numbers namespaces with an unsigned int, whatever the width of an inode
        // number.
        let inode = file.metadata().context("cannot stat the network namespace")?.ino() as u32;
        Ok(Self { file: Arc::new(file), inode })
    }

    /// Returns the namespace's inode number, as in `readlink /proc/PID/ns/net`; `ns.inum` in the
    /// kernel.
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// Returns a path by which another process can open this namespace while this handle exists.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `work` on a thread in the namespace and returns its result. Sockets that it creates
    /// stay in the namespace.
    ///
    /// # Panics
    /// Panics if `work` panics, with its panic. Also panics if the namespace cannot be entered any
    /// more because the process dropped its privileges.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.try_run(work) {
            Ok(value) => value,
            Err(e) => panic!("{e}"),
        }
    }

    fn try_run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_new_thread(|| {
            setns(&*self.file, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")?;
            Ok(work())
        })?
    }

    /// Returns the index of the link with this name.
    ///
    /// # Errors
    /// Returns an error if there is no such link.
    pub(crate) fn link_index(&self, link: &str) -> Result<u32> {
        self.try_run(|| nix::net::if_::if_nametoindex(link))?.with_context(|| format!("no link {link}"))
    }

    /// Returns whether there is a link with this name.
    ///
    /// # Errors
    /// Returns an error if this cannot be determined.
    pub(crate) fn has_link(&self, link: &str) -> Result<bool> {
        match self.try_run(|| nix::net::if_::if_nametoindex(link))? {
            Ok(_) => Ok(true),
            Err(Errno::ENODEV) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot look for the link {link}")),
        }
    }

    /// Runs a program in the namespace and returns its standard output.
    ///
    /// # Errors
    /// Returns an error if it cannot be started, runs too long, or fails. The error contains the
    /// command line, the status and its standard error.
    pub fn command(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(args);
        self.try_run(|| command::run(command))?
    }

    /// Runs a shell script in the namespace and returns its standard output. The script stops at
    /// the first failing command.
    ///
    /// # Errors
    /// Returns the errors of [`command`](Self::command).
    pub fn sh(&self, script: &str) -> Result<String> {
        self.command("sh", &["-e", "-c", script])
    }

    /// Reads a setting of this namespace, such as `net/ipv4/tcp_early_retrans`.
    ///
    /// # Errors
    /// Returns an error if the kernel does not have the setting.
    pub fn sysctl_get(&self, name: &str) -> Result<String> {
        let path = sysctl_path(name);
        let value = self.try_run(|| fs::read_to_string(&path))?.with_context(|| format!("cannot read {path:?}"))?;
        Ok(value.trim_end().to_owned())
    }

    /// Changes a setting of this namespace permanently.
    ///
    /// /proc/sys/net shows each thread the settings of its own namespace, so this works wherever
    /// /proc is mounted. It fails in a container with a read-only /proc/sys.
    ///
    /// # Errors
    /// Returns an error if this kernel does not have the setting, or /proc/sys is read-only.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = sysctl_path(name);
        self.try_run(|| fs::write(&path, value))?.with_context(|| format!("cannot write {value} to {path:?}"))
    }

    /// Changes a setting until the fault is lifted.
    ///
    /// # Errors
    /// Returns the errors of [`sysctl`](Self::sysctl).
    pub fn sysctl_scoped(&self, name: &str, value: &str) -> Result<Fault> {
        let before = self.sysctl_get(name)?;
        self.sysctl(name, value)?;
        let (ns, owned) = (self.clone(), name.to_owned());
        Ok(Fault::new(format!("{name}={value}"), move || ns.sysctl(&owned, &before)))
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// Runs `work` on a new thread. When the thread ends, it leaves whichever namespace it entered.
fn on_new_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker =
            thread::Builder::new().name("netns".into()).spawn_scoped(scope, work).context("cannot start a thread")?;
        Ok(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
