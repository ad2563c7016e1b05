// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two hosts on one wire.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::link;
use crate::netlink::Request;
use crate::wait::{PATIENCE, wait_for};
use crate::{Context, Family, Netns, Result};

/// The name of the link, the same at both ends.
pub const LINK: &str = "lab0";

/// The prefix lengths of both families.
const PREFIX_V4: u8 = 24;
const PREFIX_V6: u8 = 64;

/// Settings that make runs reproducible. Kernels that lack a setting do not need it.
const SETTINGS: &[(&str, &str)] = &[
    // Every write becomes its own segment, even while other segments wait in a queue of this host.
    ("net/ipv4/tcp_autocorking", "0"),
    // A connection does not start from the measurements of an earlier one.
    ("net/ipv4/tcp_no_metrics_save", "1"),
    // A socket whose process was killed before it could reset the connection soon releases the
    // namespace.
    ("net/ipv4/tcp_orphan_retries", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    // The kernel sends nothing on its own: no link-local address, no solicitations.
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
];

/// The setting of tail loss probes, `net.ipv4.tcp_early_retrans`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probes {
    /// Probes are off, so only the timer retransmits lost data.
    Off,
    /// The setting is left as Linux sets it: probes are on.
    Default,
}

impl Probes {
    /// Both settings.
    pub const ALL: [Self; 2] = [Self::Off, Self::Default];
    /// The name of the setting.
    pub(crate) const SYSCTL: &str = "net/ipv4/tcp_early_retrans";
}

/// A client and a server namespace, connected by a veth pair or netkit, with working IPv4 and IPv6.
///
/// Each pair has its own addresses, so that concurrent pairs can be distinguished in the kernel's
/// reports. Neighbours are configured statically, so there is no ARP, no discovery, and no delay on
/// first use.
///
/// A clone is another handle to the same pair.
#[derive(Clone, Debug)]
pub struct Pair {
    client: Host,
    server: Host,
    probes: Probes,
}

#[derive(Clone, Debug)]
struct Host {
    ns: Netns,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    mac: String,
}

impl Pair {
    /// Creates a pair without tail loss probes, as [`with_probes`](Self::with_probes) does.
    ///
    /// # Errors
    /// Returns the errors of [`with_probes`](Self::with_probes).
    pub fn new() -> Result<Self> {
        Self::with_probes(Probes::Off)
    }

    /// Creates the namespaces and the link, and returns once datagrams have crossed it in both
    /// directions.
    ///
    /// # Errors
    /// Returns an error without the required privileges (see
    /// [`privilege::check`](crate::privilege::check)), or if `ip` is missing.
    pub fn with_probes(probes: Probes) -> Result<Self> {
        let (client, server) = (Netns::new()?, Netns::new()?);
        // The inode numbers of namespaces are unique. Their lower halves differ unless 65,536
        // others were created in between.
        let [.., high, low] = client.inode().to_be_bytes();
        let net6 = u16::from_be_bytes([high, low]);
        let host = |ns, id: u8| Host {
            ns,
            v4: Ipv4Addr::new(10, high, low, id),
            v6: Ipv6Addr::new(0xfd00, 0, 0, net6, 0, 0, 0, id.into()),
            mac: String::new(),
        };
        let mut pair = Self { client: host(client, 1), server: host(server, 2), probes };
        for ns in [pair.client(), pair.server()] {
            for (name, value) in SETTINGS {
                if ns.sysctl_get(name).is_ok() {
                    ns.sysctl(name, value)?;
                }
            }
            if probes == Probes::Off {
                ns.sysctl(Probes::SYSCTL, "0")?;
            }
        }
        link::create_veth_pair(pair.client(), &pair.server().path(), LINK)?;
        for host in [&mut pair.client, &mut pair.server] {
            host.mac = link::link_layer_address(&host.ns, LINK)?;
        }
        pair.client.address(&pair.server)?;
        pair.server.address(&pair.client)?;
        for family in [Family::V4, Family::V6] {
            pair.wait_until_usable(family)?;
        }
        Ok(pair)
    }

    /// Returns the setting of tail loss probes.
    pub fn probes(&self) -> Probes {
        self.probes
    }

    /// Returns the namespace that connects, sends and retransmits.
    pub fn client(&self) -> &Netns {
        &self.client.ns
    }

    /// Returns the namespace that listens.
    pub fn server(&self) -> &Netns {
        &self.server.ns
    }

    /// Returns the client's address. For [`Family::Mapped`] this is the mapped IPv4 address.
    pub fn client_addr(&self, family: Family) -> IpAddr {
        self.client.addr(family)
    }

    /// Returns the server's address. For [`Family::Mapped`] this is the mapped IPv4 address.
    pub fn server_addr(&self, family: Family) -> IpAddr {
        self.server.addr(family)
    }

    /// Returns the prefix length of the pair's addresses on the wire.
    pub(crate) fn prefix_length(family: Family) -> u8 {
        if family.is_ipv4_on_the_wire() { PREFIX_V4 } else { PREFIX_V6 }
    }

    /// Returns the prefix of the pair's addresses, as in its route.
    pub(crate) fn prefix(&self, family: Family) -> IpAddr {
        prefix_of(self.client.addr(family))
    }

    /// Sets the minimum RTO of connections that the client opens from now on, in the syntax of `ip
    /// route`.
    ///
    /// # Errors
    /// Returns an error if `ip` fails.
    pub(crate) fn set_rto_min(&self, family: Family, words: &str) -> Result<()> {
        batch(self.client(), &[format!("{} {words}", self.client.connected_route(family))])
    }

    /// Sets the MSS that the server advertises to connections from now on, in bytes including TCP
    /// options.
    ///
    /// # Errors
    /// Returns an error if `ip` fails.
    pub(crate) fn set_advmss(&self, family: Family, bytes: u16) -> Result<()> {
        batch(self.server(), &[format!("{} advmss {bytes}", self.server.connected_route(family))])
    }

    /// Returns a request that adds the server's link-layer address to the client's neighbours.
    ///
    /// # Errors
    /// Returns an error if there is no link.
    pub(crate) fn neighbour_announcement(&self, family: Family) -> Result<Request> {
        let octet = |octet| u8::from_str_radix(octet, 16).with_context(|| format!("not an octet: {octet}"));
        let link_layer: Vec<u8> = self.server.mac.split(':').map(octet).collect::<Result<_>>()?;
        Request::set_neighbour(self.client(), LINK, self.server.addr(family).to_canonical(), &link_layer)
    }

    /// Restores the addresses and neighbours of both hosts.
    ///
    /// # Errors
    /// Returns an error if `ip` fails.
    pub(crate) fn restore(&self) -> Result<()> {
        self.client.address(&self.server)?;
        self.server.address(&self.client)
    }

    /// Sends datagrams until one has crossed in each direction. A new link is not usable at once:
    /// the kernel may need up to a second to detect the carrier at both ends, and drops earlier
    /// packets.
    pub(crate) fn wait_until_usable(&self, family: Family) -> Result<()> {
        let socket = |host: &Host| -> Result<UdpSocket> {
            let addr = SocketAddr::new(host.addr(family), 0);
            let socket = host.ns.run(|| UdpSocket::bind(addr)).with_context(|| format!("cannot bind to {addr}"))?;
            socket.set_read_timeout(Some(Duration::from_millis(20))).context("cannot set a time-out")?;
            Ok(socket)
        };
        let (client, server) = (socket(&self.client)?, socket(&self.server)?);
        for (from, to) in [(&client, &server), (&server, &client)] {
            let target = to.local_addr().context("cannot read a local address")?;
            wait_for(&format!("a datagram to {target}"), PATIENCE, || {
                // An error means that the link is not ready yet. If it never becomes ready, the
                // deadline reports that.
                let _ = from.send_to(b"?", target);
                match to.recv_from(&mut [0; 1]) {
                    Ok(_) => Ok(Some(())),
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
                    Err(e) => Err(e).context("cannot receive a datagram"),
                }
            })?;
        }
        Ok(())
    }
}

impl Host {
    fn addr(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
            Family::Mapped => self.v4.to_ipv6_mapped().into(),
        }
    }

    /// Returns the route of an address. The kernel adds it together with the address, but does not
    /// add it again after it was deleted.
    fn connected_route(&self, family: Family) -> String {
        let prefix = prefix_of(self.addr(family));
        match family {
            Family::V6 => format!("route replace {prefix}/{PREFIX_V6} dev {LINK} proto kernel metric 256"),
            _ => format!("route replace {prefix}/{PREFIX_V4} dev {LINK} proto kernel scope link src {}", self.v4),
        }
    }

    fn address(&self, peer: &Host) -> Result<()> {
        let lines = [
            "link set lo up".into(),
            format!("addr replace {}/{} dev {LINK}", self.v4, PREFIX_V4),
            format!("addr replace {}/{} dev {LINK} nodad", self.v6, PREFIX_V6),
            format!("link set {LINK} up"),
            self.connected_route(Family::V4),
            self.connected_route(Family::V6),
            format!("neigh replace {} lladdr {} dev {LINK} nud permanent", peer.v4, peer.mac),
            format!("neigh replace {} lladdr {} dev {LINK} nud permanent", peer.v6, peer.mac),
        ];
        batch(&self.ns, &lines)
    }
}

/// Returns the prefix of an address on the wire.
fn prefix_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() & u32::MAX << (32 - PREFIX_V4)).into(),
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() & u128::MAX << (128 - PREFIX_V6)).into(),
    }
}

/// Runs several `ip` commands in one process, because the start of a process is the expensive part.
fn batch(ns: &Netns, lines: &[String]) -> Result<()> {
    ns.sh(&format!("ip -batch - <<'END'\n{}\nEND", lines.join("\n"))).map(drop)
}
