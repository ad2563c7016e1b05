// SPDX-License-Identifier: MIT OR Apache-2.0
//! By a BPF program: `tests/bpf/packets.bpf.c`.
//!
//! What arrives is met by XDP on the link, which takes one program at a time; what is sent, and what leaves by the link, by a
//! program of the cgroup of this process, which refuses in either way. Since Linux 6.15: before, such a program cannot tell of
//! which namespace a packet is.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;

use libbpf_rs::{ObjectBuilder, ProgramMut};

use super::{First, Packets, Place, Verdict, Which};
use crate::cgroup;
use crate::netns_cookie::netns_cookie;
use crate::pair::LINK;
use crate::{Context, Error, Fault, Netns, Result};

/// The programs, in a section that is aligned as libbpf reads it.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packets.bpf.o"));

pub(super) fn install(packets: &Packets, ns: &Netns, verdict: Verdict) -> Result<Fault> {
    let does = match (packets.place, verdict) {
        (Place::Input | Place::Output, Verdict::Drop) => DROP,
        (Place::Egress, Verdict::Drop) => DROP_AS_CONGESTED,
        (Place::Input, Verdict::CloseWindow) => CLOSE_WINDOW,
        _ => return Err(Error::new("no BPF program does that")),
    };
    let name = if packets.place == Place::Input { "input" } else { "output" };
    let what = format!("{name}: {packets:?} {verdict:?}");
    let rule = rule(packets, netns_cookie_of(ns)?, does);
    // Where a link's number is that of the namespace.
    let attached = ns.run(|| -> Result<_> {
        let mut object = ObjectBuilder::default().open_memory(OBJECT).context("cannot open the rules")?;
        object
            .maps_mut()
            .find(|map| map.name().to_string_lossy().ends_with(".rodata"))
            .ok_or_else(|| Error::new("the rules have no .rodata"))?
            .set_initial_value(&rule)
            .context("cannot set a rule")?;
        object.progs_mut().for_each(|mut program| program.set_autoload(program.name() == name));
        let object = object.load().context("cannot load a rule")?;
        let program = object.progs_mut().find(|program| program.name() == name);
        let program = program.ok_or_else(|| Error::new(format!("no program is called {name}")))?;
        let link = attach(&program, packets.place)?;
        Ok((object, link))
    })?;
    Ok(Fault::new(what, move || {
        let (_object, link) = attached;
        drop(link);
        Ok(())
    }))
}

fn attach(program: &ProgramMut<'_>, place: Place) -> Result<libbpf_rs::Link> {
    if place == Place::Input {
        let index = nix::net::if_::if_nametoindex(LINK).with_context(|| format!("no link {LINK}"))?;
        return program.attach_xdp(index as i32).context("cannot attach to the link");
    }
    let cgroup = cgroup::own()?;
    let cgroup = File::open(&cgroup).with_context(|| format!("cannot open {cgroup:?}"))?;
    program.attach_cgroup(cgroup.as_raw_fd()).context("cannot attach to the cgroup")
}

/// As in the program, where the first two are what one of a cgroup returns: a packet is refused with -EPERM, or NET_XMIT_DROP.
const DROP: u8 = 0;
const DROP_AS_CONGESTED: u8 = 2;
const CLOSE_WINDOW: u8 = 16;

/// `struct rule`.
fn rule(packets: &Packets, netns: u64, does: u8) -> Vec<u8> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let Packets { place: _, sport, dport, first, at_least, which } = *packets;
    let flags = match first {
        None => [0, 0],
        Some(First::Syn) => [SYN | ACK, SYN],
        Some(First::Synack) => [SYN | ACK, SYN | ACK],
    };
    let (which, number) = match which {
        None => (0, 0),
        Some(Which::Nth(index)) => (1, index),
        Some(Which::After(count)) => (2, count),
        Some(Which::PerMille(share)) => (3, share),
    };
    let mut rule = netns.to_ne_bytes().to_vec();
    rule.extend(at_least.unwrap_or(0).to_ne_bytes());
    rule.extend(number.to_ne_bytes());
    rule.extend([sport, dport].into_iter().flat_map(|port| port.unwrap_or(0).to_ne_bytes()));
    rule.extend([flags[0], flags[1], which, does]);
    rule
}

fn netns_cookie_of(ns: &Netns) -> Result<u64> {
    let socket = ns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).context("no socket")?;
    netns_cookie(&socket)
}
