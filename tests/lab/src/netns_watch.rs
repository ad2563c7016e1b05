// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detects that a network namespace no longer exists.

use crate::link;
use crate::wait::{PATIENCE, wait_for};
use crate::{Netns, Result};

const LINK: &str = "watch";

/// One end of a link whose other end is in the watched namespace. The link does not keep the
/// namespace alive, and the kernel removes it with the namespace. A descriptor or a socket would
/// keep the namespace alive.
#[derive(Debug)]
pub struct NetnsWatch {
    ns: Netns,
}

impl NetnsWatch {
    /// Watches the namespace that this path leads to, such as `/proc/PID/fd/N`.
    ///
    /// # Errors
    /// Returns an error without the required privileges, if `ip` fails, or if there is no such
    /// namespace.
    pub fn of_path(path: &str) -> Result<Self> {
        let ns = Netns::new()?;
        link::create_veth_pair(&ns, path, LINK)?;
        Ok(Self { ns })
    }

    /// Watches a namespace of the lab.
    ///
    /// # Errors
    /// Returns the errors of [`of_path`](Self::of_path).
    pub fn new(ns: &Netns) -> Result<Self> {
        Self::of_path(&ns.path())
    }

    /// Returns whether the namespace exists.
    ///
    /// # Errors
    /// Returns an error if this cannot be determined.
    pub fn exists(&self) -> Result<bool> {
        self.ns.has_link(LINK)
    }

    /// Waits until the namespace no longer exists.
    ///
    /// # Errors
    /// Returns an error if it still exists after [`PATIENCE`].
    pub fn wait_until_gone(&self) -> Result<()> {
        wait_for("a network namespace still exists", PATIENCE, || Ok((!self.exists()?).then_some(())))
    }
}
