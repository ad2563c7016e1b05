// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packet rules by BPF programs: `tests/lab/bpf/packets.bpf.c`.
//!
//! XDP on the link sees packets that arrive. A link has room for one XDP program. A program of this
//! process's cgroup sees packets that are sent and packets that leave by the link, and can reject
//! both. This requires Linux 6.15: before, such a program cannot identify the namespace of a
//! packet.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use libbpf_rs::{Link, ObjectBuilder, ProgramMut, TC_EGRESS, TcHookBuilder, Xdp, XdpFlags};

use super::{First, Packets, Place, Verdict, Which};
use crate::cgroup;
use crate::netns_cookie::netns_cookie;
use crate::pair::LINK;
use crate::{Context, Error, Fault, Netns, Result};

/// The programs, in a section with the alignment that libbpf requires.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packets.bpf.o"));

pub(super) fn install(packets: &Packets, ns: &Netns, verdict: Verdict) -> Result<Fault> {
    let does = match (packets.place, verdict) {
        (Place::Input | Place::Output, Verdict::Drop) => DROP,
        (Place::Egress, Verdict::Drop) => DROP_AS_CONGESTED,
        (Place::Input, Verdict::CloseWindow) => CLOSE_WINDOW,
        _ => return Err(Error::new("no BPF program for this action")),
    };
    let name = if packets.place == Place::Input { "input" } else { "output" };
    let what = format!("{name}: {packets:?} {verdict:?}");
    let rule = rule(packets, netns_cookie_of(ns)?, does);
    // The program is attached in the namespace that the link's index belongs to.
    let attached = ns.run(|| -> Result<_> {
        let object = load(name, &rule)?;
        let program = object.progs_mut().find(|program| program.name() == name);
        let program = program.ok_or_else(|| Error::new(format!("no BPF program `{name}`")))?;
        attach(&program, packets.place)
    })?;
    let ns = ns.clone();
    Ok(Fault::new(what, move || match attached {
        Attached::Cgroup(link) => {
            drop(link);
            Ok(())
        }
        Attached::Link(program, index) => {
            let detach = || Xdp::new(program.as_fd()).detach(index, XDP);
            ns.run(detach).context("cannot detach XDP from the link")
        }
    }))
}

/// Attaches the program that drops packets at the egress of the link.
pub(super) fn install_at_egress(packets: &Packets, ns: &Netns) -> Result<Fault> {
    let rule = rule(packets, 0, DROP);
    ns.run(|| -> Result<()> {
        let object = load("tc_egress", &rule)?;
        let program = object.progs_mut().find(|program| program.name() == "tc_egress");
        let program = program.ok_or_else(|| Error::new("no BPF program `tc_egress`"))?;
        let index = nix::net::if_::if_nametoindex(LINK).with_context(|| format!("no link {LINK}"))? as i32;
        let mut hook = TcHookBuilder::new(program.as_fd()).ifindex(index).handle(1).priority(1).hook(TC_EGRESS);
        hook.create().context("cannot create clsact on the link")?;
        hook.attach().map(drop).context("cannot attach to clsact")
    })?;
    let ns = ns.clone();
    let what = format!("tc egress: {packets:?}");
    // The filter is removed with clsact, and holds the program until then.
    Ok(Fault::new(what, move || ns.command("tc", &["qdisc", "del", "dev", LINK, "clsact"]).map(drop)))
}

/// Loads one program of the object.
fn load(name: &str, rule: &[u8]) -> Result<libbpf_rs::Object> {
    let mut object =
        ObjectBuilder::default().open_memory(OBJECT).context("cannot open the BPF object of packet rules")?;
    object
        .maps_mut()
        .find(|map| map.name().to_string_lossy().ends_with(".rodata"))
        .ok_or_else(|| Error::new("the BPF object of packet rules has no .rodata"))?
        .set_initial_value(rule)
        .context("cannot set a packet rule")?;
    object.progs_mut().for_each(|mut program| program.set_autoload(program.name() == name));
    object.load().context("cannot load a packet rule")
}

/// The handle that keeps a program attached after its object is closed.
enum Attached {
    Cgroup(Link),
    /// The program's descriptor, and the index of the link to which it is attached while the link
    /// exists.
    Link(OwnedFd, i32),
}

/// The generic mode works with any driver. Without a mode, netkit of Linux 7.1 fails with
/// -EOPNOTSUPP, and netkit of 7.0 does not.
const XDP: XdpFlags = XdpFlags::SKB_MODE;

fn attach(program: &ProgramMut<'_>, place: Place) -> Result<Attached> {
    if place == Place::Input {
        let index = nix::net::if_::if_nametoindex(LINK).with_context(|| format!("no link {LINK}"))? as i32;
        let program = program.as_fd().try_clone_to_owned().context("cannot duplicate a program's descriptor")?;
        let attached = Xdp::new(program.as_fd()).attach(index, XDP | XdpFlags::UPDATE_IF_NOEXIST);
        attached.context("cannot attach XDP to the link")?;
        return Ok(Attached::Link(program, index));
    }
    let cgroup = cgroup::own()?;
    let cgroup = File::open(&cgroup).with_context(|| format!("cannot open {cgroup:?}"))?;
    program.attach_cgroup(cgroup.as_raw_fd()).map(Attached::Cgroup).context("cannot attach to the cgroup")
}

/// The values of `packets.bpf.c`. A cgroup program returns the first two: the packet is rejected
/// with -EPERM, or with NET_XMIT_DROP.
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
    let socket = ns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))).context("cannot create a socket")?;
    netns_cookie(&socket)
}
