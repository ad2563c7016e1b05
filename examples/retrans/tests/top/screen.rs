// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program in a terminal: a pty, and a screen that interprets what the program writes.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// The time limit of each step. Nothing lasts as long on a healthy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The settings of a terminal, as text.
type Settings = String;

/// A program in a terminal. Killed on drop.
pub(crate) struct Screen {
    child: Child,
    /// The user's end of the pty.
    terminal: File,
    shown: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<Vec<u8>>>,
    hung_up: Arc<AtomicBool>,
    before: Settings,
}

/// The state after the program has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The final content of the screen.
    pub(crate) text: String,
    /// All bytes that were written.
    pub(crate) written: Vec<u8>,
    /// True if the terminal was restored: its settings, its main screen, its cursor.
    pub(crate) restored: bool,
}

fn size(width: u16, height: u16) -> Winsize {
    Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 }
}

fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a size")
}

fn settings(terminal: &File) -> Settings {
    format!("{:?}", tcgetattr(terminal).expect("the terminal's settings"))
}

impl Screen {
    /// Runs `top` with arguments.
    pub(crate) fn of(width: u16, height: u16, arguments: &[&str]) -> Self {
        Self::running(width, height, &[&[env!("CARGO_BIN_EXE_retrans"), "top"], arguments].concat(), &[])
    }

    /// Runs a command line with additional environment variables.
    pub(crate) fn running(width: u16, height: u16, command_line: &[&str], environment: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = File::from(openpt(flags).expect("a pty"));
        grantpt(&terminal).expect("a pty");
        unlockpt(&terminal).expect("a pty");
        tcsetwinsize(&terminal, size(width, height)).expect("a size");
        let name = ptsname(&terminal, Vec::new()).expect("a name");
        let open = || OpenOptions::new().read(true).write(true).open(OsStr::from_bytes(name.to_bytes()));
        let before = settings(&terminal);

        // As the controlling terminal, it signals a new size and a hang-up.
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(command_line).envs(environment.iter().copied()).env("TERM", "xterm-256color");
        let stdio = || Stdio::from(open().expect("the program's side"));
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = command.spawn().expect("setsid of util-linux");
        // It also holds the program's end open.
        drop(command);

        let shown = Arc::new(Mutex::new(vt100::Parser::new(cells(height), cells(width), 0)));
        let hung_up = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (shown, hung_up) = (Arc::clone(&shown), Arc::clone(&hung_up));
            let terminal = terminal.try_clone().expect("a descriptor");
            move || read(terminal, &shown, &hung_up)
        });
        Self { child, terminal, shown, reader: Some(reader), hung_up, before }
    }

    fn shown(&self) -> MutexGuard<'_, vt100::Parser> {
        self.shown.lock().expect("no panic")
    }

    pub(crate) fn text(&self) -> String {
        self.shown().screen().contents()
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("there is room");
    }

    pub(crate) fn resize(&self, width: u16, height: u16) {
        self.shown().screen_mut().set_size(cells(height), cells(width));
        tcsetwinsize(&self.terminal, size(width, height)).expect("another size");
    }

    /// Waits until the screen contains a text, and returns the line.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |shown| shown.lines().find(|line| line.contains(text)).map(str::to_owned))
    }

    pub(crate) fn wait_until<T>(&self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if let Some(found) = look(&text) {
                return found;
            }
            assert!(Instant::now() < deadline, "no `{what}` on the screen:\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is not reaped yet");
    }

    /// Closes the terminal.
    pub(crate) fn hang_up(mut self) -> ExitStatus {
        self.hung_up.store(true, Ordering::Relaxed);
        self.reader.take().expect("once").join().expect("no panic");
        self.terminal = File::open("/dev/null").expect("it is there");
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the program ends.
    pub(crate) fn end(mut self) -> Ended {
        let status = self.wait();
        let after = settings(&self.terminal);
        // The reader ends when the last descriptor of the program's end is closed, which has
        // happened.
        let written = self.reader.take().expect("once").join().expect("no panic");
        let restored = {
            let shown = self.shown();
            let screen = shown.screen();
            after == self.before && !screen.alternate_screen() && !screen.hide_cursor()
        };
        Ended { status, text: self.text(), written, restored }
    }
}

/// The begin and the end of a synchronized update: a terminal shows what is between them at once.
const UPDATE: [&[u8]; 2] = [b"\x1b[?2026h", b"\x1b[?2026l"];

/// Shows what is written until the program's end is closed or the terminal hangs up. Returns all
/// bytes.
fn read(mut terminal: File, shown: &Mutex<vt100::Parser>, hung_up: &AtomicBool) -> Vec<u8> {
    let (mut all, mut done, mut buffer) = (Vec::new(), 0, [0; 4096]);
    let show = |bytes: &[u8]| shown.lock().expect("no panic").process(bytes);
    while !hung_up.load(Ordering::Relaxed) {
        let mut fds = [PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 })) == Ok(0) {
            continue;
        }
        // At the end, a read fails.
        let Ok(count @ 1..) = terminal.read(&mut buffer) else { break };
        all.extend_from_slice(&buffer[..count]);
        let [begun, ended] = UPDATE.map(|sequence| all.windows(sequence.len()).rposition(|bytes| bytes == sequence));
        let complete = if begun > ended { begun.unwrap_or_default().max(done) } else { all.len() };
        show(&all[done..complete]);
        done = complete;
    }
    show(&all[done..]);
    all
}

impl Drop for Screen {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
