// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the errno of an error of libbpf-rs, which does not expose it.

use std::io;

use crate::error::Error;

/// An error of libbpf-rs with its errno, if it has one.
#[derive(Debug)]
pub(super) struct LibbpfError {
    error: libbpf_rs::Error,
    errno: Option<i32>,
}

impl LibbpfError {
    /// Reads the errno, so it must be called right after the call that failed, on the same
    /// thread.
    ///
    /// libbpf sets errno whenever it returns an error (since 1.0). An errno of another kind than
    /// the error's comes from something else, and is not used.
    pub(super) fn new(error: libbpf_rs::Error) -> Self {
        let is_of_its_kind = |errno: &i32| libbpf_rs::Error::from_raw_os_error(*errno).kind() == error.kind();
        let errno = io::Error::last_os_error().raw_os_error().filter(is_of_its_kind);
        Self { error, errno }
    }

    #[cfg(test)]
    pub(super) fn of_errno(errno: i32) -> Self {
        Self { error: libbpf_rs::Error::from_raw_os_error(errno), errno: Some(errno) }
    }

    pub(super) fn errno(&self) -> Option<i32> {
        self.errno
    }

    pub(super) fn kind(&self) -> libbpf_rs::ErrorKind {
        self.error.kind()
    }

    /// Makes this the cause of an error.
    pub(super) fn cause(self, of: Error) -> Error {
        of.caused_by_errno(self.error, self.errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::libbpf_log::capture_log;

    #[test]
    fn the_errno_is_that_of_the_failed_call() {
        const ENOENT: i32 = 2;
        let (failed, _) =
            capture_log(|| libbpf_rs::btf::Btf::from_path("/nonexistent").map(|_| ()).map_err(LibbpfError::new));
        let error = failed.expect_err("there is no such file");
        assert_eq!(error.errno(), Some(ENOENT));
        let error = error.cause(Error::new(crate::error::ErrorKind::NoBtf, "no BTF"));
        assert_eq!(error.raw_os_error(), Some(ENOENT));
        assert!(std::error::Error::source(&error).is_some(), "{error}");
    }

    #[test]
    fn an_errno_of_another_kind_is_not_used() {
        let _ = std::fs::metadata("/nonexistent").expect_err("errno is ENOENT");
        let error = libbpf_rs::Error::from(io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(LibbpfError::new(error).errno(), None);
    }
}
