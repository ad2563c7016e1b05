// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packets that the kernel dropped inside attempts, as its own text shows them.
//!
//! # Design
//! The text of `skb:kfree_skb` names no socket. But the kernel drops the packet of an attempt on
//! the same CPU, between the attempt's transmit step and its tracepoint. So the last drop on a CPU
//! before the tracepoint is that of the attempt, if it is recent. Before Linux 6.17 the tracepoint
//! does not report failures. Then the drops shortly before the time of the event are compared. The
//! code under test matches by socket instead.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;

use super::{PrintedFailures, TraceEvent, prints_failures};
use crate::cleanup_dir::CleanupDir;
use crate::{Context, Error, Result, tracefs};

/// The maximum time between a drop and the tracepoint of its attempt. Emulated guests are slow.
const RECENT: Duration = Duration::from_millis(20);

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedDrop {
    /// The function and the offset, as in `nft_do_chain+0x3e8`. It is `None` if the kernel does not
    /// print symbols.
    pub location: Option<String>,
    /// The reason, without the prefix. It is `None` before Linux 5.17.
    pub reason: Option<String>,
    /// The whole line.
    pub line: String,
}

/// A trace instance with the tracepoints of retransmissions and of drops.
#[derive(Debug)]
pub struct DropTrace {
    /// Closed before the directory is removed.
    pipe: Option<File>,
    #[expect(dead_code, reason = "removes the instance on drop")]
    dir: CleanupDir,
    partial: Vec<u8>,
    /// The last drop of each CPU that no attempt followed, and its time.
    last: BTreeMap<String, (Duration, TracedDrop)>,
    /// All drops with their times.
    drops: Vec<(Duration, TracedDrop)>,
    reports_failures: bool,
}

impl DropTrace {
    /// Creates an instance.
    ///
    /// # Errors
    /// Returns an error if tracefs is not available, or lacks the tracepoints.
    pub fn new() -> Result<Self> {
        let dir = CleanupDir::create(&tracefs::root()?.join("instances"))?;
        let write = |file: &str, value: &str| {
            let path = dir.path().join(file);
            std::fs::write(&path, value).with_context(|| format!("cannot write {value} to {path:?}"))
        };
        write("buffer_size_kb", "4096")?;
        write("trace_clock", "boot")?;
        write("events/tcp/tcp_retransmit_skb/enable", "1")?;
        write("events/skb/kfree_skb/enable", "1")?;
        let path = dir.path().join("trace_pipe");
        let pipe = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&path);
        let pipe = Some(pipe.with_context(|| format!("cannot open {path:?}"))?);
        let reports_failures = prints_failures(dir.path())? != PrintedFailures::No;
        Ok(Self { pipe, dir, partial: Vec::new(), last: BTreeMap::new(), drops: Vec::new(), reports_failures })
    }

    /// Returns whether the trace contains failed attempts.
    pub fn reports_failures(&self) -> bool {
        self.reports_failures
    }

    /// Returns the packets that were dropped within this time before a moment, a CLOCK_BOOTTIME.
    /// The latest is the first. Considers what [`read`](Self::read) has read.
    pub fn drops_before(&self, moment: Duration, within: Duration) -> Vec<TracedDrop> {
        let is_near = |at: Duration| moment.checked_sub(at).is_some_and(|passed| passed <= within);
        let mut near: Vec<_> = self.drops.iter().filter(|(at, _)| is_near(*at)).collect();
        near.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        near.into_iter().map(|(_, drop)| drop.clone()).collect()
    }

    /// Returns the attempts since the last call, each with the packet that was dropped right
    /// before.
    ///
    /// # Errors
    /// Returns an error if the pipe cannot be read, or contains a malformed line.
    pub fn read(&mut self) -> Result<Vec<(TraceEvent, Option<TracedDrop>)>> {
        let pipe = self.pipe.as_mut().ok_or_else(|| Error::new("trace_pipe is closed"))?;
        let mut chunk = [0; 16 * 1024];
        loop {
            match pipe.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => self.partial.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("cannot read trace_pipe"),
            }
        }
        let whole = self.partial.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.partial.drain(..whole).collect();
        let mut attempts = Vec::new();
        for line in String::from_utf8_lossy(&lines).lines() {
            attempts.extend(self.add(line)?);
        }
        Ok(attempts)
    }

    /// Adds a line, and returns the attempt if it is one.
    fn add(&mut self, line: &str) -> Result<Option<(TraceEvent, Option<TracedDrop>)>> {
        // The name of a task may contain anything. The text of neither tracepoint contains a
        // marker.
        let Some((head, text)) = line.rsplit_once(": kfree_skb: ") else {
            let Some(attempt) = TraceEvent::parse(line)? else { return Ok(None) };
            let head = line.rsplit_once(": tcp_retransmit_skb: ").map_or("", |(head, _)| head);
            let last = cpu(head).and_then(|cpu| self.last.remove(cpu));
            let recent = last.filter(|(at, _)| attempt.timestamp.saturating_sub(*at) <= RECENT);
            return Ok(Some((attempt, recent.map(|(_, drop)| drop))));
        };
        let malformed = || Error::new(format!("cannot parse trace line {line:?}"));
        let (cpu, at) = (cpu(head).ok_or_else(malformed)?, time(head).ok_or_else(malformed)?);
        let location = text.split_once("location=").and_then(|(_, rest)| rest.split(' ').next());
        let drop = TracedDrop {
            location: location.and_then(|at| at.split('/').next()).filter(|at| at.contains('+')).map(str::to_owned),
            reason: text.rsplit_once("reason: ").map(|(_, reason)| reason.trim().to_owned()),
            line: line.to_owned(),
        };
        self.drops.push((at, drop.clone()));
        self.last.insert(cpu.to_owned(), (at, drop));
        Ok(None)
    }
}

/// `name-123   [001] ..s1.`
fn cpu(head: &str) -> Option<&str> {
    head.rsplit_once('[')?.1.split_once(']').map(|(cpu, _)| cpu)
}

/// `123.456789`, the last word.
fn time(head: &str) -> Option<Duration> {
    let (seconds, micros) = head.rsplit(' ').next()?.split_once('.')?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Result<DropTrace> {
        let dir = CleanupDir::create(&std::env::temp_dir())?;
        let (partial, last, drops) = Default::default();
        Ok(DropTrace { pipe: None, dir, partial, last, drops, reports_failures: true })
    }

    const DROP: &str = "  <idle>-0       [001] b.s2.   100.000100: kfree_skb: skbaddr=00000000aa rx_sk=0000000000000000 \
        protocol=2048 location=nft_do_chain+0x3e8/0x6b0 [nf_tables] reason: NETFILTER_DROP";
    const ATTEMPT: &str = "  <idle>-0       [001] b.s2.   100.000110: tcp_retransmit_skb: skbaddr=00000000bb \
        skaddr=00000000cc family=AF_INET sport=1 dport=2 saddr=10.0.0.1 daddr=10.0.0.2 saddrv6=::ffff:10.0.0.1 \
        daddrv6=::ffff:10.0.0.2 state=TCP_ESTABLISHED err=-1";

    #[test]
    fn a_drop_belongs_to_the_next_attempt_on_its_cpu() -> Result<()> {
        let mut trace = trace()?;
        assert_eq!(trace.add(DROP)?, None);
        let (_, of_other_cpu) = trace.add(&ATTEMPT.replace("[001]", "[000]"))?.expect("an attempt");
        assert_eq!(of_other_cpu, None);
        let (_, found) = trace.add(ATTEMPT)?.expect("an attempt");
        let found = found.expect("a drop");
        assert_eq!(found.location.as_deref(), Some("nft_do_chain+0x3e8"));
        assert_eq!(found.reason.as_deref(), Some("NETFILTER_DROP"));
        // It is used once, and only if it is recent.
        assert_eq!(trace.add(ATTEMPT)?.expect("an attempt").1, None);
        trace.add(&DROP.replace("100.000100", "99.000100"))?;
        assert_eq!(trace.add(ATTEMPT)?.expect("an attempt").1, None);
        Ok(())
    }

    #[test]
    fn drops_are_found_by_their_time() -> Result<()> {
        let mut trace = trace()?;
        trace.add(&DROP.replace("0x3e8", "0x1"))?;
        trace.add(&DROP.replace("100.000100", "100.000900"))?;
        let at = |micros| {
            let moment = Duration::from_secs(100) + Duration::from_micros(micros);
            let near = trace.drops_before(moment, Duration::from_micros(850));
            near.into_iter().map(|drop| drop.location.expect("a location")).collect::<Vec<_>>()
        };
        assert!(at(99).is_empty());
        assert_eq!(at(100), ["nft_do_chain+0x1"]);
        assert_eq!(at(950), ["nft_do_chain+0x3e8", "nft_do_chain+0x1"]);
        assert_eq!(at(1750), ["nft_do_chain+0x3e8"]);
        assert!(at(1751).is_empty());
        Ok(())
    }

    #[test]
    fn older_kernels_print_neither_symbol_nor_reason() -> Result<()> {
        let mut trace = trace()?;
        trace.add("x-1 [001] ..s2 100.000100: kfree_skb: skbaddr=00000000aa protocol=2048 location=00000000dd")?;
        let (_, found) = trace.add(ATTEMPT)?.expect("an attempt");
        let found = found.expect("a drop");
        assert_eq!((found.location, found.reason), (None, None));
        assert!(trace.add("x-1 [001] ..s2 soon: kfree_skb: skbaddr=1").is_err());
        Ok(())
    }
}
