// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network namespace that cannot be left behind.

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

/// A network namespace of its own, held by a file descriptor and by nothing else.
///
/// It is never given a name under /run/netns, so the kernel removes it, with its links, rules and qdiscs, when the
/// last clone of this handle and the last socket made inside are gone, even if the process was killed.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    inode: u32,
}

impl Netns {
    /// Makes an empty namespace, with nothing but a loopback device that is down.
    ///
    /// # Errors
    /// Mostly for want of CAP_SYS_ADMIN.
    pub fn new() -> Result<Self> {
        // A namespace belongs to a thread: a thread made for the purpose leaves the caller's where it was.
        let file = on_new_thread(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("cannot open /proc/thread-self/ns/net")
        })??;
        // The kernel numbers namespaces with an unsigned int, whatever the width of an inode.
        let inode = file.metadata().context("cannot stat the network namespace")?.ino() as u32;
        Ok(Self { file: Arc::new(file), inode })
    }

    /// The namespace's inode number: what `readlink /proc/PID/ns/net` shows and the kernel calls `ns.inum`.
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// A path by which another process can open this namespace while this handle lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs `work` on a thread inside the namespace and gives its result. Sockets made there stay there.
    ///
    /// # Panics
    /// When `work` does, with its panic; and when the namespace cannot be entered any more, which takes a process
    /// that gave up its privileges since.
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

    /// The number of the link with this name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn link_index(&self, link: &str) -> Result<u32> {
        self.try_run(|| nix::net::if_::if_nametoindex(link))?.with_context(|| format!("no link {link}"))
    }

    /// Whether there is a link with this name.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub(crate) fn has_link(&self, link: &str) -> Result<bool> {
        match self.try_run(|| nix::net::if_::if_nametoindex(link))? {
            Ok(_) => Ok(true),
            Err(Errno::ENODEV) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot look for the link {link}")),
        }
    }

    /// Runs a program inside and gives its standard output.
    ///
    /// # Errors
    /// When it cannot be started, takes too long, or fails; the error holds the command line, the status and what it
    /// wrote to standard error.
    pub fn command(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(args);
        self.try_run(|| command::run(command))?
    }

    /// Runs a shell script inside, stopping at its first failing command, and gives its standard output.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn sh(&self, script: &str) -> Result<String> {
        self.command("sh", &["-e", "-c", script])
    }

    /// Reads a setting of this namespace, such as `net/ipv4/tcp_early_retrans`.
    ///
    /// # Errors
    /// When this kernel does not have it.
    pub fn sysctl_get(&self, name: &str) -> Result<String> {
        let path = sysctl_path(name);
        let value = self.try_run(|| fs::read_to_string(&path))?.with_context(|| format!("cannot read {path:?}"))?;
        Ok(value.trim_end().to_owned())
    }

    /// Changes a setting of this namespace for good.
    ///
    /// /proc/sys/net shows each thread the settings of the namespace it is in, so this reaches the right one
    /// wherever /proc is mounted; it fails where a container made /proc/sys read-only.
    ///
    /// # Errors
    /// When this kernel does not have the setting, or /proc/sys is read-only.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = sysctl_path(name);
        self.try_run(|| fs::write(&path, value))?.with_context(|| format!("cannot write {value} to {path:?}"))
    }

    /// Changes a setting until the fault is lifted.
    ///
    /// # Errors
    /// As [`sysctl`](Self::sysctl).
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

/// Runs `work` on a thread of its own, so that whatever namespace it enters is left again when the thread ends.
fn on_new_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker =
            thread::Builder::new().name("netns".into()).spawn_scoped(scope, work).context("cannot start a thread")?;
        Ok(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
