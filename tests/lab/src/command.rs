// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs programs with a deadline. Errors contain the program's output.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::wait::PATIENCE;
use crate::{Context, Error, Result};

/// Runs `command` to its end and returns its standard output.
///
/// # Errors
/// Returns an error if it cannot be started, runs longer than [`PATIENCE`], or fails. The error
/// contains the command line, the status and the program's standard error.
pub fn run(command: Command) -> Result<String> {
    run_within(PATIENCE, command)
}

/// Runs `command` like [`run`], with this deadline.
///
/// # Errors
/// Returns the errors of [`run`].
pub fn run_within(limit: Duration, command: Command) -> Result<String> {
    let line = describe(&command);
    let Ended { status, stdout, stderr } = end_of(limit, command)?;
    if !status.success() {
        return Err(Error::new(format!("`{line}` failed ({status}): {}", stderr.trim())));
    }
    Ok(stdout)
}

/// The result of a program.
#[derive(Debug, Default)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `command` to its end, whether or not it succeeds.
///
/// # Errors
/// Returns an error if it cannot be started or runs longer than `limit`. The error contains the
/// command line and the program's output.
pub fn end_of(limit: Duration, mut command: Command) -> Result<Ended> {
    let line = describe(&command);
    // Files in memory instead of pipes: a program can fill them without a reader, so no deadlock is
    // possible.
    let (out, err) = (scratch()?, scratch()?);
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("dup")?)
        .stderr(err.try_clone().context("dup")?)
        .spawn()
        .with_context(|| format!("cannot run `{line}`"))?;
    let pid = Pid::from_child(&child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| ends_within(&pidfd, limit));
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if !ended.with_context(|| format!("cannot wait for `{line}`"))? {
        return Err(Error::new(format!("`{line}` did not end within {limit:?}: {}{}", contents(&out), contents(&err))));
    }
    Ok(Ended { status, stdout: contents(&out), stderr: contents(&err) })
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

fn scratch() -> Result<File> {
    Ok(File::from(memfd_create("output", MemfdFlags::CLOEXEC).context("memfd_create")?))
}

fn contents(file: &File) -> String {
    let mut bytes = vec![0; file.metadata().map_or(0, |m| m.len() as usize)];
    // The program shares the file offset, so the file is read from its start explicitly.
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => format!("(its output cannot be read: {e})"),
    }
}

fn ends_within(pidfd: &OwnedFd, limit: Duration) -> rustix::io::Result<bool> {
    let deadline = std::time::Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::run_within;

    #[test]
    fn a_program_is_killed_at_the_deadline() {
        let began = Instant::now();
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        let error = run_within(Duration::from_millis(50), sleep).expect_err("it takes a minute");
        assert_eq!(error.to_string(), "`sleep 60` did not end within 50ms: ");
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
