// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets that vanish, or arrive other than they were sent.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::pair::LINK;
use crate::{Fault, Netns, Result};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A description of TCP packets of a namespace, IPv4 and IPv6 alike. Every condition added narrows it; what is to
/// be done to them comes last, and holds until the fault is lifted.
#[derive(Clone, Debug)]
#[must_use = "a description alone does nothing to the packets"]
pub struct Packets {
    place: Place,
    conditions: Vec<String>,
    /// Of the conditions those that a policy rule can have, if there is none that narrows it further.
    ports: Option<Vec<String>>,
    /// A condition with a state must come last, so that it sees only packets which meet all others.
    counting: Option<String>,
}

/// Where nftables meets them.
#[derive(Clone, Copy, Debug)]
enum Place {
    Input,
    Output,
    Egress,
}

impl Packets {
    /// Every TCP packet that arrives. Dropped there, it is lost on the wire as far as the sender can tell.
    pub fn input() -> Self {
        Self::at(Place::Input)
    }

    /// Every TCP packet that is sent. Dropped there, it is refused to the sender with -EPERM.
    pub fn output() -> Self {
        Self::at(Place::Output)
    }

    /// Every TCP packet that leaves by the link of a pair, below IP and before a qdisc is chosen. Dropped there, the
    /// sender is told NET_XMIT_DROP. Takes Linux 5.16.
    pub fn egress() -> Self {
        Self::at(Place::Egress)
    }

    fn at(place: Place) -> Self {
        Self { place, conditions: vec!["meta l4proto tcp".into()], ports: Some(Vec::new()), counting: None }
    }

    fn and(mut self, condition: impl Into<String>) -> Self {
        self.conditions.push(condition.into());
        self.ports = None;
        self
    }

    fn port(mut self, condition: String) -> Self {
        self.conditions.push(format!("tcp {condition}"));
        self.ports.iter_mut().for_each(|ports| ports.push(condition.clone()));
        self
    }

    /// Only to this port.
    pub fn dport(self, port: u16) -> Self {
        self.port(format!("dport {port}"))
    }

    /// Only from this port.
    pub fn sport(self, port: u16) -> Self {
        self.port(format!("sport {port}"))
    }

    /// Only SYNs, not SYN-ACKs.
    pub fn syn(self) -> Self {
        self.first("tcp flags & (syn | ack) == syn")
    }

    /// Only SYN-ACKs.
    pub fn synack(self) -> Self {
        self.first("tcp flags & (syn | ack) == (syn | ack)")
    }

    /// Without the first packet of a direction there are no others.
    fn first(mut self, flags: &str) -> Self {
        self.conditions.push(flags.to_owned());
        self
    }

    /// Only packets of at least so many bytes, IP header included.
    pub fn at_least(self, bytes: u32) -> Self {
        self.and(format!("meta length >= {bytes}"))
    }

    /// Of the packets that meet the other conditions only the `index`-th, from 0, and never another.
    pub fn nth(self, index: u32) -> Self {
        self.counted(format!("== {index}"))
    }

    /// Of the packets that meet the other conditions all but the first `count`.
    pub fn after(self, count: u32) -> Self {
        self.counted(format!(">= {count}"))
    }

    /// Of the packets that meet the other conditions so many in a thousand, at random.
    pub fn per_mille(mut self, share: u32) -> Self {
        self.ports = None;
        self.counting = Some(format!("numgen random mod 1000 < {share}"));
        self
    }

    fn counted(mut self, which: String) -> Self {
        self.ports = None;
        // The generator counts modulo a number that is never reached.
        self.counting = Some(format!("numgen inc mod 2147483647 {which}"));
        self
    }

    /// Drops them in `ns`. In a kernel without nftables, what arrives for a port is routed nowhere instead.
    ///
    /// # Errors
    /// When `nft` refuses the rule, or is not there.
    pub fn drop_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, "drop").or_else(|error| match (self.place, &self.ports) {
            (Place::Input, Some(ports)) if ns.command("nft", &["list tables"]).is_err() => misroute(ns, ports),
            _ => Err(error),
        })
    }

    /// Refuses them in `ns`, with an ICMP error to whoever sent them.
    ///
    /// # Errors
    /// As [`drop_in`](Self::drop_in).
    pub fn reject_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, "reject")
    }

    /// Sets the window that they announce in `ns` to zero.
    ///
    /// # Errors
    /// As [`drop_in`](Self::drop_in).
    pub fn close_window_in(&self, ns: &Netns) -> Result<Fault> {
        self.install(ns, "tcp window set 0")
    }

    fn install(&self, ns: &Netns, verdict: &str) -> Result<Fault> {
        let (family, hook) = match self.place {
            Place::Input => ("inet", "input".to_owned()),
            Place::Output => ("inet", "output".to_owned()),
            Place::Egress => ("netdev", format!("egress device {LINK}")),
        };
        // A table for each, so that lifting one leaves the others alone.
        let table = format!("{family} lab_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut rule = self.conditions.join(" ");
        if let Some(counting) = &self.counting {
            rule = format!("{rule} {counting}");
        }
        ns.command(
            "nft",
            &[&format!(
                "add table {table}; \
                 add chain {table} lab {{ type filter hook {hook} priority 0; policy accept; }}; \
                 add rule {table} lab {rule} {verdict}"
            )],
        )?;
        let ns = ns.clone();
        Ok(Fault::new(format!("{hook}: {rule} {verdict}"), move || {
            ns.command("nft", &[&format!("delete table {table}")]).map(drop)
        }))
    }
}

/// Routes TCP packets that arrive for and from these ports nowhere, without a word to the sender, before the table of this host's
/// own addresses is asked.
fn misroute(ns: &Netns, ports: &[String]) -> Result<Fault> {
    // A socket that is found first brings its route along.
    ns.sysctl("net/ipv4/ip_early_demux", "0")?;
    let rule = format!("pref 1 ipproto 6 {} blackhole", ports.join(" "));
    for ip in ["ip -4", "ip -6"] {
        // The second time it is there already.
        ns.sh(&format!("{ip} rule add pref 2 lookup local || exit 0; {ip} rule del pref 0 lookup local"))?;
        ns.sh(&format!("{ip} rule add {rule}"))?;
    }
    let (what, ns) = (format!("input: {rule}"), ns.clone());
    Ok(Fault::new(what, move || ns.sh(&format!("ip -4 rule del {rule}; ip -6 rule del {rule}")).map(drop)))
}
