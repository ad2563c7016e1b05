// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory for one unit test. It is removed on drop.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Creates an empty directory. Each test uses its own name, because tests of one process run at
    /// the same time.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("retrans-kernels-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
