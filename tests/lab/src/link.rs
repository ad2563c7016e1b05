// SPDX-License-Identifier: MIT OR Apache-2.0
//! A link whose ends are in two namespaces.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::netlink::Request;
use crate::{Context, Error, Netns, Result};

/// Makes a link between `near` and the namespace that `far` leads to, where its end has the same name. Both ends are down.
///
/// It is a veth pair or, where that is a module which is not at hand, netkit (Linux 6.7), which is built in where it is. Either is
/// an Ethernet: there are link-layer addresses, and neighbours.
///
/// # Errors
/// For want of privileges, or of `ip`; where there is such a link already, or no such namespace.
pub(crate) fn create_veth_pair(near: &Netns, far: &str, name: &str) -> Result<()> {
    let [this, other] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    let veth = format!("ip link add {name} address {this} type veth peer name {name} address {other} netns {far}");
    match near.sh(&veth) {
        Err(error) if error.to_string().contains("Unknown device type") => {
            let far = File::open(far).with_context(|| format!("cannot open {far}"))?;
            // Not by `ip`, which may be older than netkit, and then does not know its options.
            let netkit = Request::add_netkit(near, name, far.as_raw_fd()).send();
            netkit.map_err(|second| Error::new(format!("{error}; nor netkit: {second}")))
        }
        done => done.map(drop),
    }
}

/// The link-layer address of an end.
///
/// # Errors
/// When there is no such link.
pub(crate) fn link_layer_address(ns: &Netns, name: &str) -> Result<String> {
    // Name, state, address, flags.
    let said = ns.command("ip", &["-brief", "link", "show", "dev", name])?;
    let address = said.split_whitespace().nth(2).filter(|word| word.contains(':'));
    address.map(str::to_owned).ok_or_else(|| Error::new(format!("no link-layer address of {name} in {said:?}")))
}
