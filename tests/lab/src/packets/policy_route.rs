// SPDX-License-Identifier: MIT OR Apache-2.0
//! By a policy rule, for what arrives for a port.

use super::{Packets, Place, Verdict};
use crate::{Fault, Netns, Result};

/// The conditions in the words of a policy rule, if it can have them all. That a packet is the first of its direction need not be
/// said: without it there are no others.
pub(super) fn ports(packets: &Packets, verdict: Verdict) -> Option<String> {
    let Packets { place: Place::Input, sport, dport, first: _, at_least: None, which: None } = packets else {
        return None;
    };
    let ports = [("sport", sport), ("dport", dport)];
    let words = ports.into_iter().filter_map(|(word, port)| Some(format!("{word} {} ", (*port)?)));
    (verdict == Verdict::Drop).then(|| words.collect())
}

/// Routes TCP packets that arrive for and from these ports nowhere, without a word to the sender, before the table of this host's
/// own addresses is asked.
pub(super) fn install(ns: &Netns, ports: &str) -> Result<Fault> {
    // A socket that is found first brings its route along.
    ns.sysctl("net/ipv4/ip_early_demux", "0")?;
    let rule = format!("pref 1 ipproto 6 {ports}blackhole");
    for ip in ["ip -4", "ip -6"] {
        // The second time it is there already.
        ns.sh(&format!("{ip} rule add pref 2 lookup local || exit 0; {ip} rule del pref 0 lookup local"))?;
        ns.sh(&format!("{ip} rule add {rule}"))?;
    }
    let (what, ns) = (format!("input: {rule}"), ns.clone());
    Ok(Fault::new(what, move || ns.sh(&format!("ip -4 rule del {rule}; ip -6 rule del {rule}")).map(drop)))
}
