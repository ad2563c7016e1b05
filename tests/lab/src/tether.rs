// SPDX-License-Identifier: MIT OR Apache-2.0
//! Telling that a network namespace is no more.

use crate::cable;
use crate::wait::{PATIENCE, wait_for};
use crate::{Netns, Result};

const LINK: &str = "tether";

/// One end of a link whose other end is in somebody's namespace. It does not keep that alive, and the kernel takes the
/// link away with it: what else can be observed of a namespace without a name would keep it.
#[derive(Debug)]
pub struct Tether {
    ns: Netns,
}

impl Tether {
    /// Ties a link to the namespace that this path leads to, such as `/proc/PID/fd/N`.
    ///
    /// # Errors
    /// For want of privileges, or of `ip`; when there is no such namespace.
    pub fn to(path: &str) -> Result<Self> {
        let ns = Netns::new()?;
        cable::join(&ns, path, LINK)?;
        Ok(Self { ns })
    }

    /// As [`to`](Self::to), for one of ours.
    ///
    /// # Errors
    /// As there.
    pub fn to_netns(ns: &Netns) -> Result<Self> {
        Self::to(&ns.path())
    }

    /// Whether the namespace is there.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn is_tied(&self) -> Result<bool> {
        self.ns.has_link(LINK)
    }

    /// Returns once the namespace is gone.
    ///
    /// # Errors
    /// When it is still there after [`PATIENCE`].
    pub fn wait_until_cut(&self) -> Result<()> {
        wait_for("the end of a namespace", PATIENCE, || Ok((!self.is_tied()?).then_some(())))
    }
}
