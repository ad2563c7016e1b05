// SPDX-License-Identifier: MIT OR Apache-2.0
//! A terminal that the program controls. It is restored however the program ends.

use std::io::{self, IsTerminal, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::KeyEvent;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};

use crate::keys::Decoder;

/// The terminal. It is restored on drop, and in a panic before the message is printed.
pub(crate) struct Terminal {
    screen: DefaultTerminal,
    keys: Decoder,
}

/// Input from the keyboard.
#[derive(Debug)]
pub(crate) enum Input {
    /// The keys that were read; empty after a timeout.
    Keys(Vec<KeyEvent>),
    /// The terminal has hung up.
    HungUp,
}

impl Terminal {
    /// Takes control of the terminal on stdin and stdout.
    ///
    /// # Errors
    ///
    /// Returns an error if stdin or stdout is not a terminal, or its settings cannot be changed.
    pub(crate) fn take_over() -> io::Result<Self> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(io::Error::other("stdin and stdout must be a terminal"));
        }
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let hook = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                hook(info);
            }));
        });
        TAKEN_OVER.store(true, Ordering::Relaxed);
        let taken_over = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen))
            .and_then(|()| DefaultTerminal::new(CrosstermBackend::new(stdout())));
        // After an error, the terminal may be partly set up.
        taken_over.map(|screen| Self { screen, keys: Decoder::default() }).inspect_err(|_| give_back())
    }

    /// Draws in the current size of the terminal. A terminal that knows synchronized updates (DEC
    /// private mode 2026) shows the picture at once; others ignore the request.
    ///
    /// # Errors
    ///
    /// Returns an error if the terminal cannot be written to.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        queue!(stdout(), BeginSynchronizedUpdate)?;
        // After an error, too, or the terminal would wait for the rest.
        let drawn = self.screen.draw(draw).map(drop);
        drawn.and(execute!(stdout(), EndSynchronizedUpdate))
    }

    /// Waits for keys, at most for `limit`.
    ///
    /// # Errors
    ///
    /// Returns an error if the terminal cannot be read.
    pub(crate) fn keys(&mut self, limit: Duration) -> io::Result<Input> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        match poll(&mut fds, Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Input::Keys(Vec::new())),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        // crossterm's reader is not used. It reads again without polling, and then blocks, or loops
        // on a terminal that has hung up (crossterm-rs/crossterm#692, #793).
        let mut buffer = [0; 1024];
        match read(&stdin, &mut buffer) {
            Ok(0) | Err(Errno::IO) => Ok(Input::HungUp),
            Ok(count) => Ok(Input::Keys(self.keys.decode(&buffer[..count]))),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Input::Keys(Vec::new())),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Drops the handle of a terminal that has hung up, without restoring it.
    pub(crate) fn abandon(self) {
        std::mem::forget(self);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

static TAKEN_OVER: AtomicBool = AtomicBool::new(false);

/// Restores the terminal if that has not happened yet. A second restore would move the cursor back
/// and overwrite later output.
fn give_back() {
    if TAKEN_OVER.swap(false, Ordering::Relaxed) {
        // An error is ignored, because it cannot be reported anywhere.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), EndSynchronizedUpdate, LeaveAlternateScreen, Show);
    }
}
