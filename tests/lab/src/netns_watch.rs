// SPDX-License-Identifier: MIT OR Apache-2.0
//! Telling that a network namespace is no more.

use crate::link;
use crate::wait::{PATIENCE, wait_for};
use crate::{Netns, Result};

const LINK: &str = "watch";

/// One end of a link whose other end is in somebody's namespace. It does not keep that alive, and the kernel takes the
/// link away with it: what else can be observed of a namespace without a name would keep it.
#[derive(Debug)]
pub struct NetnsWatch {
    ns: Netns,
}

impl NetnsWatch {
    /// Ties a link to the namespace that this path leads to, such as `/proc/PID/fd/N`.
    ///
    /// # Errors
    /// For want of privileges, or of `ip`; when there is no such namespace.
    pub fn of_path(path: &str) -> Result<Self> {
        let ns = Netns::new()?;
        link::create_veth_pair(&ns, path, LINK)?;
        Ok(Self { ns })
    }

    /// As [`of_path`](Self::of_path), for one of ours.
    ///
    /// # Errors
    /// As there.
    pub fn new(ns: &Netns) -> Result<Self> {
        Self::of_path(&ns.path())
    }

    /// Whether the namespace is there.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn exists(&self) -> Result<bool> {
        self.ns.has_link(LINK)
    }

    /// Returns once the namespace is gone.
    ///
    /// # Errors
    /// When it is still there after [`PATIENCE`].
    pub fn wait_until_gone(&self) -> Result<()> {
        wait_for("the end of a namespace", PATIENCE, || Ok((!self.exists()?).then_some(())))
    }
}
