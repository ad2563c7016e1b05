// SPDX-License-Identifier: MIT OR Apache-2.0
//! A router between the two hosts of a pair.

use std::net::IpAddr;

use crate::netlink::Request;
use crate::{Context, Error, Family, Fault, Netns, Pair, Result, link};

/// The name of the link between the client and the router, the same at both ends.
const NEAR: &str = "near";
/// The name of the link between the router and the server.
const FAR: &str = "far";

/// The addresses from which the router sends ICMP errors. No other namespace sees them.
const OWN: [&str; 2] = ["198.18.0.1/32", "fd00:0:0:ffff::1/128"];

/// A link-layer address that no host has.
const NO_HOST: [u8; 6] = [0x02, 0, 0, 0, 0xff, 0xff];

/// Settings of the router. Kernels that lack a setting do not need it.
const SETTINGS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // The router sends nothing on its own.
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// A third namespace that forwards everything between the hosts of a [`Pair`].
///
/// The hosts keep their addresses, and have host routes to each other through the router. Its links
/// have an MTU of 1500, except that it sends packets of a smaller MTU to the server. So its kernel
/// reports larger ones with "fragmentation needed" or "packet too big". Without it, the routes end,
/// and the hosts use their own link again.
#[derive(Debug)]
pub struct Router {
    ns: Netns,
    /// The server's link-layer address on the router's link.
    server: [u8; 6],
}

impl Router {
    /// Creates a router, whose link to the server has this MTU. Returns once datagrams have crossed
    /// it in both directions. Affects all connections of the pair.
    ///
    /// # Errors
    /// Returns an error without the required privileges, or if `ip` fails.
    pub fn between(pair: &Pair, mtu: u16) -> Result<Self> {
        let ns = Netns::new()?;
        for (name, value) in SETTINGS {
            if ns.sysctl_get(name).is_ok() {
                ns.sysctl(name, value)?;
            }
        }
        let client = Ends::new(pair.client(), &ns, NEAR)?;
        let server = Ends::new(pair.server(), &ns, FAR)?;
        let mut lines = vec![
            format!("link set {FAR} mtu {mtu}"),
            format!("addr add {} dev {NEAR}", OWN[0]),
            format!("addr add {} dev {NEAR} nodad", OWN[1]),
            format!("link set {NEAR} up"),
            format!("link set {FAR} up"),
        ];
        let mut client_lines = vec![format!("link set {NEAR} up")];
        let mut server_lines = vec![format!("link set {FAR} up")];
        for family in [Family::V4, Family::V6] {
            let [from, to] = [pair.client_addr(family), pair.server_addr(family)];
            lines.extend(leads_to(from, NEAR, &client.host, None));
            lines.extend(leads_to(to, FAR, &server.host, None));
            client_lines.extend(leads_to(to, NEAR, &client.router, Some(from)));
            server_lines.extend(leads_to(from, FAR, &server.router, Some(to)));
        }
        batch(&ns, &lines)?;
        batch(pair.client(), &client_lines)?;
        batch(pair.server(), &server_lines)?;
        for family in [Family::V4, Family::V6] {
            pair.wait_until_usable(family)?;
        }
        Ok(Self { ns, server: octets(&server.host)? })
    }

    /// Returns a request after which packets to the server are lost without an error.
    ///
    /// # Errors
    /// Returns an error if the router's link does not exist.
    pub fn black_hole(&self, pair: &Pair, family: Family) -> Result<Request> {
        self.server_at(pair, family, &NO_HOST)
    }

    /// Returns the request that ends a [`black_hole`](Self::black_hole).
    ///
    /// # Errors
    /// Returns an error if the router's link does not exist.
    pub fn delivery(&self, pair: &Pair, family: Family) -> Result<Request> {
        self.server_at(pair, family, &self.server)
    }

    /// Makes the server a host that is switched off: the router cannot resolve its address, and
    /// reports that after three seconds. The pair's own link still works.
    ///
    /// # Errors
    /// Returns an error if `ip` fails.
    pub fn switch_server_off(&self, pair: &Pair) -> Result<()> {
        pair.server().command("ip", &["link", "set", FAR, "arp", "off"])?;
        let gone = [Family::V4, Family::V6].map(|family| format!("neigh del {} dev {FAR}", pair.server_addr(family)));
        batch(&self.ns, &gone)
    }

    /// Returns the fault that removes the router.
    pub fn into_fault(self) -> Fault {
        Fault::new("a router", move || {
            drop(self);
            Ok(())
        })
    }

    fn server_at(&self, pair: &Pair, family: Family, link_layer: &[u8]) -> Result<Request> {
        Request::set_neighbour(&self.ns, FAR, pair.server_addr(family).to_canonical(), link_layer)
    }
}

/// The link-layer addresses of both ends of a link.
struct Ends {
    host: String,
    router: String,
}

impl Ends {
    /// Creates a link with this name between a host and the router.
    fn new(host: &Netns, router: &Netns, name: &str) -> Result<Self> {
        link::create_veth_pair(host, &router.path(), name)?;
        let address = |ns| link::link_layer_address(ns, name);
        Ok(Self { host: address(host)?, router: address(router)? })
    }
}

/// Returns the `ip` commands for a route to an address on this device, with this neighbour.
fn leads_to(address: IpAddr, device: &str, neighbour: &str, source: Option<IpAddr>) -> Vec<String> {
    let source = source.map(|source| format!("src {source}")).unwrap_or_default();
    vec![
        format!("route add {address} dev {device} {source}"),
        format!("neigh add {address} lladdr {neighbour} dev {device} nud permanent"),
    ]
}

/// Runs several `ip` commands in one process.
fn batch(ns: &Netns, lines: &[String]) -> Result<()> {
    ns.sh(&format!("ip -batch - <<'END'\n{}\nEND", lines.join("\n"))).map(drop)
}

fn octets(address: &str) -> Result<[u8; 6]> {
    let octet = |octet| u8::from_str_radix(octet, 16).with_context(|| format!("not an octet: {octet}"));
    let octets: Vec<_> = address.split(':').map(octet).collect::<Result<_>>()?;
    octets.try_into().map_err(|_| Error::new(format!("not a link-layer address: {address}")))
}

#[cfg(test)]
mod tests {
    use super::octets;

    #[test]
    fn octets_parses_link_layer_addresses_only() {
        assert_eq!(octets("02:00:00:00:00:fe").unwrap(), [2, 0, 0, 0, 0, 0xfe]);
        for text in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:zz"] {
            assert!(octets(text).is_err(), "{text}");
        }
    }
}
