// SPDX-License-Identifier: MIT OR Apache-2.0
//! One error for the whole lab: what was attempted, and what came of it.

use std::fmt;

/// What the lab's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed step, with its cause.
///
/// `Debug` prints the same sentence as `Display`, because tests meet it in the output of `unwrap`.
pub struct Error {
    what: String,
    source: Option<Source>,
}

impl Error {
    /// An error without a further cause.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// The cause is part of the message already: handing it out as `source()` too would print it twice.
impl std::error::Error for Error {}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts `what` in front of the cause.
    fn context(self, what: impl Into<String>) -> Result<T>;

    /// As [`context`](Self::context), for a text that costs something to make.
    fn with_context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Source>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.with_context(|| what)
    }

    fn with_context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error { what: what().into(), source: Some(e.into()) })
    }
}
