// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handlers of SIGINT and SIGTERM.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// A flag that SIGINT and SIGTERM set. Its descriptor then becomes readable.
#[derive(Debug)]
pub(crate) struct Interrupted {
    flag: Arc<AtomicBool>,
    pipe: UnixStream,
}

impl Interrupted {
    /// Installs the signal handlers. A second signal ends the process at once. SIGHUP keeps its
    /// disposition, so that the process survives it under nohup.
    pub(crate) fn new() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let (pipe, write) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { flag, pipe })
    }

    /// Returns whether a signal has arrived.
    pub(crate) fn is(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

impl AsFd for Interrupted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Returns a function that reports whether a signal has arrived.
pub(crate) fn until_interrupted() -> io::Result<impl Fn() -> bool> {
    let interrupted = Interrupted::new()?;
    Ok(move || interrupted.is())
}
