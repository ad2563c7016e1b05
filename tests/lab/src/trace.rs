// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own account: the text of its retransmission tracepoints.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::cleanup_dir::CleanupDir;
use crate::{Context, Error, Result, tracefs};

mod line;

pub use line::{TraceEvent, Tracepoint};

/// Of the buffers of all CPUs together. An event takes about a hundred bytes.
const BUFFERS_KB: usize = 64 * 1024;

/// A trace buffer of our own, with the retransmission tracepoints enabled and nothing else.
///
/// It shows the retransmissions of every namespace, from the moment it was made. Others' use of tracing is not
/// disturbed, nor does theirs disturb this. It is removed on drop, and also when this process is killed.
#[derive(Debug)]
pub struct TraceInstance {
    /// Closed before the directory goes: with its pipe open it cannot be removed.
    pipe: Option<File>,
    dir: CleanupDir,
    /// The beginning of a line whose end was not read yet.
    partial: Vec<u8>,
}

/// What the kernel's text tells of attempts that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintedFailures {
    /// It has none of them, before Linux 6.17.
    No,
    /// Their `err`.
    ByErrno,
    /// Their result by a name, or a sentence, as in the proposal.
    ByName,
}

impl TraceInstance {
    /// Makes one. Where tracefs is not mounted, a mount of our own serves, which nobody else sees.
    ///
    /// # Errors
    /// When tracefs is not to be had, or lacks the tracepoints.
    pub fn new() -> Result<Self> {
        let dir = CleanupDir::create(&tracefs::root()?.join("instances"))?;
        let mut instance = Self { pipe: None, dir, partial: Vec::new() };
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        instance.write("buffer_size_kb", &(BUFFERS_KB / cpus).clamp(256, 4096).to_string())?;
        instance.write("trace_clock", "boot")?;
        for tracepoint in Tracepoint::ALL {
            instance.write(&format!("events/tcp/{tracepoint}/enable"), "1")?;
        }
        let path = instance.dir.path().join("trace_pipe");
        let pipe = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&path);
        instance.pipe = Some(pipe.with_context(|| format!("cannot open {path:?}"))?);
        Ok(instance)
    }

    /// Where it is under tracefs.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// What the kernel's text tells of an attempt that failed.
    ///
    /// # Errors
    /// When the format cannot be read.
    pub fn prints_failures(&self) -> Result<PrintedFailures> {
        let path = self.dir.path().join(format!("events/tcp/{}/format", Tracepoint::RetransmitSkb));
        let format = fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?;
        Ok(match () {
            () if format.contains("int err;") => PrintedFailures::ByErrno,
            () if format.contains("enum tcp_retransmit_") => PrintedFailures::ByName,
            () => PrintedFailures::No,
        })
    }

    /// The events that came since the last call, at once.
    ///
    /// # Errors
    /// When the pipe cannot be read, or holds a line that is not understood.
    pub fn read(&mut self) -> Result<Vec<TraceEvent>> {
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
        let events = String::from_utf8_lossy(&lines);
        let events = events.lines().filter_map(|line| TraceEvent::parse(line).transpose());
        events.map(|event| event.map(|event| TraceEvent { of_process_1: is_of_process_1(&event), ..event })).collect()
    }

    /// Reads until `enough` is true of all events read by this call, and gives them.
    ///
    /// # Errors
    /// After `limit`, with the lines that did come.
    pub fn until(&mut self, limit: Duration, enough: impl Fn(&[TraceEvent]) -> bool) -> Result<Vec<TraceEvent>> {
        let deadline = Instant::now() + limit;
        let mut events = self.read()?;
        while !enough(&events) {
            if Instant::now() >= deadline {
                let lines: Vec<_> = events.iter().map(|e| e.line.as_str()).collect();
                return Err(Error::new(format!("not seen in the trace within {limit:?}, but:\n{}", lines.join("\n"))));
            }
            thread::sleep(Duration::from_millis(2));
            events.append(&mut self.read()?);
        }
        Ok(events)
    }

    /// How many events the kernel could not keep for us. Anything but 0 makes this witness unreliable.
    ///
    /// # Errors
    /// When the statistics cannot be read.
    pub fn lost(&self) -> Result<u64> {
        let mut lost = 0;
        let cpus = self.dir.path().join("per_cpu");
        for cpu in fs::read_dir(&cpus).with_context(|| format!("cannot read {cpus:?}"))? {
            let path = cpu.context("cannot read a directory")?.path().join("stats");
            lost += lost_by(&fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?);
        }
        Ok(lost)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.dir.path().join(file);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut f| std::io::Write::write_all(&mut f, value.as_bytes()))
            .with_context(|| format!("cannot write {value} to {path:?}"))
    }
}

/// Whether the task that was running is a thread of process 1; or was one, by its name, and has ended since.
fn is_of_process_1(event: &TraceEvent) -> bool {
    let Some(task) = event.task else { return false };
    if Path::new(&format!("/proc/1/task/{task}")).exists() {
        return true;
    }
    // The idle task is number 0, and nowhere in /proc.
    if task == 0 || Path::new(&format!("/proc/{task}")).exists() {
        return false;
    }
    let threads = fs::read_dir("/proc/1/task").into_iter().flatten().flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.into_iter().any(|name| event.line.trim_start().starts_with(&format!("{}-{task} ", name.trim_end())))
}

fn lost_by(stats: &str) -> u64 {
    let counters = stats.lines().filter_map(|line| line.split_once(": "));
    let losses = counters.filter(|(name, _)| matches!(*name, "overrun" | "commit overrun" | "dropped events"));
    losses.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::lost_by;

    #[test]
    fn every_kind_of_loss_counts() {
        let stats = "entries: 7\noverrun: 1\ncommit overrun: 2\nbytes: 900\noldest event ts:  1.2\n\
            now ts:  3.4\ndropped events: 4\nread events: 8\n";
        assert_eq!(lost_by(stats), 7);
        assert_eq!(lost_by(""), 0);
    }
}
