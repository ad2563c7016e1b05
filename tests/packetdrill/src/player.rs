// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays a script.
//!
//! # Design
//! This is a driver, not a conformance test. It makes the script's system calls, and sends the
//! segments of the script's peer, at their times. An expected segment of the kernel synchronizes
//! what follows. A difference from the script is counted, and play goes on: the other end of the
//! connection is still a plausible peer.

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use retrans_lab::command::end_of;
use retrans_lab::{Context, Family, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::net::{Shutdown, connect_unspec, shutdown};

use crate::call::{Call, Fd, Op};
use crate::connection::Connection;
use crate::execute::{Done, Files, Sockets, execute};
use crate::net::{Link, PORT, Sent, addresses, socket_address};
use crate::script::{Action, Flags, Icmp, Moment, Script, Segment, Step, Time};

/// The maximum delay of a segment, compared with the script.
const SLACK: Duration = Duration::from_millis(300);

/// The maximum advance of a segment, compared with the script.
const EARLY: Duration = Duration::from_millis(20);

/// The maximum time that a segment without a time is awaited.
const ANY: Duration = Duration::from_secs(2);

/// The maximum duration of a call that the script does not mark as blocking.
const CALL: Duration = Duration::from_secs(2);

/// The maximum duration of a shell command.
const COMMAND: Duration = Duration::from_secs(20);

/// The silence of the peer after the script, so that timers retransmit what is outstanding.
const SILENCE: Duration = Duration::from_millis(700);

/// Play ends after this number of consecutive missing segments.
const MISSING: u32 = 4;

/// The differences between the kernel and a script, and the end of the play.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// The differences between script and kernel, in order.
    pub differences: Vec<String>,
    /// The number of checks in Python, which are not run.
    pub assertions: usize,
    /// True if every step was played.
    pub is_complete: bool,
    /// The ports of the peer.
    pub ports: Vec<u16>,
}

/// Prepares this thread: it gets its own /tmp, and the scripts' directory as its working directory.
/// Scripts write to fixed names in /tmp.
///
/// # Errors
/// Returns an error without CAP_SYS_ADMIN, or if there is no such directory.
pub(crate) fn prepare_thread(directory: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot create a mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    env::set_current_dir(directory).with_context(|| format!("cannot enter {directory:?}"))?;
    mount_change("/", private)
        .and_then(|()| mount("tmpfs", "/tmp", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None))
        .context("cannot mount a private /tmp")
}

/// A call in progress.
struct Running<'a> {
    line: usize,
    call: &'a Call,
    done: Receiver<Done>,
}

/// Plays one script over one device.
pub(crate) struct Player<'a> {
    script: &'a Script,
    family: Family,
    congestion_control: &'a str,
    link: &'a Link,
    files: Files,
    connections: Vec<Connection>,
    /// The connections that sockets have opened.
    opened: BTreeMap<Fd, usize>,
    /// Segments of the kernel that are not compared yet, with the index of their connection.
    sent: VecDeque<(usize, Sent)>,
    running: Option<Running<'a>>,
    start: Instant,
    /// The time of the step before.
    base: Instant,
    missing: u32,
    played: Played,
}

impl<'a> Player<'a> {
    /// Returns a player for the namespace of this thread.
    pub(crate) fn new(script: &'a Script, family: Family, congestion_control: &'a str, link: &'a Link) -> Self {
        let start = Instant::now();
        Self {
            script,
            family,
            congestion_control,
            link,
            files: Files::new(),
            connections: Vec::new(),
            opened: BTreeMap::new(),
            sent: VecDeque::new(),
            running: None,
            start,
            base: start,
            missing: 0,
            played: Played::default(),
        }
    }

    /// Runs the commands that prepare the namespace.
    ///
    /// # Errors
    /// Returns an error if the device fails.
    pub(crate) fn init(&mut self) -> Result<()> {
        let script = self.script;
        script.init.as_ref().map_or(Ok(()), |command| self.command(1, command))
    }

    /// Plays the script, and ends its connections.
    ///
    /// # Errors
    /// Returns an error if the device fails, or if a segment cannot be built.
    pub(crate) fn play(mut self) -> Result<Played> {
        let script = self.script;
        self.start = Instant::now();
        self.base = self.start;
        for step in &script.steps {
            if self.missing >= MISSING {
                break;
            }
            self.step(step)?;
        }
        self.played.is_complete = self.missing < MISSING;
        self.end()?;
        self.played.ports = self.connections.iter().map(|connection| connection.port).collect();
        Ok(self.played)
    }

    fn step(&mut self, step: &'a Step) -> Result<()> {
        let Time { from, to, blocks } = step.time;
        let at = |moment: Moment, base: Instant, start: Instant| match moment {
            Moment::Any => Instant::now(),
            Moment::After(time) => base + time,
            Moment::At(time) => start + time,
        };
        let earliest = at(from, self.base, self.start);
        if let Action::Expect(want) = &step.action {
            let latest = match (from, to) {
                (Moment::Any, _) => earliest + ANY,
                (Moment::At(_), Some(to)) => self.start + to,
                (Moment::After(_), Some(to)) => self.base + to,
                (_, None) => earliest,
            };
            return self.expect(step.line, want, earliest, latest + SLACK);
        }
        self.wait_until(earliest)?;
        self.base = earliest;
        match &step.action {
            Action::Call(call) => self.call(step.line, call, blocks)?,
            Action::Inject(segment) => self.inject(step.line, segment)?,
            Action::Icmp(icmp) => self.icmp(step.line, icmp)?,
            Action::Command(command) => self.command(step.line, command)?,
            Action::Assertion => self.played.assertions += 1,
            Action::Expect(_) => unreachable!("it was handled above"),
        }
        // What was late delays the rest.
        let now = Instant::now();
        if now > self.base + Duration::from_millis(5) {
            self.base = now;
        }
        Ok(())
    }

    fn differs(&mut self, line: usize, what: impl Into<String>) {
        self.played.differences.push(format!("line {line}: {}", what.into()));
    }

    /// Reads the next segment that the kernel sends. Returns false at the deadline.
    fn receive(&mut self, deadline: Instant) -> Result<bool> {
        let Some(sent) = self.link.receive(deadline)? else { return Ok(false) };
        if let Some(index) = self.connections.iter().position(|connection| connection.port == sent.ports.1) {
            self.connections[index].update(&sent);
            self.sent.push_back((index, sent));
        }
        Ok(true)
    }

    /// Reads what the kernel sends until this time, also if it does not stop to send.
    fn wait_until(&mut self, deadline: Instant) -> Result<()> {
        let limit = deadline.max(Instant::now()) + Duration::from_secs(1);
        while self.receive(deadline)? && Instant::now() < limit {}
        Ok(())
    }

    /// Reads what the kernel has sent.
    fn drain(&mut self) -> Result<()> {
        self.wait_until(Instant::now())
    }

    fn inject(&mut self, line: usize, segment: &Segment) -> Result<()> {
        self.drain()?;
        let opens = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        if self.connections.last().is_none_or(|current| opens && !current.may_receive_syn()) {
            self.connections.push(Connection::new(false));
        }
        let Some(current) = self.connections.last_mut() else { return Ok(()) };
        match current.header_of(segment, self.family) {
            Ok(header) => self.link.send(segment.ecn, header, segment.len, self.script.mss),
            Err(error) => {
                self.differs(line, format!("cannot send {segment}: {error}"));
                Ok(())
            }
        }
    }

    fn icmp(&mut self, line: usize, icmp: &Icmp) -> Result<()> {
        self.drain()?;
        match self.connections.last().map(|current| current.quoted(icmp.seq)) {
            Some(Ok(quoted)) if self.link.has_icmp(icmp) => self.link.send_icmp(icmp, quoted),
            Some(Ok(_)) => {
                self.differs(line, "the family has no such ICMP error");
                Ok(())
            }
            _ => {
                self.differs(line, "no connection for an ICMP error");
                Ok(())
            }
        }
    }

    /// Waits for a segment of the current connection. Others before it are differences, and so is a
    /// segment before `earliest`.
    fn expect(&mut self, line: usize, want: &Segment, earliest: Instant, deadline: Instant) -> Result<()> {
        let Some(current) = self.connections.len().checked_sub(1) else {
            self.differs(line, format!("no connection that could send {want}"));
            return Ok(());
        };
        self.connections[current].expect(want);
        // The rest of the segment, if the kernel sends it in parts.
        let mut rest = want.clone();
        let mut others = VecDeque::new();
        while let Some(sent) = self.next_of(current, deadline)? {
            let got = self.connections[current].to_script(&sent);
            let is_same = (got.flags, got.seq, got.len, got.ack) == (rest.flags, rest.seq, rest.len, rest.ack);
            if !is_same && !is_part(&got, &rest) {
                self.differs(line, format!("{got} instead of {rest}"));
            }
            if got.seq == rest.seq && 0 < got.len && got.len < rest.len {
                rest.seq = rest.seq.wrapping_add(got.len);
                rest.len -= got.len;
                continue;
            }
            let begins = got.seq == rest.seq && 0 < rest.len && rest.len < got.len;
            if begins {
                // The other part is compared with the next expected segment.
                let len = sent.len - rest.len;
                let part = Sent { seq: sent.seq.wrapping_add(rest.len), len, ..sent.clone() };
                self.sent.push_front((current, part));
            }
            let ends = [Flags::SYN, Flags::FIN, Flags::RST];
            let is_alike = (got.seq, got.len) == (rest.seq, rest.len)
                && ends.iter().all(|flag| got.flags.has(*flag) == rest.flags.has(*flag));
            if begins || is_alike {
                if sent.at + EARLY < earliest {
                    let early = earliest - sent.at;
                    self.differs(line, format!("{rest} {} ms too early", early.as_millis()));
                }
                self.connections[current].matched(want, &sent);
                self.base = sent.at;
                self.missing = 0;
                return Ok(());
            }
            others.push_back((current, sent));
        }
        self.differs(line, format!("nothing instead of {rest}"));
        // They may be what the next steps expect.
        others.append(&mut self.sent);
        self.sent = others;
        self.missing += 1;
        self.base = Instant::now();
        Ok(())
    }

    /// Returns the next segment of a connection. Segments of earlier connections are not compared.
    fn next_of(&mut self, connection: usize, deadline: Instant) -> Result<Option<Sent>> {
        loop {
            while let Some((index, sent)) = self.sent.pop_front() {
                if index == connection {
                    return Ok(Some(sent));
                }
            }
            if !self.receive(deadline)? {
                return Ok(None);
            }
        }
    }

    fn call(&mut self, line: usize, call: &'a Call, blocks: bool) -> Result<()> {
        self.finish(CALL)?;
        if self.running.is_some() {
            self.differs(line, format!("`{}` not made: the call before it blocks", call.text));
            return Ok(());
        }
        let address = match call.op {
            Op::Connect { fd } | Op::Send { fd, connects: true, .. } => self.connects(fd),
            _ => socket_address(self.family, addresses(self.family).0, PORT),
        };
        if let Op::Disconnect { fd } | Op::Close { fd } = call.op {
            self.opened.remove(&fd);
        }
        let (sender, done) = channel();
        let (op, files) = (call.op.clone(), self.files.clone());
        if let Op::Close { fd } = call.op {
            self.files.remove(&fd);
        }
        let sockets = Sockets { address, congestion_control: self.congestion_control.to_owned() };
        thread::Builder::new()
            .name("call".into())
            .spawn(move || {
                let done = execute(&op, &files, &sockets);
                // Closes a descriptor that the player has removed.
                drop(files);
                let _ = sender.send(done);
            })
            .context("cannot start a thread")?;
        self.running = Some(Running { line, call, done });
        if !blocks {
            self.finish(CALL)?;
            if self.running.is_some() {
                self.differs(line, format!("`{}` blocks", call.text));
            }
        }
        Ok(())
    }

    /// Returns the address that a socket connects to. The first time, this opens a connection.
    fn connects(&mut self, fd: Fd) -> SocketAddr {
        let index = *self.opened.entry(fd).or_insert_with(|| {
            self.connections.push(Connection::new(true));
            self.connections.len() - 1
        });
        socket_address(self.family, addresses(self.family).1, self.connections[index].port)
    }

    /// Waits for the call in progress.
    fn finish(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while let Some(Running { line, call, done }) = self.running.take() {
            match done.recv_timeout(Duration::from_millis(1)) {
                Ok(done) => self.finished(line, call, done),
                Err(RecvTimeoutError::Disconnected) => self.differs(line, format!("`{}` panicked", call.text)),
                Err(RecvTimeoutError::Timeout) => {
                    self.running = Some(Running { line, call, done });
                    self.drain()?;
                    if Instant::now() >= deadline {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn finished(&mut self, line: usize, call: &Call, done: Done) {
        let Done { result, opened } = done;
        let numbers: Vec<Fd> = match (&call.op, call.result) {
            (Op::Pipe { ends }, _) => ends.to_vec(),
            (_, Some(number)) if number >= 0 => vec![number],
            _ => Vec::new(),
        };
        let opens = !opened.is_empty();
        self.files.extend(numbers.into_iter().zip(opened.into_iter().map(Into::into)));
        let is_expected = match (&result, call.result) {
            (_, None) => true,
            (Ok(value), Some(expected)) => *value == expected || (opens && expected >= 0),
            (Err(error), Some(expected)) => {
                expected < 0 && call.errno.as_ref().is_none_or(|name| is_errno(error, name))
            }
        };
        if !is_expected {
            let expected = call.result.unwrap_or_default();
            self.differs(line, format!("`{}` returned {result:?} instead of {expected}", call.text));
        }
    }

    /// Runs a shell command in the namespace, while the device is read.
    fn command(&mut self, line: usize, command: &str) -> Result<()> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("PACKETDRILL_PID", std::process::id().to_string());
        let ended = thread::scope(|scope| -> Result<_> {
            let shell = scope.spawn(|| end_of(COMMAND, shell));
            while !shell.is_finished() {
                self.wait_until(Instant::now() + Duration::from_millis(1))?;
            }
            Ok(shell.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let text = command.split_whitespace().collect::<Vec<_>>().join(" ");
        match ended {
            Ok(ended) if ended.status.success() => {}
            Ok(ended) => self.differs(line, format!("`{text}` failed ({}): {}", ended.status, ended.stderr.trim())),
            Err(error) => self.differs(line, error.to_string()),
        }
        Ok(())
    }

    /// Lets timers expire, and then ends every connection, so that the kernel retransmits nothing
    /// more.
    fn end(&mut self) -> Result<()> {
        self.finish(CALL)?;
        self.wait_until(Instant::now() + SILENCE)?;
        // A reset that is in the window but not at its left edge is answered with the right number
        // (RFC 5961).
        for _ in 0..2 {
            for reset in self.connections.iter().filter_map(Connection::reset) {
                self.link.send(0, reset, 0, None)?;
            }
            self.drain()?;
        }
        let is_blocked = self.running.is_some();
        for file in std::mem::take(&mut self.files).values() {
            // Not every descriptor is a socket, and not every socket is connected.
            if is_blocked {
                let _ = shutdown(file, Shutdown::Both);
            }
            let _ = connect_unspec(file);
        }
        self.drain()
    }
}

/// Returns whether a segment is the beginning of an expected one. The kernel may send it in parts,
/// because `tcp_min_tso_segs` and the pacing rate limit a packet. packetdrill joins the parts, too.
fn is_part(got: &Segment, rest: &Segment) -> bool {
    // The last part may have these flags.
    let other = |flags: Flags| flags.0 & !(Flags::PSH.0 | Flags::FIN.0 | Flags::CWR.0);
    0 < got.len && got.len < rest.len && (got.seq, got.ack, other(got.flags)) == (rest.seq, rest.ack, other(rest.flags))
}

/// Returns whether an error has this name, such as EAGAIN.
fn is_errno(error: &io::Error, name: &str) -> bool {
    let name = if name == "EWOULDBLOCK" { "EAGAIN" } else { name };
    error.raw_os_error().is_some_and(|number| format!("{:?}", Errno::from_raw(number)) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u16, seq: u32, len: u32, ack: u32) -> Segment {
        Segment { flags: Flags(flags), seq, len, ack, ..Segment::default() }
    }

    #[test]
    fn a_part_of_an_expected_segment_is_no_difference() {
        let (push, ack) = (Flags::PSH.0, Flags::ACK.0);
        let want = segment(push | ack, 1, 5000, 1);
        assert!(is_part(&segment(push | ack, 1, 2000, 1), &want));
        assert!(is_part(&segment(ack, 1, 2000, 1), &want));
        let rest = segment(push | ack, 2001, 3000, 1);
        assert!(is_part(&segment(ack, 2001, 2000, 1), &rest));
        for (why, got) in [
            ("another acknowledgment", segment(ack, 1, 2000, 2)),
            ("another number", segment(ack, 2, 2000, 1)),
            ("the whole", segment(ack, 1, 5000, 1)),
            ("nothing", segment(ack, 1, 0, 1)),
            ("a reset", segment(ack | Flags::RST.0, 1, 2000, 1)),
        ] {
            assert!(!is_part(&got, &want), "{why}");
        }
    }

    #[test]
    fn errors_are_compared_by_name() {
        let error = io::Error::from(rustix::io::Errno::AGAIN);
        assert!(is_errno(&error, "EAGAIN") && is_errno(&error, "EWOULDBLOCK"));
        assert!(!is_errno(&error, "EBADF"));
        assert!(!is_errno(&io::Error::other("no number"), "EAGAIN"));
    }
}
