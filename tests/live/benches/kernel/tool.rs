// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another tool that traces retransmissions: started, ready and ended.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use retrans_lab::tracefs;
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Error, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The five most common fields, one line per event.
pub(crate) const BPFTRACE: &str = r#"
BEGIN { printf("ready\n"); }
tracepoint:tcp:tcp_retransmit_skb {
    printf("%d %d %s %s %d\n", args->sport, args->dport, ntop(args->saddr), ntop(args->daddr), args->state);
}"#;

/// A running program. Its output is read and discarded.
pub(crate) struct Tool {
    child: Child,
    reader: Option<JoinHandle<()>>,
    lines: Receiver<(Instant, String)>,
    began: Instant,
    name: String,
}

/// The output on which a tool reports that it is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Stdout,
    Stderr,
}

impl Tool {
    /// bpftrace with a script.
    pub(crate) fn bpftrace() -> Result<Self> {
        Self::start(&["bpftrace", "-e", BPFTRACE], Says::Stdout)
    }

    /// perf, which discards its recording.
    pub(crate) fn perf() -> Result<Self> {
        Self::start(
            &["perf", "record", "--event", "tcp:tcp_retransmit_skb", "--all-cpus", "--output", "-"],
            Says::Stderr,
        )
    }

    /// Starts a program with access to tracefs. It ends with this process, however that ends.
    pub(crate) fn start(command: &[&str], says: Says) -> Result<Self> {
        let (started, child) = channel();
        let (line, lines) = channel();
        let name = command.first().copied().unwrap_or_default().to_owned();
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        // The kernel ends the program together with the thread that started it, so that thread also
        // reads its output.
        let reader = thread::spawn(move || match spawn(&command, says) {
            Ok((began, mut child)) => {
                let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read>);
                let pipe = stdout.or_else(|| child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read>));
                let _ = started.send(Ok((began, child)));
                if let Some(pipe) = pipe {
                    read(pipe, &line);
                }
            }
            Err(error) => drop(started.send(Err(error))),
        });
        let (began, child) = child.recv().context("a thread ended")??;
        Ok(Self { child, reader: Some(reader), lines, began, name })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this prefix, and returns the time since the start.
    pub(crate) fn until(&self, beginning: &str) -> Result<Duration> {
        let mut said = String::new();
        let deadline = Instant::now() + PATIENCE;
        while let Ok((at, line)) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.starts_with(beginning) {
                return Ok(at - self.began);
            }
            said = said + "; " + line.trim();
        }
        Err(Error::new(format!("{} is not ready after {PATIENCE:?}{said}", self.name)))
    }

    /// Waits until it has an event open on every CPU: perf does not report when it is ready.
    pub(crate) fn until_it_has_events(&self) -> Result<()> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let directory = format!("/proc/{}/fd", self.pid());
        wait_for(&format!("events of {}", self.name), PATIENCE, || {
            let entries = fs::read_dir(&directory).with_context(|| format!("{} has ended", self.name))?;
            let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
            let events = targets.filter(|target| target.as_os_str() == "anon_inode:[perf_event]");
            Ok((events.count() >= cpus).then_some(()))
        })?;
        // They are enabled one after another.
        thread::sleep(Duration::from_millis(200));
        Ok(())
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let ended = wait_for("its end", Duration::from_secs(5), || {
            Ok(self.child.try_wait().context("cannot wait for a program")?.map(drop))
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn spawn(command: &[String], says: Says) -> Result<(Instant, Child)> {
    tracefs::mount_for_this_thread()?;
    let pipe_if = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
    let mut program = Command::new("setpriv");
    program.args(["--pdeathsig", "KILL", "--"]).args(command).env("LC_ALL", "C").stdin(Stdio::null());
    program.stdout(pipe_if(says == Says::Stdout)).stderr(pipe_if(says == Says::Stderr));
    let began = Instant::now();
    let child = program.spawn().with_context(|| format!("cannot run {}", command.join(" ")))?;
    Ok((began, child))
}

/// Reads to the end: a full pipe would block the program.
fn read(pipe: impl Read, to: &Sender<(Instant, String)>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    // Later lines are events.
    let mut wanted = 50;
    while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        if wanted > 0 {
            wanted -= 1;
            let _ = to.send((Instant::now(), String::from_utf8_lossy(&line).into_owned()));
        }
        line.clear();
    }
}
