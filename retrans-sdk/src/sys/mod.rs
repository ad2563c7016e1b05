// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to the host: its identity, cgroups, their paths and workloads, mounts, clocks, mapped
//! memory, privileges.

pub(crate) mod cgroup_paths;
pub(crate) mod cgroups;
pub(crate) mod clock;
pub(crate) mod host_id;
pub(crate) mod kallsyms;
pub(crate) mod mmap;
pub(crate) mod mountinfo;
pub(crate) mod privileges;
pub(crate) mod throttle;
pub(crate) mod workload;
