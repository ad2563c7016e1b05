// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workload of a cgroup: a pod, a container or a systemd unit, without a Kubernetes API.
//!
//! # Design
//!
//! The path of a cgroup contains the UID of a pod, the id of a container and its runtime, or the
//! name of a systemd unit. The kubelet names its log files after the pods and containers
//! (`/var/log/pods`, `/var/log/containers`), so the names of a pod need no API either.
//!
//! A container or a user may create cgroups below its own, with any names, such as that of a pod.
//! Therefore the outermost pod or container of a path is reported, and a pod is not recognized
//! below a container, a scope or `user.slice`. So the pods of a node that is itself a container
//! ("Kubernetes in Docker") are reported as that container.
//!
//! Only a cgroup that exists has a path, so a cgroup must be found before it is removed.
//! [`Workloads::refresh`] scans for new ones, and the scans are limited as those of `CgroupPaths`
//! are.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use retrans_macros::reason_table;

use crate::sys::cgroup_paths::CgroupPaths;
use crate::sys::cgroups::{CgroupMode, Cgroups};
use crate::sys::host_id::{is_hex_digit, is_uuid};
use crate::sys::throttle::Throttle;

/// The runtime of a container, as far as the name of its cgroup shows it.
///
/// The cgroup driver `cgroupfs` names the cgroup of a container in a pod after the container alone.
/// Then the runtime is not known.
///
/// # Examples
///
/// ```
/// use retrans_sdk::host::ContainerRuntime;
///
/// assert_eq!(ContainerRuntime::Crio.to_string(), "crio");
/// ```
#[reason_table(key = "runtime")]
#[non_exhaustive]
pub enum ContainerRuntime {
    /// containerd, by its CRI plugin (`cri-containerd-`).
    #[reason(value = "containerd")]
    Containerd = 0,
    /// CRI-O (`crio-`).
    #[reason(value = "crio")]
    Crio = 1,
    /// Docker (`docker-`, or a cgroup in `/docker`).
    #[reason(value = "docker")]
    Docker = 2,
    /// Podman (`libpod-`).
    #[reason(value = "podman")]
    Podman = 3,
}

/// The quality of service class of a pod, as the name of its cgroup shows it.
///
/// # Examples
///
/// ```
/// use retrans_sdk::host::QosClass;
///
/// assert_eq!(QosClass::BestEffort.to_string(), "besteffort");
/// ```
#[reason_table(key = "qos")]
#[non_exhaustive]
pub enum QosClass {
    /// The pod's cgroup is not in the cgroup of another class.
    #[reason(value = "guaranteed")]
    Guaranteed = 0,
    /// The pod's cgroup is in `burstable`.
    #[reason(value = "burstable")]
    Burstable = 1,
    /// The pod's cgroup is in `besteffort`.
    #[reason(value = "besteffort")]
    BestEffort = 2,
}

/// A workload: a pod or container, or else a systemd unit. All fields are `None` if it is not
/// known.
///
/// # Examples
///
/// ```
/// use std::path::Path;
///
/// use retrans_sdk::host::Workload;
///
/// let workload = Workload::from_cgroup_path(Path::new("/system.slice/ssh.service"));
/// assert_eq!(workload.unit.as_deref(), Some("ssh.service"));
/// assert!(Workload::from_cgroup_path(Path::new("/")).is_unknown());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Workload {
    /// The systemd unit of the host, such as `ssh.service`. `None` for a pod or container.
    pub unit: Option<String>,
    /// The runtime of the container.
    pub runtime: Option<ContainerRuntime>,
    /// The id of the container: 64 hexadecimal digits.
    pub container_id: Option<String>,
    /// The UID of the pod: a UUID, or 32 hexadecimal digits for a static pod.
    pub pod_uid: Option<String>,
    /// The class of the pod.
    pub qos: Option<QosClass>,
    /// The namespace of the pod. Only [`Workloads`] finds it.
    pub namespace: Option<String>,
    /// The name of the pod. Only [`Workloads`] finds it.
    pub pod: Option<String>,
    /// The name of the container in its pod. Only [`Workloads`] finds it.
    pub container: Option<String>,
}

/// The length of a container's id.
const CONTAINER_ID_LEN: usize = 64;
/// The maximum length of a unit's name (`UNIT_NAME_MAX` in systemd).
const UNIT_NAME_MAX: usize = 255;
/// The suffixes of units that contain processes. A slice contains units.
const UNIT_SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

impl Workload {
    /// Returns the workload that the path of a cgroup names. Reads no file, so it finds no names of
    /// pods.
    ///
    /// The path begins at the root of the hierarchy, as [`CgroupPaths::path`] returns it.
    #[must_use]
    pub fn from_cgroup_path(path: &Path) -> Self {
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_str().unwrap_or_default()),
            _ => None,
        });
        let mut workload = Self::default();
        let mut parents = Vec::new();
        for name in names.clone() {
            // Older versions of containerd write the pod's slice into the name of the container:
            // `kubepods-…-podUID.slice:cri-containerd:ID`.
            let slice = name.split(':').next().unwrap_or_default();
            let is_first = workload.is_unknown() && !is_delegated(&parents);
            if let (true, Some((uid, qos))) = (is_first, pod_of(slice, &parents)) {
                workload = Self { pod_uid: Some(uid), qos: Some(qos), ..Self::default() };
            }
            if let (None, Some((id, runtime))) = (&workload.container_id, container_of(name, &parents)) {
                let in_pod = workload.pod_uid.is_some();
                // Without the prefix of a runtime, only the cgroup of a pod or `/docker` proves
                // that the name is the id of a container.
                if in_pod || runtime.is_some() {
                    workload.container_id = Some(id.to_owned());
                    workload.runtime = runtime;
                }
            }
            parents.push(name);
        }
        if workload.is_unknown() {
            workload.unit = unit_of(names);
        }
        workload
    }

    /// Returns true if nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.unit.is_none() && self.container_id.is_none() && self.pod_uid.is_none()
    }

    /// Returns true if a file of the kubelet may still add a name.
    fn lacks_names(&self) -> bool {
        self.pod_uid.is_some() && (self.pod.is_none() || (self.container_id.is_some() && self.container.is_none()))
    }
}

/// Returns true if not only the host's administrator may create cgroups below these, but also a
/// user, or a container or machine that runs in a scope or that LXC started.
fn is_delegated(parents: &[&str]) -> bool {
    parents.first() == Some(&"user.slice")
        || parents.iter().any(|name| name.ends_with(".scope") || name.starts_with("lxc"))
}

/// Returns the UID and the class of the pod whose cgroup has this name.
fn pod_of(name: &str, parents: &[&str]) -> Option<(String, QosClass)> {
    // The driver `systemd` puts the names of all parents into the name, and `_` for `-` into the
    // UID. A nested kubelet adds a prefix (`kubelet-kubepods-…`).
    let (uid, parent) = match name.strip_suffix(".slice") {
        Some(name) => {
            let (parent, pod) = name.rsplit_once('-')?;
            (pod.strip_prefix("pod")?.replace('_', "-"), parent)
        }
        None => (name.strip_prefix("pod")?.to_owned(), *parents.last()?),
    };
    let is_uid = is_uuid(&uid) || (uid.len() == 32 && uid.bytes().all(is_hex_digit));
    let in_kubepods = |name: &str| name.split('-').any(|part| part == "kubepods");
    if !is_uid || !(in_kubepods(parent) || parents.iter().any(|name| in_kubepods(name))) {
        return None;
    }
    let qos = match parent.rsplit('-').next() {
        Some("burstable") => QosClass::Burstable,
        Some("besteffort") => QosClass::BestEffort,
        _ => QosClass::Guaranteed,
    };
    Some((uid, qos))
}

/// Returns the id of the container whose cgroup has this name, and its runtime.
fn container_of<'a>(name: &'a str, parents: &[&str]) -> Option<(&'a str, Option<ContainerRuntime>)> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    // The id alone follows the prefix, so the monitors of Podman and CRI-O (`libpod-conmon-ID`) are
    // not mistaken for containers.
    let at = name.len().checked_sub(CONTAINER_ID_LEN)?;
    let (prefix, id) = (name.get(..at)?, name.get(at..)?);
    if !id.bytes().all(is_hex_digit) {
        return None;
    }
    let runtime = match prefix {
        "cri-containerd-" => Some(ContainerRuntime::Containerd),
        prefix if prefix.ends_with(":cri-containerd:") => Some(ContainerRuntime::Containerd),
        "crio-" => Some(ContainerRuntime::Crio),
        "docker-" => Some(ContainerRuntime::Docker),
        "libpod-" => Some(ContainerRuntime::Podman),
        "" if parents.last() == Some(&"docker") => Some(ContainerRuntime::Docker),
        "" => None,
        _ => return None,
    };
    Some((id, runtime))
}

/// Returns the unit of the system's service manager: the first cgroup below its slices, as
/// systemd's `cg_path_get_unit()` does.
fn unit_of<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    let unit = names.find(|name| !name.ends_with(".slice"))?;
    // systemd adds `_` to a name that would otherwise be the name of a file of the kernel.
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let has_suffix = UNIT_SUFFIXES.iter().any(|suffix| unit.len() > suffix.len() && unit.ends_with(suffix));
    (has_suffix && unit.len() <= UNIT_NAME_MAX && unit.bytes().all(is_valid)).then(|| unit.to_owned())
}

/// The names of pods and containers, from the names of the kubelet's log files.
#[derive(Debug)]
struct PodNames {
    pods_directory: PathBuf,
    containers_directory: PathBuf,
    /// Namespace and name by UID.
    pods: HashMap<String, (String, String)>,
    /// The name by the container's id.
    containers: HashMap<String, String>,
    /// Incremented by each scan.
    generation: u64,
    throttle: Throttle,
}

impl PodNames {
    fn new(pods_directory: PathBuf, containers_directory: PathBuf) -> Self {
        Self {
            pods_directory,
            containers_directory,
            pods: HashMap::new(),
            containers: HashMap::new(),
            generation: 0,
            throttle: Throttle::default(),
        }
    }

    /// Reads both directories, unless the last scan was too recent.
    fn scan(&mut self) {
        let Self { pods_directory, containers_directory, pods, containers, generation, throttle } = self;
        throttle.run(|| {
            *pods = names_in(pods_directory).filter_map(|name| pod_of_directory(&name)).collect();
            *containers = names_in(containers_directory).filter_map(|name| container_of_file(&name)).collect();
            *generation += 1;
        });
    }

    /// Adds the names that are known.
    fn add_to(&self, workload: &mut Workload) {
        if let Some((namespace, pod)) = workload.pod_uid.as_ref().and_then(|uid| self.pods.get(uid)) {
            workload.namespace = Some(namespace.clone());
            workload.pod = Some(pod.clone());
        }
        if let Some(name) = workload.container_id.as_ref().and_then(|id| self.containers.get(id)) {
            workload.container = Some(name.clone());
        }
    }
}

/// Returns the names in a directory, up to [`Workloads::CAPACITY`].
fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).take(Workloads::CAPACITY)
}

/// Parses `NAMESPACE_POD_UID`, the name of a directory in `/var/log/pods`.
fn pod_of_directory(name: &str) -> Option<(String, (String, String))> {
    let mut parts = name.split('_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let valid = parts.next().is_none() && is_kubernetes_name(namespace) && is_kubernetes_name(pod);
    valid.then(|| (uid.to_owned(), (namespace.to_owned(), pod.to_owned())))
}

/// Parses `POD_NAMESPACE_CONTAINER-ID.log`, the name of a link in `/var/log/containers`.
fn container_of_file(name: &str) -> Option<(String, String)> {
    let (_, container) = name.strip_suffix(".log")?.rsplit_once('_')?;
    let (container, id) = container.rsplit_once('-')?;
    let valid = id.len() == CONTAINER_ID_LEN && id.bytes().all(is_hex_digit) && is_kubernetes_name(container);
    valid.then(|| (id.to_owned(), container.to_owned()))
}

/// Returns true for a DNS subdomain, which is what names in Kubernetes are.
fn is_kubernetes_name(name: &str) -> bool {
    let is_valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_valid)
}

/// Resolves the ids of cgroups ([`Event::cgroup`](crate::Event::cgroup)) to workloads.
///
/// The results are cached, so the workload of a cgroup that is removed later stays known. Scans of
/// the cgroups and of the kubelet's directories use at most 2% of the calling thread's time each.
///
/// On a host with cgroup v1, unrelated containers may share a cgroup of v2
/// ([`CgroupMode`](crate::attach::CgroupMode)). There only a pod or a container that the path names
/// is reported, and never a systemd unit.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::Stream;
/// use retrans_sdk::host::Workloads;
///
/// let mut workloads = Workloads::new();
/// for event in Stream::open()?.iter() {
///     let event = event?;
///     let workload = event.cgroup.map(|id| workloads.workload(id));
///     println!("{} {:?}", event.result, workload.and_then(|workload| workload.unit.as_ref()));
/// }
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug)]
pub struct Workloads {
    /// `None` if the unified hierarchy is not mounted.
    paths: Option<CgroupPaths>,
    units_are_known: bool,
    names: PodNames,
    cache: HashMap<u64, Cached>,
    unknown: Workload,
}

#[derive(Debug)]
struct Cached {
    workload: Workload,
    /// The scan of names that it was completed with.
    generation: u64,
}

impl Workloads {
    /// The maximum number of cached workloads, and of cached names of pods and of containers.
    pub const CAPACITY: usize = CgroupPaths::CAPACITY;

    /// Finds the mounts of the unified hierarchy. Without one, every workload is unknown.
    #[must_use]
    pub fn new() -> Self {
        let mode = Cgroups::read().unwrap_or_default().mode();
        let names = PodNames::new("/var/log/pods".into(), "/var/log/containers".into());
        Self::with(CgroupPaths::new().ok(), mode, names)
    }

    fn with(paths: Option<CgroupPaths>, mode: CgroupMode, names: PodNames) -> Self {
        let units_are_known = mode == CgroupMode::V2;
        Self { paths, units_are_known, names, cache: HashMap::new(), unknown: Workload::default() }
    }

    /// Scans for new cgroups, unless the last scan was too recent.
    ///
    /// Call it regularly, such as every second. A cgroup that is removed before a scan and before
    /// its first event has no workload.
    pub fn refresh(&mut self) {
        if let Some(paths) = &mut self.paths {
            paths.refresh();
        }
    }

    /// Returns the workload of the cgroup with this id. It is unknown if the cgroup was removed
    /// before the first scan, or is not visible in this process's cgroup namespace.
    pub fn workload(&mut self, id: u64) -> &Workload {
        let lacks_names = self.cache.get(&id).map(|cached| cached.workload.lacks_names());
        if lacks_names != Some(false) && !self.complete(id) {
            return &self.unknown;
        }
        self.cache.get(&id).map_or(&self.unknown, |cached| &cached.workload)
    }

    /// Adds the workload to the cache, or its names if it is there. Returns false if the id has no
    /// path.
    fn complete(&mut self, id: u64) -> bool {
        if !self.cache.contains_key(&id) {
            let Some(path) = self.paths.as_mut().and_then(|paths| paths.path(id)) else { return false };
            let mut workload = Workload::from_cgroup_path(path);
            if !self.units_are_known {
                workload.unit = None;
            }
            if self.cache.len() >= Self::CAPACITY {
                self.cache.clear();
            }
            self.cache.insert(id, Cached { workload, generation: u64::MAX });
        }
        let Some(cached) = self.cache.get_mut(&id) else { return false };
        if cached.workload.lacks_names() {
            if cached.generation != self.names.generation {
                self.names.add_to(&mut cached.workload);
            }
            if cached.workload.lacks_names() {
                self.names.scan();
                self.names.add_to(&mut cached.workload);
            }
            cached.generation = self.names.generation;
        }
        true
    }
}

impl Default for Workloads {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const UID: &str = "7c1d3b1e-8a52-4d0c-9f6e-2b7a90c4e511";
    const STATIC: &str = "00112233445566778899aabbccddeeff";

    fn workload(path: &str) -> Workload {
        Workload::from_cgroup_path(Path::new(path))
    }

    /// Returns runtime, container, pod and class of a path that must have no unit.
    #[track_caller]
    fn parts(path: &str) -> (Option<ContainerRuntime>, Option<String>, Option<String>, Option<QosClass>) {
        let Workload { unit, runtime, container_id, pod_uid, qos, .. } = workload(path);
        assert_eq!(unit, None, "{path}");
        (runtime, container_id, pod_uid, qos)
    }

    #[test]
    fn each_runtime_is_identified_with_the_driver_systemd() {
        let uid = UID.replace('-', "_");
        let pod = |qos: &str| format!("/kubepods.slice/kubepods-{qos}.slice/kubepods-{qos}-pod{uid}.slice");
        let id = || Some(ID.to_owned());
        let of = |runtime, qos| (Some(runtime), id(), Some(UID.to_owned()), Some(qos));
        let containerd = of(ContainerRuntime::Containerd, QosClass::Burstable);
        assert_eq!(parts(&format!("{}/cri-containerd-{ID}.scope", pod("burstable"))), containerd);
        // A cgroup below the container's, in which it may run systemd.
        let nested = format!("{}/cri-containerd-{ID}.scope/system.slice/nginx.service", pod("burstable"));
        assert_eq!(parts(&nested), containerd);
        let crio = of(ContainerRuntime::Crio, QosClass::BestEffort);
        assert_eq!(parts(&format!("{}/crio-{ID}.scope/container", pod("besteffort"))), crio);
        let docker = of(ContainerRuntime::Docker, QosClass::Guaranteed);
        assert_eq!(parts(&format!("/kubepods.slice/kubepods-pod{uid}.slice/docker-{ID}.scope")), docker);
        // Without Kubernetes.
        let alone = |runtime| (Some(runtime), id(), None, None);
        assert_eq!(parts(&format!("/system.slice/docker-{ID}.scope")), alone(ContainerRuntime::Docker));
        assert_eq!(parts(&format!("/machine.slice/libpod-{ID}.scope/container")), alone(ContainerRuntime::Podman));
        let rootless = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope");
        assert_eq!(parts(&rootless), alone(ContainerRuntime::Podman));
    }

    #[test]
    fn each_runtime_is_identified_with_the_driver_cgroupfs() {
        let pod = format!("/kubepods/burstable/pod{UID}");
        let of = |runtime| (runtime, Some(ID.to_owned()), Some(UID.to_owned()), Some(QosClass::Burstable));
        // containerd and Docker use the id alone here.
        assert_eq!(parts(&format!("{pod}/{ID}")), of(None));
        assert_eq!(parts(&format!("{pod}/crio-{ID}")), of(Some(ContainerRuntime::Crio)));
        let guaranteed = (None, Some(ID.to_owned()), Some(STATIC.to_owned()), Some(QosClass::Guaranteed));
        assert_eq!(parts(&format!("/kubepods/pod{STATIC}/{ID}")), guaranteed);
        let alone = |runtime| (Some(runtime), Some(ID.to_owned()), None, None);
        assert_eq!(parts(&format!("/docker/{ID}")), alone(ContainerRuntime::Docker));
        assert_eq!(parts(&format!("/libpod_parent/libpod-{ID}")), alone(ContainerRuntime::Podman));
        // Older versions of containerd that are configured for the driver `systemd`, but run with
        // `cgroupfs`.
        let slice = format!("kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
        let path = format!("/system.slice/containerd.service/{slice}:cri-containerd:{ID}");
        assert_eq!(parts(&path), of(Some(ContainerRuntime::Containerd)));
        // The processes of the pod itself.
        assert_eq!(parts(&pod), (None, None, Some(UID.to_owned()), Some(QosClass::Burstable)));
    }

    #[test]
    fn the_outermost_pod_and_its_outermost_container_are_reported() {
        let uid = UID.replace('-', "_");
        let expected =
            (Some(ContainerRuntime::Containerd), Some(ID.to_owned()), Some(UID.to_owned()), Some(QosClass::BestEffort));
        let pod = format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice");
        let container = format!("{pod}/cri-containerd-{ID}.scope");
        assert_eq!(parts(&format!("/{container}")), expected);
        // A container, and a user, that create cgroups with the name of another pod.
        assert_eq!(parts(&format!("/{container}/kubepods/pod{STATIC}/{OTHER}")), expected);
        for delegated in [
            format!("/system.slice/docker-{OTHER}.scope"),
            format!("/docker/{OTHER}"),
            "/user.slice/user-1000.slice/user@1000.service".to_owned(),
            "/machine.slice/machine-vm.scope/payload".to_owned(),
            "/lxc.payload.100".to_owned(),
        ] {
            let (_, _, pod_uid, qos) = parts(&format!("{delegated}/{container}"));
            assert_eq!((pod_uid, qos), (None, None), "{delegated}");
        }
        // Kubernetes in Docker: the node is a container of the host.
        let kind = format!("/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-{container}");
        assert_eq!(parts(&kind), (Some(ContainerRuntime::Docker), Some(OTHER.to_owned()), None, None));
        // Docker in Docker.
        let nested = format!("/system.slice/docker-{ID}.scope/docker/{OTHER}");
        assert_eq!(parts(&nested), (Some(ContainerRuntime::Docker), Some(ID.to_owned()), None, None));
    }

    #[test]
    fn a_unit_is_the_first_cgroup_below_the_slices() {
        let unit = |path: &str| workload(path).unit;
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(unit("/system.slice/ssh.service"), some("ssh.service"));
        assert_eq!(unit("/system.slice/system-getty.slice/getty@tty1.service/sub"), some("getty@tty1.service"));
        assert_eq!(unit("/system.slice/dev-disk\\x2dby.swap"), some("dev-disk\\x2dby.swap"));
        assert_eq!(unit("/init.scope"), some("init.scope"));
        assert_eq!(unit("/user.slice/user-0.slice/user@0.service/app.slice/a.scope"), some("user@0.service"));
        assert_eq!(unit("/system.slice/_cpu.service"), some("cpu.service"));
        // Monitors of containers are units.
        let monitor = format!("libpod-conmon-{ID}.scope");
        assert_eq!(unit(&format!("/machine.slice/{monitor}")), some(&monitor));
        // Root, slices, other managers, names that systemd refuses.
        let long = format!("/{}.service", "a".repeat(300));
        for path in ["/", "/system.slice", "/lxc/web", "/.service", "/a b.service", "/a\nb.service", "/../x", &long] {
            assert!(workload(path).is_unknown(), "{path}");
        }
        // An id without anything that proves that it is one of a container.
        for path in [format!("/{ID}"), format!("/pod{UID}/{ID}"), format!("/kubepods/pod1/{ID}")] {
            assert!(workload(&path).is_unknown(), "{path}");
        }
        use std::os::unix::ffi::OsStrExt as _;
        assert!(Workload::from_cgroup_path(Path::new(std::ffi::OsStr::from_bytes(b"/\xff.service"))).is_unknown());
    }

    /// A directory that is removed with this value.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let tree = Self(std::env::temp_dir().join(format!("retrans-workload-{name}-{}", std::process::id())));
            fs::create_dir(&tree.0).expect("a directory");
            tree
        }

        fn make(&self, path: &str) -> u64 {
            let path = self.0.join(path.trim_start_matches('/'));
            fs::create_dir_all(&path).expect("a directory");
            fs::metadata(path).expect("it is there").ino()
        }

        /// Returns the workloads of a host whose cgroups are in `cgroups`, and its log files in
        /// `pods` and `containers`.
        fn host(&self, mode: CgroupMode) -> Workloads {
            let names = PodNames::new(self.0.join("pods"), self.0.join("containers"));
            let cgroups = self.0.join("cgroups");
            fs::create_dir_all(&cgroups).expect("a directory");
            Workloads::with(Some(CgroupPaths::of_directory(cgroups)), mode, names)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("it can be removed");
        }
    }

    #[test]
    fn names_are_found_in_the_log_files_of_the_kubelet() {
        let tree = Tree::new("names");
        let uid = UID.replace('-', "_");
        let pod = format!("/cgroups/kubepods.slice/kubepods-pod{uid}.slice");
        let id = tree.make(&format!("{pod}/cri-containerd-{ID}.scope"));
        let unit = tree.make("/cgroups/system.slice/ssh.service");
        let mut host = tree.host(CgroupMode::V2);
        assert_eq!(host.workload(unit).unit.as_deref(), Some("ssh.service"));
        let found = host.workload(id).clone();
        assert_eq!((found.pod_uid.as_deref(), &found.pod, &found.container), (Some(UID), &None, &None));
        // The kubelet creates the files after the cgroups.
        tree.make(&format!("/pods/shop_cart-0_{UID}"));
        tree.make("/pods/odd_name_with_more_parts");
        tree.make("/containers");
        for (name, id) in [("app.v1", ID), ("Not-a-name", OTHER)] {
            let link = tree.0.join(format!("containers/cart-0_shop_{name}-{id}.log"));
            symlink("/nonexistent", link).expect("a link");
        }
        host.names.throttle = Throttle::default();
        let found = host.workload(id).clone();
        let names = [&found.namespace, &found.pod, &found.container].map(|name| name.as_deref().unwrap_or_default());
        assert_eq!(names, ["shop", "cart-0", "app.v1"]);
        // A pod that was removed keeps its names.
        fs::remove_dir_all(tree.0.join("pods")).expect("it can be removed");
        fs::remove_dir_all(tree.0.join("cgroups/kubepods.slice")).expect("it can be removed");
        host.names.throttle = Throttle::default();
        assert_eq!(*host.workload(id), found);
        assert!(host.workload(u64::MAX).is_unknown());
    }

    #[test]
    fn a_new_cgroup_is_learned_before_its_first_event() {
        let tree = Tree::new("short");
        let mut host = tree.host(CgroupMode::V2);
        let id = tree.make("/cgroups/system.slice/job.service");
        host.refresh();
        // Moved, because a file system may reuse inode numbers. cgroups do not.
        fs::rename(tree.0.join("cgroups/system.slice"), tree.0.join("away")).expect("it can be moved");
        assert_eq!(host.workload(id).unit.as_deref(), Some("job.service"));
    }

    #[test]
    fn a_unit_of_a_host_with_v1_is_unknown() {
        let tree = Tree::new("v1");
        let unit = tree.make("/cgroups/system.slice/containerd.service");
        let container = tree.make(&format!("/cgroups/system.slice/docker-{ID}.scope"));
        for mode in [CgroupMode::Hybrid, CgroupMode::V1, CgroupMode::Unknown] {
            let mut host = tree.host(mode);
            assert!(host.workload(unit).is_unknown(), "containers may share it");
            assert_eq!(host.workload(container).container_id.as_deref(), Some(ID));
        }
        let names = PodNames::new("/nonexistent".into(), "/nonexistent".into());
        assert!(Workloads::with(None, CgroupMode::V1, names).workload(unit).is_unknown());
    }

    #[test]
    fn the_cache_is_bounded() {
        let tree = Tree::new("bounded");
        let unit = tree.make("/cgroups/a.service");
        let mut host = tree.host(CgroupMode::V2);
        let full = (0..Workloads::CAPACITY as u64)
            .map(|id| (u64::MAX - id, Cached { workload: Workload::default(), generation: 0 }));
        host.cache = full.collect();
        assert_eq!(host.workload(unit).unit.as_deref(), Some("a.service"));
        assert_eq!(host.cache.len(), 1);
        // The directories of the kubelet, too.
        for number in 0..20 {
            tree.make(&format!("/pods/a_b{number}_{number}"));
        }
        assert_eq!(names_in(&tree.0.join("pods")).take(Workloads::CAPACITY).count(), 20);
        assert_eq!(names_in(Path::new("/nonexistent")).count(), 0);
    }
}
