// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets that vanish.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Fault, Netns, Result};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A description of the TCP packets that a namespace is to drop, for IPv4 and IPv6 alike. Every condition added
/// narrows it; [`install`](Blackhole::install) puts it in force.
///
/// A drop on input is a loss on the wire, as far as the sender can tell. A drop on output is refused to the sender
/// with -EPERM.
#[derive(Clone, Debug)]
#[must_use = "a blackhole drops nothing until it is installed"]
pub struct Blackhole {
    hook: &'static str,
    conditions: Vec<String>,
    /// Conditions with a state must come last, so that they see only packets which meet all others.
    counting: Option<String>,
}

impl Blackhole {
    /// Every TCP packet that arrives.
    pub fn input() -> Self {
        Self::at("input")
    }

    /// Every TCP packet that is sent.
    pub fn output() -> Self {
        Self::at("output")
    }

    fn at(hook: &'static str) -> Self {
        Self { hook, conditions: vec!["meta l4proto tcp".into()], counting: None }
    }

    fn and(mut self, condition: impl Into<String>) -> Self {
        self.conditions.push(condition.into());
        self
    }

    /// Only to this port.
    pub fn dport(self, port: u16) -> Self {
        self.and(format!("tcp dport {port}"))
    }

    /// Only from this port.
    pub fn sport(self, port: u16) -> Self {
        self.and(format!("tcp sport {port}"))
    }

    /// Only SYNs, not SYN-ACKs.
    pub fn syn(self) -> Self {
        self.and("tcp flags & (syn | ack) == syn")
    }

    /// Only SYN-ACKs.
    pub fn synack(self) -> Self {
        self.and("tcp flags & (syn | ack) == (syn | ack)")
    }

    /// Only packets of at least so many bytes, IP header included.
    pub fn at_least(self, bytes: u32) -> Self {
        self.and(format!("meta length >= {bytes}"))
    }

    /// Only from sockets with this SO_MARK; on output. Setting the mark is then what starts the drops, at once and for
    /// one socket, without a process to start.
    pub fn mark(self, mark: u32) -> Self {
        self.and(format!("meta mark {mark:#x}"))
    }

    /// Of the packets that meet the other conditions only the `index`-th, from 0, and never another.
    pub fn nth(mut self, index: u32) -> Self {
        // The generator counts modulo a number that is never reached.
        self.counting = Some(format!("numgen inc mod 2147483647 == {index}"));
        self
    }

    /// Drops in `ns` what was described, until the fault is lifted.
    ///
    /// # Errors
    /// When `nft` refuses the rule, or is not there.
    pub fn install(&self, ns: &Netns) -> Result<Fault> {
        // A table for each, so that lifting one leaves the others alone.
        let table = format!("inet blackhole_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let hook = self.hook;
        let mut rule = self.conditions.join(" ");
        if let Some(counting) = &self.counting {
            rule = format!("{rule} {counting}");
        }
        ns.command(
            "nft",
            &[&format!(
                "add table {table}; \
                 add chain {table} drops {{ type filter hook {hook} priority 0; policy accept; }}; \
                 add rule {table} drops {rule} drop"
            )],
        )?;
        let ns = ns.clone();
        Ok(Fault::new(format!("{hook} drop: {rule}"), move || {
            ns.command("nft", &[&format!("delete table {table}")]).map(drop)
        }))
    }
}
