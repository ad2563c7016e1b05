// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a program of the examples in the same way as a user.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use retrans_sdk::Event;
use rustix::process::{Pid, Signal, kill_process};

/// The limit for one step. On a machine that is not stuck each step is much shorter.
const LIMIT: Duration = Duration::from_secs(30);

/// A running program. It is killed on drop.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr_lines: Receiver<String>,
    stderr: Vec<String>,
}

/// The result of a program.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// The lines of its standard error.
    pub stderr: Vec<String>,
}

impl Program {
    /// Starts the program.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("text");
            text
        });
        let (send, stderr_lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let _ = send.send(line.expect("text"));
            }
        });
        Self { child, stdout: Some(stdout), stderr_lines, stderr: Vec::new() }
    }

    /// Starts the program and waits until its stream is attached.
    ///
    /// # Panics
    /// Panics if it is not ready before the limit.
    #[track_caller]
    pub fn ready(command: &mut Command) -> Self {
        let mut program = Self::start(command);
        let deadline = Instant::now() + LIMIT;
        while !program.stderr.iter().any(|line| line.starts_with("ready source=")) {
            let left = deadline.saturating_duration_since(Instant::now());
            match program.stderr_lines.recv_timeout(left) {
                Ok(line) => program.stderr.push(line),
                Err(_) => panic!("{command:?} did not become ready: {:?}", program.stderr),
            }
        }
        program
    }

    /// Returns its PID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to it.
    ///
    /// # Panics
    /// Panics if it has ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child not yet waited for");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Panics if it does not end before the limit.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() <= deadline, "it did not end: {:?}", self.stderr);
            thread::sleep(Duration::from_millis(10));
        };
        let mut stderr = std::mem::take(&mut self.stderr);
        stderr.extend(self.stderr_lines.iter());
        let stdout = self.stdout.take().map(|reader| reader.join().expect("the reader"));
        Ended { status, stdout: stdout.unwrap_or_default(), stderr }
    }

    /// Interrupts it like ^C, and waits for its end.
    ///
    /// # Panics
    /// Panics like [`end`](Self::end).
    #[track_caller]
    pub fn interrupt(self) -> Ended {
        self.signal(Signal::INT);
        self.end()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // This fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Returns the events that it printed.
    ///
    /// # Panics
    /// Panics if a line is not an event.
    #[track_caller]
    pub fn events(&self) -> Vec<Event> {
        self.stdout.lines().map(|line| line.parse().unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Returns the counters of the `stats` line. A counter that the kernel does not provide is left
    /// out: `missed`, before Linux 5.12.
    ///
    /// # Panics
    /// Panics if there is not exactly one such line.
    #[track_caller]
    pub fn stats(&self) -> HashMap<String, u64> {
        let lines: Vec<_> = self.stderr.iter().filter_map(|line| line.strip_prefix("stats ")).collect();
        assert_eq!(lines.len(), 1, "{:?}", self.stderr);
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').expect("key=val");
            if (key, value) == ("missed", "-") {
                return None;
            }
            Some((key.to_owned(), value.parse().expect("a number")))
        };
        lines[0].split(' ').filter_map(pair).collect()
    }
}
