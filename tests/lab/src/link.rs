// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links between two namespaces.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::netlink::Request;
use crate::{Context, Error, Netns, Result};

/// Creates a link between `near` and the namespace that `far` leads to. Both ends have the same
/// name and are down.
///
/// The link is a veth pair. If veth is a module that is not available, the link is netkit (Linux
/// 6.7), which is never a module. Both are Ethernet devices, with link-layer addresses and
/// neighbours.
///
/// # Errors
/// Returns an error without the required privileges, if `ip` fails, if such a link already exists,
/// or if there is no such namespace.
pub(crate) fn create_veth_pair(near: &Netns, far: &str, name: &str) -> Result<()> {
    let [this, other] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    let veth = format!("ip link add {name} address {this} type veth peer name {name} address {other} netns {far}");
    match near.sh(&veth) {
        Err(error) if error.to_string().contains("Unknown device type") => {
            let far = File::open(far).with_context(|| format!("cannot open {far}"))?;
            // Not created with `ip`, which may be too old to know the options of netkit.
            let netkit = Request::add_netkit(near, name, far.as_raw_fd()).send();
            netkit.map_err(|second| Error::new(format!("{error}; netkit: {second}")))
        }
        done => done.map(drop),
    }
}

/// Returns the link-layer address of one end.
///
/// # Errors
/// Returns an error if there is no such link.
pub(crate) fn link_layer_address(ns: &Netns, name: &str) -> Result<String> {
    // The fields are name, state, address and flags.
    let said = ns.command("ip", &["-brief", "link", "show", "dev", name])?;
    let address = said.split_whitespace().nth(2).filter(|word| word.contains(':'));
    address.map(str::to_owned).ok_or_else(|| Error::new(format!("no link-layer address of {name} in output {said:?}")))
}
