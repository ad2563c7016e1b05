// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets that lose their route inside the transmit step, by the BPF program
//! `tests/lab/bpf/late_mark.bpf.c`.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use libbpf_rs::ObjectBuilder;

use crate::{Context, Error, Fault, Result, cgroup};

/// The program, in a section with the alignment that libbpf requires.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/late_mark.bpf.o"));

/// Sets this mark of each socket of this process's cgroup that connects to this port from now on,
/// during its first retransmission.
///
/// A new mark makes a socket forget its route. The kernel has checked the route before, and IP
/// looks it up again after. If a policy rule has no route for the mark, the lookup fails.
///
/// # Errors
/// Returns an error without the required privileges, or if the kernel does not have such programs.
pub fn attach(port: u16, mark: u32) -> Result<Fault> {
    let mut object = ObjectBuilder::default().open_memory(OBJECT).context("cannot open the BPF object")?;
    let selection = [u32::from(port), mark].map(u32::to_ne_bytes).concat();
    object
        .maps_mut()
        .find(|map| map.name().to_string_lossy().ends_with(".rodata"))
        .ok_or_else(|| Error::new("the BPF object has no .rodata"))?
        .set_initial_value(&selection)
        .context("cannot set the port and the mark")?;
    let object = object.load().context("cannot load the BPF program late_mark")?;
    let program = object.progs_mut().next().ok_or_else(|| Error::new("no BPF program late_mark"))?;
    let cgroup = cgroup::own()?;
    let cgroup = File::open(&cgroup).with_context(|| format!("cannot open {cgroup:?}"))?;
    let link = program.attach_cgroup(cgroup.as_raw_fd()).context("cannot attach to the cgroup")?;
    Ok(Fault::new("a late mark", move || {
        drop(link);
        Ok(())
    }))
}
