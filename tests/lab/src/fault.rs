// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to a namespace that are undone again.

use std::fmt;

use crate::Result;

/// A fault in effect: a dropping rule, a slow queue, a changed setting. It is undone by
/// [`lift`](Fault::lift), or when it goes out of scope.
#[must_use = "a fault is lifted as soon as it is dropped"]
pub struct Fault {
    what: String,
    undo: Option<Box<dyn FnOnce() -> Result<()> + Send>>,
}

impl Fault {
    /// Creates the handle of a fault that is in effect, with the function that undoes it.
    pub fn new(what: impl Into<String>, undo: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Self { what: what.into(), undo: Some(Box::new(undo)) }
    }

    /// Ends the fault.
    ///
    /// # Errors
    /// Returns an error if it cannot be undone.
    pub fn lift(mut self) -> Result<()> {
        self.undo.take().map_or(Ok(()), |undo| undo())
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // An error cannot be returned here. The namespace's removal undoes the rest.
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
