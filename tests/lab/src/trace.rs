// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's trace: the text of its retransmission tracepoints.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::cleanup_dir::CleanupDir;
use crate::{Context, Error, Result, tracefs};

mod drops;
mod line;
mod pipe;
mod trigger;

pub use drops::{DropTrace, TracedDrop};
pub use line::{TraceEvent, Tracepoint};
pub use trigger::{Trigger, trigger};

use pipe::Assembler;

/// The size of the buffers of all CPUs together. An event needs about a hundred bytes, and its call
/// stack about three hundred.
const BUFFERS_KB: usize = 64 * 1024;

/// The kernel writes the call stack microseconds after the event.
const STACK_LIMIT: Duration = Duration::from_secs(1);

/// A trace instance with only the retransmission tracepoints enabled.
///
/// It contains the retransmissions of every namespace since its creation. It does not interfere
/// with other users of tracing. It is removed on drop, and also when this process is killed.
#[derive(Debug)]
pub struct TraceInstance {
    /// Closed before the directory is removed: an open pipe keeps it.
    pipe: Option<File>,
    dir: CleanupDir,
    /// The beginning of a line that is not complete yet.
    partial: Vec<u8>,
    assembler: Assembler,
    has_stacks: bool,
}

/// The way in which the trace reports failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintedFailures {
    /// The trace contains no failed attempts, before Linux 6.17.
    No,
    /// The trace reports them by their `err`.
    ByErrno,
    /// The trace reports them by a name or a sentence for the result, as in the proposal.
    ByName,
}

/// Reads the format of the tracepoint in a directory of tracefs.
fn prints_failures(dir: &Path) -> Result<PrintedFailures> {
    let path = dir.join(format!("events/tcp/{}/format", Tracepoint::RetransmitSkb));
    let format = fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?;
    Ok(match () {
        () if format.contains("int err;") => PrintedFailures::ByErrno,
        () if format.contains("enum tcp_retransmit_") => PrintedFailures::ByName,
        () => PrintedFailures::No,
    })
}

impl TraceInstance {
    /// Creates an instance that also records the call stack of each attempt. If tracefs is not
    /// mounted, it uses a mount that no other process sees.
    ///
    /// # Errors
    /// Returns an error if tracefs is not available, or lacks the tracepoints or call stacks.
    pub fn new() -> Result<Self> {
        Self::create(true)
    }

    /// Creates an instance that records no call stacks. They multiply the cost of an attempt, which
    /// matters for a million attempts.
    ///
    /// # Errors
    /// Returns an error if tracefs is not available, or lacks the tracepoints.
    pub fn without_stacks() -> Result<Self> {
        Self::create(false)
    }

    fn create(has_stacks: bool) -> Result<Self> {
        let dir = CleanupDir::create(&tracefs::root()?.join("instances"))?;
        let mut instance = Self { pipe: None, dir, partial: Vec::new(), assembler: Assembler::default(), has_stacks };
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        instance.write("buffer_size_kb", &(BUFFERS_KB / cpus).clamp(256, 4096).to_string())?;
        instance.write("trace_clock", "boot")?;
        if has_stacks {
            instance.write("options/stacktrace", "1")?;
        }
        for tracepoint in Tracepoint::ALL {
            instance.write(&format!("events/tcp/{tracepoint}/enable"), "1")?;
        }
        let path = instance.dir.path().join("trace_pipe");
        let pipe = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&path);
        instance.pipe = Some(pipe.with_context(|| format!("cannot open {path:?}"))?);
        Ok(instance)
    }

    /// Returns its directory in tracefs.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Returns how the trace reports failed attempts.
    ///
    /// # Errors
    /// Returns an error if the format cannot be read.
    pub fn prints_failures(&self) -> Result<PrintedFailures> {
        prints_failures(self.dir.path())
    }

    /// Returns the events since the last call. It waits only for the call stack of an event that
    /// the kernel is just writing.
    ///
    /// A hardened kernel may write no call stack while a thread of process 1 or an idle task is
    /// current. (A 6.18 kernel writes none for the threads of process 1 and for the idle task of
    /// the second CPU, and one for every other task.)
    ///
    /// # Errors
    /// Returns an error if the pipe cannot be read, or contains a malformed line.
    pub fn read(&mut self) -> Result<Vec<TraceEvent>> {
        let deadline = Instant::now() + STACK_LIMIT;
        loop {
            self.read_available()?;
            let awaits = |event: &TraceEvent| self.has_stacks && !is_of_idle_task(event) && !is_of_process_1(event);
            if !self.assembler.without_stack().any(awaits) || Instant::now() >= deadline {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(self.assembler.take().map(|event| TraceEvent { of_process_1: is_of_process_1(&event), ..event }).collect())
    }

    /// Passes all lines that the pipe contains now to the assembler.
    fn read_available(&mut self) -> Result<()> {
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
        String::from_utf8_lossy(&lines).lines().try_for_each(|line| self.assembler.add(line))
    }

    /// Reads until `enough` returns true for all events of this call, and returns them.
    ///
    /// # Errors
    /// Returns an error after `limit`, with the lines that were received.
    pub fn until(&mut self, limit: Duration, enough: impl Fn(&[TraceEvent]) -> bool) -> Result<Vec<TraceEvent>> {
        let deadline = Instant::now() + limit;
        let mut events = self.read()?;
        while !enough(&events) {
            if Instant::now() >= deadline {
                let lines: Vec<_> = events.iter().map(|e| e.line.as_str()).collect();
                return Err(Error::new(format!("not in the trace within {limit:?}; traced:\n{}", lines.join("\n"))));
            }
            thread::sleep(Duration::from_millis(2));
            events.append(&mut self.read()?);
        }
        Ok(events)
    }

    /// Returns the number of events that the kernel dropped. If it is not 0, the trace is
    /// incomplete and cannot be compared.
    ///
    /// # Errors
    /// Returns an error if the statistics cannot be read.
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

/// Returns whether the current task was a thread of process 1. If the thread has ended since, its
/// name decides.
fn is_of_process_1(event: &TraceEvent) -> bool {
    let Some(task) = event.task else { return false };
    if Path::new(&format!("/proc/1/task/{task}")).exists() {
        return true;
    }
    // The idle task is not in /proc.
    if is_of_idle_task(event) || Path::new(&format!("/proc/{task}")).exists() {
        return false;
    }
    let threads = fs::read_dir("/proc/1/task").into_iter().flatten().flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.into_iter().any(|name| event.line.trim_start().starts_with(&format!("{}-{task} ", name.trim_end())))
}

fn is_of_idle_task(event: &TraceEvent) -> bool {
    event.task == Some(0)
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
    fn lost_by_sums_every_kind_of_loss() {
        let stats = "entries: 7\noverrun: 1\ncommit overrun: 2\nbytes: 900\noldest event ts:  1.2\n\
            now ts:  3.4\ndropped events: 4\nread events: 8\n";
        assert_eq!(lost_by(stats), 7);
        assert_eq!(lost_by(""), 0);
    }
}
