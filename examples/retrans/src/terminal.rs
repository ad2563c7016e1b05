// SPDX-License-Identifier: MIT OR Apache-2.0
//! A terminal, taken over as a whole and given back however the program ends.

use std::io::{self, IsTerminal, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::KeyEvent;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};

use crate::keys::Decoder;

/// The terminal. On drop, and at a panic before its message, it is as it was.
pub(crate) struct Terminal {
    screen: DefaultTerminal,
    keys: Decoder,
}

/// What came in from the keyboard.
#[derive(Debug)]
pub(crate) enum Input {
    /// These keys; none, if the time ran out.
    Keys(Vec<KeyEvent>),
    /// The terminal is gone.
    HungUp,
}

impl Terminal {
    /// Takes the terminal over: stdin and stdout.
    ///
    /// # Errors
    ///
    /// If one of the two is not a terminal, or does not obey.
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
        // It may have been taken over half.
        taken_over.map(|screen| Self { screen, keys: Decoder::default() }).inspect_err(|_| give_back())
    }

    /// Draws, to the terminal's size of this moment.
    ///
    /// # Errors
    ///
    /// If it cannot be written to.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.screen.draw(draw).map(drop)
    }

    /// Waits for keys, `limit` at most.
    ///
    /// # Errors
    ///
    /// If the terminal cannot be read.
    pub(crate) fn keys(&mut self, limit: Duration) -> io::Result<Input> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        match poll(&mut fds, Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Input::Keys(Vec::new())),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        // Not by crossterm, which reads again without asking, and then blocks, or spins on a terminal that hangs up
        // (crossterm-rs/crossterm#692, #793).
        let mut buffer = [0; 1024];
        match read(&stdin, &mut buffer) {
            Ok(0) | Err(Errno::IO) => Ok(Input::HungUp),
            Ok(count) => Ok(Input::Keys(self.keys.decode(&buffer[..count]))),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Input::Keys(Vec::new())),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Lets go of a terminal that is gone: there is nothing to restore, and nobody to tell that it cannot be.
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

/// Once only: a second time would move the cursor to where it was, and what is written next over what was written since.
fn give_back() {
    if TAKEN_OVER.swap(false, Ordering::Relaxed) {
        // If it does not obey, there is nowhere to say so.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    }
}
