// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's retransmission counters of a namespace.

use std::fs;
use std::ops::Sub;

use crate::{Context, Error, Netns, Result};

/// The counters of a namespace since its creation.
///
/// The difference of two readings is the increase between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `RetransSegs`: segments of all attempts that reached the transmit step, successful or not.
    pub retrans_segs: u64,
    /// `TCPRetransFail`: segments of those attempts whose transmit step failed.
    pub retrans_fail: u64,
    /// `TCPSpuriousRtxHostQueues`: attempts that were not made because the segment had not left the
    /// host yet.
    pub spurious_rtx_host_queues: u64,
    /// `TCPSynRetrans`: SYN and SYN-ACK retransmissions.
    pub syn_retrans: u64,
    /// `TCPLossProbes`: tail loss probes sent, new data or old.
    pub loss_probes: u64,
    /// `TCPFastRetrans`: segments retransmitted during recovery.
    pub fast_retrans: u64,
    /// `TCPSlowStartRetrans`: segments retransmitted in the state Loss, except by a timer.
    pub slow_start_retrans: u64,
    /// `TCPTimeouts`: retransmission timer expiries.
    pub timeouts: u64,
    /// `TCPWqueueTooBig`: segments not split because the write queue is too large.
    pub wqueue_too_big: u64,
    /// `TCPMTUPFail`: probes for a larger MTU that were lost.
    pub mtu_probes_failed: u64,
}

impl Counters {
    /// Reads the counters.
    ///
    /// # Errors
    /// Returns an error if a file or a counter is missing.
    pub fn read(ns: &Netns) -> Result<Self> {
        let (snmp, netstat) = ns.run(|| Ok::<_, Error>((proc_file("snmp")?, proc_file("netstat")?)))?;
        Self::parse(&snmp, &netstat)
    }

    /// Parses the counters in the texts of /proc/net/snmp and /proc/net/netstat.
    ///
    /// # Errors
    /// Returns an error if a counter is missing.
    pub fn parse(snmp: &str, netstat: &str) -> Result<Self> {
        let ext = |name| field(netstat, "TcpExt", name);
        Ok(Self {
            retrans_segs: field(snmp, "Tcp", "RetransSegs")?,
            retrans_fail: ext("TCPRetransFail")?,
            spurious_rtx_host_queues: ext("TCPSpuriousRtxHostQueues")?,
            syn_retrans: ext("TCPSynRetrans")?,
            loss_probes: ext("TCPLossProbes")?,
            fast_retrans: ext("TCPFastRetrans")?,
            slow_start_retrans: ext("TCPSlowStartRetrans")?,
            timeouts: ext("TCPTimeouts")?,
            wqueue_too_big: ext("TCPWqueueTooBig")?,
            mtu_probes_failed: ext("TCPMTUPFail")?,
        })
    }
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            retrans_segs: self.retrans_segs - before.retrans_segs,
            retrans_fail: self.retrans_fail - before.retrans_fail,
            spurious_rtx_host_queues: self.spurious_rtx_host_queues - before.spurious_rtx_host_queues,
            syn_retrans: self.syn_retrans - before.syn_retrans,
            loss_probes: self.loss_probes - before.loss_probes,
            fast_retrans: self.fast_retrans - before.fast_retrans,
            slow_start_retrans: self.slow_start_retrans - before.slow_start_retrans,
            timeouts: self.timeouts - before.timeouts,
            wqueue_too_big: self.wqueue_too_big - before.wqueue_too_big,
            mtu_probes_failed: self.mtu_probes_failed - before.mtu_probes_failed,
        }
    }
}

/// Returns the sum of some counters of the group `TcpExt` in a namespace.
///
/// # Errors
/// Returns an error if the file or a counter is missing.
pub fn tcp_ext(ns: &Netns, names: &[&str]) -> Result<u64> {
    let netstat = ns.run(|| proc_file("netstat"))?;
    names.iter().map(|name| field(&netstat, "TcpExt", name)).sum()
}

/// Reads a file about the network namespace of this thread. /proc/net shows the one of the main
/// thread.
fn proc_file(name: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Returns a counter. The files contain pairs of lines with the same first word: the names, then
/// the values.
fn field(text: &str, group: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(": ")).filter(|(word, _)| *word == group);
    let value = lines.next().zip(lines.next()).and_then(|((_, names), (_, values))| {
        names.split_ascii_whitespace().zip(values.split_ascii_whitespace()).find(|(n, _)| *n == name)
    });
    let (_, value) = value.ok_or_else(|| Error::new(format!("no counter {group} {name}")))?;
    value.parse().with_context(|| format!("counter {group} {name} is {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
        Tcp: RtoAlgorithm MaxConn RetransSegs InErrs\nTcp: 1 -1 17 0\nUdp: RetransSegs\nUdp: 5\n";
    const NETSTAT: &str = "TcpExt: TCPTimeouts TCPLossProbes TCPFastRetrans TCPRetransFail \
        TCPSpuriousRtxHostQueues TCPSynRetrans TCPWqueueTooBig TCPSlowStartRetrans TCPMTUPFail\n\
        TcpExt: 1 2 3 4 5 6 7 8 9\nIpExt: InOctets\nIpExt: 10\n";

    #[test]
    fn parses_each_counter_from_its_column() {
        let counters = Counters::parse(SNMP, NETSTAT).unwrap();
        let expected = Counters {
            retrans_segs: 17,
            retrans_fail: 4,
            spurious_rtx_host_queues: 5,
            syn_retrans: 6,
            loss_probes: 2,
            fast_retrans: 3,
            slow_start_retrans: 8,
            timeouts: 1,
            wqueue_too_big: 7,
            mtu_probes_failed: 9,
        };
        assert_eq!(counters, expected);
        assert_eq!(counters - counters, Counters::default());
    }

    #[test]
    fn missing_counters_are_named() {
        let error = Counters::parse(SNMP, "TcpExt: TCPTimeouts\nTcpExt: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "no counter TcpExt TCPRetransFail");
        let error = Counters::parse("Tcp: RetransSegs\nTcp: many\n", NETSTAT).unwrap_err();
        assert!(error.to_string().starts_with("counter Tcp RetransSegs is \"many\""), "{error}");
        assert!(Counters::parse("Tcp: RetransSegs\n", NETSTAT).is_err());
        assert!(Counters::parse("", "").is_err());
    }
}
