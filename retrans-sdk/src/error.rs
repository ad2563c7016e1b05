// SPDX-License-Identifier: MIT OR Apache-2.0
//! The error type of the crate.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::io;

use crate::text::escape::Escaped;

/// The kind of an [`Error`], for programs. The error's text is for people.
///
/// # Examples
///
/// ```
/// use retrans_sdk::{ErrorKind, Stream};
///
/// // The size of the ring buffer must be a power-of-two number of pages.
/// let error = Stream::builder().ring_size(5).mock().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::RingSize);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A capability is missing, or a security module refused an operation that the capability
    /// allows.
    MissingCapability,
    /// The kernel provides no BTF, its file cannot be opened, or a file contains no BTF. The text
    /// names the file and the cause.
    NoBtf,
    /// The kernel has no such tracepoint, or its BTF does not contain it.
    NoTracepoint,
    /// The tracepoint has arguments that this version cannot read.
    UnsupportedTracepoint,
    /// The size of the ring buffer is not a power-of-two number of pages.
    RingSize,
    /// A setting does not apply to this kind of stream. The text names the setting and what to use
    /// instead.
    Setting,
    /// The filter contains a term that cannot be evaluated. The BPF programs cannot evaluate a term
    /// that requires the event ([`Filter::event_only`](crate::Filter::event_only)). A recording
    /// cannot be filtered by a term that requires more than the event
    /// ([`Filter::live_only`](crate::Filter::live_only)).
    Filter,
    /// The cgroup of this process does not identify its sockets, because the host uses cgroup v1
    /// ([`Filter::current_cgroup`](crate::Filter::current_cgroup)).
    Cgroup,
    /// A recording cannot be read further. The text names the line and the mistake.
    Recording,
    /// The requested attach method is not available on this kernel.
    MethodUnavailable,
    /// The kernel refused a program or a map.
    Load,
    /// Any other error from the operating system.
    System,
}

/// The error of opening or reading a stream.
///
/// The text contains the operation, all causes, and a remedy where one is known. Programs use
/// [`kind`](Self::kind), [`raw_os_error`](Self::raw_os_error), and [`source`](StdError::source) for
/// the cause itself.
///
/// # Examples
///
/// ```no_run
/// use retrans_sdk::{ErrorKind, Stream};
///
/// match Stream::open() {
///     Ok(mut stream) => println!("{} attempts", stream.iter().count()),
///     // The text names the capability and how to grant it.
///     Err(error) if error.kind() == ErrorKind::MissingCapability => eprintln!("{error}"),
///     Err(error) => panic!("{error}"),
/// }
/// ```
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// The errno of a cause that does not expose it.
    errno: Option<i32>,
    /// The text after the causes: a remedy, the verifier's log.
    detail: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, errno: None, detail: String::new() }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets a cause that does not expose its errno.
    pub(crate) fn caused_by_errno(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
        errno: Option<i32>,
    ) -> Self {
        self.errno = errno;
        self.caused_by(source)
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Prefixes the message.
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Copies the errno and the detail of an error whose text this one already contains.
    pub(crate) fn with_detail_of(mut self, other: Self) -> Self {
        self.errno = other.raw_os_error();
        self.with_detail(other.detail)
    }

    /// Returns true if this process or the machine has run out of memory or descriptors.
    pub(crate) fn is_exhaustion(&self) -> bool {
        const ENOMEM: i32 = 12;
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        self.raw_os_error().is_some_and(|errno| [ENOMEM, ENFILE, EMFILE].contains(&errno))
    }

    /// Returns the text without the detail.
    pub(crate) fn in_short(&self) -> String {
        Escaped::text(&self.with_causes()).to_string()
    }

    /// Returns the message and its causes, unescaped.
    fn with_causes(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }

    /// Returns the error of a system call.
    pub(crate) fn system(what: &str, errno: rustix::io::Errno) -> Self {
        Self::new(ErrorKind::System, what).caused_by(io::Error::from(errno))
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the operating system's errno as a positive number; `None` if the cause is
    /// not an error of the operating system.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        let mut cause = self.source();
        self.errno.or_else(|| {
            while let Some(error) = cause {
                if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
                    return Some(errno);
                }
                cause = error.source();
            }
            None
        })
    }
}

/// Prints the message, the chain of causes, and the remedy. They may contain text of files and of
/// libraries, so they are escaped.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Escaped::text(&self.with_causes()), Escaped::text(&self.detail))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_of_any_cause_is_found() {
        const EMFILE: i32 = 24;
        let plain = Error::new(ErrorKind::System, "cannot do it");
        assert_eq!((plain.raw_os_error(), plain.source().is_some()), (None, false));

        let caused = Error::new(ErrorKind::System, "cannot open").caused_by(io::Error::from_raw_os_error(EMFILE));
        assert_eq!(caused.raw_os_error(), Some(EMFILE));
        assert!(caused.is_exhaustion());
        let cause = caused.source().and_then(|cause| cause.downcast_ref::<io::Error>()).expect("the cause itself");
        assert_eq!(cause.raw_os_error(), Some(EMFILE));
        assert_eq!(caused.to_string(), format!("cannot open: {cause}"));

        let twice = Error::new(ErrorKind::Load, "cannot load").caused_by(caused);
        assert_eq!(twice.raw_os_error(), Some(EMFILE), "{twice}");
        let system = Error::system("cannot wait", rustix::io::Errno::INTR);
        assert_eq!(system.raw_os_error(), Some(rustix::io::Errno::INTR.raw_os_error()));
    }

    #[test]
    fn the_text_is_escaped() {
        let cause = io::Error::other("\u{202e}\x1b[2J");
        let error = Error::new(ErrorKind::Load, "a\x07\r").caused_by(cause).with_detail("\n    log\t\u{9b}1m\n");
        assert_eq!(error.to_string(), "a\\u{7}\\r: \\u{202e}\\u{1b}[2J\n    log\t\\u{9b}1m\n");
        assert_eq!(error.in_short(), "a\\u{7}\\r: \\u{202e}\\u{1b}[2J");
        let outer = Error::new(ErrorKind::Load, "cannot load").caused_by(error);
        assert!(outer.to_string().starts_with("cannot load: a\\u{7}\\r: "), "escaped once: {outer}");
    }

    #[test]
    fn an_errno_in_the_text_is_not_the_errno_of_the_error() {
        let error = Error::new(ErrorKind::Load, "the last one had (os error 12)").with_detail("; (os error 24)");
        assert_eq!(error.raw_os_error(), None);
        assert!(!error.is_exhaustion());
    }
}
