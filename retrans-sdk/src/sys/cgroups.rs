// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cgroup hierarchies of the host, and this process's cgroup in each of them.
//!
//! # Design
//!
//! A socket belongs to the cgroup v2 of the process that created it (`cgroup_sk_alloc()`), also on
//! a host that uses cgroup v1. There a container runtime without systemd's cgroup driver places a
//! container in v1 hierarchies only. In v2 the container remains in the cgroup of the process that
//! started it. This is the root without systemd, and `/system.slice/containerd.service` with it
//! (docker/for-linux issue 1293). All containers share that cgroup. The id of the root therefore
//! identifies no container. The cgroup of a process identifies its sockets only if the process has
//! the same cgroup in v1, or one above it.
//!
//! /proc/self/cgroup lists every hierarchy of the host, also those that are not mounted in this
//! mount namespace. It lists v2 only after its first mount.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use retrans_macros::reason_table;

use crate::text::escape::Escaped;

/// The cgroup versions of a host. They determine whether the cgroup of a socket is known.
///
/// # Examples
///
/// ```
/// use retrans_sdk::attach::CgroupMode;
///
/// assert_eq!(CgroupMode::Hybrid.to_string(), "hybrid");
/// println!("{}", CgroupMode::Hybrid.description());
/// ```
#[reason_table(key = "cgroups")]
#[non_exhaustive]
pub enum CgroupMode {
    /// cgroup v2 alone: events contain the cgroup of every socket since Linux 5.15.
    #[reason(value = "v2")]
    V2 = 0,
    /// cgroup v1 and v2: the root cgroup is not reported, and containers may share a cgroup.
    #[reason(value = "hybrid")]
    Hybrid = 1,
    /// cgroup v1 alone: events contain no cgroup.
    #[reason(value = "v1")]
    V1 = 2,
    /// No hierarchy is mounted, or /proc/self/cgroup cannot be read: the root cgroup is not
    /// reported.
    #[reason(value = "unknown")]
    Unknown = 3,
}

/// The hierarchies, with this process's cgroup in each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cgroups {
    /// True if this process is in the host's cgroup namespace.
    is_host_namespace: bool,
    /// The cgroup in v2.
    v2: Option<PathBuf>,
    /// The hierarchies of v1.
    v1: Vec<Hierarchy>,
}

/// A v1 hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Its controllers, or `name=NAME`.
    name: String,
    /// This process's cgroup.
    cgroup: PathBuf,
}

impl Hierarchy {
    /// Returns whether it controls resources. A named hierarchy does not. net_cls and net_prio
    /// exist only in v1, so they are also mounted on hosts whose containers are in v2.
    fn has_controllers(&self) -> bool {
        self.name.split(',').any(|name| !name.starts_with("name=") && !matches!(name, "net_cls" | "net_prio"))
    }
}

impl Cgroups {
    /// Reads the hierarchies.
    pub(crate) fn read() -> io::Result<Self> {
        /// The initial namespace (`PROC_CGROUP_INIT_INO`).
        const INITIAL: &str = "cgroup:[4026531835]";
        let namespace = fs::read_link("/proc/self/ns/cgroup").unwrap_or_default();
        let text = fs::read("/proc/self/cgroup")?;
        Ok(Self { is_host_namespace: namespace == Path::new(INITIAL), ..Self::parse(&text) })
    }

    /// Parses lines of `number:controllers:cgroup`. The line of v2 begins with `0::`.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut all = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let mut parts = line.splitn(3, |byte| *byte == b':');
            let (Some(number), Some(name), Some(cgroup)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let cgroup = PathBuf::from(OsString::from_vec(cgroup.to_vec()));
            if number == b"0" && name.is_empty() {
                all.v2 = Some(cgroup);
            } else {
                all.v1.push(Hierarchy { name: String::from_utf8_lossy(name).into_owned(), cgroup });
            }
        }
        all
    }

    /// Returns the mode of the host.
    pub(crate) fn mode(&self) -> CgroupMode {
        let uses_v1 = self.v1.iter().any(Hierarchy::has_controllers);
        match (&self.v2, uses_v1) {
            (Some(_), false) => CgroupMode::V2,
            (Some(_), true) => CgroupMode::Hybrid,
            (None, true) => CgroupMode::V1,
            (None, false) => CgroupMode::Unknown,
        }
    }

    /// Returns this process's cgroup in v2 as this cgroup namespace shows it, or the reason that
    /// the cgroup does not identify the sockets of this process.
    pub(crate) fn own(&self) -> Result<&Path, String> {
        let Some(own) = self.v2.as_deref() else {
            return Err(
                "cgroup v2 is not mounted on this host, so the kernel assigns every socket to the root cgroup".into()
            );
        };
        if self.mode() == CgroupMode::V2 {
            return Ok(own);
        }
        // In a cgroup namespace `/` is an arbitrary cgroup of the host, which containers may share.
        if own == Path::new("/") {
            return Err(
                "this host uses cgroup v1, and this process is in cgroup `/` of v2, which other containers may share"
                    .into(),
            );
        }
        // In another cgroup namespace paths of different hierarchies are not comparable.
        if !self.is_host_namespace || own.components().any(|part| part == Component::ParentDir) {
            return Err("this host uses cgroup v1, and in a cgroup namespace its hierarchies cannot be compared".into());
        }
        // Container runtimes and batch systems (Slurm, YARN) place their jobs in hierarchies of
        // controllers, and some of them not in systemd's. `cset shield` moves all processes of the
        // host to a cgroup of cpuset.
        let systemd = self.v1.iter().filter(|of| of.name == "name=systemd");
        let controllers = self.v1.iter().filter(|of| of.has_controllers() && of.name != "cpuset");
        match systemd.chain(controllers).find(|of| !own.starts_with(&of.cgroup)) {
            None => Ok(own),
            Some(Hierarchy { name, cgroup }) => Err(format!(
                "this host uses cgroup v1, and this process is in cgroup `{}` of v1 ({}) but in `{}` of v2, which other containers may share",
                Escaped::path(cgroup),
                Escaped::value(name),
                Escaped::path(own)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_host(text: &str) -> Cgroups {
        Cgroups { is_host_namespace: true, ..Cgroups::parse(text.as_bytes()) }
    }

    /// A hybrid host: the controllers, and then systemd's hierarchy and v2.
    fn hybrid(controllers: &str, systemd: &str, v2: &str) -> Cgroups {
        let names = ["rdma", "memory", "cpu,cpuacct", "net_cls,net_prio", "pids", "devices", "freezer"];
        let lines = names.iter().enumerate().map(|(index, name)| format!("{}:{name}:{controllers}\n", 12 - index));
        on_host(&format!("{}1:name=systemd:{systemd}\n0::{v2}\n", lines.collect::<String>()))
    }

    fn refused(cgroups: &Cgroups) -> String {
        cgroups.own().expect_err("shared")
    }

    #[test]
    fn a_name_in_an_error_is_escaped() {
        let cgroups = on_host("2:name=\x1b[2J,memory:/a\x07\n0::/b\n");
        let error = refused(&cgroups);
        assert!(error.contains(r"/a\u{7}` of v1 (name=\u{1b}[2J,memory) but in `/b` of v2"), "{error}");
    }

    #[test]
    fn a_host_with_v2_only_identifies_every_socket() {
        // A service; the root; a container with its own cgroup namespace; with the host's.
        for own in ["/system.slice/one two.service", "/", "/system.slice/docker-4f1c.scope", "/kubepods.slice/a:b"] {
            let cgroups = Cgroups::parse(format!("0::{own}\n").as_bytes());
            assert_eq!((cgroups.mode(), cgroups.own()), (CgroupMode::V2, Ok(Path::new(own))));
        }
        // Hierarchies that do not place containers.
        let tagged = Cgroups::parse(b"3:net_cls:/vpn\n2:net_cls,net_prio:/\n1:name=systemd:/\n0::/\n");
        assert_eq!((tagged.mode(), tagged.own()), (CgroupMode::V2, Ok(Path::new("/"))));
    }

    #[test]
    fn a_service_of_a_hybrid_host_is_identified() {
        // Debian 10, Ubuntu 20.04: controllers are enabled for some levels only.
        for controllers in ["/", "/system.slice", "/system.slice/ssh.service"] {
            let service = hybrid(controllers, "/system.slice/ssh.service", "/system.slice/ssh.service");
            assert_eq!(
                (service.mode(), service.own()),
                (CgroupMode::Hybrid, Ok(Path::new("/system.slice/ssh.service")))
            );
        }
        // `cset shield` moves all processes of the host.
        let ssh = "/system.slice/ssh.service";
        let shielded = format!("9:cpuset:/user\n8:memory:{ssh}\n1:name=systemd:{ssh}\n0::{ssh}\n");
        assert!(on_host(&shielded).own().is_ok());
        // Kubernetes with the cgroup driver `systemd`, in the host's cgroup namespace.
        let pod = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-2f.scope";
        assert_eq!(hybrid(pod, pod, pod).own(), Ok(Path::new(pod)));
    }

    #[test]
    fn a_container_of_v1_is_not_identified() {
        // Docker on a hybrid host, in the host's cgroup namespace.
        let docker = hybrid("/docker/4f1c", "/docker/4f1c", "/system.slice/containerd.service");
        let why = refused(&docker);
        assert!(why.contains("`/docker/4f1c` of v1 (name=systemd)") && why.contains("containerd.service"), "{why}");
        // Kubernetes with the cgroup driver `cgroupfs`.
        let pod = "/kubepods/besteffort/pod1/2f";
        assert!(hybrid(pod, pod, "/system.slice/containerd.service").own().is_err());
        // In a cgroup namespace of its own, whose roots are not comparable.
        let why = refused(&hybrid("/", "/", "/"));
        assert!(why.contains("uses cgroup v1") && why.contains("`/`"), "{why}");
        // Without systemd any controller counts.
        let without = on_host("4:memory:/docker/4f1c\n1:cpu:/\n0::/runtime\n");
        assert!(refused(&without).contains("`/docker/4f1c` of v1 (memory)"));
        assert!(on_host("4:memory:/run\n1:cpu:/\n0::/run/time\n").own().is_ok());
        // A job of Slurm, which is not in systemd's hierarchy.
        let slurmd = "/system.slice/slurmd.service";
        let job = "11:freezer:/slurm/uid_9/job_6/step_0\n4:memory:/slurm/uid_9/job_6/step_0/task_0\n3:cpu,cpuacct:/";
        assert!(refused(&on_host(&format!("{job}\n1:name=systemd:{slurmd}\n0::{slurmd}\n"))).contains("freezer"));
        // The same paths in a cgroup namespace, and a cgroup outside it.
        let same =
            "4:memory:/system.slice/x.service\n1:name=systemd:/system.slice/x.service\n0::/system.slice/x.service\n";
        assert!(on_host(same).own().is_ok());
        assert!(refused(&Cgroups::parse(same.as_bytes())).contains("namespace"));
        assert!(on_host("1:name=systemd:/\n4:memory:/\n0::/../x\n").own().is_err());
        // A named hierarchy with net_cls controls no resources.
        assert_eq!(Cgroups::parse(b"4:net_cls,name=x:/\n0::/a\n").mode(), CgroupMode::V2);
    }

    #[test]
    fn without_v2_no_socket_is_identified() {
        // CentOS 7 and Amazon Linux 2 (systemd 219), and a container on them.
        for cgroup in ["/", "/docker/4f1c"] {
            let cgroups = Cgroups::parse(format!("4:cpu,cpuacct:{cgroup}\n1:name=systemd:{cgroup}\n").as_bytes());
            assert_eq!(cgroups.mode(), CgroupMode::V1);
            assert!(refused(&cgroups).contains("v2 is not mounted"));
        }
        let none = Cgroups::parse(b"");
        assert_eq!(none.mode(), CgroupMode::Unknown);
        assert!(none.own().is_err());
    }
}
