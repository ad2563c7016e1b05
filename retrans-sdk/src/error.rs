// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a stream could not be opened or read.

use std::error::Error as StdError;
use std::fmt;

/// What is wrong, for programs; the text of the [`Error`] is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A capability is missing (or a security module refused what it would allow).
    MissingCapability,
    /// The kernel shows no BTF.
    NoBtf,
    /// The kernel has no such tracepoint.
    NoTracepoint,
    /// The tracepoint has a shape that this version does not read.
    UnsupportedTracepoint,
    /// The ring's size is not a power-of-two number of pages.
    RingSize,
    /// The filter has a term that cannot be decided: in the kernel, one that only an event decides; of a recording, one that an event does not.
    Filter,
    /// A recording cannot be read on: the text says at which line, and what is wrong with it.
    Recording,
    /// The source that was asked for is not to be had on this kernel.
    MethodUnavailable,
    /// The kernel refused a program or a map.
    Load,
    /// Anything else from the operating system.
    System,
}

/// Why a stream could not be opened or read: the cause and what to do about it.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// What stands behind all that: a remedy, what the verifier says.
    detail: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, detail: String::new() }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Says first of what it is.
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn with_detail_of(self, other: Self) -> Self {
        self.with_detail(other.detail)
    }

    /// Whether this process or the machine is short of something.
    pub(crate) fn is_exhaustion(&self) -> bool {
        const ENOMEM: i32 = 12;
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        // libbpf-rs keeps the errno to itself.
        let text = self.to_string();
        [ENOMEM, ENFILE, EMFILE].iter().any(|errno| text.contains(&format!("(os error {errno})")))
    }

    /// Without what stands behind.
    pub(crate) fn in_short(&self) -> String {
        self.to_string().strip_suffix(&self.detail).map_or_else(|| self.to_string(), str::to_owned)
    }

    /// A system call that failed.
    pub(crate) fn system(what: &str, errno: rustix::io::Errno) -> Self {
        Self::new(ErrorKind::System, what).caused_by(std::io::Error::from(errno))
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// The message, the chain of causes, and what helps.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause: Option<&dyn StdError> = self.source.as_deref().map(|source| source as _);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        f.write_str(&self.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {
    // The causes are in the text already; a reporter that walks the chain would print them twice.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        None
    }
}
