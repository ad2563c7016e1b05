// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network namespace's own counters of retransmissions.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::error::{Error, ErrorKind};

/// A network namespace and its counters in /proc.
///
/// Reading the counters requires no capability, and works from any thread in any namespace. The
/// namespace continues to exist as long as this value exists.
#[derive(Debug)]
pub struct Netns {
    inode: u32,
    snmp: File,
    netstat: File,
}

/// The counters of a namespace since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mib {
    pub(crate) retrans_segs: u64,
    pub(crate) retrans_fail: u64,
    pub(crate) syn_retrans: u64,
    pub(crate) spurious_rtx_host_queues: u64,
    pub(crate) fast_retrans: u64,
    pub(crate) slow_start_retrans: u64,
    pub(crate) loss_probes: u64,
    pub(crate) timeouts: u64,
}

/// Counters of a network namespace since it was created, to relate retransmissions to: the
/// denominators of their rates.
///
/// # Examples
///
/// ```
/// use retrans_sdk::stats::Netns;
///
/// let counters = Netns::current()?.counters()?;
/// println!("{} of {} segments", counters.retrans_segs, counters.out_segs);
/// # Ok::<(), retrans_sdk::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NetnsCounters {
    /// Segments sent (`OutSegs`), without those that contain only retransmitted bytes.
    pub out_segs: u64,
    /// Segments retransmitted (`RetransSegs`).
    pub retrans_segs: u64,
    /// Connections that the host opened (`ActiveOpens`).
    pub active_opens: u64,
    /// Connections that the peer opened (`PassiveOpens`).
    pub passive_opens: u64,
    /// Expired retransmission timers (`TCPTimeouts`).
    pub timeouts: u64,
    /// Tail loss probes (`TCPLossProbes`).
    pub loss_probes: u64,
}

impl Netns {
    /// Opens the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::System`] if /proc cannot be read.
    pub fn current() -> Result<Self, Error> {
        Self::of_directory("/proc/thread-self")
    }

    /// Opens the network namespace of a process.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::System`] if there is no such process, if this process lacks the
    /// permission to inspect it (the same permission as for `ptrace`), or if it moves to another
    /// namespace during the call.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::of_directory(&format!("/proc/{pid}"))
    }

    fn of_directory(directory: &str) -> Result<Self, Error> {
        let open = |name: &str| {
            let path = format!("{directory}/net/{name}");
            File::open(&path)
                .map_err(|error| Error::new(ErrorKind::System, format!("cannot open {path}")).caused_by(error))
        };
        let path = format!("{directory}/ns/net");
        let inode_of = || {
            fs::metadata(&path)
                .map(|metadata| metadata.ino())
                .map_err(|error| Error::new(ErrorKind::System, format!("cannot stat {path}")).caused_by(error))
        };
        let inode = inode_of()?;
        // The kernel numbers namespaces with an unsigned int, independent of the width of inode
        // numbers.
        let netns = Self { inode: inode as u32, snmp: open("snmp")?, netstat: open("netstat")? };
        if inode_of()? != inode {
            return Err(Error::new(
                ErrorKind::System,
                format!("the process changed its network namespace while {path} was read"),
            ));
        }
        Ok(netns)
    }

    /// Returns the inode number of the namespace, which events contain as
    /// [`Event::netns`](crate::Event::netns).
    #[must_use]
    pub const fn inode(&self) -> u32 {
        self.inode
    }

    /// Reads the counters of the namespace.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::System`] if they cannot be read.
    pub fn counters(&self) -> Result<NetnsCounters, Error> {
        NetnsCounters::parse(&text(&self.snmp)?, &text(&self.netstat)?)
    }

    pub(crate) fn read(&self) -> Result<Mib, Error> {
        Mib::parse(&text(&self.snmp)?, &text(&self.netstat)?)
    }
}

/// Reads a file of /proc from its beginning, because a read there makes the kernel generate the
/// contents anew.
fn text(file: &File) -> Result<String, Error> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::System, "cannot read the counters of the network namespace").caused_by(error)
    };
    let mut bytes = vec![0; 1 << 16];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64).map_err(failed)? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Mib {
    /// Parses the contents of /proc/net/snmp and /proc/net/netstat.
    pub(crate) fn parse(snmp: &str, netstat: &str) -> Result<Self, Error> {
        let ext = |name| counter(netstat, "TcpExt", name);
        Ok(Self {
            retrans_segs: counter(snmp, "Tcp", "RetransSegs")?,
            retrans_fail: ext("TCPRetransFail")?,
            syn_retrans: ext("TCPSynRetrans")?,
            spurious_rtx_host_queues: ext("TCPSpuriousRtxHostQueues")?,
            fast_retrans: ext("TCPFastRetrans")?,
            slow_start_retrans: ext("TCPSlowStartRetrans")?,
            loss_probes: ext("TCPLossProbes")?,
            timeouts: ext("TCPTimeouts")?,
        })
    }
}

impl NetnsCounters {
    /// Parses the contents of /proc/net/snmp and /proc/net/netstat.
    fn parse(snmp: &str, netstat: &str) -> Result<Self, Error> {
        let tcp = |name| counter(snmp, "Tcp", name);
        let ext = |name| counter(netstat, "TcpExt", name);
        Ok(Self {
            out_segs: tcp("OutSegs")?,
            retrans_segs: tcp("RetransSegs")?,
            active_opens: tcp("ActiveOpens")?,
            passive_opens: tcp("PassiveOpens")?,
            timeouts: ext("TCPTimeouts")?,
            loss_probes: ext("TCPLossProbes")?,
        })
    }
}

/// Returns a counter. The files contain pairs of lines with the same first word: a line of names,
/// and then a line of values.
fn counter(text: &str, group: &str, name: &str) -> Result<u64, Error> {
    let mut lines = text.lines().filter_map(|line| line.split_once(": ")).filter(|(word, _)| *word == group);
    let value = lines.next().zip(lines.next()).and_then(|((_, names), (_, values))| {
        names.split_ascii_whitespace().zip(values.split_ascii_whitespace()).find(|(known, _)| *known == name)
    });
    value
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::System, format!("the network namespace has no counter {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
        Tcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens OutSegs RetransSegs InErrs\n\
        Tcp: 1 -1 8 9 10 17 0\nUdp: RetransSegs\nUdp: 5\n";
    const NETSTAT: &str = "TcpExt: TCPTimeouts TCPRetransFail TCPSpuriousRtxHostQueues TCPSynRetrans \
        TCPLossProbes TCPFastRetrans TCPSlowStartRetrans\n\
        TcpExt: 1 4 5 6 2 3 7\nIpExt: InOctets\nIpExt: 9\n";

    #[test]
    fn each_counter_is_read_from_its_column() {
        let expected = Mib {
            retrans_segs: 17,
            retrans_fail: 4,
            syn_retrans: 6,
            spurious_rtx_host_queues: 5,
            fast_retrans: 3,
            slow_start_retrans: 7,
            loss_probes: 2,
            timeouts: 1,
        };
        assert_eq!(Mib::parse(SNMP, NETSTAT).expect("all are there"), expected);
        let expected = NetnsCounters {
            out_segs: 10,
            retrans_segs: 17,
            active_opens: 8,
            passive_opens: 9,
            timeouts: 1,
            loss_probes: 2,
        };
        assert_eq!(NetnsCounters::parse(SNMP, NETSTAT).expect("all are there"), expected);
    }

    #[test]
    fn a_missing_counter_is_named() {
        let error = Mib::parse(SNMP, "TcpExt: TCPTimeouts\nTcpExt: 1\n").expect_err("none");
        assert_eq!(error.to_string(), "the network namespace has no counter TCPRetransFail");
        assert!(Mib::parse("Tcp: RetransSegs\nTcp: many\n", NETSTAT).is_err());
        assert!(Mib::parse("Tcp: RetransSegs\n", NETSTAT).is_err());
    }

    #[test]
    fn counters_can_be_read_repeatedly() {
        let netns = Netns::current().expect("/proc");
        let first = netns.read().expect("counters");
        let second = netns.read().expect("counters");
        assert!(second.retrans_segs >= first.retrans_segs);
        let counters = netns.counters().expect("counters");
        assert!(counters.retrans_segs >= second.retrans_segs);
        assert!(netns.counters().expect("counters").out_segs >= counters.out_segs);
        let same = Netns::of_process(std::process::id()).expect("this process");
        assert_eq!(same.inode(), netns.inode());
        assert_eq!(Netns::of_process(u32::MAX).expect_err("no process").kind(), ErrorKind::System);
    }
}
