// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packet rules by nftables.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{First, Packets, Place, Verdict, Which};
use crate::pair::LINK;
use crate::{Fault, Netns, Result};

/// Returns whether the kernel has nftables and `nft` is installed.
pub(super) fn is_there(ns: &Netns) -> bool {
    ns.command("nft", &["list tables"]).is_ok()
}

pub(super) fn install(packets: &Packets, ns: &Netns, verdict: Verdict) -> Result<Fault> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (family, hook) = match packets.place {
        Place::Input => ("inet", "input".to_owned()),
        Place::Output => ("inet", "output".to_owned()),
        Place::Postrouting => ("inet", "postrouting".to_owned()),
        Place::Egress => ("netdev", format!("egress device {LINK}")),
    };
    // Each rule has its own table, which can be deleted alone.
    let table = format!("{family} lab_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let rule = conditions(packets).join(" ");
    // Only chains of this type route a packet again if its mark has changed.
    let kind = if matches!(verdict, Verdict::Mark(_)) { "route" } else { "filter" };
    let verdict = match verdict {
        Verdict::Drop => "drop".to_owned(),
        Verdict::Reject => "reject".to_owned(),
        Verdict::CloseWindow => "tcp window set 0".to_owned(),
        Verdict::Mark(mark) => format!("meta mark set {mark:#x}"),
    };
    ns.command(
        "nft",
        &[&format!(
            "add table {table}; \
             add chain {table} lab {{ type {kind} hook {hook} priority 0; policy accept; }}; \
             add rule {table} lab {rule} {verdict}"
        )],
    )?;
    let ns = ns.clone();
    Ok(Fault::new(format!("{hook}: {rule} {verdict}"), move || {
        ns.command("nft", &[&format!("delete table {table}")]).map(drop)
    }))
}

fn conditions(packets: &Packets) -> Vec<String> {
    let Packets { place: _, sport, dport, first, at_least, which } = packets;
    let first = first.map(|first| match first {
        First::Syn => "tcp flags & (syn | ack) == syn",
        First::Synack => "tcp flags & (syn | ack) == (syn | ack)",
    });
    // The generator counts modulo a number that is never reached.
    let counted = "numgen inc mod 2147483647";
    // A stateful condition must come last, so that it only sees packets that meet all others.
    let which = which.map(|which| match which {
        Which::Nth(index) => format!("{counted} == {index}"),
        Which::After(count) => format!("{counted} >= {count}"),
        Which::PerMille(share) => format!("numgen random mod 1000 < {share}"),
    });
    let conditions = [
        Some("meta l4proto tcp".to_owned()),
        sport.map(|port| format!("tcp sport {port}")),
        dport.map(|port| format!("tcp dport {port}")),
        first.map(str::to_owned),
        at_least.map(|bytes| format!("meta length >= {bytes}")),
        which,
    ];
    conditions.into_iter().flatten().collect()
}
