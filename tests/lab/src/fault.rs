// SPDX-License-Identifier: MIT OR Apache-2.0
//! Something done to a namespace that is undone again.

use std::fmt;

use crate::Result;

/// A fault in force: a dropping rule, a slow queue, a changed setting. It is undone by [`lift`](Fault::lift), or
/// when it goes out of scope.
#[must_use = "a fault is lifted as soon as it is dropped"]
pub struct Fault {
    what: String,
    undo: Option<Box<dyn FnOnce() -> Result<()> + Send>>,
}

impl Fault {
    /// A fault that is in force already, and how to end it.
    pub fn new(what: impl Into<String>, undo: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Self { what: what.into(), undo: Some(Box::new(undo)) }
    }

    /// Ends the fault.
    ///
    /// # Errors
    /// When it cannot be undone.
    pub fn lift(mut self) -> Result<()> {
        self.undo.take().map_or(Ok(()), |undo| undo())
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // Nobody is left to tell, and what stays behind goes with the namespace.
        if let Some(undo) = self.undo.take() {
            let _ = undo();
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fault").field(&self.what).finish()
    }
}
