// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network configuration changes that must not wait for a process to start.
//!
//! # Design
//!
//! The lab starts `ip`, `tc` and `nft` to prepare a namespace. Changes that must happen at once or
//! under control use crates: netlink-packet-route for deletions, tun-rs and etherparse for the
//! peer. The crates for nftables either start the same program or are under the GPL.

use std::net::IpAddr;
use std::os::fd::RawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoNetkit, LinkAttribute, LinkInfo, LinkMessage, NetkitMode};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::{Context, Error, Netns, Result};

/// A request to the rtnetlink of a namespace.
#[derive(Clone, Debug)]
pub struct Request {
    ns: Netns,
    message: RouteNetlinkMessage,
}

impl Request {
    /// Deletes the route to this prefix from the main table, whatever its target.
    pub fn delete_route(ns: &Netns, prefix: IpAddr, length: u8) -> Self {
        let mut route = RouteMessage::default();
        route.header.address_family = family(prefix);
        route.header.destination_prefix_length = length;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        // Any scope.
        route.header.scope = RouteScope::NoWhere;
        let destination = match prefix {
            IpAddr::V4(prefix) => RouteAddress::Inet(prefix),
            IpAddr::V6(prefix) => RouteAddress::Inet6(prefix),
        };
        route.attributes.push(RouteAttribute::Destination(destination));
        Self { ns: ns.clone(), message: RouteNetlinkMessage::DelRoute(route) }
    }

    /// Deletes this address from a link, and with it the route to its prefix.
    ///
    /// # Errors
    /// Returns an error if there is no such link.
    pub fn delete_address(ns: &Netns, link: &str, address: IpAddr, prefix: u8) -> Result<Self> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = ns.link_index(link)?;
        message.attributes.push(AddressAttribute::Local(address));
        Ok(Self { ns: ns.clone(), message: RouteNetlinkMessage::DelAddress(message) })
    }

    /// Sets the link-layer address of a neighbour permanently.
    ///
    /// # Errors
    /// Returns an error if there is no such link.
    pub(crate) fn set_neighbour(ns: &Netns, link: &str, address: IpAddr, link_layer: &[u8]) -> Result<Self> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = ns.link_index(link)?;
        message.header.state = NeighbourState::Permanent;
        let destination = match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        message.attributes.push(NeighbourAttribute::Destination(destination));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(link_layer.to_vec()));
        Ok(Self { ns: ns.clone(), message: RouteNetlinkMessage::NewNeighbour(message) })
    }

    /// Creates a netkit link in L2 mode, whose other end has the same name in the namespace of this
    /// descriptor.
    pub(crate) fn add_netkit(ns: &Netns, name: &str, far: RawFd) -> Self {
        let name = LinkAttribute::IfName(name.to_owned());
        let end = |attributes| {
            let mut message = LinkMessage::default();
            message.attributes = attributes;
            message
        };
        let far = end(vec![name.clone(), LinkAttribute::NetNsFd(far)]);
        let netkit = vec![InfoNetkit::Mode(NetkitMode::L2), InfoNetkit::Peer(far)];
        let info = vec![LinkInfo::Kind(InfoKind::Netkit), LinkInfo::Data(InfoData::Netkit(netkit))];
        let near = end(vec![name, LinkAttribute::LinkInfo(info)]);
        Self { ns: ns.clone(), message: RouteNetlinkMessage::NewLink(near) }
    }

    /// Sends the request and waits for the answer.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn send(self) -> Result<()> {
        let Self { ns, message } = self;
        let what = format!("{message:?}");
        ns.run(|| exchange(message)).context(what)
    }
}

fn exchange(message: RouteNetlinkMessage) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    header.flags |= match message {
        RouteNetlinkMessage::NewLink(_) => NLM_F_CREATE | NLM_F_EXCL,
        RouteNetlinkMessage::NewNeighbour(_) => NLM_F_CREATE | NLM_F_REPLACE,
        _ => 0,
    };
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE).context("cannot create a netlink socket")?;
    socket.bind_auto().and_then(|_| socket.connect(&SocketAddr::new(0, 0))).context("cannot bind a netlink socket")?;
    socket.send(&bytes, 0).context("cannot send to rtnetlink")?;
    // The kernel handles and answers a request before `send` returns.
    let (answer, _) = socket.recv_from_full().context("no answer from rtnetlink")?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).context("not a netlink message")?;
    match answer.payload {
        NetlinkPayload::Error(error) => match error.code {
            None => Ok(()),
            Some(_) => Err(error.to_io()).context("rtnetlink returned an error"),
        },
        other => Err(Error::new(format!("unexpected answer of rtnetlink: {other:?}"))),
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
