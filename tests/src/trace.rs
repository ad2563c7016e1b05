// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own account: the text of its retransmission tracepoints.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::wait::{PATIENCE, wait_for};
use crate::{Context, Error, Result, tracefs};

mod line;

pub use line::{TraceEvent, Tracepoint};

/// Of the buffer of each CPU. An event takes about a hundred bytes.
const BUFFER_KB: &str = "4096";

/// What the names of our instances begin with. The process id comes next.
const PREFIX: &str = "retrans-";

/// A trace buffer of our own, with the retransmission tracepoints enabled and nothing else.
///
/// It shows the retransmissions of every namespace, from the moment it was made. Others' use of tracing is not
/// disturbed, nor does theirs disturb this.
#[derive(Debug)]
pub struct TraceInstance {
    directory: PathBuf,
    /// Gone only in `drop`: an instance whose pipe is open cannot be removed.
    pipe: Option<File>,
    /// The beginning of a line whose end was not read yet.
    partial: Vec<u8>,
}

impl TraceInstance {
    /// Makes one, after removing those of processes that are gone. Where tracefs is not mounted, a mount of our own
    /// serves, which nobody else sees.
    ///
    /// # Errors
    /// When tracefs is not to be had, or lacks the tracepoints.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let instances = tracefs::root()?.join("instances");
        sweep(&instances);
        let directory = loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let directory = instances.join(format!("{PREFIX}{}-{n}", std::process::id()));
            match fs::create_dir(&directory) {
                Ok(()) => break directory,
                // A process with our number, now gone, left it.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {directory:?}")),
            }
        };
        let mut instance = Self { directory, pipe: None, partial: Vec::new() };
        instance.write("buffer_size_kb", BUFFER_KB)?;
        instance.write("trace_clock", "boot")?;
        for tracepoint in Tracepoint::ALL {
            instance.write(&format!("events/tcp/{tracepoint}/enable"), "1")?;
        }
        let path = instance.directory.join("trace_pipe");
        let pipe = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&path);
        instance.pipe = Some(pipe.with_context(|| format!("cannot open {path:?}"))?);
        Ok(instance)
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
        String::from_utf8_lossy(&lines).lines().filter_map(|l| TraceEvent::parse(l).transpose()).collect()
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
            std::thread::sleep(Duration::from_millis(2));
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
        let cpus = self.directory.join("per_cpu");
        for cpu in fs::read_dir(&cpus).with_context(|| format!("cannot read {cpus:?}"))? {
            let path = cpu.context("cannot read a directory")?.path().join("stats");
            lost += lost_by(&fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?);
        }
        Ok(lost)
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.directory.join(file);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut f| std::io::Write::write_all(&mut f, value.as_bytes()))
            .with_context(|| format!("cannot write {value} to {path:?}"))
    }
}

impl Drop for TraceInstance {
    fn drop(&mut self) {
        self.pipe = None;
        // Busy for as long as anyone, a file indexer say, has a file of it open. If it stays so, a later sweep has it.
        let _ = wait_for("removing the trace instance", PATIENCE / 10, || Ok(fs::remove_dir(&self.directory).ok()));
    }
}

/// Removes the instances of processes that are gone. One in use by a process of another PID namespace looks the same
/// but is safe: its pipe is open, and the kernel refuses.
fn sweep(instances: &Path) {
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        if owner(&entry.file_name().to_string_lossy()).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The process id in the name of one of our instances.
fn owner(name: &str) -> Option<&str> {
    let (pid, n) = name.strip_prefix(PREFIX)?.split_once('-')?;
    [pid, n].iter().all(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())).then_some(pid)
}

fn lost_by(stats: &str) -> u64 {
    let counters = stats.lines().filter_map(|line| line.split_once(": "));
    let losses = counters.filter(|(name, _)| matches!(*name, "overrun" | "commit overrun" | "dropped events"));
    losses.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::{lost_by, owner};

    #[test]
    fn only_our_instances_have_an_owner() {
        assert_eq!(owner("retrans-123-0"), Some("123"));
        for other in ["retrans-123", "retrans--0", "retrans-12x-0", "retrans-1-0-0", "retrans-1-", "perf-1-0", ""] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn every_kind_of_loss_counts() {
        let stats = "entries: 7\noverrun: 1\ncommit overrun: 2\nbytes: 900\noldest event ts:  1.2\n\
            now ts:  3.4\ndropped events: 4\nread events: 8\n";
        assert_eq!(lost_by(stats), 7);
        assert_eq!(lost_by(""), 0);
    }
}
