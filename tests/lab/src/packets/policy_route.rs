// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packet rules by policy routing, for packets that arrive for a port.

use super::{Packets, Place, Verdict};
use crate::{Fault, Netns, Result};

/// Returns the conditions in the syntax of a policy rule, if it can express all of them. `first`
/// needs no condition, because no other packets follow if the first one is lost.
pub(super) fn ports(packets: &Packets, verdict: Verdict) -> Option<String> {
    let Packets { place: Place::Input, sport, dport, first: _, at_least: None, which: None } = packets else {
        return None;
    };
    let ports = [("sport", sport), ("dport", dport)];
    let words = ports.into_iter().filter_map(|(word, port)| Some(format!("{word} {} ", (*port)?)));
    (verdict == Verdict::Drop).then(|| words.collect())
}

/// Discards TCP packets that arrive for and from these ports, without an error to the sender. The
/// rule precedes the table of local addresses.
pub(super) fn install(ns: &Netns, ports: &str) -> Result<Fault> {
    // An early socket lookup would provide the packet's route, and the rule would not be applied.
    ns.sysctl("net/ipv4/ip_early_demux", "0")?;
    let rule = format!("pref 1 ipproto 6 {ports}blackhole");
    for ip in ["ip -4", "ip -6"] {
        // On the second call the rule exists already.
        ns.sh(&format!("{ip} rule add pref 2 lookup local || exit 0; {ip} rule del pref 0 lookup local"))?;
        ns.sh(&format!("{ip} rule add {rule}"))?;
    }
    let (what, ns) = (format!("input: {rule}"), ns.clone());
    Ok(Fault::new(what, move || ns.sh(&format!("ip -4 rule del {rule}; ip -6 rule del {rule}")).map(drop)))
}
