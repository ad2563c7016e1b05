// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a function at the end of a scope, however it is left.

pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
