// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to a namespace's network that must happen at once, without starting a process.

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

/// A request to a namespace's rtnetlink.
#[derive(Clone, Debug)]
pub struct Request {
    ns: Netns,
    message: RouteNetlinkMessage,
}

impl Request {
    /// Deletes the route of the main table to this prefix, whatever it leads to.
    pub fn delete_route(ns: &Netns, prefix: IpAddr, length: u8) -> Self {
        let mut route = RouteMessage::default();
        route.header.address_family = family(prefix);
        route.header.destination_prefix_length = length;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        // Any.
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
    /// When there is no such link.
    pub fn delete_address(ns: &Netns, link: &str, address: IpAddr, prefix: u8) -> Result<Self> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = ns.link_index(link)?;
        message.attributes.push(AddressAttribute::Local(address));
        Ok(Self { ns: ns.clone(), message: RouteNetlinkMessage::DelAddress(message) })
    }

    /// Tells the link-layer address of a neighbour for good, whatever was known of it.
    ///
    /// # Errors
    /// When there is no such link.
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

    /// Makes a netkit link that is an Ethernet, whose other end has the same name in the namespace of this descriptor.
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

    /// Sends it, and returns when it is done.
    ///
    /// # Errors
    /// The kernel's refusal.
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

    let mut socket = Socket::new(NETLINK_ROUTE).context("cannot make a netlink socket")?;
    socket.bind_auto().and_then(|_| socket.connect(&SocketAddr::new(0, 0))).context("cannot bind a netlink socket")?;
    socket.send(&bytes, 0).context("cannot send to rtnetlink")?;
    // The kernel handles a request, and answers it, before `send` returns.
    let (answer, _) = socket.recv_from_full().context("rtnetlink does not answer")?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).context("not a netlink message")?;
    match answer.payload {
        NetlinkPayload::Error(error) => match error.code {
            None => Ok(()),
            Some(_) => Err(error.to_io()).context("rtnetlink refuses"),
        },
        other => Err(Error::new(format!("rtnetlink answers {other:?}"))),
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
