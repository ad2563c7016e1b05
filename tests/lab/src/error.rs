// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab's error: the operation that failed and its cause.

use std::fmt;

/// The result of the lab's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed step, with its cause.
///
/// `Debug` prints the same text as `Display`, because tests show it in the output of `unwrap`.
pub struct Error {
    what: String,
    source: Option<Source>,
}

impl Error {
    /// Creates an error without a cause.
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

// The message includes the cause: a `source()` would print it twice.
impl std::error::Error for Error {}

/// Adds the operation that failed to an error.
pub trait Context<T> {
    /// Prefixes the cause with `what`.
    ///
    /// # Errors
    /// Returns the error with the context.
    fn context(self, what: impl Into<String>) -> Result<T>;

    /// Prefixes the cause with the result of `what`, which is called only on failure.
    ///
    /// # Errors
    /// Returns the error with the context.
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
